"""Protocol x adapter -> predictions. Run it again and it makes what is missing; what is there and whole is left alone.

An item's prediction depends on the item alone: its generator is seeded from protocol, case and sample, and nothing is
carried from one item to the next. So order, interruptions and the number of workers leave no trace.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple, Protocol, cast

import numpy as np
from jaxtyping import UInt8
from numpy.typing import NDArray

from kaleido_bench.errors import BenchError
from kaleido_bench.items import WorkItem, item_seed
from kaleido_bench.predict.adapters.interface import Adapter, SceneAdapter, TargetCameras
from kaleido_bench.predict.inputs import CaseInputs, InputReader
from kaleido_bench.predict.meter import Meter, Peak
from kaleido_bench.predictions import Cost, Run, Session, append_session, check_prediction, write_prediction
from kaleido_bench.protocol import LoadedProtocol

Report = Callable[[int], None]
"""Called with the number of items done so far."""


class Task(NamedTuple):
    """What every worker needs to know. It can be pickled."""

    run: Run
    loaded: LoadedProtocol
    data_dir: Path | None


class Engine(Protocol):
    """Where items are computed: in this process, in several."""

    def execute(self, task: Task, items: Sequence[WorkItem], report: Report) -> None:
        """Predict every item and write it into the run. May raise at the first failure; what is written stays."""
        ...


class PredictPlan(NamedTuple):
    """What there is to do.

    Args:
        missing: the items to predict, in the order of the protocol.
        whole: how many are there and right.
        problems: of predictions that are there but not right (and are in `missing`), one line each.
    """

    missing: tuple[WorkItem, ...]
    whole: int
    problems: tuple[str, ...]


Watch = Callable[[PredictPlan], AbstractContextManager[Report]]
"""Opened around the work with what there is to do; gives what is called after each item."""


class PredictOutcome(NamedTuple):
    """What a call did: items predicted, items found, seconds by the wall clock; and the run as it is now."""

    run: Run
    done: int
    reused: int
    seconds: float


def plan_predictions(task: Task, items: Sequence[WorkItem]) -> PredictPlan:
    """Look at what is there. Every byte of it is compared with its hash, since a later score will rest on it.

    Raises:
        BenchError: the size of the images depends on data that is not there.
    """
    reader = InputReader(task.loaded, task.data_dir)
    missing: list[WorkItem] = []
    problems: list[str] = []
    for item in items:
        state = check_prediction(task.run, item, reader.image_size(item))
        if not state.whole:
            missing.append(item)
            problems += state.problems[:1]
    return PredictPlan(tuple(missing), len(items) - len(missing), tuple(problems))


def predict_run(
    task: Task, engine: Engine, *, items: Sequence[WorkItem], session: Session, watch: Watch
) -> PredictOutcome:
    """Predict those of `items` that are not there, and leave the others alone.

    Args:
        task: the run and where its data is.
        engine: what computes.
        items: what the run should hold in the end.
        session: the circumstances, recorded in run.json when there is something to do.
        watch: see `Watch`; opened only when there is something to do.

    Raises:
        BenchError: bad data, or an adapter that answers with something else than it was asked for.
        IncompleteError: a worker died.
    """
    start = time.monotonic()
    plan = plan_predictions(task, items)
    if plan.missing:
        session = session.model_copy(update={"precision": name_precision(task.run, session.precision)})
        task = task._replace(run=append_session(task.run, session))
        with watch(plan) as report:
            engine.execute(task, plan.missing, report)
    return PredictOutcome(task.run, len(plan.missing), plan.whole, time.monotonic() - start)


def predict_item(task: Task, adapter: Adapter, reader: InputReader, item: WorkItem, meter: Meter | None = None) -> None:
    """Predict one item and write it, with what it took by the meter (of the CPU where none is given)."""
    meter = meter or Meter()
    inputs = reader.read(item)
    _check_count(task, adapter, item)
    seed = item_seed(task.loaded.hash, item, task.loaded.protocol.seed)
    asked = _ask(adapter, inputs, np.random.Generator(np.random.PCG64(seed)), meter)
    checked = check_answer(asked.images, inputs.targets, task.run.record.model)
    precision = name_precision(task.run, meter.precision)
    cost = Cost(asked.fit_seconds, asked.peak.size, asked.peak.kind, meter.device, precision)
    write_prediction(task.run, item, checked, seed=seed, seconds=asked.seconds + asked.fit_seconds, cost=cost)


def name_precision(run: Run, of_torch: str) -> str:
    """What a method computes in by its own settings, where they say `precision`, before what torch does elsewhere."""
    own = run.record.adapter.settings.get("precision")
    return of_torch if own is None else f"{own} by the method's setting, else {of_torch}"


def check_answer(images: object, targets: TargetCameras, model: str) -> UInt8[np.ndarray, "target height width 3"]:
    """The adapter's answer, if it is one uint8 RGB image of the right size for each target.

    Raises:
        BenchError: it is anything else.
    """
    shape = (len(targets.ids), targets.cameras.height, targets.cameras.width, 3)
    array = _as_array(images)
    if array is not None and array.dtype == np.uint8 and array.shape == shape:
        return array
    raise BenchError(
        f"{model}, {targets.item}",
        f"predict returned {_describe(images)}",
        expected=f"a numpy array uint8 {list(shape)}",
        fix="Correct the adapter: one RGB image in 0..255 for each target camera, in its order.",
    )


def _describe(images: object) -> str:
    array = _as_array(images)
    if array is None:
        return f"a {type(images).__module__}.{type(images).__qualname__}".replace("builtins.", "")
    text = f"{array.dtype} {list(array.shape)}"
    if np.issubdtype(array.dtype, np.floating) and (bad := int((~np.isfinite(array)).sum())):
        text += f" with {bad} values NaN or infinite"
    return text


def _as_array(images: object) -> NDArray[Any] | None:
    return cast("NDArray[Any]", images) if isinstance(images, np.ndarray) else None


class _Asked(NamedTuple):
    """An answer nobody has checked, and what it took."""

    images: object
    seconds: float
    fit_seconds: float
    peak: Peak


def _ask(adapter: Adapter, inputs: CaseInputs, generator: np.random.Generator, meter: Meter) -> _Asked:
    peak, fit_seconds = meter.watch_memory(), 0.0
    if adapter.capabilities.per_scene:
        if not isinstance(adapter, SceneAdapter):
            raise BenchError(
                type(adapter).__name__,
                "says per_scene and has no fit",
                expected="a SceneAdapter",
                fix="Add fit(references, generator), or say per_scene=False.",
            )
        fit = adapter.fit
        _, fit_seconds = meter.time(lambda: fit(inputs.references, generator))
    images, seconds = meter.time(lambda: adapter.predict(inputs.references, inputs.targets, generator))
    return _Asked(images, seconds, fit_seconds, peak())


def _check_count(task: Task, adapter: Adapter, item: WorkItem) -> None:
    limit = adapter.capabilities.max_references
    if limit is not None and len(item.case.references) > limit:
        raise BenchError(
            f"{task.run.record.model}, {item.key}",
            f"{len(item.case.references)} reference views",
            expected=f"at most {limit}, which is all this model takes",
            fix=f"Run the counts it can take: --references with numbers up to {limit}.",
        )
