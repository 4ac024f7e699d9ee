"""Training the reference model from the harness: a call is checked in full, then carried out.

Beside the adapter this is the only module that imports the reference model, inside functions. What can be wrong with a
call is said here, before anything is begun, as a `BenchError`; the trainer itself is `reference_model.train`.
"""

from __future__ import annotations

import dataclasses
import json
import signal
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from kaleido_bench.errors import BenchError, IncompleteError
from kaleido_bench.records import suggest
from kaleido_bench.training_data import Background, ReaderScenes, check_name

if TYPE_CHECKING:
    from reference_model.config import Preset
    from reference_model.train import Run
    from reference_model.training.posed import PosedSource
    from reference_model.training.schedule import Budget
    from reference_model.training.steps import WorldSource

Report = Callable[[dict[str, object]], None]
Tell = Callable[[str], None]

GIB = 2**30

STOPPING = "stopping: this step is finished and the state written; once more breaks off at once"
STOPPED = "kbench: stopped. The same command goes on from there."
"""What is said when a run is asked to stop, and when it has."""

BEGUN = frozenset({"state.new", "tensorboard"})
"""What a run may have left in its folder before it wrote its first state."""


@dataclass(frozen=True)
class DataCall:
    """Posed scenes instead of the worlds.

    Attributes:
        root, reader, ordered, background: see `training_data.ReaderScenes`.
        name: as protocols name the data set.
        fit, span, held_out: see `reference_model.training.posed`.
        memory: of decoded images, in GiB and in each process.
    """

    root: str
    reader: str
    name: str
    ordered: bool | None
    background: Background
    fit: str
    span: int | None
    held_out: int
    memory: float


@dataclass(frozen=True)
class TrainCall:
    """What `kbench train` was asked."""

    preset: str
    settings: tuple[str, ...]
    out: Path
    minutes: float | None
    steps: int | None
    flops: float | None
    device: str
    photographs: Path | None
    initial: Path | None
    data: DataCall | None
    save_steps: int
    compiled: bool
    tensorboard: bool


class Prepared(NamedTuple):
    """A call that was found right.

    Attributes:
        resumes: the steps that a run in its folder has behind it; None where there is none.
    """

    preset: Preset
    source: WorldSource | PosedSource
    run: Run
    resumes: int | None


# ------------------------------------------------------------------------------------------------------- checking


def load_preset(name: str, settings: tuple[str, ...] = ()) -> Preset:
    """A preset by its name or from a file, with single fields changed.

    Raises:
        BenchError: there is none; a setting names no field, or a value that the field does not take.
    """
    from reference_model.config import PRESETS, from_json

    if name in PRESETS:
        preset = PRESETS[name]()
    elif Path(name).is_file():
        try:
            preset = from_json(Path(name).read_text())
        except (ValueError, KeyError, OSError) as error:
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
    return change_preset(preset, settings)


def change_preset(preset: Preset, settings: tuple[str, ...]) -> Preset:
    """Raises BenchError for a setting that names no field, or whose value the field does not take."""
    from reference_model.train import override

    for setting in settings:
        written = _write_setting(preset, setting)
        try:
            preset = override(preset, [written])
        except (ValueError, TypeError) as error:
            raise BenchError(
                f"--set {setting}", str(error), expected="a value that the model can be built with", fix="Correct it."
            ) from error
    return preset


def _write_setting(preset: Preset, setting: str) -> str:
    """`group.field=JSON`, from what was given; a text need not be quoted."""
    name, separator, text = setting.partition("=")
    kinds = {
        f"{group.name}.{field.name}": str(field.type)
        for group in dataclasses.fields(preset)
        for field in dataclasses.fields(getattr(preset, group.name))
    }
    if not separator or name not in kinds:
        raise BenchError(
            "--set",
            f"{setting!r}",
            expected="GROUP.FIELD=VALUE of the groups model, flow and train",
            fix=suggest(name, kinds, otherwise="`kbench train PRESET --steps 1 --dry-run` prints the fields."),
        )
    kind = kinds[name]
    try:
        value: object = json.loads(text)
    except json.JSONDecodeError:
        value = text
    if not _is_of_kind(value, kind):
        raise BenchError(f"--set {name}", f"{text!r}", expected=f"a value of type {kind}", fix="Correct it.")
    return f"{name}={json.dumps(value)}"


def _is_of_kind(value: object, kind: str) -> bool:
    """Whether a JSON value is what a field's annotation says."""
    if kind.startswith("tuple["):
        return isinstance(value, list)
    kinds: dict[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "str": (str,), "bool": (bool,)}
    return any(
        value is None
        if each == "None"
        else isinstance(value, kinds[each]) and (each == "bool") == isinstance(value, bool)
        for each in kind.split(" | ")
    )


def render_preset(preset: Preset) -> str:
    """As a checkpoint holds it."""
    from reference_model.config import to_json

    return to_json(preset)


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


def find_begun(out: Path, preset: Preset, source: WorldSource | PosedSource) -> int | None:
    """Steps of the run that `out` holds. Raises BenchError where it is another run."""
    from reference_model.training.resuming import find_state, read_header

    state = find_state(out)
    if state is None:
        return None
    try:
        return read_header(state, preset, source.describe())[0].steps
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
                fix="pip install 'kaleido-bench[train]'.",
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
            fix="--ordered says that views are frames of a video; docs/training.md has presets without video.",
        ) from error
    return source


def prepare(call: TrainCall, tell: Tell, *, source_device: str | None = None) -> Prepared:
    """Check a call, the cheap things first, and open what it trains on.

    Args:
        source_device: where the worlds' photographs are put; None: where the call trains.

    Raises:
        BenchError: anything is wrong with it.
    """
    check_out(call.out)
    if call.tensorboard and find_spec("tensorboard") is None:
        raise BenchError(
            "--tensorboard", "not installed", expected="the package tensorboard", fix="pip install tensorboard"
        )
    budget = build_budget(call.minutes, call.steps, call.flops)
    preset = load_preset(call.preset, call.settings)
    device = choose_device(call.device)
    from reference_model.train import Run

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
    return Prepared(preset, source, run, resumes)


def check_initial(initial: Path | None, preset: Preset) -> None:
    """Raises BenchError for weights that are not there, or of another model."""
    if initial is None:
        return
    from reference_model.checkpoint import find_checkpoint
    from reference_model.config import from_json

    try:
        beside = find_checkpoint(initial) / "preset.json"
        model = from_json(beside.read_text()).model
    except (FileNotFoundError, ValueError) as error:
        raise BenchError("--init", str(error), expected="weights to begin with", fix="Correct it.") from error
    differing = [
        field.name
        for field in dataclasses.fields(model)
        if getattr(model, field.name) != getattr(preset.model, field.name)
    ]
    if differing:
        raise BenchError(
            "--init",
            f"{initial} is another model: it differs in {', '.join(f'model.{name}' for name in differing)}",
            expected="weights of the same model",
            fix=f"Train with the preset beside them: {beside}.",
        )


# ---------------------------------------------------------------------------------------------------- carrying out


class Signals:
    """Whether SIGINT or SIGTERM has asked the run to end; `heed` is called at the first."""

    def __init__(self, heed: Callable[[], None]) -> None:
        self.asked, self._heed = False, heed

    def ask(self, *_: object) -> None:
        """The first time it is noted; a second time the run is broken off, and goes on from its last state."""
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        self._heed()


@contextmanager
def heed_signals(heed: Callable[[], None]) -> Generator[Signals]:
    """Inside, SIGINT and SIGTERM ask and do not break off."""
    signals = Signals(heed)
    before = {number: signal.signal(number, signals.ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def train(prepared: Prepared, report: Report, tell: Tell) -> bool:
    """Train in this process, one of a team where torchrun started it. Whether it is done; else it was asked to stop.

    Raises:
        BenchError: the data turned out wrong.
        IncompleteError: the loss diverged.
    """
    import torch

    from reference_model.train import train as train_model
    from reference_model.training.posed import PosedSource
    from reference_model.training.progress import DivergedError

    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        with heed_signals(lambda: tell(STOPPING)) as signals:
            return train_model(prepared.preset, prepared.source, prepared.run, report, signals)
    except DivergedError as error:
        raise IncompleteError(f"training stopped: {error}") from error
    except (ValueError, FileNotFoundError) as error:
        raise BenchError(
            "kbench train", str(error), expected="data and settings that a step can be made of", fix="Correct them."
        ) from error
    finally:
        torch.set_float32_matmul_precision(precision)
        if isinstance(prepared.source, PosedSource):
            prepared.source.close()
