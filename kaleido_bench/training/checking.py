"""What can be wrong with a call, the cheap things first: its folder, its budget, its device, its weights, its data."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from kaleido_bench.errors import BenchError
from kaleido_bench.training.calls import DataCall, Prepared, Tell, TrainCall
from kaleido_bench.training.data import ReaderScenes, check_name
from kaleido_bench.training.presets import load_preset

if TYPE_CHECKING:
    from reference_model.config import Preset
    from reference_model.training.posed import PosedSource
    from reference_model.training.schedule import Budget
    from reference_model.training.steps import WorldSource

GIB = 2**30

QUICK = 1e12
"""FLOPs of a step that no CPU is asked about: seconds on any that trains."""

BEGUN = frozenset({"state.new", "model.new", "tensorboard"})
"""What a run may have left in its folder before it wrote its first state."""


def prepare(call: TrainCall, tell: Tell, *, source_device: str | None = None) -> Prepared:
    """Check a call, the cheap things first, and open what it trains on.

    Args:
        source_device: where the worlds' photographs are put; None: where the call trains.

    Raises:
        BenchError: anything is wrong with it.
    """
    check_out(call.out)
    check_free(call.out)
    if call.tensorboard and find_spec("tensorboard") is None:
        raise BenchError(
            "--tensorboard", "not installed", expected="the package tensorboard", fix="pip install tensorboard"
        )
    budget = build_budget(call.minutes, call.steps, call.flops)
    preset = load_preset(call.preset, call.settings, video=call.video)
    device = choose_device(call.device)
    from reference_model.train import Run

    check_room(preset, device)
    check_inputs(preset)
    check_initial(call.initial, preset)
    source = open_source(call, preset, source_device or device, tell)
    resumes = find_begun(call.out, preset, source)
    run = Run(
        out=call.out,
        budget=budget,
        device=device,
        compiled=call.compiled,
        save_steps=call.save_steps,
        initial=call.initial,
        tensorboard=call.tensorboard,
    )
    if device == "cpu":
        tell_cost(preset, tell)
    return Prepared(preset, source, run, resumes)


def build_budget(minutes: float | None, steps: int | None, flops: float | None) -> Budget:
    """How much is trained. Raises BenchError unless exactly one is given, above 0."""
    from reference_model.training.schedule import Budget

    given = {
        f"--{name}": value
        for name, value in (("minutes", minutes), ("steps", steps), ("flops", flops))
        if value is not None
    }
    if len(given) != 1:
        raise BenchError(
            "kbench train",
            f"{' and '.join(given) or 'neither --minutes nor --steps nor --flops'}",
            expected="exactly one of the three",
            fix="--steps and --flops mean the same on every machine, --minutes fills a machine's time.",
        )
    try:
        return Budget(minutes, steps, flops)
    except ValueError:
        ((option, value),) = given.items()
        raise BenchError(option, f"{value:g}", expected="a number above 0", fix="Correct it.") from None


def choose_device(device: str) -> str:
    """`cpu`, `cuda:0` and so on; of a team that torchrun started, this process' own.

    Raises:
        BenchError: it is not here, or nobody trains on it.
    """
    from kaleido_bench.predict.execution.devices import resolve_device

    found = resolve_device(device)
    if found == "mps":
        raise BenchError("--device", "'mps'", expected="cuda or cpu, which training knows", fix="Take --device cpu.")
    from reference_model.training.parallel import join_team

    try:
        return join_team(found).device
    except ValueError as error:
        raise BenchError("torchrun", str(error), expected="a GPU a process", fix="Start fewer processes.") from error


def check_out(out: Path) -> None:
    """Raises BenchError for a file, and for a folder of something else than a run that can go on."""
    there = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
    if not there.is_dir():
        raise BenchError("--out", f"{there} is a file", expected="a folder, there or not", fix="Name another.")
    if there != out:
        return
    names = {path.name for path in out.iterdir()}
    if names & {"state", "state.old"} or names <= BEGUN:
        return
    what = "weights without the state of the run that made them" if "preset.json" in names else "something else"
    raise BenchError(
        "--out",
        f"{out} holds {what} ({', '.join(sorted(names)[:3])})",
        expected="an empty folder, one that is not there, or a run to go on with",
        fix="Name another folder; --init begins with weights that are there.",
    )


def check_free(out: Path) -> None:
    """Raises BenchError where a run is at it, or the folder cannot be written. Of a team the first process looks."""
    from reference_model.training import claim
    from reference_model.training.parallel import speaks

    if not speaks():
        return
    there = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
    if not os.access(there, os.W_OK | os.X_OK):
        raise BenchError(
            "--out", f"{there} cannot be written to", expected="a folder of yours", fix="Name another, or its owner."
        )
    try:
        claim.check_free(out)
    except ValueError as error:
        raise BenchError("--out", str(error), expected="one run in a folder", fix="Look for it with `ps`.") from error


def find_begun(out: Path, preset: Preset, source: WorldSource | PosedSource) -> int | None:
    """Steps of the run that `out` holds. Raises BenchError where it is another run."""
    from reference_model.training.resuming import find_state, read_header

    state = find_state(out)
    if state is None:
        return None
    try:
        return read_header(state, preset, source.describe()).spent.steps
    except (ValueError, KeyError) as error:
        raise BenchError(
            "--out", str(error), expected="a run of the same preset on the same data", fix="Name another folder."
        ) from error


def open_source(call: TrainCall, preset: Preset, device: str, tell: Tell) -> WorldSource | PosedSource:
    """The worlds, or the data set of the call.

    Raises:
        BenchError: photographs or data are not there, or none of it can serve the preset.
    """
    if call.data is None:
        from reference_model.training.steps import WorldSource

        try:
            return WorldSource(call.photographs, device)
        except (FileNotFoundError, ValueError) as error:
            raise BenchError(
                "--photographs",
                str(error),
                expected="the photographs that worlds are papered with",
                fix="Correct it, or leave it out." if call.photographs else "pip install 'kaleido-bench[train]'.",
            ) from error
    return open_data(call.data, preset, tell)


def open_data(data: DataCall, preset: Preset, tell: Tell) -> PosedSource:
    """A data set as a source. Raises BenchError where it cannot serve the preset."""
    from reference_model.training.posed import PosedScene, PosedSource

    name = check_name(data.name)
    found = ReaderScenes(data.root, data.reader, ordered=data.ordered, background=data.background)

    class Scenes:
        def __len__(self) -> int:
            return len(found)

        def __getitem__(self, scene: int, /) -> PosedScene:
            return PosedScene(*found[scene])

    try:
        source = PosedSource(
            Scenes(),
            name,
            about=found.about,
            fit=data.fit,
            span=data.span,
            held_out=data.held_out,
            memory=int(data.memory * GIB),
            tell=tell,
        )
        source.check(preset)
    except ValueError as error:
        raise BenchError(
            "--data",
            str(error),
            expected=f"scenes that serve every stage of the preset, {preset.model.max_views} views each",
            fix=suggest_stages(preset, ordered=found.ordered),
        ) from error
    return source


def suggest_stages(preset: Preset, *, ordered: bool) -> str:
    """What to do where scenes do not serve a preset; `ordered`: whether they are taken for frames of a video."""
    if not ordered and any(stage.video for stage in preset.train.stages):
        return "--no-video leaves the stages of video out; --ordered says that views are frames of a video."
    return "docs/training.md says what a preset asks of scenes."


def check_room(preset: Preset, device: str) -> None:
    """Raises BenchError where the device is too small for what stays on it from step to step. Of what a team shares its
    processes look for themselves, which know how many they are (train.train).
    """
    from reference_model.training.cost import check_memory

    if device != "cpu" and preset.train.sharded:
        return
    try:
        check_memory(preset, device, 1)
    except ValueError as error:
        found, _, expected = str(error).partition("; expected ")
        raise BenchError("--device", found, expected=expected, fix="`kbench doctor` lists what is here.") from error


def tell_cost(preset: Preset, tell: Tell) -> None:
    """What a step will take this CPU at the least, where it may be minutes. Its rate is measured."""
    from reference_model.training import cost

    counted = cost.count_cost(preset)
    if counted.most < QUICK or "WORLD_SIZE" in os.environ:  # of a team, once: by whom it was started
        return
    rate = cost.time_products()
    tell(
        f"{counted}, which take at least {counted.least / rate:.0f} to {counted.most / rate:.0f} s on this CPU (its "
        f"matrix products make {rate / 1e9:.0f} GFLOP/s); rendering and scoring come on top"
    )


def check_inputs(preset: Preset) -> None:
    """Raises BenchError where there are no such codec and features, their weights are not here, or they do not fit."""
    from reference_model.inputs import build_inputs

    try:
        build_inputs(preset.model, "cpu")
    except (FileNotFoundError, ValueError) as error:
        raise BenchError(
            f"--set model.codec={preset.model.codec}, model.features={preset.model.features}",
            str(error),
            expected="a codec and features that fit the model, and their weights",
            fix="Correct them, or take another preset.",
        ) from error


def check_initial(initial: Path | None, preset: Preset) -> None:
    """Raises BenchError for weights that are not there, or of another model."""
    if initial is None:
        return
    from reference_model.checkpoint import find_checkpoint, read_stored_preset
    from reference_model.config import list_differences

    try:
        folder = find_checkpoint(initial)
        model = read_stored_preset(folder).model
    except (FileNotFoundError, ValueError) as error:
        raise BenchError("--init", str(error), expected="weights to begin with", fix="Correct it.") from error
    if differing := list_differences(preset.model, model):
        raise BenchError(
            "--init",
            f"{initial} is another model: it differs in {', '.join(f'model.{name}' for name in differing)}",
            expected="weights of the same model",
            fix=f"Train with the preset beside them: {folder / 'preset.json'}.",
        )
