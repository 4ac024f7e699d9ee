"""Two runs side by side: paired differences, intervals, verdicts. Pure; `comparison_formats.py` writes it down.

A verdict is about the first run and reads off what is printed: "better" or "worse" where both ends of the rounded
interval lie on one side of zero, else "tie". So a difference that no table shows is never a win.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Literal, NamedTuple

from kaleido_bench.errors import BenchError
from kaleido_bench.publish.tables import Section, choose_targets, note_counting, round_mean
from kaleido_bench.score.comparing.intervals import Interval
from kaleido_bench.score.comparing.paired import (
    PairedMean,
    PairedRows,
    PairedView,
    compare_means,
    compare_rows,
    list_views,
    pair_rows,
)
from kaleido_bench.score.comparing.sides import Shared, Side, name_sides
from kaleido_bench.score.results.records import MetricRecord
from kaleido_bench.score.results.statistics import Targets

Verdict = Literal["better", "worse", "tie"]

NO_INTERVAL = "–"
"""What stands in the place of a number that does not exist."""


class Asked(NamedTuple):
    """What a comparison is to show.

    Args:
        level: of its intervals, a share.
        common: compare the views that both runs have, where a run is not whole.
        by_scene: the differences of the scenes, too.
        views: so many of the best and of the worst views, too, of each difference.
    """

    level: float = 0.95
    common: bool = False
    by_scene: bool = False
    views: int = 0


class RankedView(NamedTuple):
    """A view, and its place among the views of its row: 1 is the best of the first run, by the difference."""

    place: int
    view: PairedView


class Compared(NamedTuple):
    """One metric at one place of the reference axis.

    Args:
        verdict: on the first run; None where there is no interval.
        better, worse: scenes in which the first run is.
        views: the best views of the first run and then the worst, by their differences; as many as were asked for.
    """

    metric: str
    references: str
    higher_is_better: bool
    mean: PairedMean
    verdict: Verdict | None
    better: int
    worse: int
    views: tuple[RankedView, ...]


class ComparedSection(NamedTuple):
    """One set of targets. `head` says what the numbers are about, as a table's section does; it has no rows."""

    head: Section
    rows: tuple[Compared, ...]


class Comparison(NamedTuple):
    """What there is to print.

    Args:
        first, second: what the runs are called: by model, or A and B where the model is the same.
        partial: less than the protocol is compared.
        left_out: a line on each metric that is not compared.
        notes: what a reader must know before quoting a number.
    """

    first: str
    second: str
    sides: tuple[Side, Side]
    asked: Asked
    partial: bool
    sections: tuple[ComparedSection, ...]
    left_out: tuple[str, ...]
    notes: tuple[str, ...]


def build_comparison(first: Side, second: Side, shared: Shared, asked: Asked) -> Comparison:
    """Compare two runs that were found to compare (`check_sides`).

    Raises:
        BenchError: they have not the same views or, if the common ones were asked for, none in common; views were asked
            for, and a result without its rows has none.
    """
    names = [metric.name for metric in shared.metrics]
    pairs = _pair(first, second, names, asked)
    if pairs is None:
        means = compare_means(first.means, second.means, names, first.how, asked.level)
    else:
        means = compare_rows(pairs.first, pairs.second, names, first.how, asked.level)
    partial = not (first.whole and second.whole)
    metrics = {metric.name: metric for metric in shared.metrics}
    sections = tuple(
        ComparedSection(
            _build_head(first, found, targets, partial=partial),
            tuple(_build_row(first, pairs, mean, metrics[mean.metric], asked) for mean in found),
        )
        for targets in choose_targets(first.result, "both")
        for found in [[mean for mean in means if mean.targets == targets]]
    )
    called = name_sides(first, second)
    return Comparison(
        *called,
        sides=(first, second),
        asked=asked,
        partial=partial,
        sections=sections,
        left_out=shared.left_out,
        notes=tuple(
            dict.fromkeys(
                [
                    *(_note_partial(first, pairs, called) if partial and pairs else []),
                    *_note_scenes(sections, asked.level),
                    *(_note_leaks(first) if len(sections) > 1 else []),
                    *shared.notes,
                    *first.result.notes,
                    *second.result.notes,
                    *_note_sides(first, second, called, leaky=len(sections) > 1),
                    *_note_left_out(sections),
                ]
            )
        ),
    )


def judge(metric: str, interval: Interval | None, *, higher_is_better: bool) -> Verdict | None:
    """Better, worse, or a tie, by the interval as it is printed."""
    if interval is None:
        return None
    lower, upper = (Decimal(round_mean(metric, end)) for end in interval[:2])
    if lower <= 0 <= upper:
        return "tie"
    return "better" if (lower > 0) == higher_is_better else "worse"


def _pair(first: Side, second: Side, metrics: Sequence[str], asked: Asked) -> PairedRows | None:
    """The rows of the same views; None where a result has no rows: its scenes are all there is."""
    if first.rows is not None and second.rows is not None:
        return pair_rows(first.rows, second.rows, metrics, common=asked.common)
    if asked.views:
        alone = first if first.rows is None else second
        raise BenchError(
            "--views", f"{alone.path} has no views", expected="two run folders", fix="Leave it out, or try --by-scene."
        )
    return None


def _build_head(side: Side, means: Sequence[PairedMean], targets: Targets, *, partial: bool) -> Section:
    protocol, convention = side.result.protocol, side.result.convention
    views = {mean.references: mean.views + mean.left_out for mean in means}
    return Section(
        protocol=protocol.name,
        version=protocol.version,
        protocol_hash=protocol.hash,
        title=protocol.title + (" (partial)" if partial else ""),
        convention=convention.name,
        convention_hash=convention.hash,
        targets=targets,
        scenes=len({scene.scene for mean in means for scene in mean.scenes}),
        target_views=sum(views.values()),
        columns=(),
        rows=(),
        notes=(),
    )


def _build_row(side: Side, pairs: PairedRows | None, mean: PairedMean, metric: MetricRecord, asked: Asked) -> Compared:
    sign = 1 if metric.higher_is_better else -1
    gains = [sign * scene.difference for scene in mean.scenes if scene.difference is not None]
    return Compared(
        metric=mean.metric,
        references=mean.references,
        higher_is_better=metric.higher_is_better,
        mean=mean,
        verdict=judge(mean.metric, mean.interval, higher_is_better=metric.higher_is_better),
        better=sum(gain > 0 for gain in gains),
        worse=sum(gain < 0 for gain in gains),
        views=tuple(_rank_views(side, pairs, mean, sign, asked.views)) if pairs else (),
    )


def _rank_views(side: Side, pairs: PairedRows, mean: PairedMean, sign: int, count: int) -> list[RankedView]:
    """The `count` best views and the `count` worst, or all where these are no fewer."""
    if not count:
        return []
    found = [view for view in list_views(pairs.first, pairs.second, mean, side.how) if view.difference is not None]
    found.sort(key=lambda view: (-sign * (view.difference or 0.0), view.case, view.view))
    ranked = [RankedView(place, view) for place, view in enumerate(found, start=1)]
    return ranked if len(ranked) <= 2 * count else [*ranked[:count], *ranked[-count:]]


def _note_partial(side: Side, pairs: PairedRows, names: tuple[str, str]) -> list[str]:
    compared = len({(row.case, row.view) for row in pairs.first})
    alone = [
        f"{name} has {count} more"
        for name, count in zip(names, (pairs.only_first, pairs.only_second), strict=True)
        if count
    ]
    extra = f" ({', '.join(alone)})" if alone else ""
    return [
        f"partial: over {compared} of the protocol's {side.result.protocol.target_views} target views, those that both "
        f"runs have{extra}; the means are of these views alone"
    ]


def _note_scenes(sections: Sequence[ComparedSection], level: float) -> list[str]:
    """What few scenes can and cannot say.

    The sign test is what decides without normality: n scenes that all agree have a two-sided probability of 2 / 2^n.
    """
    counts = {len(row.mean.scenes) for section in sections for row in section.rows}
    notes: list[str] = []
    if 1 in counts:
        notes.append("1 scene: no interval and no verdict, since its views are not independent of each other")
    few = min((count for count in counts if count > 1), default=0)
    if few and 2 * 0.5**few > 1 - level:
        notes.append(f"{few} scenes: the interval takes their differences to be normal, which so few cannot show")
    if any(len(row.mean.scenes) > 1 and row.mean.interval is None for section in sections for row in section.rows):
        notes.append(f"{NO_INTERVAL}: a scene's mean is infinite, so there is no interval and no verdict")
    return notes


def _note_leaks(side: Side) -> list[str]:
    protocol = side.result.protocol
    return [
        f"{protocol.leaked_targets} of {protocol.target_views} targets are references too: "
        "counted under as-published, not under strict-novel"
    ]


def _note_sides(first: Side, second: Side, names: tuple[str, str], *, leaky: bool) -> list[str]:
    notes = [
        note
        for side, name in zip((first, second), names, strict=True)
        for note in note_counting(side.result, name, shown_left_out=leaky)
    ]
    if first.result.predictions_sha256 == second.result.predictions_sha256:
        notes.append("both runs hold the same predictions, pixel by pixel")
    return notes


def _note_left_out(sections: Sequence[ComparedSection]) -> list[str]:
    return [
        f"{row.metric}, references {row.references}: {row.mean.left_out} views with an infinite PSNR are in no mean"
        for section in sections
        for row in section.rows
        if row.mean.left_out
    ]
