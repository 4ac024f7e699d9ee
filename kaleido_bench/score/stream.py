"""Pairs of images on their way to the metrics: read, checked, decoded and scored, in bounded memory.

On a processor every thread takes a view from its file to its numbers, and each operation inside runs on that thread
alone: that scales better than dividing the operations, and leaves no number of threads a say in a value. For a GPU the
threads only read and decode, ahead of the batches that are scored.

Each file is read once: its bytes are hashed, held to the hash that they are known by, and decoded. A truth that several
predictions meet (models, samples, numbers of reference views) is decoded once while it is wanted and there is room, and
a network's features of it are kept likewise.
"""

from __future__ import annotations

import math
import os
import threading
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from kaleido_bench.conventions import PSNR_METRICS, Convention
from kaleido_bench.errors import BenchError, IncompleteError
from kaleido_bench.items import WorkItem
from kaleido_bench.predictions import Run, load_predicted_view
from kaleido_bench.score.metrics.lpips import block_length
from kaleido_bench.score.metrics.masks import Mask, stack_masks
from kaleido_bench.score.metrics.scorers import Scorers
from kaleido_bench.score.results.rows import DIGITS, Row
from kaleido_bench.score.truth import TruthReader

Value = TypeVar("Value")

# Views that meet the metrics at once on a GPU. On a processor they are a block of LPIPS, so that no block is filled up.
_BATCH_GPU = 64

# Of decoded truths that wait for another prediction: 1,300 of 256x256 px.
_TRUTH_BYTES = 256 << 20

# Reading and decoding hold the interpreter for a part of their time, so that more threads than this gain nothing.
_MOST_DECODERS = 16


class Job(NamedTuple):
    """One prediction to score.

    Args:
        size: (width, height) of its images.
        sha256: view -> hash of its PNG, as its manifest has it.
        scorers: what to score it under, one or more.
    """

    run: Run
    item: WorkItem
    size: tuple[int, int]
    sha256: Mapping[str, str]
    scorers: tuple[Scorers, ...]


Rows = list[Row] | None
"""Of one convention; None where it failed."""

Finish = Callable[[Job, list[Rows]], None]
"""Called with each job in turn, as soon as it is scored, and with the rows of each of its scorers."""


class Failed(NamedTuple):
    """Where something went wrong: in a run, and under one convention of it or under all."""

    run: Path
    convention: str | None


Failures = dict[Failed, BenchError | IncompleteError]


class _Request(NamedTuple):
    """A view of a job."""

    job: int
    view: str


class _Pair(NamedTuple):
    """uint8 [height, width, 3] both."""

    prediction: UInt8[np.ndarray, "height width 3"]
    truth: UInt8[np.ndarray, "height width 3"]
    mask: Mask | None


class _Scored(NamedTuple):
    """Some views of one unit, and the rows of each: by scorer, then by metric."""

    unit: Sequence[_Request]
    rows: list[list[Rows]]


class _Truth(NamedTuple):
    image: UInt8[np.ndarray, "height width 3"]
    mask: Mask | None


def stream_jobs(
    jobs: Sequence[Job],
    truth: TruthReader,
    device: torch.device,
    finish: Finish,
    *,
    batch: int | None = None,
    threads: int | None = None,
) -> Failures:
    """Score jobs in their order. Neighbours should share their truths.

    Args:
        finish: is given the rows; a job that failed, and those of its run that follow, are left out.
        batch: how many views meet the metrics at once. It moves no value.
        threads: None is as many as the processor lets this process have.
    Returns:
        The first thing that went wrong in each place. What could not be read fails a run, what could not be scored a
        convention of it.
    """
    stream = _Stream(jobs, truth, device, batch)
    count = threads or _count_threads(device)
    gathered: dict[int, list[Rows]] = {}
    left = [len(job.item.case.targets) for job in jobs]
    with _one_thread_each(device), ThreadPoolExecutor(count) as pool:
        score = stream.score_on_threads if device.type == "cpu" else stream.score_on_device
        for unit, rows in score(pool, 2 * count):
            for request, by_scorer in zip(unit, rows, strict=True):
                gathered.setdefault(request.job, [[] for _ in by_scorer])
                gathered[request.job] = [
                    None if before is None or found is None else before + found
                    for before, found in zip(gathered[request.job], by_scorer, strict=True)
                ]
                left[request.job] -= 1
                if left[request.job] == 0:
                    finish(jobs[request.job], gathered.pop(request.job))
    return stream.failures


class _Stream:
    """The state of one stream: what has failed, and the truths that are wanted again."""

    def __init__(self, jobs: Sequence[Job], truth: TruthReader, device: torch.device, batch: int | None) -> None:
        self.failures: Failures = {}
        self._jobs, self._device, self._batch = jobs, device, batch
        self._shelf = _Shelf(truth, jobs)

    def score_on_threads(self, pool: Executor, ahead: int) -> Iterator[_Scored]:
        """Every thread reads, decodes and scores a unit of its own."""
        work = (partial(self._score_unit, unit) for unit in self._units())
        yield from (found for found in _run_ahead(pool, work, ahead) if found is not None)

    def score_on_device(self, pool: Executor, ahead: int) -> Iterator[_Scored]:
        """The threads decode; this one scores what they have decoded."""
        todo = list(self._units())
        work = (partial(self._read_pair, request) for unit in todo for request in unit)
        pairs = _run_ahead(pool, work, max(ahead, 2 * (self._batch or _BATCH_GPU)))
        for unit in todo:
            found = self._score_read(unit, [next(pairs) for _ in unit])
            if found is not None:
                yield found

    def _units(self) -> Iterator[list[_Request]]:
        """Neighbouring views of one size that are scored alike, at most a batch of them."""
        unit: list[_Request] = []
        for place, job in enumerate(self._jobs):
            most = self._batch or _choose_batch(job.size, self._device)
            for view in job.item.case.targets:
                if unit and (len(unit) == most or not self._alike(unit[0].job, place)):
                    yield unit
                    unit = []
                unit.append(_Request(place, view))
        if unit:
            yield unit

    def _alike(self, first: int, second: int) -> bool:
        first_job, second_job = self._jobs[first], self._jobs[second]
        same = len(first_job.scorers) == len(second_job.scorers) and all(
            a is b for a, b in zip(first_job.scorers, second_job.scorers, strict=True)
        )
        return same and first_job.size == second_job.size

    def _score_unit(self, unit: Sequence[_Request]) -> _Scored | None:
        return self._score_read(unit, [self._read_pair(request) for request in unit])

    def _read_pair(self, request: _Request) -> _Pair | None:
        """A prediction and its truth; None where its run has failed, now or before."""
        job = self._jobs[request.job]
        if Failed(job.run.path, None) in self.failures:
            return None
        try:
            found = self._shelf.take(job, request.view)
            prediction = load_predicted_view(job.run, job.item, request.view, job.sha256[request.view], job.size)
        except (BenchError, IncompleteError) as error:
            self.failures.setdefault(Failed(job.run.path, None), error)
            return None
        return _Pair(prediction, found.image, found.mask)

    def _score_read(self, unit: Sequence[_Request], pairs: Sequence[_Pair | None]) -> _Scored | None:
        """Score what could be read of a unit; None where that is nothing."""
        whole = [(request, pair) for request, pair in zip(unit, pairs, strict=True) if pair is not None]
        if not whole:
            return None
        requests, read = [request for request, _ in whole], [pair for _, pair in whole]
        try:
            rows = self._score_pairs(requests, read)
        except (BenchError, IncompleteError):
            # One by one, to know whose it is.
            alone = [self._score_read([request], [pair]) for request, pair in whole]
            fine = [scored for scored in alone if scored is not None]
            return _Scored([each.unit[0] for each in fine], [each.rows[0] for each in fine])
        for request in requests:
            self._let_go(request)
        return _Scored(requests, rows)

    def _score_pairs(self, unit: Sequence[_Request], pairs: Sequence[_Pair]) -> list[list[Rows]]:
        """Rows by request and by scorer. Raises what is wrong with one of several, and notes it of a single one."""
        predictions = _to_tensor([pair.prediction for pair in pairs], self._device)
        truths = _to_tensor([pair.truth for pair in pairs], self._device)
        rows: list[list[Rows]] = [[] for _ in unit]
        job = self._jobs[unit[0].job]
        for scorers in job.scorers:
            place = Failed(job.run.path, scorers.convention.name)
            found: Sequence[Rows] = [None]
            if len(unit) > 1 or place not in self.failures:
                try:
                    found = self._score_under(scorers, unit, pairs, predictions, truths)
                except (BenchError, IncompleteError) as error:
                    if len(unit) > 1:
                        raise
                    self.failures.setdefault(place, error)
            for each, by_scorer in zip(found, rows, strict=True):
                by_scorer.append(each)
        return rows

    def _score_under(
        self, scorers: Scorers, unit: Sequence[_Request], pairs: Sequence[_Pair], predictions: Tensor, truths: Tensor
    ) -> list[list[Row]]:
        jobs = [self._jobs[request.job] for request in unit]
        spoken = [f"{job.item.case.scene}, view {request.view}" for job, request in zip(jobs, unit, strict=True)]
        stacked = stack_masks([pair.mask for pair in pairs], spoken, jobs[0].size, scorers.convention, scorers.metrics)
        masks = None if stacked is None else _from_numpy(stacked).to(self._device)
        wanted = [self._shelf.is_shared(job, request.view) for job, request in zip(jobs, unit, strict=True)]
        names = [name if shared else None for name, shared in zip(spoken, wanted, strict=True)]
        rows: list[list[Row]] = [[] for _ in unit]
        for metric, values in scorers.score(predictions, truths, masks, names).items():
            numbers = [float(value) for value in values.cpu().numpy().astype(np.float64)]
            for place, value in enumerate(numbers):
                row = build_row(jobs[place].item, unit[place].view, metric, value, scorers.convention)
                rows[place].append(row)
        return rows

    def _let_go(self, request: _Request) -> None:
        job = self._jobs[request.job]
        if self._shelf.put_back(job, request.view):
            for scorers in job.scorers:
                scorers.forget([f"{job.item.case.scene}, view {request.view}"])


class _Shelf:
    """Decoded truths, as long as another prediction will be compared with them and there is room."""

    def __init__(self, truth: TruthReader, jobs: Sequence[Job]) -> None:
        self._truth = truth
        self._uses = Counter((job.item.case.scene, view) for job in jobs for view in job.item.case.targets)
        self._shared = {key for key, uses in self._uses.items() if uses > 1}
        self._kept: dict[tuple[str, str], _Truth] = {}
        self._bytes = 0
        self._lock = threading.Lock()

    def take(self, job: Job, view: str) -> _Truth:
        """A truth; two threads that want the same at once may both decode it."""
        case = job.item.case
        key = (case.scene, view)
        found = self._kept.get(key)
        if found is None:
            loaded = self._truth.load(case, [view])
            found = _Truth(loaded.images[0], loaded.masks[0])
            with self._lock:
                if self._uses[key] > 1 and key not in self._kept and self._bytes + _count(found) <= _TRUTH_BYTES:
                    self._kept[key] = found
                    self._bytes += _count(found)
        return found

    def is_shared(self, job: Job, view: str) -> bool:
        """Whether several predictions are compared with this truth."""
        return (job.item.case.scene, view) in self._shared

    def put_back(self, job: Job, view: str) -> bool:
        """Count a use; whether it was the last one of a truth that was shared."""
        key = (job.item.case.scene, view)
        with self._lock:
            self._uses[key] -= 1
            if self._uses[key] > 0 or key not in self._shared:
                return False
            found = self._kept.pop(key, None)
            self._bytes -= 0 if found is None else _count(found)
            return True


def build_row(item: WorkItem, view: str, metric: str, value: float, convention: Convention) -> Row:
    """One number, rounded.

    Raises:
        IncompleteError: it is none: not finite, and no infinite PSNR that the convention reports.
    """
    perfect = metric in PSNR_METRICS and value == math.inf and convention.view_psnr_cap is None
    if not (math.isfinite(value) or perfect):
        raise IncompleteError(f"{item.key}, view {view}: {metric} is {value}; no result is made of it")
    case = item.case
    leaked = view in case.references
    value = round(value, DIGITS)
    return Row(case.id, case.scene, len(case.references), view, item.sample, item.scale, metric, value, leaked)


def _count(truth: _Truth) -> int:
    return truth.image.nbytes + (0 if truth.mask is None else truth.mask.pixels.nbytes)


def _to_tensor(
    images: Sequence[UInt8[np.ndarray, "height width 3"]], device: torch.device
) -> Float[Tensor, "view 3 height width"]:
    stacked = np.stack(images) if len(images) > 1 else images[0][None]
    return _from_numpy(stacked).to(device).permute(0, 3, 1, 2).to(torch.float32).div_(255)


def _from_numpy(array: np.ndarray[Any, Any]) -> Tensor:
    return torch.from_numpy(array)  # pyright: ignore[reportUnknownMemberType]


def _run_ahead(pool: Executor, work: Iterable[Callable[[], Value]], ahead: int) -> Generator[Value]:
    """The results of work in its order, with at most `ahead` of it begun and not taken."""
    begun = deque[Future[Value]]()
    try:
        for each in work:
            begun.append(pool.submit(each))
            if len(begun) >= ahead:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()
    finally:
        for future in begun:
            future.cancel()


def _choose_batch(size: tuple[int, int], device: torch.device) -> int:
    return block_length(size, device) if device.type == "cpu" else _BATCH_GPU


def _count_threads(device: torch.device) -> int:
    """As many as torch would use on a processor, which is what OMP_NUM_THREADS says where it is set."""
    if device.type == "cpu":
        return torch.get_num_threads()
    return min(
        _MOST_DECODERS, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )


@contextmanager
def _one_thread_each(device: torch.device) -> Generator[None]:
    """Operations on one thread while several of them run side by side."""
    before = torch.get_num_threads()
    if device.type == "cpu":
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
