"""The two sides of a comparison: each run's rows and result, read, checked, and refused where they do not compare."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

from kaleido_bench.conventions import FOREGROUND_METRICS, fill_unset, load_convention
from kaleido_bench.errors import BenchError, IncompleteError
from kaleido_bench.predictions import load_run_protocol, name_finish, open_run
from kaleido_bench.protocol import LoadedProtocol
from kaleido_bench.records import short_hash
from kaleido_bench.score.results.building import build_reducing, describe_reducing, keep_counted
from kaleido_bench.score.results.checking import load_checked_result
from kaleido_bench.score.results.records import (
    ConventionReference,
    MetricRecord,
    ProtocolReference,
    Result,
    load_result,
    result_path,
    score_command,
)
from kaleido_bench.score.results.rows import Row, read_rows
from kaleido_bench.score.results.statistics import Mean, Means, Reducing, SceneMean


class Side(NamedTuple):
    """One run under one convention, or a result whose run is elsewhere.

    Args:
        path: as it was named.
        rows: those that count: of an oracle sweep over scales the ones at the chosen scales. None of a result alone.
        how: how rows become means.
        loaded: the protocol. None of a result alone.
        finish: the command that finishes its predictions.
    """

    path: Path
    result: Result
    rows: list[Row] | None
    how: Reducing
    loaded: LoadedProtocol | None = None
    finish: str = "kbench run"

    @property
    def means(self) -> Means:
        """As the result has them."""
        return Means(
            [Mean(m.references, m.metric, m.targets, m.mean, m.views, m.scenes) for m in self.result.means],
            [SceneMean(m.scene, m.references, m.metric, m.targets, m.mean, m.views) for m in self.result.scenes],
        )

    @property
    def whole(self) -> bool:
        """Every prediction that the protocol asks for is there and counted."""
        return self.result.complete and not self.result.partial


class Shared(NamedTuple):
    """What two sides can be compared by.

    Args:
        metrics: in the protocol's order.
        left_out: a line on each of the others: not scored, or scored with other files.
        notes: what else must be said.
    """

    metrics: tuple[MetricRecord, ...]
    left_out: tuple[str, ...]
    notes: tuple[str, ...]


def load_side(path: Path, convention: str | None = None) -> Side:
    """A run's result and rows; the result is made again from the rows first, so that an edited one is refused.

    Args:
        path: a run folder, or a result file of a run that is not here, which is taken at its word.
        convention: by name; None is the protocol's. Of a result file it is the result's own.

    Raises:
        BenchError: it is no run, there is no such convention, or its result is not what its rows say.
        IncompleteError: it has not been scored.
    """
    if path.is_file():
        return _load_result_side(path)
    run = open_run(path)
    name = convention or run.record.convention
    recipe = load_convention(name, where="--convention") if convention else load_convention(name)
    if not result_path(run, name).is_file():
        raise IncompleteError(f"{path}: no result under {name} yet. Make it: `{score_command(run, name)}`.")
    result = load_checked_result(run, name)
    loaded = load_run_protocol(run)
    rows = keep_counted(loaded, read_rows(run.scores(name)))
    how = build_reducing(loaded, fill_unset(recipe))
    return Side(path, result, list(rows), how, loaded, name_finish(run))


def _load_result_side(path: Path) -> Side:
    result = load_result(path)
    _check_scenes(path, result)
    how = describe_reducing({}, result.protocol.reference_labels, fill_unset(load_convention(result.convention.name)))
    return Side(path, result, None, how)


def _check_scenes(path: Path, result: Result) -> None:
    """Refuse a file whose means have no scenes, or whose numbers are none: a comparison goes over both."""
    means, scenes = (
        {(mean.metric, mean.references, mean.targets) for mean in each} for each in (result.means, result.scenes)
    )
    apart = [f"{name} at {label} ({targets}) without the other" for name, label, targets in sorted(means ^ scenes)]
    numbers = (*result.means, *result.scenes)
    apart += [f"{mean.metric} at {mean.references} is nan" for mean in numbers if math.isnan(mean.mean)]
    for found in apart[:1]:
        raise BenchError(
            path,
            found,
            expected="means and those of their scenes, in numbers, as `kbench score` writes them",
            fix="It was edited: name its run, or the file as it was.",
        )


def name_sides(first: Side, second: Side) -> tuple[str, str]:
    """What two runs are called beside each other: by model or, where that is the same, A and B."""
    models = first.result.model.model, second.result.model.model
    return models if models[0] != models[1] else ("A", "B")


def check_sides(first: Side, second: Side, *, common: bool) -> Shared:
    """Refuse what does not compare, and find the metrics that do.

    Args:
        common: runs that are not whole are compared over the views that both have, instead of refused.

    Raises:
        BenchError: one run twice, two questions, two ways to count, other ground truth, a part of a protocol, or no
            metric that both have.
        IncompleteError: predictions are missing.
    """
    if first.path.resolve() == second.path.resolve():
        raise BenchError(
            second.path, "the first run again", expected="another run of its protocol", fix="See `kbench list runs`."
        )
    for same in _list_identities(first.result, second.result):
        if same.first != same.second:
            found, expected = f"{same.what} {same.second}", f"{same.first}, as {first.path} has"
            raise BenchError(second.path, found, expected=expected, fix=same.fix)
    for side in (first, second):
        if not common or side.rows is None:
            _check_whole(side)
    known = _check_truth(first, second)
    pairs = list(zip(first.result.metrics, second.result.metrics, strict=True))
    reasons = {one.name: _find_reason(one, other, first, second) for one, other in pairs}
    metrics = tuple(one for one, _ in pairs if not reasons[one.name])
    if not metrics:
        raise BenchError(
            second.path,
            f"no metric to compare ({'; '.join(f'{name}: {reason}' for name, reason in reasons.items())})",
            expected=f"one that {first.path} has too",
            fix="Score both with the same weights: `kbench score`.",
        )
    alone = [side for side in (first, second) if side.rows is None]
    notes = [f"{side.path}: a result without its rows, taken at its word" for side in alone]
    notes += [] if known else ["the protocol froze no ground truth: that both were scored against one is not known"]
    return Shared(metrics, tuple(f"{name}: {reason}" for name, reason in reasons.items() if reason), tuple(notes))


class _Identity(NamedTuple):
    """What both sides must have alike, in words."""

    what: str
    first: str
    second: str
    fix: str


def _list_identities(first: Result, second: Result) -> list[_Identity]:
    again = "Score both again with this version: `kbench score`."
    return [
        _Identity(
            "protocol",
            _identify(first.protocol),
            _identify(second.protocol),
            "Name two runs of one protocol and version.",
        ),
        _Identity(
            "convention",
            _identify(first.convention),
            _identify(second.convention),
            again if first.convention.name == second.convention.name else "Compare under one: --convention.",
        ),
        _Identity("scorer version", str(first.scorer_version), str(second.scorer_version), again),
        _Identity("metrics", _name_metrics(first), _name_metrics(second), again),
    ]


def _name_metrics(result: Result) -> str:
    return ", ".join(metric.name for metric in result.metrics)


def _identify(reference: ProtocolReference | ConventionReference) -> str:
    version = f" v{reference.version}" if isinstance(reference, ProtocolReference) else ""
    return f"{reference.name}{version} ({short_hash(reference.hash)})"


def _check_whole(side: Side) -> None:
    """Refuse a run that lacks predictions, and one of a part of its protocol."""
    counts = side.result.counts
    if not side.result.complete:
        raise IncompleteError(
            f"{side.path}: {counts.items_found} of {counts.items_expected} predictions are there. Finish it: "
            f"`{side.finish}`, or compare the views that both runs have: --common."
        )
    if side.result.partial:
        reasons = ", ".join(side.result.partial_reasons) or "a part of the protocol"
        raise BenchError(
            side.path,
            f"partial ({reasons}), {counts.items_found} predictions",
            expected=f"the {counts.items_in_protocol} that the protocol asks for",
            fix="Predict the rest with `kbench run`, or compare the views that both runs have: --common.",
        )


def _check_truth(first: Side, second: Side) -> bool:
    """Refuse other ground truth. Gives whether it is known to be the same.

    Of the same cases by its hash. Of others, where a run is not whole, because the protocol froze it.
    """
    if _same_cases(first, second):
        if first.result.truths_sha256 != second.result.truths_sha256:
            raise BenchError(
                second.path,
                f"ground truth {short_hash(second.result.truths_sha256)}",
                expected=f"{short_hash(first.result.truths_sha256)}, the files that {first.path} was scored against",
                fix="Score both again with one --data: `kbench score`.",
            )
        return True
    if first.loaded is None:
        return False
    index = first.loaded.index
    return all(index.pin(case.scene, view).image for case in index.cases for view in case.targets)


def _find_reason(one: MetricRecord, other: MetricRecord, first: Side, second: Side) -> str:
    """Why a metric is not compared; "" where it is."""
    lacking = {
        name: record.status
        for name, record in zip(name_sides(first, second), (one, other), strict=True)
        if record.status != "scored"
    }
    if lacking:
        both = len(lacking) == 2 and one.status == other.status
        return one.status if both else ", ".join(f"{status} in {name}" for name, status in lacking.items())
    if one.weights != other.weights:
        return "not compared, its weights are not the same file in both"
    if one.name in FOREGROUND_METRICS and not _share_masks(first, second):
        return "not compared, its masks are not known to be the same files in both"
    return ""


def _share_masks(first: Side, second: Side) -> bool:
    """Whether the masks are known to be the same files: as `_check_truth` knows it of images."""
    if first.result.masks_sha256 == second.result.masks_sha256 or _same_cases(first, second):
        return first.result.masks_sha256 == second.result.masks_sha256
    if first.loaded is None:
        return False
    index = first.loaded.index
    return all(index.pin(case.scene, view).mask for case in index.cases for view in case.targets)


def _same_cases(first: Side, second: Side) -> bool:
    if first.rows is None or second.rows is None:
        return first.whole and second.whole
    one, other = ({row.case for row in rows} for rows in (first.rows, second.rows))
    return one == other
