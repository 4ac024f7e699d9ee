"""Engines on this machine: in this process, or handed out to several.

Several processes share nothing but the run folder. The parent gives each idle worker one item; a worker reads its own
data, builds its own adapter and writes its own predictions, each whole or not at all. There are no collectives, so a
worker that dies costs the item it was at, and the same command finishes the rest.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import NamedTuple, NoReturn

from kaleido_bench.errors import BenchError, IncompleteError
from kaleido_bench.items import WorkItem
from kaleido_bench.predict.adapters.interface import Adapter
from kaleido_bench.predict.adapters.registry import ModelName, build_adapter, find_adapters
from kaleido_bench.predict.execution.devices import resolve_device
from kaleido_bench.predict.inputs import InputReader
from kaleido_bench.predict.meter import Meter
from kaleido_bench.predict.runner import Report, Task, predict_item


class ModelRequest(NamedTuple):
    """Everything it takes to build an adapter, in this process or another. `device` may be `auto`."""

    model: ModelName
    args: Mapping[str, str]
    device: str


def build_requested(request: ModelRequest, worker: int = 0) -> Adapter:
    """Build the adapter on the device of this worker."""
    return build_adapter(request.model, request.args, choose_device(request, worker))


def choose_device(request: ModelRequest, worker: int = 0) -> str:
    """The device of a worker; `cpu` for a method that computes nothing, whatever was asked for."""
    entry = find_adapters().get(request.model.name)
    return resolve_device(request.device, worker) if entry is None or entry.uses_device else "cpu"


class InProcess:
    """Predicts in this process, one item after another. `device` is the one the adapter was built on."""

    def __init__(self, adapter: Adapter, device: str = "cpu") -> None:
        self.adapter, self.device = adapter, device

    def execute(self, task: Task, items: Sequence[WorkItem], report: Report) -> None:
        reader, meter = InputReader(task.loaded, task.data_dir), Meter(self.device)
        for done, item in enumerate(items, start=1):
            predict_item(task, self.adapter, reader, item, meter)
            report(done)


LEAVING = 8.0
"""Seconds that a worker has once it is told to leave: more than a program that it started has (`external.PATIENCE`)."""


class _Failure(NamedTuple):
    """What went wrong with an item: a BenchError, a traceback, or a death."""

    bench_error: BenchError | None = None
    traceback: str | None = None
    death: str = ""


class _Worker(NamedTuple):
    process: BaseProcess
    connection: Connection


class Workers:
    """Predicts in `count` processes. After a failure nothing more is handed out, and what is at work is finished."""

    def __init__(self, request: ModelRequest, count: int) -> None:
        self.request, self.count = request, count

    def execute(self, task: Task, items: Sequence[WorkItem], report: Report) -> None:
        """Predict every item.

        Raises:
            BenchError: of the first item that failed with one.
            IncompleteError: a worker process died.
            RuntimeError: an adapter raised anything else; the message holds its traceback.
        """
        workers = [self._start(task, number) for number in range(min(self.count, len(items)))]
        try:
            failure = _hand_out(workers, iter(items), report)
        except BaseException:
            _stop(workers, patience=0)
            raise
        _stop(workers, patience=10)
        if failure is not None:
            _raise(failure)

    def _start(self, task: Task, number: int) -> _Worker:
        # Spawned, not forked: a fork copies locks and CUDA contexts that only work in the process that made them.
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(theirs, task, self.request, number))
        process.start()
        theirs.close()
        return _Worker(process, ours)


def _hand_out(workers: Sequence[_Worker], items: Iterator[WorkItem], report: Report) -> _Failure | None:
    """Give items to whoever is idle until all are done, or until one has failed and the others are finished."""
    at_work: dict[Connection, tuple[_Worker, WorkItem]] = {}
    idle = list(workers)
    failure: _Failure | None = None
    done = 0
    while True:
        while idle and failure is None and (item := next(items, None)) is not None:
            worker = idle.pop(0)
            with contextlib.suppress(ConnectionError):  # already dead: `_receive` will say so
                worker.connection.send(item)
            at_work[worker.connection] = worker, item
        if not at_work:
            return failure
        for ready in wait(list(at_work)):
            assert isinstance(ready, Connection)
            worker, item = at_work.pop(ready)
            answer = _receive(worker, item)
            if answer is None:
                idle.append(worker)
                done += 1
                report(done)
            failure = failure or answer


def _receive(worker: _Worker, item: WorkItem) -> _Failure | None:
    """What became of an item: None is well. A worker that hangs up without a word has died."""
    try:
        return worker.connection.recv()
    except (EOFError, ConnectionError):
        worker.process.join()
        code = worker.process.exitcode
        died = f"ended with {code}"
        if code is not None and code < 0:
            died = f"was killed by {signal.Signals(-code).name} (out of memory, perhaps)"
        return _Failure(death=f"{item.key}: the worker process that predicted it {died}.")


def _raise(failure: _Failure) -> NoReturn:
    if failure.bench_error is not None:
        raise failure.bench_error
    if failure.traceback is not None:
        raise RuntimeError(f"in a worker process:\n{failure.traceback}")
    raise IncompleteError(f"{failure.death} What is predicted stays; run the same command again for the rest.")


def _stop(workers: Sequence[_Worker], *, patience: float) -> None:
    """Hang up, and end who is still there after `patience` seconds. Ending one at work loses its item and no other."""
    for worker in workers:
        worker.connection.close()
    for worker in workers:
        worker.process.join(timeout=patience)
        if worker.process.is_alive():
            worker.process.terminate()  # which lets it end what it started
    for worker in workers:
        worker.process.join(timeout=LEAVING)
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()


def _leave(number: int, frame: object) -> NoReturn:
    """Leave by the ordinary way, on which an adapter ends the program that it started."""
    raise SystemExit(128 + number)


def _work(connection: Connection, task: Task, request: ModelRequest, number: int) -> None:
    """A worker: build the adapter, then answer one item after another until the parent hangs up."""
    # An interrupt reaches the whole process group; the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _leave)
    # Each worker has as many threads as one process would have, so that no adapter computes other bytes than there, and
    # together they have more than there are cores. Threads that spin while they wait then keep those from working that
    # they wait for. Read when torch is loaded, later.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    sys.stdout = sys.stderr  # what a method prints is no part of the command's answer
    reader = InputReader(task.loaded, task.data_dir)
    adapter: Adapter | None = None
    meter: Meter | None = None
    while True:
        try:
            item: WorkItem = connection.recv()
        except (EOFError, ConnectionError):
            return
        answer: _Failure | None = None
        try:
            adapter = adapter or build_requested(request, number)
            meter = meter or Meter(choose_device(request, number))
            predict_item(task, adapter, reader, item, meter)
        except BenchError as error:
            answer = _Failure(bench_error=error)
        except (Exception, SystemExit):
            answer = _Failure(traceback=traceback.format_exc())
        try:
            connection.send(answer)
        except (BrokenPipeError, ConnectionError):
            return
