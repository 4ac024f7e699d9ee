"""Results to a table: rounded first, ranked after. Pure; `text.py` and `formats.py` write it down.

Rows are models and columns are metrics by number of reference views. There is one section for each protocol and
convention, since numbers of two protocols have nothing to say to each other. A model without all its views has no
numbers and no rank, and a result over a part of a protocol is shown and not ranked. Nor is a metric whose values rest
on different files: other ground truth, where a protocol froze none, other masks, or other weights.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from decimal import Decimal
from typing import Literal, NamedTuple

from kaleido_bench.conventions import FOREGROUND_METRICS
from kaleido_bench.publish.efficiency import EfficiencyRow, build_efficiency_rows
from kaleido_bench.score.results.efficiency import Efficiency
from kaleido_bench.score.results.records import MetricRecord, MetricStatus, Result
from kaleido_bench.score.results.statistics import Targets

DIGITS = {"psnr": 2, "psnr-fg": 2}
"""Decimals in a table, by metric; the others have `OTHER_DIGITS`."""

OTHER_DIGITS = 3

NOT_SCORED = ("weights missing", "no masks")
"""Why an optional metric has no numbers: what it has learned is not here, or a target has no mask."""


Statistic = Literal["mean", "best", "spread"]
"""Of several samples: their mean, which is ranked; the best of each view by the ground truth; their deviation."""

SAMPLE_NOTES = (
    "best: of the samples of each view the best by that metric, chosen with the ground truth: an oracle, not ranked",
    "spread: standard deviation over the samples of a view (n - 1), averaged as the mean is",
)


class Column(NamedTuple):
    """One metric at one place of the reference axis ("1", "3", "6", or "all").

    Args:
        statistic: the mean, or what several samples say beside it.
        samples: of each view, where `statistic` is of several and all models have as many; else None.
    """

    metric: str
    references: str
    higher_is_better: bool
    statistic: Statistic = "mean"
    samples: int | None = None


class Cell(NamedTuple):
    """One number of a model, or why there is none.

    Args:
        status: "value"; "weights missing", "no masks", "incomplete", or "none" (a partial result that left this column
            out).
        mean: as the result has it; None without one, as are `views` and `scenes`, which it is a mean over.
        text: what is printed: the rounded mean, or "".
        rank: 1 is best, by the rounded mean, models of equal text share it; None for what is not ranked.
    """

    status: Literal["value", "weights missing", "no masks", "incomplete", "none"]
    mean: float | None
    views: int | None
    scenes: int | None
    text: str
    rank: int | None


class TableRow(NamedTuple):
    """One model. `incomplete` says how much there is ("incomplete 97 %") or nothing; `partial` what was left out."""

    model: str
    cells: tuple[Cell, ...]
    incomplete: str
    partial: tuple[str, ...]


class Section(NamedTuple):
    """All models under one protocol and one convention."""

    protocol: str
    version: int
    protocol_hash: str
    title: str
    convention: str
    convention_hash: str
    targets: Targets
    scenes: int
    target_views: int
    columns: tuple[Column, ...]
    rows: tuple[TableRow, ...]
    notes: tuple[str, ...]
    efficiency: tuple[EfficiencyRow, ...] = ()


class Table(NamedTuple):
    """What there is to print."""

    sections: tuple[Section, ...]


def build_table(
    results: Sequence[Result],
    targets: Targets | Literal["both"] | None = None,
    *,
    samples: bool = True,
    efficiencies: Sequence[Efficiency] = (),
) -> Table:
    """Build the table of some results. Models keep their order.

    Args:
        targets: which target views count; None is what each protocol says, "both" adds to each that shows targets as
            references the same without those targets.
        samples: show best and spread where a result has several samples.
        efficiencies: what predicting took, of those results for which it is to be shown.
    """
    groups: dict[tuple[str, str, str], list[Result]] = {}
    for result in results:
        key = (result.protocol.name, result.protocol.hash, result.convention.hash)
        groups.setdefault(key, []).append(result)
    return Table(
        tuple(
            _build_section(group, counted, samples)._replace(
                efficiency=tuple(build_efficiency_rows(group, efficiencies)) if place == 0 else ()
            )
            for group in groups.values()
            for place, counted in enumerate(choose_targets(group[0], targets))
        )
    )


def choose_targets(result: Result, targets: Targets | Literal["both"] | None) -> tuple[Targets, ...]:
    """The sets of targets that are shown of a result, a section for each; `targets` is as in `build_table`."""
    if targets == "both":
        leaks = result.protocol.targets == "as-published" and result.protocol.leaked_targets > 0
        return ("as-published", "strict-novel") if leaks else (result.protocol.targets,)
    return (targets or result.protocol.targets,)


def round_mean(metric: str, mean: float) -> str:
    """A mean as tables print it."""
    text = f"{mean:.{DIGITS.get(metric, OTHER_DIGITS)}f}"
    return text.removeprefix("-") if Decimal(text) == 0 else text


def _build_section(results: Sequence[Result], targets: Targets, samples: bool) -> Section:
    protocol, convention = results[0].protocol, results[0].convention
    metrics, left_out = _choose_metrics(results)
    columns = _build_columns(results, metrics, samples)
    rows = [_build_row(result, columns, targets) for result in results]
    apart = _find_apart(results, metrics)
    return Section(
        protocol=protocol.name,
        version=protocol.version,
        protocol_hash=protocol.hash,
        title=protocol.title,
        convention=convention.name,
        convention_hash=convention.hash,
        targets=targets,
        scenes=protocol.scenes,
        target_views=protocol.target_views - (protocol.leaked_targets if targets == "strict-novel" else 0),
        columns=tuple(columns),
        rows=tuple(_rank(rows, columns, apart.keys())),
        notes=(
            *dict.fromkeys(apart.values()),
            *_write_notes(results, targets, left_out, any(c.statistic != "mean" for c in columns)),
        ),
    )


def _choose_metrics(results: Sequence[Result]) -> tuple[list[MetricRecord], list[MetricRecord]]:
    """The metrics that somebody has, in the protocol's order, and those that nobody could score."""
    scored = {metric.name for result in results for metric in result.metrics if metric.status == "scored"}
    metrics = results[0].metrics
    return [m for m in metrics if m.name in scored], [m for m in metrics if m.name not in scored]


def _find_apart(results: Sequence[Result], metrics: Sequence[MetricRecord]) -> dict[str, str]:
    """The metrics in which the models that would be ranked were compared with different files, and what to say."""
    ranked = [result for result in results if result.complete and not result.partial]
    apart: dict[str, str] = {}
    for metric in metrics:
        scored = [each for result in ranked for each in result.metrics if each.status == "scored"]
        weights = {each.weights for each in scored if each.name == metric.name}
        if len({result.truths_sha256 for result in ranked}) > 1:
            apart[metric.name] = "not ranked: the ground truth is not the same files for all models"
        elif metric.name in FOREGROUND_METRICS and len({result.masks_sha256 for result in ranked}) > 1:
            apart[metric.name] = "foreground metrics not ranked: the masks are not the same files for all models"
        elif len(weights) > 1:
            apart[metric.name] = f"{metric.name} not ranked: its weights are not the same file for all models"
    return apart


def _build_columns(results: Sequence[Result], metrics: Sequence[MetricRecord], samples: bool) -> list[Column]:
    """The means of every metric, then, where some model has several samples, their best and their spread."""
    counts = {mean.samples for result in results for mean in result.sample_means} if samples else set[int]()
    extra: tuple[Statistic, ...] = ("best", "spread") if counts else ()
    count = next(iter(counts)) if len(counts) == 1 else None
    labels = results[0].protocol.reference_labels
    return [
        Column(metric.name, label, metric.higher_is_better, statistic, None if statistic == "mean" else count)
        for statistic in ("mean", *extra)
        for metric in metrics
        for label in labels
    ]


def _build_row(result: Result, columns: Sequence[Column], targets: Targets) -> TableRow:
    values: dict[tuple[str, str, Statistic], _Value] = {
        (mean.metric, mean.references, "mean"): _Value(mean.mean, mean.views, mean.scenes)
        for mean in result.means
        if mean.targets == targets
    }
    for each in result.sample_means:
        if each.targets == targets:
            values[each.metric, each.references, "best"] = _Value(each.best, each.views, each.scenes)
            if each.spread is not None:
                values[each.metric, each.references, "spread"] = _Value(each.spread, each.views, each.scenes)
    statuses: dict[str, MetricStatus] = {metric.name: metric.status for metric in result.metrics}
    cells = [
        _build_cell(result, column, values.get((column.metric, column.references, column.statistic)), statuses)
        for column in columns
    ]
    return TableRow(result.model.model, tuple(cells), _describe_incomplete(result), _describe_partial(result))


class _Value(NamedTuple):
    """A number, and the views and scenes it is a mean over."""

    number: float
    views: int
    scenes: int


def _build_cell(result: Result, column: Column, value: _Value | None, statuses: Mapping[str, MetricStatus]) -> Cell:
    if not result.complete:
        return Cell("incomplete", None, None, None, "", None)
    status = statuses.get(column.metric, "scored")
    if status != "scored":
        return Cell(status, None, None, None, "", None)
    if value is None:
        return Cell("none", None, None, None, "", None)
    return Cell("value", *value, round_mean(column.metric, value.number), None)


def _describe_incomplete(result: Result) -> str:
    if result.complete:
        return ""
    counts = result.counts
    # Rounded down, so that no view short of all of them is ever 100 %.
    percent = 100 * counts.views_found // counts.views_expected
    return f"incomplete {percent} % ({counts.views_found} of {counts.views_expected} views)"


def _describe_partial(result: Result) -> tuple[str, ...]:
    return (result.partial_reasons or ("a part of the protocol",)) if result.partial else ()


def _rank(rows: Sequence[TableRow], columns: Sequence[Column], apart: Collection[str]) -> list[TableRow]:
    ranks = [
        [None] * len(rows) if column.metric in apart else _rank_column(rows, place, column)
        for place, column in enumerate(columns)
    ]
    return [
        row._replace(cells=tuple(cell._replace(rank=ranks[place][index]) for place, cell in enumerate(row.cells)))
        for index, row in enumerate(rows)
    ]


def _rank_column(rows: Sequence[TableRow], place: int, column: Column) -> list[int | None]:
    """Competition ranks (1, 1, 3) by what is printed, of means only: the best sample is nobody's answer."""
    if column.statistic != "mean":
        return [None] * len(rows)
    values = [
        Decimal(row.cells[place].text) if row.cells[place].status == "value" and not row.partial else None
        for row in rows
    ]
    sign = 1 if column.higher_is_better else -1
    return [
        None if value is None else 1 + sum(other is not None and sign * other > sign * value for other in values)
        for value in values
    ]


def _write_notes(
    results: Sequence[Result], targets: Targets, left_out: Sequence[MetricRecord], several: bool
) -> list[str]:
    """What a reader must know before comparing two numbers of a section. `several`: best and spread are shown."""
    protocol = results[0].protocol
    notes = [f"{metric.name}: {metric.status}" for metric in left_out]
    notes += dict.fromkeys(note for result in results for note in result.notes)
    notes += SAMPLE_NOTES if several else ()
    if protocol.leaked_targets:
        counted = "counted here" if targets == "as-published" else "not counted here"
        notes.append(f"{protocol.leaked_targets} of {protocol.target_views} targets are references too: {counted}")
    for result in results:
        model = result.model.model
        if result.partial:
            counts = result.counts
            extent = f": {counts.views_found} of {counts.views_in_protocol} target views"
            less = extent if counts.views_found < counts.views_in_protocol else ""
            notes.append(f"{model}: partial and not ranked ({', '.join(_describe_partial(result))}{less})")
        if several and result.samples == 1 and not result.deterministic:
            notes.append(f"{model}: one sample a case, so neither a best nor a spread")
        notes += note_counting(result, model, shown_left_out=targets == "strict-novel")
    return notes


def note_counting(result: Result, model: str, *, shown_left_out: bool) -> list[str]:
    """What a model's numbers count: several samples or one of many, an oracle, views at a cap or left out.

    Args:
        shown_left_out: targets that are references too are not counted. A result knows how many of all its views are at
            the cap, and not how many of these were shown.
    """
    notes: list[str] = []
    leaky = shown_left_out and result.protocol.leaked_targets
    among = ", of all targets, those that are references too included" if leaky else ""
    if result.samples > 1:
        notes.append(f"{model}: mean over {result.samples} samples a case")
        if result.sample_means and not any(mean.spread for mean in result.sample_means):
            notes.append(f"{model}: its samples are all alike")
    elif result.deterministic:
        notes.append(f"{model}: deterministic, one sample counted")
    if result.scale_sweep is not None:
        scales = ", ".join(f"{scale:g}" for scale in result.scale_sweep.scales)
        notes.append(f"{model}: oracle, the scale of each case chosen among {scales} with the ground truth")
    if result.psnr_views_at_cap:
        notes.append(f"{model}: {result.psnr_views_at_cap} views at the PSNR cap of {result.psnr_cap:g} dB{among}")
    if result.psnr_views_excluded:
        excluded = result.psnr_views_excluded
        notes.append(f"{model}: {excluded} views with an infinite PSNR are not in its mean{among}")
    return notes
