"""Which preset a command means: a name or a file, with single fields changed by `--set GROUP.FIELD=VALUE`, and without
stages of video by `--no-video`.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

from reference_model.config import Preset
from reference_model.presets import PRESETS
from reference_model.stored import build_record, from_json


def read_preset(name: str) -> Preset:
    """A preset by name, or from a file as a checkpoint holds it. Raises ValueError naming the presets, or what is wrong
    in the file.
    """
    if name in PRESETS:
        return PRESETS[name]()
    if Path(name).is_file():
        preset = from_json(Path(name).read_text())
        check_shares(preset)
        return preset
    raise ValueError(f"no preset {name!r}: expected one of {', '.join(sorted(PRESETS))}, or a preset.json")


def check_shares(preset: Preset) -> None:
    """Raises ValueError where the stages do not share the whole budget: the last one would take what is left, or have
    none, and the card would say otherwise. Checked where a run is asked for, not where a checkpoint is read.
    """
    shares = [stage.share for stage in preset.train.stages]
    if abs(sum(shares) - 1) > 1e-6:
        raise ValueError(f"the stages' shares of the budget are {shares}, {sum(shares):g} in all: expected 1")


def list_fields(preset: Preset) -> dict[str, str]:
    """Every `GROUP.FIELD` that a setting may name, with the type of its value."""
    return {
        f"{group.name}.{field.name}": str(field.type)
        for group in dataclasses.fields(preset)
        for field in dataclasses.fields(getattr(preset, group.name))
    }


def read_value(text: str) -> object:
    """JSON; what is none is a text."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def override(preset: Preset, settings: Sequence[str]) -> Preset:
    """Change single fields by `group.field=value`; the result is what the checkpoint records. A value is JSON; a text
    need not be quoted.

    Raises ValueError naming the setting that is not of that form, the fields that there are, or what the field takes.
    """
    for setting in settings:
        name, _, value = setting.partition("=")
        if name not in list_fields(preset):
            raise ValueError(f"{setting!r}: expected GROUP.FIELD=VALUE with one of {', '.join(list_fields(preset))}")
        given = read_value(value)
        group, _, field = name.partition(".")
        record = getattr(preset, group)
        try:
            raw = json.loads(json.dumps(dataclasses.asdict(record)))  # as a file holds it: stages are a list
            changed = build_record(type(record), {**raw, field: given})
        except TypeError as error:
            raise ValueError(str(error)) from error
        preset = dataclasses.replace(preset, **{group: changed})
        check_shares(preset)
    return preset


def drop_video(preset: Preset) -> Preset:
    """The preset without its stages of video, the shares of the others scaled to sum to one; as it is where none is.

    Raises ValueError where all of its stages are video.
    """
    posed = [stage for stage in preset.train.stages if not stage.video]
    if not posed:
        raise ValueError("all stages are video: without them nothing is left to train")
    if len(posed) == len(preset.train.stages):
        return preset
    total = sum(stage.share for stage in posed)
    stages = tuple(dataclasses.replace(stage, share=stage.share / total) for stage in posed)
    return dataclasses.replace(preset, train=dataclasses.replace(preset.train, stages=stages))
