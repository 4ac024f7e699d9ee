"""Scoring one run and keeping its result: what `run` and `score` share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from kaleido_bench.cli.console import LateProgress, say
from kaleido_bench.conventions import Convention
from kaleido_bench.errors import IncompleteError
from kaleido_bench.items import Deviations, plan_items
from kaleido_bench.predict.execution.devices import resolve_device
from kaleido_bench.predictions import Run
from kaleido_bench.protocol import LoadedProtocol
from kaleido_bench.score.results import Result, build_result, write_result
from kaleido_bench.score.scoring import score_run


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


def score_one(
    run: Run,
    loaded: LoadedProtocol,
    convention: Convention,
    *,
    data_dir: Path | None,
    device: str,
    deviations: Deviations,
) -> ScoreOutcome:
    """Score what is not scored, and write the result unless the same is there.

    Args:
        deviations: what the call leaves out. Where all of the protocol is predicted nothing is left out: a call for a
            few cases does not make less of a run that is whole.

    Raises:
        BenchError: see `score_run`.
    """
    deterministic = run.record.adapter.deterministic
    planned = plan_items(loaded, deterministic=deterministic)
    if deterministic:
        deviations = deviations.model_copy(update={"samples": None})
    more_samples = (deviations.samples or 0) > loaded.protocol.samples
    if not more_samples and all(run.item_folder(item).is_dir() for item in planned):
        deviations = Deviations()
    with LateProgress(f"{run.record.protocol} {run.record.model}: score", "views") as progress:
        scores = score_run(
            run,
            loaded,
            data_dir=data_dir,
            convention=convention,
            device=resolve_device(device),
            deviations=deviations,
            report=progress.report,
        )
    result = build_result(run.record, loaded, convention, deviations, scores)
    changed = write_result(run, result)
    return ScoreOutcome(
        run, result, scores.scored, scores.reused, changed, tuple(scores.weights_missing), scores.masks_missing
    )


def report_scores(outcomes: Sequence[ScoreOutcome]) -> None:
    """A line for each optional metric that was left out."""
    for metric in sorted({metric for outcome in outcomes for metric in outcome.weights_missing}):
        say(f"{metric} is left out, its weights are not here: `kbench weights list` says how to get them")
    for metric, view in sorted({pair for outcome in outcomes for pair in outcome.masks_missing.items()}):
        say(f"{metric} is left out, not every target view has a mask: {view} has none")


def check_complete(outcome: ScoreOutcome) -> None:
    """Raises IncompleteError when predictions are missing; the result without means is written all the same."""
    counts = outcome.result.counts
    if not outcome.result.complete:
        raise IncompleteError(
            f"{outcome.run.path}: {counts.items_found} of {counts.items_expected} predictions are there, so the result "
            f"has no mean; missing {', '.join(outcome.result.missing_items[:3])}. Finish it with `kbench run`."
        )
