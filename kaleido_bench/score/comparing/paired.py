"""Two runs of one protocol, view by view: the differences of their means, with an interval over scenes. Pure.

The difference is that of the two numbers a table prints: the same rows, reduced in the same way. A view is paired with
itself, so what makes a scene hard for both leaves the difference.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from kaleido_bench.conventions import PSNR_METRICS
from kaleido_bench.errors import BenchError
from kaleido_bench.score.comparing.intervals import Interval, build_interval
from kaleido_bench.score.results.rows import Row
from kaleido_bench.score.results.statistics import Mean, Means, PsnrRule, Reducing, SceneMean, Targets, reduce_rows


class PairedRows(NamedTuple):
    """The rows of the views that both runs have, and how many views (of cases) only one of them has."""

    first: list[Row]
    second: list[Row]
    only_first: int
    only_second: int


class PairedScene(NamedTuple):
    """One scene: the means of both runs over its views, and first - second (None where both are infinite)."""

    scene: str
    first: float
    second: float
    difference: float | None
    views: int


class PairedView(NamedTuple):
    """One target view: both values (the mean over samples, where there are several), and first - second."""

    case: str
    scene: str
    view: str
    first: float
    second: float
    difference: float | None


class PairedMean(NamedTuple):
    """One metric at one place of the reference axis.

    Args:
        first, second: the means of the two runs over the protocol's scenes.
        difference: first - second; None where both are infinite.
        interval: of the difference; None of one scene, or where a scene has an infinite mean.
        scenes: by name.
        left_out: views that both runs have and neither mean counts, since the PSNR of one of them is infinite.
    """

    metric: str
    references: str
    targets: Targets
    first: float
    second: float
    difference: float | None
    interval: Interval | None
    views: int
    scenes: tuple[PairedScene, ...]
    left_out: int


def pair_rows(first: Sequence[Row], second: Sequence[Row], metrics: Sequence[str], *, common: bool) -> PairedRows:
    """Keep the rows of `metrics` and of the views that both runs have, each with all the samples that its run asks for.

    Args:
        common: views that only one run has are left out, instead of refused.

    Raises:
        BenchError: the runs have no view in common, or not the same views.
    """
    counted = [[row for row in rows if row.metric in metrics] for rows in (first, second)]
    one, other = (_find_views(rows) for rows in counted)
    both = one & other
    alone = min((one | other) - both, default=None)
    if alone is not None and not common:
        has, lacks = ("first", "second") if alone in one else ("second", "first")
        raise BenchError(
            f"the view {alone[1]} of {alone[0]}",
            f"the {has} run has it and the {lacks} has not",
            expected=f"the same views in both ({len(one)} and {len(other)}, {len(both)} in common)",
            fix="Finish both with `kbench run`, or compare the views that both have: --common.",
        )
    if not both:
        raise BenchError(
            "the two runs",
            f"{len(one)} and {len(other)} target views, none in common",
            expected="views that both have",
            fix="Predict the same cases with `kbench run`.",
        )
    left, right = ([row for row in rows if (row.case, row.view) in both] for rows in counted)
    return PairedRows(left, right, len(one - both), len(other - both))


def _find_views(rows: Iterable[Row]) -> set[tuple[str, str]]:
    """The views (of cases) that have as many samples as any, or some would count more than others."""
    samples: dict[tuple[str, str], set[int]] = {}
    for row in rows:
        samples.setdefault((row.case, row.view), set()).add(row.sample)
    most = max(map(len, samples.values()), default=0)
    return {view for view, found in samples.items() if len(found) == most}


def compare_rows(
    first: Sequence[Row], second: Sequence[Row], metrics: Sequence[str], how: Reducing, level: float
) -> list[PairedMean]:
    """The differences of paired rows, for each metric, each place of the reference axis and each set of targets.

    Args:
        first, second: of the same views (`pair_rows`), in any order.
        metrics: in the order of the answer.
        level: of the intervals.
    """
    answer: list[PairedMean] = []
    for metric in metrics:
        rows = [[row for row in each if row.metric == metric] for each in (first, second)]
        perfect = _find_perfect([*rows[0], *rows[1]], metric, how.psnr)
        kept = ([row for row in each if (row.case, row.view) not in perfect] for each in rows)
        left, right = (reduce_rows(each, [metric], how) for each in kept)
        for mean in compare_means(left, right, [metric], how, level):
            out = {(row.case, row.view) for row in rows[0] if _place(row, how) == mean.references} & perfect
            answer.append(mean._replace(left_out=len(out)))
    return answer


def compare_means(first: Means, second: Means, metrics: Sequence[str], how: Reducing, level: float) -> list[PairedMean]:
    """The differences of two reductions of the same views; the arguments are those of `compare_rows`.

    Raises:
        BenchError: a scene has more views in one than in the other.
    """
    left, right = _by_place(first), _by_place(second)
    return [
        _build_mean(left[place], right[place], how, level)
        for metric in metrics
        for place in left
        if place[0] == metric and place in right
    ]


def list_views(first: Sequence[Row], second: Sequence[Row], mean: PairedMean, how: Reducing) -> list[PairedView]:
    """The views behind a mean, by case and view."""

    def collect(rows: Sequence[Row]) -> dict[tuple[str, str, str], list[float]]:
        views: dict[tuple[str, str, str], list[float]] = {}
        for row in rows:
            counted = mean.targets == "as-published" or not row.target_is_reference
            if row.metric == mean.metric and _place(row, how) == mean.references and counted:
                views.setdefault((row.case, row.scene, row.view), []).append(row.value)
        return views

    one, other = collect(first), collect(second)
    answer: list[PairedView] = []
    for key in sorted(one):
        values = (math.fsum(each[key]) / len(each[key]) for each in (one, other))
        left, right = values
        answer.append(PairedView(*key, left, right, _subtract(left, right)))
    return answer


class _Side(NamedTuple):
    """One run's mean at one place of the reference axis and for one set of targets, and the scenes it is made from."""

    mean: Mean
    scenes: Mapping[str, SceneMean]


_Place = tuple[str, str, Targets]  # metric, references, targets


def _by_place(means: Means) -> dict[_Place, _Side]:
    scenes: dict[_Place, dict[str, SceneMean]] = {}
    for scene in means.scenes:
        scenes.setdefault((scene.metric, scene.references, scene.targets), {})[scene.scene] = scene
    sides: dict[_Place, _Side] = {}
    for mean in means.protocol:
        place = mean.metric, mean.references, mean.targets
        sides[place] = _Side(mean, scenes[place])
    return sides


def _place(row: Row, how: Reducing) -> str:
    return how.label_of[row.case]


def _find_perfect(rows: Iterable[Row], metric: str, psnr: PsnrRule) -> set[tuple[str, str]]:
    """The views that leave the mean for an infinite PSNR: of both runs, where one of them has it."""
    if metric not in PSNR_METRICS or not psnr.exclude_infinite:
        return set()
    return {(row.case, row.view) for row in rows if math.isinf(row.value)}


def _build_mean(left: _Side, right: _Side, how: Reducing, level: float) -> PairedMean:
    _check_views(left, right)
    scenes = tuple(_build_scene(scene, right.scenes[name]) for name, scene in left.scenes.items())
    difference = _subtract(left.mean.mean, right.mean.mean)
    interval = None if difference is None else build_interval(difference, _spread(left, right, scenes, how), level)
    return PairedMean(
        metric=left.mean.metric,
        references=left.mean.references,
        targets=left.mean.targets,
        first=left.mean.mean,
        second=right.mean.mean,
        difference=difference,
        interval=interval,
        views=left.mean.views,
        scenes=scenes,
        left_out=0,
    )


def _check_views(left: _Side, right: _Side) -> None:
    one, other = ({name: scene.views for name, scene in side.scenes.items()} for side in (left, right))
    for name in sorted(one.keys() | other.keys()):
        if one.get(name) != other.get(name):
            raise BenchError(
                f"{left.mean.metric} of {name}",
                f"{one.get(name, 0)} views in the first and {other.get(name, 0)} in the second",
                expected="the same views",
                fix="Name two run folders, whose rows say which they are.",
            )


def _build_scene(left: SceneMean, right: SceneMean) -> PairedScene:
    return PairedScene(left.scene, left.mean, right.mean, _subtract(left.mean, right.mean), left.views)


def _spread(left: _Side, right: _Side, scenes: Sequence[PairedScene], how: Reducing) -> list[float]:
    """One value a scene, by whose spread the difference is uncertain.

    Where scenes count alike these are their differences. Where views do, larger scenes count more, and the values are
    the pseudo-values of the jackknife that leaves out a scene at a time (J. Tukey, 1958; B. Efron and R. Tibshirani,
    An Introduction to the Bootstrap, 1993, chapter 11), which of scenes of one size are their differences again.
    """
    if how.reduction == "view>scene>protocol":
        return [math.nan if scene.difference is None else scene.difference for scene in scenes]
    if len(scenes) < 2:
        return []
    whole = left.mean.mean - right.mean.mean
    one, other = (_leave_out(list(side.scenes.values()), how.psnr) for side in (left, right))
    return [len(scenes) * whole - (len(scenes) - 1) * (a - b) for a, b in zip(one, other, strict=True)]


def _leave_out(scenes: Sequence[SceneMean], psnr: PsnrRule) -> list[float]:
    """The mean over all views but those of one scene, for each scene."""
    pooled = psnr.pooled and scenes[0].metric in PSNR_METRICS
    weights = [scene.views for scene in scenes]
    sums = [scene.views * (10.0 ** (-scene.mean / 10.0) if pooled else scene.mean) for scene in scenes]
    total, views = math.fsum(sums), sum(weights)
    means = [(total - each) / (views - weight) for each, weight in zip(sums, weights, strict=True)]
    return [min(_decibels(mean), psnr.cap) for mean in means] if pooled else means


def _decibels(error: float) -> float:
    return -10.0 * math.log10(error) if error > 0 else math.inf


def _subtract(left: float, right: float) -> float | None:
    return None if math.isinf(left) and math.isinf(right) else left - right
