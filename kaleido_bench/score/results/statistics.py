"""From rows to means: view -> scene -> protocol. Pure.

Sums are exact (`math.fsum`), so that a mean depends on its values and on nothing else, not even on their order.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple

from kaleido_bench.conventions import PSNR_METRICS
from kaleido_bench.errors import BenchError
from kaleido_bench.score.results.rows import Row

Targets = Literal["as-published", "strict-novel"]
"""Which target views count: all of them, or those that the adapter was not given as references."""

Reduction = Literal["view>scene>protocol", "view>protocol"]


class SceneMean(NamedTuple):
    """The mean of one metric over the target views (and samples) of one scene, at one place of the reference axis."""

    scene: str
    references: str
    metric: str
    targets: Targets
    mean: float
    views: int


class Mean(NamedTuple):
    """The mean of one metric over a protocol's scenes, at one place of the reference axis."""

    references: str
    metric: str
    targets: Targets
    mean: float
    views: int
    scenes: int


class SampleMean(NamedTuple):
    """What several samples of each view say of one metric, beside its mean.

    Args:
        best: the mean over the protocol when the best sample of each view counts, chosen for this metric with the
            ground truth: an oracle, never a method's own answer.
        spread: the standard deviation of a view's samples (with n - 1 below), averaged as views are; None where no view
            has finite values.
        samples: of each view.
    """

    references: str
    metric: str
    targets: Targets
    best: float
    spread: float | None
    samples: int
    views: int
    scenes: int


class Means(NamedTuple):
    """The means of a result. `scenes` are what `protocol` was made from (or, without the scene level, beside it)."""

    protocol: list[Mean]
    scenes: list[SceneMean]


class PsnrRule(NamedTuple):
    """What a convention says about PSNR beyond one view.

    Args:
        pooled: the PSNR of a scene is that of the mean error of its views, not the mean of their PSNRs.
        cap: dB, of a pooled PSNR (that of a view is capped where it is scored).
        exclude_infinite: an infinite PSNR leaves the mean.
    """

    pooled: bool = False
    cap: float = math.inf
    exclude_infinite: bool = False


class Reducing(NamedTuple):
    """How rows become means under one protocol and one convention.

    Args:
        label_of: case -> its place on the reference axis.
        labels: those places, in the order of the answer.
        reduction: what is averaged over what.
        psnr: how the PSNRs (`PSNR_METRICS`) are reduced; every other metric is an arithmetic mean.
    """

    label_of: Mapping[str, str]
    labels: Sequence[str]
    reduction: Reduction = "view>scene>protocol"
    psnr: PsnrRule = PsnrRule()


class ChosenScale(NamedTuple):
    """The scale that counts for one case and sample of an oracle sweep."""

    case: str
    sample: int
    scale: float


def reduce_rows(rows: Sequence[Row], metrics: Sequence[str], how: Reducing) -> Means:
    """Reduce rows to means, for each metric, each place of the reference axis and each set of targets.

    Samples of a view count like views: there are equally many for each. A mean over no views does not exist and is left
    out.

    Args:
        metrics: in the order of the answer.
    """
    groups = _group_rows(rows, how.label_of)
    scenes: list[SceneMean] = []
    protocol: list[Mean] = []
    for metric, label, targets in itertools.product(metrics, how.labels, _TARGETS):
        by_scene = _keep_counted(groups[metric, label], metric, targets, how.psnr)
        if not by_scene:
            continue
        average = _build_average(metric, how.psnr)
        level = [
            SceneMean(name, label, metric, targets, average([row.value for row in found]), _count_views(found))
            for name, found in by_scene.items()
        ]
        scenes += level
        everything = [row for found in by_scene.values() for row in found]
        mean = _REDUCTIONS[how.reduction](level, everything, average)
        protocol.append(Mean(label, metric, targets, mean, _count_views(everything), len(level)))
    return Means(protocol, scenes)


def reduce_samples(rows: Sequence[Row], higher_is_better: Mapping[str, bool], how: Reducing) -> list[SampleMean]:
    """Best of N and spread, for each metric, each place of the reference axis and each set of targets.

    Both are made a view at a time and then reduced as the mean is. A spread is an arithmetic mean even of a pooled
    PSNR: it is in dB of one view.

    Args:
        higher_is_better: which way each metric is better, in the order of the answer.
    """
    if not any(row.sample for row in rows):
        return []
    counts = {len(found) for found in _group_samples(rows).values()}
    answer: list[SampleMean] = []
    for metric, higher in higher_is_better.items():
        views = _group_samples([row for row in rows if row.metric == metric])
        choose = max if higher else min
        best = [choose(found, key=lambda row: row.value) for found in views.values()]
        spread = [found[0]._replace(value=_deviate(found)) for found in views.values() if _is_finite(found)]
        reduced = reduce_rows(best, [metric], how)
        spreads = reduce_rows(spread, [metric], how._replace(psnr=PsnrRule()))
        spread_of = {(mean.references, mean.targets): mean.mean for mean in spreads.protocol}
        for mean in reduced.protocol:
            deviation = spread_of.get((mean.references, mean.targets))
            answer.append(SampleMean(*mean[:3], mean.mean, deviation, min(counts), mean.views, mean.scenes))
    return answer


def choose_scales(rows: Sequence[Row], scales: Sequence[float]) -> list[ChosenScale]:
    """The best scale of each case and sample, by the mean PSNR of its views; of equal ones the first in `scales`.

    It looks at the ground truth, so it is an oracle: what a method would reach if somebody told it the scale.

    Raises:
        BenchError: PSNR was not scored.
    """
    values: defaultdict[tuple[str, int], defaultdict[float, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if row.metric == "psnr" and row.scale is not None:
            values[row.case, row.sample][row.scale].append(row.value)
    if rows and not values:
        raise BenchError(
            "cameras: scale-sweep",
            "no PSNR to choose by",
            expected="psnr among the metrics",
            fix="Add it to the protocol.",
        )
    return [
        ChosenScale(case, sample, max((scale for scale in scales if scale in found), key=lambda s: _mean(found[s])))
        for (case, sample), found in sorted(values.items())
    ]


def keep_chosen(rows: Sequence[Row], chosen: Sequence[ChosenScale]) -> list[Row]:
    """The rows at the chosen scales."""
    kept = set(chosen)
    return [row for row in rows if row.scale is not None and ChosenScale(row.case, row.sample, row.scale) in kept]


_TARGETS: tuple[Targets, ...] = ("as-published", "strict-novel")

Average = Callable[[Sequence[float]], float]

_REDUCTIONS: Mapping[Reduction, Callable[[list[SceneMean], list[Row], Average], float]] = {
    "view>scene>protocol": lambda scenes, rows, average: _mean([scene.mean for scene in scenes]),
    "view>protocol": lambda scenes, rows, average: average([row.value for row in rows]),
}


def pool_psnr(decibels: Sequence[float]) -> float:
    """The PSNR of the mean error of some views, from the PSNR of each: -10 log10(mean(10^(-PSNR / 10))), in dB.

    It is what stateful metrics give over views of one size (torchmetrics' `PeakSignalNoiseRatio.compute()`), and never
    above the mean of the PSNRs. Infinite where every view is.
    """
    error = _mean([10.0 ** (-value / 10.0) for value in decibels])
    return -10.0 * math.log10(error) if error > 0 else math.inf


def pool_psnr_of_scenes(decibels: Sequence[float], views: Sequence[int]) -> float:
    """The pooled PSNR over some scenes, from that of each and the number of its views."""
    errors = [10.0 ** (-value / 10.0) * count for value, count in zip(decibels, views, strict=True)]
    error = math.fsum(errors) / sum(views)
    return -10.0 * math.log10(error) if error > 0 else math.inf


def _build_average(metric: str, psnr: PsnrRule) -> Average:
    if metric not in PSNR_METRICS or not psnr.pooled:
        return _mean
    return lambda values: min(pool_psnr(values), psnr.cap)


def _keep_counted(
    by_scene: Mapping[str, list[Row]], metric: str, targets: Targets, psnr: PsnrRule
) -> dict[str, list[Row]]:
    """Scene -> the rows that count, in the order of the scenes' names; a scene without any is left out."""
    kept = {name: _keep(found, targets) for name, found in by_scene.items()}
    if metric in PSNR_METRICS and psnr.exclude_infinite:
        kept = {name: _leave_out_infinite(found, pooled=psnr.pooled) for name, found in kept.items()}
    return {name: found for name, found in sorted(kept.items()) if found}


def _leave_out_infinite(rows: Sequence[Row], *, pooled: bool) -> list[Row]:
    """The rows with a finite PSNR; of a pool, in which a perfect view counts like any other, all or none."""
    finite = [row for row in rows if math.isfinite(row.value)]
    return list(rows) if pooled and finite else finite


def _group_rows(
    rows: Sequence[Row], label_of: Mapping[str, str]
) -> defaultdict[tuple[str, str], defaultdict[str, list[Row]]]:
    """(metric, label) -> scene -> rows."""
    groups: defaultdict[tuple[str, str], defaultdict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        groups[row.metric, label_of[row.case]][row.scene].append(row)
    return groups


def _group_samples(rows: Sequence[Row]) -> dict[tuple[str, str, str], list[Row]]:
    """(case, view, metric) -> its samples. Of an oracle sweep the rows at the chosen scales are expected."""
    groups: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.case, row.view, row.metric), []).append(row)
    return groups


def _is_finite(rows: Sequence[Row]) -> bool:
    return len(rows) > 1 and all(math.isfinite(row.value) for row in rows)


def _deviate(rows: Sequence[Row]) -> float:
    """The sample standard deviation: sqrt(sum((x - mean)^2) / (n - 1))."""
    values = [row.value for row in rows]
    centre = _mean(values)
    return math.sqrt(math.fsum((value - centre) ** 2 for value in values) / (len(values) - 1))


def _keep(rows: Sequence[Row], targets: Targets) -> list[Row]:
    return [row for row in rows if targets == "as-published" or not row.target_is_reference]


def _count_views(rows: Sequence[Row]) -> int:
    return len({(row.case, row.view) for row in rows})


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
