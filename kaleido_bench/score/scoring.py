"""Predictions x ground truth -> one row per view and metric. Resumable, and the same bytes whatever happened before.

A work item's rows depend on that item alone: its predictions, its ground truth, the convention, the weights. They are
written as soon as they are known (`scores/<convention>/<item>.json`, with the key of all they were computed from) and
joined at the end. Which views meet the metrics at once, on how many threads and in how many processes leaves no trace
in a value (`stream.py`, `share.py`).

What is scored already is not scored again, but its predictions are hashed again, so that one that was altered is
noticed; what is to be scored is hashed as it is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import torch

from kaleido_bench.atomic import remove_leftovers
from kaleido_bench.cases import Case
from kaleido_bench.conventions import Convention, fill_unset
from kaleido_bench.errors import BenchError, IncompleteError
from kaleido_bench.items import Deviations, WorkItem, select_items
from kaleido_bench.predictions import (
    Run,
    check_manifest,
    check_prediction,
    load_prediction,
    name_finish,
    unexpected_items,
)
from kaleido_bench.protocol import LoadedProtocol
from kaleido_bench.records import canonical_json, sha256_hex
from kaleido_bench.score.metrics.masks import needs_masks
from kaleido_bench.score.metrics.scorers import Networks, Scorers, build_scorers, defined_metrics
from kaleido_bench.score.results.rows import SCORER_VERSION, Part, Row, Scores, read_part, sort_rows, write_rows
from kaleido_bench.score.share import Done, Share, Sheet, Wanted, part_path, score_in_processes, score_share
from kaleido_bench.score.stream import Failed, Failures, Job, Rows, stream_jobs
from kaleido_bench.score.truth import Maskable, TruthReader, check_masks

Report = Callable[[int, int], None]
"""Called with the number of views scored so far and the number to score in this call."""

# Hashing files releases the interpreter; it waits for disks as much as for the processor.
_HASHING_THREADS = 4


class Task(NamedTuple):
    """A run to score under a convention.

    Args:
        deviations: which items; None is those that the run's last session predicted.
    """

    run: Run
    convention: Convention
    deviations: Deviations | None = None


Outcome = Scores | BenchError | IncompleteError


class _Found(NamedTuple):
    """A prediction that is there, and what its rows depend on."""

    item: WorkItem
    size: tuple[int, int]
    predictions: dict[str, str]
    truths: dict[str, str]
    masks: dict[str, str]
    key: str


class _Plan(NamedTuple):
    """What there is to do for one task."""

    task: Task
    sheet: Sheet
    scorers: Scorers
    selected: tuple[WorkItem, ...]
    found: tuple[_Found, ...]
    known: dict[str, Part]
    without_masks: dict[str, str]


def score_run(
    run: Run,
    loaded: LoadedProtocol,
    *,
    data_dir: Path | None,
    convention: Convention,
    device: torch.device | str = "cpu",
    deviations: Deviations | None = None,
    workers: int = 1,
    batch: int | None = None,
    report: Report | None = None,
) -> Scores:
    """Score one run under one convention; see `score_runs`, whose arguments these are.

    Raises:
        BenchError, IncompleteError: as `score_runs` gives them.
    """
    task = Task(run, convention, deviations)
    (outcome,) = score_runs(
        [task], loaded, data_dir=data_dir, device=device, workers=workers, batch=batch, report=report
    )
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def score_runs(
    tasks: Sequence[Task],
    loaded: LoadedProtocol,
    *,
    data_dir: Path | None,
    device: torch.device | str = "cpu",
    workers: int = 1,
    batch: int | None = None,
    report: Report | None = None,
) -> list[Outcome]:
    """Score the predictions of several runs of one protocol, and write `scores/<convention>.parquet` of each.

    Every target view is read and decoded once for all of them. Items without a prediction are counted, not scored.

    Args:
        tasks: runs and conventions; a run may be there under several.
        data_dir: where the ground truth is; None is enough for data that ships with the package.
        workers: how many processes score.
        batch: how many views meet the metrics at once; None is what suits the device.
        report: told the progress.
    Returns:
        For each task what came of it. A BenchError: a prediction is there but not right (a view missing, extra, altered
        or of the wrong size; a folder that answers nothing the protocol asks); the ground truth is not there or not
        what was frozen; the convention asks for what is not implemented; the weights of a required metric are missing,
        or the masks. What was scored before it was found is kept. An IncompleteError: a metric is no number.
    Raises:
        IncompleteError: a process died.
    """
    where = torch.device(device)
    desk = _Desk(loaded, data_dir, where)
    plans = [desk.plan(task) for task in tasks]
    ready = [plan for plan in plans if isinstance(plan, _Plan)]
    share = Share(
        loaded,
        data_dir,
        str(where),
        tuple(plan.sheet for plan in ready),
        tuple(_list_wanted(ready, loaded)),
        batch,
        threads=None,
    )
    total, done = sum(len(each.item.case.targets) for each in share.wanted), 0
    scored: list[dict[str, Part]] = [{} for _ in ready]

    def tell(views: int, parts: list[Done]) -> None:
        nonlocal done
        for each in parts:
            scored[each.sheet][each.item] = each.part
        done += views
        if report is not None:
            report(done, total)

    processes = min(workers, len(share.wanted))
    if processes > 1:
        failures = score_in_processes(share, processes, tell)
    else:
        failures = score_share(share, tell, desk.networks)
    joined: list[Outcome] = [
        _find_failure(failures, plan.task) or _join(plan, parts) for plan, parts in zip(ready, scored, strict=True)
    ]
    following = iter(joined)
    return [next(following) if isinstance(plan, _Plan) else plan for plan in plans]


def _find_failure(failures: Failures, task: Task) -> BenchError | IncompleteError | None:
    return failures.get(Failed(task.run.path, None)) or failures.get(Failed(task.run.path, task.convention.name))


def rescore_run(
    run: Run,
    loaded: LoadedProtocol,
    scorers: Sequence[Scorers],
    *,
    data_dir: Path | None,
    device: torch.device | str = "cpu",
    report: Report | None = None,
) -> list[list[Row]]:
    """Score what the run's last session predicted in several ways at once, in memory: nothing is written.

    Every pair of images is read once.

    Returns:
        The rows of each of `scorers`.
    Raises:
        BenchError: as `score_runs` gives it.
        IncompleteError: a prediction is not there, or a metric is no number.
    """
    truth, where = TruthReader(loaded, data_dir), torch.device(device)
    refuse_unexpected(run, loaded)
    selected = select_items(loaded, run.record.deviations, deterministic=run.record.adapter.deterministic)
    sized = [(item, truth.image_size(item.case)) for item in selected]
    found = [(*pair, record) for pair in sized if (record := check_manifest(run, *pair))]
    if len(found) < len(selected):
        raise IncompleteError(
            f"{run.path}: {len(found)} of {len(selected)} predictions are there. Finish it: `{name_finish(run)}`."
        )
    rows: list[list[Row]] = [[] for _ in scorers]
    done = 0

    def finish(job: Job, made: list[Rows]) -> None:
        nonlocal done
        for place, each in enumerate(made):
            rows[place] += each or []
        done += 1
        if report is not None:
            report(done, len(selected))

    jobs = [Job(run, item, size, record.sha256, tuple(scorers)) for item, size, record in found]
    for error in stream_jobs(jobs, truth, where, finish).values():
        raise error
    return rows


def refuse_unexpected(run: Run, loaded: LoadedProtocol) -> None:
    """Refuse a folder of predictions that nobody asked for: it may be what a missing one was misnamed to.

    Raises:
        BenchError: there is one.
    """
    counts = [session.deviations.samples or 1 for session in run.record.sessions]
    unexpected = unexpected_items(run, loaded, max([loaded.protocol.samples, *counts]))
    if unexpected:
        raise BenchError(
            run.predictions / unexpected[0],
            "a prediction that the protocol does not ask for",
            expected=f"one of its {len(loaded.cases)} cases, like {loaded.cases[0].id}",
            fix="Rename it or take it out of the folder.",
        )


class _Desk:
    """Planning for several tasks. What they have in common is looked up once: networks, hashes, masks."""

    def __init__(self, loaded: LoadedProtocol, data_dir: Path | None, device: torch.device) -> None:
        self._loaded, self._device = loaded, device
        self._truth = TruthReader(loaded, data_dir)
        self.networks: Networks = {}
        self._hashes: dict[tuple[bool, str, tuple[str, ...]], dict[str, str]] = {}

    def plan(self, task: Task) -> _Plan | BenchError | IncompleteError:
        """What there is to do, or why it cannot be done."""
        try:
            return self._plan(task)
        except (BenchError, IncompleteError) as error:
            return error

    def _plan(self, task: Task) -> _Plan:
        run, convention, loaded = task.run, task.convention, self._loaded
        chosen = run.record.deviations if task.deviations is None else task.deviations
        selected = tuple(select_items(loaded, chosen, deterministic=run.record.adapter.deterministic))
        asked = self._check_masks(selected, convention)
        scorers = build_scorers(convention, asked.required, asked.optional, self._device, self.networks)
        refuse_unexpected(run, loaded)
        masked = needs_masks(scorers.convention, scorers.metrics)
        setting = _describe_setting(loaded, convention, scorers, self._device)
        found = tuple(each for item in selected if (each := self._find(run, item, setting, masked=masked)))
        sheet = Sheet(convention, scorers.metrics, run.path / "scores" / convention.name)
        sheet.folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(sheet.folder)
        known = {each.item.key: part for each in found if (part := _read_known(sheet, each))}
        _check_bytes(run, [each for each in found if each.item.key in known])
        return _Plan(task, sheet, scorers, selected, found, known, asked.without)

    def _check_masks(self, selected: Sequence[WorkItem], convention: Convention) -> Maskable:
        asked = defined_metrics(self._loaded.protocol, convention)
        return check_masks(self._truth, [item.case for item in selected], fill_unset(convention), *asked)

    def _find(self, run: Run, item: WorkItem, setting: dict[str, object], *, masked: bool) -> _Found | None:
        """One prediction, by its manifest; None where it has not been made."""
        size = self._truth.image_size(item.case)
        record = check_manifest(run, item, size)
        if record is None:
            return None
        truths = self._hash(item.case, masks=False)
        masks = self._hash(item.case, masks=True) if masked else {}
        depends = {**setting, "item": item.key, "predictions": record.sha256, "truths": truths}
        # Only where there are some, so that what was scored without masks keeps its key.
        depends |= {"masks": masks} if masks else {}
        key = sha256_hex(canonical_json(depends))
        return _Found(item, size, record.sha256, truths, masks, key)

    def _hash(self, case: Case, *, masks: bool) -> dict[str, str]:
        """Of the targets, or of their masks: hashed once for all that share them."""
        place = (masks, case.scene, case.targets)
        if place not in self._hashes:
            self._hashes[place] = self._truth.mask_hashes(case) if masks else self._truth.hashes(case)
        return self._hashes[place]


def _check_bytes(run: Run, found: Sequence[_Found]) -> None:
    """Hold the predictions that are scored already to their hashes; raises what `load_prediction` says of one."""

    def check(each: _Found) -> None:
        if check_prediction(run, each.item, each.size).problems:
            load_prediction(run, each.item, each.size)

    with ThreadPoolExecutor(_HASHING_THREADS) as pool:
        for _ in pool.map(check, found):
            pass


def _list_wanted(plans: Sequence[_Plan], loaded: LoadedProtocol) -> list[Wanted]:
    """What is not scored, a scene after the other: what shares its targets comes together."""
    wanted: dict[tuple[Path, str], Wanted] = {}
    for place, plan in enumerate(plans):
        for each in plan.found:
            if each.item.key not in plan.known:
                key = (plan.task.run.path, each.item.key)
                wanted.setdefault(key, Wanted(plan.task.run, each.item, each.size, each.predictions, {}))
                wanted[key].keys[place] = each.key
    scenes = {name: place for place, name in enumerate(dict.fromkeys(case.scene for case in loaded.cases))}
    cases = {case.id: place for place, case in enumerate(loaded.cases)}
    return sorted(wanted.values(), key=lambda each: (scenes[each.item.case.scene], cases[each.item.case.id]))


def _join(plan: _Plan, scored: dict[str, Part]) -> Scores:
    """Write the rows of a run, those that were known and those that are new."""
    parts = {**plan.known, **scored}
    rows = sort_rows([row for part in parts.values() for row in part.rows])
    scores = Scores(
        rows=rows,
        selected=plan.selected,
        missing=tuple(item.key for item in plan.selected if item.key not in parts),
        scored=len(scored),
        reused=len(plan.known),
        weights={scorer.metric: scorer.weights.sha256 for scorer in plan.scorers.ready if scorer.weights},
        weights_missing={metric: missing.name for metric, missing in plan.scorers.missing.items()},
        predictions={each.item.key: each.predictions for each in plan.found},
        truths=_merge_hashes((each.item.case, each.truths) for each in plan.found),
        masks=_merge_hashes((each.item.case, each.masks) for each in plan.found),
        masks_missing=plan.without_masks,
    )
    write_rows(plan.task.run.scores(plan.task.convention.name), rows, scores.made)
    return scores


def _describe_setting(
    loaded: LoadedProtocol, convention: Convention, scorers: Scorers, device: torch.device
) -> dict[str, object]:
    """What the rows of every item depend on, beside the item. Another kind of device rounds differently."""
    return {
        "scorer": SCORER_VERSION,
        "protocol": loaded.hash,
        "convention": convention.hash,
        "metrics": {scorer.metric: scorer.weights.sha256 if scorer.weights else None for scorer in scorers.ready},
        "device": device.type,
    }


def _read_known(sheet: Sheet, found: _Found) -> Part | None:
    """The rows of an item, if they were computed from exactly what its manifest and the ground truth are now."""
    part = read_part(part_path(sheet, found.item))
    return part if part is not None and part.key == found.key else None


def _merge_hashes(found: Iterable[tuple[Case, dict[str, str]]]) -> dict[str, dict[str, str]]:
    """Scene -> view -> hash, of the scenes that have any."""
    merged: dict[str, dict[str, str]] = {}
    for case, hashes in found:
        if hashes:
            merged.setdefault(case.scene, {}).update(hashes)
    return merged
