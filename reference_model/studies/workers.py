"""One process a device, each taking the next run of one queue. What fails is a row like any other."""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
import time
from collections.abc import Callable, Generator, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import NamedTuple

import torch

from reference_model.studies.runs import Row, Run, Study, carry_out, set_up

Serve = Callable[[Connection, str, Study], None]
"""What a process does: for each run it receives (None: no more) it sends rows."""


class Outcome(NamedTuple):
    run: Run
    rows: list[Row]
    seconds: float


class Worker(NamedTuple):
    process: BaseProcess
    connection: Connection


class Task(NamedTuple):
    run: Run
    begun: float


def describe_failure(run: Run, error: str) -> Row:
    return {"row": "failed", "weights": run.weights, "seed": run.seed, "error": error}


def take_device(device: str) -> str:
    """Make a GPU, by its number among those this process may see, the only one; its name from then on. Before anything
    has asked for a GPU.
    """
    if not device.isdigit():
        return device
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    os.environ["CUDA_VISIBLE_DEVICES"] = visible.split(",")[int(device)] if visible else device
    return "cuda"


def serve(connection: Connection, device: str, study: Study) -> None:
    """Carry out runs until there are no more, or one fails: an error of the device may outlive it, a process does
    not.
    """
    device = take_device(device)
    torch.set_float32_matmul_precision("high")
    bench = None
    while (run := receive(connection)) is not None:
        try:
            bench = bench or set_up(study, device)
            connection.send(carry_out(run, study, bench))
        except Exception as error:
            connection.send([describe_failure(run, f"{type(error).__name__}: {error}")])
            return
        gc.collect()  # recordings hold device memory in cycles
        if device != "cpu":
            torch.cuda.empty_cache()


def receive(connection: Connection) -> Run | None:
    try:
        return connection.recv()
    except EOFError:  # who gave the runs is gone
        return None


def start(device: str, study: Study, target: Serve) -> Worker:
    context = multiprocessing.get_context("spawn")  # CUDA does not survive a fork
    ours, theirs = context.Pipe()
    process = context.Process(target=target, args=(theirs, device, study))  # no daemon: compilers have children
    process.start()
    theirs.close()  # so that the process' end is the end of the line
    return Worker(process, ours)


def collect(worker: Worker, run: Run) -> list[Row]:
    """What a worker sends, or that it died."""
    try:
        return worker.connection.recv()
    except (EOFError, ConnectionError):
        worker.process.join()
        return [describe_failure(run, f"its process ended with exit code {worker.process.exitcode}")]


def choose_next(pending: Sequence[Run], running: Sequence[Run], compiled: set[str]) -> Run:
    """The first run whose code nobody is compiling for the first time right now: it waits for the compile cache
    meanwhile. The first of all where there is none.
    """
    compiling = {run.graph for run in running} - compiled
    return next((run for run in pending if run.graph not in compiling), pending[0])


def work_off(
    runs: Sequence[Run], devices: Sequence[str], study: Study, deadline: float = float("inf"), target: Serve = serve
) -> Generator[Outcome, None, None]:
    """Carry out the runs, about in order, each outcome given out as soon as it is there. Closed early (contextlib's
    `closing`), it ends what runs.

    Args:
        devices: numbers of GPUs, or `cpu`; as many processes.
        deadline: of time.monotonic(), after which no run is begun.
    """
    pending, compiled = list(runs), set[str]()
    workers: dict[int, Worker] = {}
    tasks: dict[int, Task] = {}
    try:
        while True:
            for place, device in enumerate(devices):
                if place not in tasks and pending and time.monotonic() < deadline:
                    run = choose_next(pending, [task.run for task in tasks.values()], compiled)
                    pending.remove(run)
                    if place not in workers:
                        workers[place] = start(device, study, target)
                    workers[place].connection.send(run)
                    tasks[place] = Task(run, time.monotonic())
            if not tasks:
                return
            ready = wait([workers[place].connection for place in tasks])
            for place in [place for place in tasks if workers[place].connection in ready]:
                task = tasks.pop(place)
                rows = collect(workers[place], task.run)
                compiled.add(task.run.graph)
                if any(row["row"] == "failed" for row in rows):
                    end(workers.pop(place))
                yield Outcome(task.run, rows, time.monotonic() - task.begun)
    finally:
        for place, worker in workers.items():
            end(worker, now=place in tasks)


def end(worker: Worker, *, now: bool = False) -> None:
    """Let a process end by itself, or in the middle of what it does."""
    if not now:
        with contextlib.suppress(ConnectionError):  # it has ended by itself
            worker.connection.send(None)
        worker.process.join(10)
    if worker.process.is_alive():
        worker.process.terminate()
        worker.process.join(10)
