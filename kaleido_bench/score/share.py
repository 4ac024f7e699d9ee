"""A share of the predictions to score: what one process is given, and how several of them work side by side.

A process builds its own metrics, reads its own ground truth and writes the rows of each prediction as soon as it has
them. So one that dies costs what it was at, and the same call finishes the rest.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NamedTuple

import torch

from kaleido_bench.conventions import Convention
from kaleido_bench.errors import BenchError, IncompleteError
from kaleido_bench.items import WorkItem
from kaleido_bench.predictions import Run
from kaleido_bench.protocol import LoadedProtocol
from kaleido_bench.score.metrics.scorers import Networks, build_scorers
from kaleido_bench.score.results.rows import Part, write_part
from kaleido_bench.score.stream import Failed, Failures, Job, Rows, stream_jobs
from kaleido_bench.score.truth import TruthReader


class Sheet(NamedTuple):
    """Where rows go: the metrics of one convention, and one run.

    Args:
        metrics: all of them can be scored.
        folder: of the rows of each item.
    """

    convention: Convention
    metrics: tuple[str, ...]
    folder: Path


class Wanted(NamedTuple):
    """A prediction to score.

    Args:
        size, sha256: see `stream.Job`.
        keys: sheet, by its place -> the key of everything that its rows depend on.
    """

    run: Run
    item: WorkItem
    size: tuple[int, int]
    sha256: dict[str, str]
    keys: dict[int, str]


class Share(NamedTuple):
    """What one process scores, in this order. `batch` and `threads` are as in `stream_jobs`."""

    loaded: LoadedProtocol
    data_dir: Path | None
    device: str
    sheets: tuple[Sheet, ...]
    wanted: tuple[Wanted, ...]
    batch: int | None
    threads: int | None


class Done(NamedTuple):
    """The rows of one prediction on one sheet."""

    sheet: int
    item: str
    part: Part


class _Said(NamedTuple):
    """What a worker says of one prediction: the arguments of `Tell`."""

    views: int
    done: list[Done]


Tell = Callable[[int, list[Done]], None]
"""Called with the number of views of each prediction that was scored, and with its rows."""


def part_path(sheet: Sheet, item: WorkItem) -> Path:
    """Where the rows of one item are kept."""
    return sheet.folder / f"{item.key}.json"


def score_share(share: Share, tell: Tell, networks: Networks | None = None) -> Failures:
    """Score a share in this process; the rows are on the disk before they are told.

    Args:
        networks: what is built already.
    """
    networks = {} if networks is None else networks
    # One for each convention and list of metrics, so that neighbours of several runs are scored in one batch.
    built = {
        (sheet.convention.hash, sheet.metrics): build_scorers(
            sheet.convention, sheet.metrics, (), share.device, networks
        )
        for sheet in share.sheets
    }
    scorers = [built[sheet.convention.hash, sheet.metrics] for sheet in share.sheets]
    places = {(each.run.path, each.item.key): each.keys for each in share.wanted}

    def finish(job: Job, rows: list[Rows]) -> None:
        done: list[Done] = []
        for (place, key), found in zip(places[job.run.path, job.item.key].items(), rows, strict=True):
            if found is None:
                continue
            part = Part(key, tuple(found))
            write_part(part_path(share.sheets[place], job.item), part)
            done.append(Done(place, job.item.key, part))
        tell(len(job.item.case.targets), done)

    jobs = [
        Job(each.run, each.item, each.size, each.sha256, tuple(scorers[place] for place in each.keys))
        for each in share.wanted
    ]
    truth = TruthReader(share.loaded, share.data_dir)
    return stream_jobs(jobs, truth, torch.device(share.device), finish, batch=share.batch, threads=share.threads)


def score_in_processes(share: Share, count: int, tell: Tell) -> Failures:
    """Score a share in several processes, each with a run of neighbours.

    Raises:
        IncompleteError: a process died. What it had scored is on the disk.
    """
    # Spawned, not forked: a fork copies locks and CUDA contexts that only work in the process that made them.
    context = multiprocessing.get_context("spawn")
    threads = share.threads or max(1, torch.get_num_threads() // count)
    open_ends: dict[Connection, BaseProcess] = {}
    for wanted in split_evenly(share.wanted, count):
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_work, args=(theirs, share._replace(wanted=wanted, threads=threads)))
        process.start()
        theirs.close()
        open_ends[ours] = process
    processes = list(open_ends.values())
    try:
        failures = _listen(open_ends, tell)
    except BaseException:
        for process in processes:
            process.kill()
        raise
    finally:
        for process in processes:
            process.join()
    return failures


def split_evenly(wanted: Sequence[Wanted], count: int) -> list[tuple[Wanted, ...]]:
    """At most `count` runs of neighbours with about as many views each, none empty."""
    total, seen = sum(len(each.item.case.targets) for each in wanted), 0
    shares: list[list[Wanted]] = [[] for _ in range(count)]
    for each in wanted:
        shares[min(count - 1, seen * count // total)].append(each)
        seen += len(each.item.case.targets)
    return [tuple(share) for share in shares if share]


def _listen(open_ends: dict[Connection, BaseProcess], tell: Tell) -> Failures:
    failures: Failures = {}
    while open_ends:
        for ready in wait(list(open_ends)):
            assert isinstance(ready, Connection)
            try:
                message: _Said | Exception | list[tuple[Failed, BenchError | IncompleteError]] = ready.recv()
            except EOFError:
                process = open_ends.pop(ready)
                process.join()
                raise IncompleteError(
                    f"a process that scored ended with {process.exitcode}; what it had scored is kept. "
                    "Call again to finish, with fewer --workers if memory ran out."
                ) from None
            if isinstance(message, Exception):
                raise message
            if isinstance(message, _Said):
                tell(message.views, message.done)
            else:
                for place, error in message:
                    failures.setdefault(place, error)
                del open_ends[ready]
    return failures


def _work(connection: Connection, share: Share) -> None:
    """The life of a worker: rows, one message a prediction, and at last what went wrong."""
    try:
        torch.set_num_threads(share.threads or 1)
        failures = score_share(share, lambda views, done: connection.send(_Said(views, done)))
        connection.send(list(failures.items()))
    except (BenchError, IncompleteError) as error:
        connection.send(error)
    except (BrokenPipeError, KeyboardInterrupt):
        pass  # whoever asked is gone
