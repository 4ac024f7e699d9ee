"""Curves over the number of reference views, as SVG inside a page: no script, no font, the page's own colours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from kaleido_bench.publish.tables import Section
from kaleido_bench.publish.words import Group, group_columns

LINES = 8
"""So many models are drawn; the page has colours and marks for no more."""

WIDTH, HEIGHT = 380, 250
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 12, 34

COLOURS = ("#0b57a4", "#b3480c", "#0b6e3a", "#8a2a8a", "#7a6000", "#00707a", "#a3214a", "#565b64")
DARK_COLOURS = ("#7ab5f5", "#f2a26b", "#6fd39b", "#d79ae0", "#d9bd55", "#5fc9d4", "#f08fae", "#a9afb9")

STYLE = (
    """
.curves { display: flex; flex-wrap: wrap; gap: .5rem 1.5rem; margin: 1rem 0; }
figure { margin: 0; flex: 1 1 18rem; max-width: 28rem; }
figcaption { font-size: .875rem; font-weight: 600; }
svg.curve { width: 100%; height: auto; display: block; font: 12px system-ui, sans-serif; }
svg text { fill: var(--dim); }
svg .grid { stroke: var(--line); stroke-opacity: .35; }
svg .line { fill: none; stroke: currentColor; stroke-width: 2; stroke-linejoin: round; }
svg .baseline { stroke-dasharray: 5 4; }
svg .mark { fill: currentColor; stroke: Canvas; }
.key { list-style: none; display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; padding: 0; margin: .5rem 0; }
.key { font-size: .875rem; }
.key svg { width: 2.2rem; height: .9rem; vertical-align: -.1rem; margin-right: .35rem; }
"""
    + "".join(f".c{place} {{ color: {colour}; }}\n" for place, colour in enumerate(COLOURS))
    + "@media (prefers-color-scheme: dark) {\n"
    + "".join(f".c{place} {{ color: {colour}; }}\n" for place, colour in enumerate(DARK_COLOURS))
    + "}\n"
)


class _Point(NamedTuple):
    x: float
    y: float


class _Scale(NamedTuple):
    """From a number of references (on a logarithmic axis) and a value to the drawing."""

    counts: tuple[int, ...]
    ticks: tuple[float, ...]

    def place(self, count: int, value: float) -> _Point:
        low, high = math.log(self.counts[0]), math.log(self.counts[-1])
        across = (math.log(count) - low) / (high - low)
        up = (value - self.ticks[0]) / (self.ticks[-1] - self.ticks[0])
        return _Point(
            round(LEFT + across * (WIDTH - LEFT - RIGHT), 1), round(HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM), 1)
        )


def render_curves(section: Section, baselines: Sequence[str]) -> list[str]:
    """One drawing a metric and the key to all; nothing where there are no two numbers of references.

    Args:
        baselines: models whose lines are dashed.
    """
    labels = [column.references for column in section.columns]
    if not all(label.isdigit() for label in labels) or len(set(labels)) < 2:
        return []
    names = [row.model for row in section.rows if not row.incomplete and not row.partial]
    drawn = names[:LINES]
    figures = [
        _render_figure(section, group, drawn, baselines)
        for group in group_columns(section.columns)
        if group.first.statistic == "mean"
    ]
    key = "".join(
        f"<li>{_render_sample(place, name in baselines)}{escape(name)}</li>" for place, name in enumerate(drawn)
    )
    left_out = f"<li>and {len(names) - LINES} more, not drawn</li>" if len(names) > LINES else ""
    return [f'<ul class="key" aria-hidden="true">{key}{left_out}</ul>', '<div class="curves">', *figures, "</div>"]


def _render_figure(section: Section, group: Group, drawn: Sequence[str], baselines: Sequence[str]) -> str:
    counts = tuple(int(section.columns[place].references) for place in group.places)
    values: dict[str, list[tuple[int, float]]] = {}
    for row in section.rows:
        found = [(count, row.cells[place].mean) for count, place in zip(counts, group.places, strict=True)]
        if row.model in drawn:
            values[row.model] = [(count, mean) for count, mean in found if mean is not None and math.isfinite(mean)]
    numbers = [mean for line in values.values() for _, mean in line]
    if not numbers:
        return ""
    scale = _Scale(counts, choose_ticks(min(numbers), max(numbers)))
    lines = [
        _render_line(drawn.index(name), [scale.place(*point) for point in line], name in baselines)
        for name, line in values.items()
    ]
    said = f"{group.title} over {', '.join(map(str, counts))} reference views; the table has the numbers"
    return "\n".join(
        [
            "<figure>",
            f"<figcaption>{escape(group.title)}</figcaption>",
            f'<svg class="curve" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(said)}">',
            *_render_axes(scale),
            *lines,
            "</svg>",
            "</figure>",
        ]
    )


def _render_axes(scale: _Scale) -> list[str]:
    lines: list[str] = []
    digits = _count_digits(scale.ticks[1] - scale.ticks[0])
    for tick in scale.ticks:
        y = scale.place(scale.counts[0], tick).y
        lines.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>')
        lines.append(f'<text x="{LEFT - 6}" y="{y + 4}" text-anchor="end">{tick:.{digits}f}</text>')
    last = -math.inf
    for count in scale.counts:
        x = scale.place(count, scale.ticks[0]).x
        if x - last >= 18:  # neighbours such as 10 and 11 would print over each other
            lines.append(f'<text x="{x}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{count}</text>')
            last = x
    middle = (LEFT + WIDTH - RIGHT) / 2
    lines.append(f'<text x="{middle:g}" y="{HEIGHT - 3}" text-anchor="middle">reference views</text>')
    return lines


def _render_line(colour: int, points: Sequence[_Point], baseline: bool) -> str:
    path = " ".join(f"{x:g},{y:g}" for x, y in points)
    marks = "".join(f'<circle class="mark" cx="{x:g}" cy="{y:g}" r="3.5"/>' for x, y in points)
    kind = "line baseline" if baseline else "line"
    return f'<g class="c{colour}"><polyline class="{kind}" points="{path}"/>{marks}</g>'


def _render_sample(colour: int, baseline: bool) -> str:
    kind = "line baseline" if baseline else "line"
    return (
        f'<svg class="c{colour}" viewBox="0 0 36 14"><polyline class="{kind}" points="0,7 36,7"/>'
        '<circle class="mark" cx="18" cy="7" r="3.5"/></svg>'
    )


def choose_ticks(low: float, high: float, count: int = 5) -> tuple[float, ...]:
    """Round numbers from below `low` to above `high`, 1, 2 or 5 times a power of ten apart; about `count` of them."""
    span = high - low or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(span / count))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power * count >= span)
    first, last = math.floor(low / step), math.ceil(high / step)
    return tuple(round(place * step, 12) for place in range(first, max(last, first + 1) + 1))


def _count_digits(step: float) -> int:
    return max(0, -math.floor(math.log10(step) + 1e-9))
