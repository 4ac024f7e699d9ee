"""The preset that a call means: by name or from a file, with single fields changed, with or without video."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from kaleido_bench.errors import BenchError
from kaleido_bench.records import suggest

if TYPE_CHECKING:
    from reference_model.config import Preset


def load_preset(name: str, settings: tuple[str, ...] = (), *, video: bool = True) -> Preset:
    """A preset by its name or from a file, with single fields changed; unless `video`, without stages of video.

    Raises:
        BenchError: there is none; a setting names no field, or a value that the field does not take; without video
            nothing is left.
    """
    from reference_model.presets import PRESETS
    from reference_model.training.settings import read_preset

    if name in PRESETS:
        preset = PRESETS[name]()
    elif Path(name).is_file():
        try:
            preset = read_preset(name)
        except (ValueError, OSError) as error:
            raise BenchError(
                name, str(error), expected="a preset.json as a checkpoint holds it", fix="Start from one of those."
            ) from error
    else:
        names = ", ".join(sorted(PRESETS))
        raise BenchError(
            "PRESET",
            f"{name!r}",
            expected=f"one of {names}, or a file such as a checkpoint's preset.json",
            fix=suggest(name, PRESETS, otherwise="Correct it."),
        )
    preset = change_preset(preset, settings)
    return preset if video else leave_video_out(preset)


def change_preset(preset: Preset, settings: tuple[str, ...]) -> Preset:
    """Raises BenchError for a setting that names no field, or whose value the field does not take."""
    from reference_model.training.settings import list_fields, override

    fields = list_fields(preset)
    for setting in settings:
        name, separator, _ = setting.partition("=")
        if not separator or name not in fields:
            raise BenchError(
                "--set",
                f"{setting!r}",
                expected="GROUP.FIELD=VALUE of the groups model, flow and train",
                fix=suggest(name, fields, otherwise="`kbench train PRESET --steps 1 --dry-run` prints the fields."),
            )
        try:
            preset = override(preset, [setting])
        except ValueError as error:
            raise BenchError(
                f"--set {setting}", str(error), expected="a value that the model can be built with", fix="Correct it."
            ) from error
    return preset


def leave_video_out(preset: Preset) -> Preset:
    """Raises BenchError for a preset of video alone."""
    from reference_model.training.settings import drop_video

    try:
        return drop_video(preset)
    except ValueError as error:
        raise BenchError(
            "--no-video", str(error), expected="a preset with other stages", fix="Drop it, or add stages."
        ) from error


def render_preset(preset: Preset) -> str:
    """As a checkpoint holds it."""
    from reference_model.stored import to_json

    return to_json(preset)
