"""Scoring runs and keeping their results: what `run` and `score` share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from kaleido_bench.cli.console import LateProgress, say
from kaleido_bench.cli.lacking import check_predicted
from kaleido_bench.cli.pairs import Failure, go_on
from kaleido_bench.conventions import Convention
from kaleido_bench.items import Deviations, plan_items
from kaleido_bench.predict.execution.devices import resolve_device
from kaleido_bench.predictions import Run
from kaleido_bench.protocol import LoadedProtocol
from kaleido_bench.score.results.building import build_result
from kaleido_bench.score.results.records import Result, write_result
from kaleido_bench.score.scoring import Outcome, Task, score_runs


class ScoreOutcome(NamedTuple):
    """What scoring one run did.

    Args:
        run: the run.
        result: its result under the convention.
        scored, reused: work items scored now, and found scored.
        changed: whether the result was written, because it was not there or was another.
        weights_missing: the optional metrics that lack their weights.
        masks_missing: the optional metrics that lack a mask -> a target view without one.
    """

    run: Run
    result: Result
    scored: int
    reused: int
    changed: bool
    weights_missing: tuple[str, ...]
    masks_missing: dict[str, str]


class Wanted(NamedTuple):
    """A run to score under a convention.

    Args:
        deviations: what the call leaves out. Where all of the protocol is predicted nothing is left out: a call for a
            few cases does not make less of a run that is whole.
        name: what a failure is called.
    """

    run: Run
    loaded: LoadedProtocol
    convention: Convention
    deviations: Deviations
    name: str


def score_all(
    wanted: Sequence[Wanted], failures: list[Failure], *, data_dir: Path | None, device: str, workers: int = 1
) -> list[ScoreOutcome | None]:
    """Score what is not scored, and write each result unless the same is there. Runs of one protocol share its targets.

    What fails, and what lacks predictions, is printed and noted in `failures`, and the others are scored.

    Returns:
        In the order of `wanted`; None where nothing could be made. A result that lacks predictions is there.
    """
    groups: dict[str, list[int]] = {}
    for place, each in enumerate(wanted):
        groups.setdefault(each.loaded.hash, []).append(place)
    outcomes: list[ScoreOutcome | None] = [None] * len(wanted)
    for places in groups.values():
        group = [wanted[place] for place in places]
        with go_on(group[0].name if len(group) == 1 else group[0].loaded.protocol.name, failures):
            scored = _score_group(group, data_dir, device, workers)
            for place, each, found in zip(places, group, scored, strict=True):
                with go_on(each.name, failures):
                    outcomes[place] = _keep(each, found)
                    check_complete(outcomes[place])
    return outcomes


def _score_group(group: Sequence[Wanted], data_dir: Path | None, device: str, workers: int) -> list[Outcome]:
    first = group[0]
    names = {each.run.record.model for each in group}
    title = f"{first.run.record.protocol} {names.pop() if len(names) == 1 else f'{len(names)} models'}: score"
    with LateProgress(title, "views") as progress:
        return score_runs(
            [Task(each.run, each.convention, _choose_deviations(each)) for each in group],
            first.loaded,
            data_dir=data_dir,
            device=resolve_device(device),
            workers=workers,
            report=progress.report,
        )


def _choose_deviations(wanted: Wanted) -> Deviations:
    deviations, run = wanted.deviations, wanted.run
    deterministic = run.record.adapter.deterministic
    if deterministic:
        deviations = deviations.model_copy(update={"samples": None})
    more_samples = (deviations.samples or 0) > wanted.loaded.protocol.samples
    planned = plan_items(wanted.loaded, deterministic=deterministic)
    if not more_samples and all(run.item_folder(item).is_dir() for item in planned):
        return Deviations()
    return deviations


def _keep(wanted: Wanted, found: Outcome) -> ScoreOutcome:
    """Make and write the result. Raises what went wrong instead."""
    if isinstance(found, Exception):
        raise found
    run = wanted.run
    result = build_result(run.record, wanted.loaded, wanted.convention, _choose_deviations(wanted), found)
    changed = write_result(run, result)
    return ScoreOutcome(
        run, result, found.scored, found.reused, changed, tuple(found.weights_missing), found.masks_missing
    )


def report_scores(outcomes: Sequence[ScoreOutcome]) -> None:
    """A line for each optional metric that was left out."""
    for metric in sorted({metric for outcome in outcomes for metric in outcome.weights_missing}):
        say(f"{metric} is left out, its weights are not here: `kbench weights list` says how to get them")
    for metric, view in sorted({pair for outcome in outcomes for pair in outcome.masks_missing.items()}):
        say(f"{metric} is left out, not every target view has a mask: {view} has none")


def check_complete(outcome: ScoreOutcome | None) -> None:
    """Raises IncompleteError when predictions are missing; the result without means is written all the same."""
    if outcome is not None:
        check_predicted(outcome.run, outcome.result)
