"""From rows to means: view -> scene -> protocol. Pure.

Sums are exact (`math.fsum`), so that a mean depends on its values and on nothing else, not even on their order.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple

from kaleido_bench.errors import BenchError
from kaleido_bench.score.rows import Row

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


class Means(NamedTuple):
    """The means of a result. `scenes` are what `protocol` was made from (or, without the scene level, beside it)."""

    protocol: list[Mean]
    scenes: list[SceneMean]


class ChosenScale(NamedTuple):
    """The scale that counts for one case and sample of an oracle sweep."""

    case: str
    sample: int
    scale: float


def reduce_rows(
    rows: Sequence[Row],
    *,
    label_of: Mapping[str, str],
    labels: Sequence[str],
    metrics: Sequence[str],
    reduction: Reduction,
) -> Means:
    """Reduce rows to means, for each metric, each place of the reference axis and each set of targets.

    Samples of a view count like views: there are equally many for each. A mean over no views does not exist and is left
    out.

    Args:
        label_of: case -> its place on the reference axis.
        labels, metrics: in the order of the answer.
    """
    groups = _group_rows(rows, label_of)
    scenes: list[SceneMean] = []
    protocol: list[Mean] = []
    for metric in metrics:
        for label in labels:
            for targets in _TARGETS:
                by_scene = {name: _keep(found, targets) for name, found in groups[metric, label].items()}
                by_scene = {name: found for name, found in sorted(by_scene.items()) if found}
                if not by_scene:
                    continue
                level = [
                    SceneMean(name, label, metric, targets, _mean([row.value for row in found]), _count_views(found))
                    for name, found in by_scene.items()
                ]
                scenes += level
                everything = [row for found in by_scene.values() for row in found]
                mean = _REDUCTIONS[reduction](level, everything)
                protocol.append(Mean(label, metric, targets, mean, _count_views(everything), len(level)))
    return Means(protocol, scenes)


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

_REDUCTIONS: Mapping[Reduction, Callable[[list[SceneMean], list[Row]], float]] = {
    "view>scene>protocol": lambda scenes, rows: _mean([scene.mean for scene in scenes]),
    "view>protocol": lambda scenes, rows: _mean([row.value for row in rows]),
}


def _group_rows(
    rows: Sequence[Row], label_of: Mapping[str, str]
) -> defaultdict[tuple[str, str], defaultdict[str, list[Row]]]:
    """(metric, label) -> scene -> rows."""
    groups: defaultdict[tuple[str, str], defaultdict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        groups[row.metric, label_of[row.case]][row.scene].append(row)
    return groups


def _keep(rows: Sequence[Row], targets: Targets) -> list[Row]:
    return [row for row in rows if targets == "as-published" or not row.target_is_reference]


def _count_views(rows: Sequence[Row]) -> int:
    return len({(row.case, row.view) for row in rows})


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
