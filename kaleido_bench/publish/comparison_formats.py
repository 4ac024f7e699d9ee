"""A comparison as text, Markdown and JSON. The first two have the same blocks of cells."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from decimal import Decimal
from itertools import takewhile
from typing import NamedTuple

from kaleido_bench.publish.comparison import NO_INTERVAL, Compared, ComparedSection, Comparison
from kaleido_bench.publish.formats import escape_markdown
from kaleido_bench.publish.tables import round_mean
from kaleido_bench.publish.words import metric_title, write_caption
from kaleido_bench.score.comparing.sides import Side

COMPARISON_VERSION = 1
"""Of the JSON form."""

INTERVAL_DIGITS = 9
"""Decimals in JSON: finer than what is scored, coarser than what the tangents of two machines differ by."""

_GAP = "   "
_LEFT = ("metric", "scene", "case", "view")
_KEYS = ("metric", "references", "scene", "case", "view")
"""Columns that say what a row is about, repeated where the others do not fit beside each other."""


class Block(NamedTuple):
    """Cells under headings. A title where it is not the only one."""

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def render_text(comparison: Comparison, width: int = 120) -> str:
    """For a terminal: numbers at the right, a metric's name once. Columns beyond `width` go below the others."""
    parts: list[str] = []
    for section in comparison.sections:
        parts.append("\n".join([section.head.title, *write_caption(section.head)]))
        parts += [_render_block(block, width) for block in list_blocks(comparison, section)]
    parts.append("\n".join(write_legend(comparison)))
    return "\n\n".join(parts) + "\n"


def render_markdown(comparison: Comparison) -> str:
    """Pipe tables, and what is said about them as a list."""
    lines: list[str] = []
    for section in comparison.sections:
        lines += [f"**{escape_markdown(section.head.title)}**", "", f"{write_caption(section.head)}.", ""]
        for block in list_blocks(comparison, section):
            lines += [f"{escape_markdown(block.title)}:", ""] if block.title else []
            lines += [
                f"| {' | '.join(map(escape_markdown, block.headings))} |",
                f"|{'|'.join(':--' if _is_left(heading) else '--:' for heading in block.headings)}|",
                *(f"| {' | '.join(map(escape_markdown, row))} |" for row in block.rows),
                "",
            ]
    return "\n".join([*lines, *(f"- {escape_markdown(line)}" for line in write_legend(comparison))]) + "\n"


def render_json(comparison: Comparison) -> str:
    """The comparison as one JSON document, its means in full."""
    protocol, convention = comparison.sides[0].result.protocol, comparison.sides[0].result.convention
    document = {
        "schema_version": COMPARISON_VERSION,
        "protocol": {"name": protocol.name, "version": protocol.version, "hash": protocol.hash},
        "convention": convention.model_dump(mode="json"),
        "first": _describe_side(comparison.first, comparison.sides[0]),
        "second": _describe_side(comparison.second, comparison.sides[1]),
        "level": comparison.asked.level,
        "interval": "Student's t over scenes",
        "partial": comparison.partial,
        "differences": [_describe_row(comparison, row) for section in comparison.sections for row in section.rows],
        "left_out": list(comparison.left_out),
        "notes": list(comparison.notes),
    }
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def list_blocks(comparison: Comparison, section: ComparedSection) -> Iterator[Block]:
    """The differences, then what was asked for beside them."""
    first, second, asked = comparison.first, comparison.second, comparison.asked
    yield Block(
        "",
        (
            *("metric", "references", first, second, "difference", f"{_percent(asked.level)} interval"),
            *("scenes won", f"{first} is"),
        ),
        tuple(_write_row(row) for row in section.rows),
    )
    if asked.by_scene:
        rows = tuple(cells for row in section.rows for cells in _write_scenes(row))
        yield Block("By scene", ("metric", "references", "scene", first, second, "difference", "views"), rows)
    if asked.views:
        rows = tuple(cells for row in section.rows for cells in _write_views(row))
        headings = ("metric", "references", "case", "view", first, second, "difference", "place")
        yield Block(f"Best and worst views of {first}, by difference", headings, rows)


def write_legend(comparison: Comparison) -> list[str]:
    """What the columns mean, and what a reader must know."""
    verdicts = sum(row.verdict is not None for section in comparison.sections for row in section.rows)
    share = _percent(comparison.asked.level)
    names = comparison.first, comparison.second
    models = {side.result.model.model for side in comparison.sides}
    lines = [f"{name}: {side.path}" for name, side in zip(names, comparison.sides, strict=True) if len(models) == 1]
    lines += [
        f"difference: {comparison.first} minus {comparison.second} over the same views; "
        f"scenes won: by {comparison.first}"
    ]
    if verdicts:
        lines.append(
            "interval: Student's t of the scenes' differences; tie: it holds 0 as printed, which does not show that "
            "the two are equal"
        )
    if verdicts > 1:
        lines.append(f"{share} is each interval's own: all {verdicts} hold together less often")
    return [*lines, *comparison.left_out, *comparison.notes]


def _write_row(row: Compared) -> tuple[str, ...]:
    interval = row.mean.interval
    return (
        _title(row),
        row.references,
        round_mean(row.metric, row.mean.first),
        round_mean(row.metric, row.mean.second),
        _signed(row.metric, row.mean.difference),
        NO_INTERVAL if interval is None else f"[{', '.join(_signed(row.metric, end) for end in interval[:2])}]",
        f"{row.better} of {len(row.mean.scenes)}",
        row.verdict or NO_INTERVAL,
    )


def _write_scenes(row: Compared) -> Iterator[tuple[str, ...]]:
    for scene in row.mean.scenes:
        numbers = (round_mean(row.metric, scene.first), round_mean(row.metric, scene.second))
        difference = _signed(row.metric, scene.difference)
        yield (_title(row), row.references, scene.scene, *numbers, difference, str(scene.views))


def _write_views(row: Compared) -> Iterator[tuple[str, ...]]:
    for place, view in row.views:
        numbers = (round_mean(row.metric, view.first), round_mean(row.metric, view.second))
        difference = _signed(row.metric, view.difference)
        yield (_title(row), row.references, view.case, view.view, *numbers, difference, f"{place} of {row.mean.views}")


def _title(row: Compared) -> str:
    return f"{metric_title(row.metric)} {'↑' if row.higher_is_better else '↓'}"


def _signed(metric: str, value: float | None) -> str:
    """A difference as printed: `+0.12`, `-0.12`, and no sign before zero."""
    if value is None:
        return NO_INTERVAL
    text = round_mean(metric, value)
    return f"+{text}" if Decimal(text) > 0 else text


def _percent(level: float) -> str:
    return f"{100 * level:.10g} %"


def _is_left(heading: str) -> bool:
    return heading in _LEFT or heading.endswith(" is")


def _render_block(block: Block, width: int) -> str:
    parts = ["\n".join(_render_part(part)) for part in _split_block(block, width)]
    title = f"{block.title}\n" if block.title else ""
    return title + "\n\n".join(parts)


def _split_block(block: Block, width: int) -> Iterator[Block]:
    """As many columns side by side as fit, at least one beside those that say what a row is about."""
    columns = list(zip(block.headings, *block.rows, strict=True))
    keys = list(takewhile(lambda column: column[0] in _KEYS, columns))
    taken: list[tuple[str, ...]] = []
    for column in columns[len(keys) :]:
        if taken and _measure([*keys, *taken, column]) > width:
            yield _join_columns(block, [*keys, *taken])
            taken = []
        taken.append(column)
    yield _join_columns(block, [*keys, *taken])


def _measure(columns: Sequence[Sequence[str]]) -> int:
    """The width of some columns beside each other."""
    return sum(max(map(len, column)) for column in columns) + len(_GAP) * (len(columns) - 1)


def _join_columns(block: Block, columns: Sequence[tuple[str, ...]]) -> Block:
    headings, *rows = zip(*columns, strict=True)
    return block._replace(headings=headings, rows=tuple(rows))


def _render_part(block: Block) -> Iterator[str]:
    """A line each for headings, a rule and the rows; a metric's name once."""
    widths = [max(map(len, column)) for column in zip(block.headings, *block.rows, strict=True)]
    above = ""
    lines = [_align(block.headings, block.headings, widths), ["─" * width for width in widths]]
    for row in block.rows:
        lines.append(_align((row[0] if row[0] != above else "", *row[1:]), block.headings, widths))
        above = row[0]
    yield from (_GAP.join(line).rstrip() for line in lines)


def _align(row: Sequence[str], headings: Sequence[str], widths: Sequence[int]) -> list[str]:
    return [
        cell.ljust(width) if _is_left(heading) else cell.rjust(width)
        for cell, heading, width in zip(row, headings, widths, strict=True)
    ]


def _describe_side(name: str, side: Side) -> dict[str, object]:
    model, counts = side.result.model, side.result.counts
    return {
        "name": name,
        "run": str(side.path),
        "model": model.model,
        "fingerprint": model.fingerprint,
        "samples": side.result.samples,
        "views": counts.views_found,
        "partial": not side.whole,
    }


def _describe_row(comparison: Comparison, row: Compared) -> dict[str, object]:
    mean = row.mean
    interval = mean.interval
    document: dict[str, object] = {
        "metric": row.metric,
        "references": row.references,
        "targets": mean.targets,
        "higher_is_better": row.higher_is_better,
        "first": _finite(mean.first),
        "second": _finite(mean.second),
        "difference": _finite(mean.difference),
        "interval": None if interval is None else _plain(interval._asdict(), INTERVAL_DIGITS),
        "verdict": row.verdict,
        "scenes": len(mean.scenes),
        "scenes_better": row.better,
        "scenes_worse": row.worse,
        "views": mean.views,
    }
    if comparison.asked.by_scene:
        document["by_scene"] = [_plain(scene._asdict()) for scene in mean.scenes]
    if comparison.asked.views:
        document["best_and_worst_views"] = [{"place": place, **_plain(view._asdict())} for place, view in row.views]
    return document


def _plain(fields: dict[str, object], digits: int | None = None) -> dict[str, object]:
    """Fields as JSON has them, floats rounded where `digits` says so."""
    return {
        key: _finite(value if digits is None else round(value, digits)) if isinstance(value, float) else value
        for key, value in fields.items()
    }


def _finite(value: float | None) -> float | str | None:
    """JSON has no infinity; a result writes it in the same way."""
    return value if value is None or math.isfinite(value) else ("inf" if value > 0 else "-inf")
