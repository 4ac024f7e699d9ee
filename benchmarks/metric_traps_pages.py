"""What `metric_traps.py` shows: its numbers as a page, as plain values, as tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple


class Finding(NamedTuple):
    """One measured number. `elsewhere` is what was found of the same effect on other images, as text."""

    what: str
    value: float
    digits: int
    elsewhere: str

    @property
    def text(self) -> str:
        return f"{self.value:.{self.digits}f}" if math.isfinite(self.value) else str(self.value)


class Trap(NamedTuple):
    """Some numbers about one trap, what they say, and which figure of the survey of the field they reproduce."""

    title: str
    moral: str
    figure: str
    findings: list[Finding]


def render_markdown(traps: Sequence[Trap], size: int, scenes: Sequence[str], masked: Sequence[str]) -> str:
    """The page."""
    lines = [
        "# What a convention is worth",
        "",
        "Made by `python benchmarks/metric_traps.py --data DIR --markdown docs/metric-traps.md`; not written by hand.",
        f"Real scenes at {size} px: {', '.join(scenes)}; with masks: {', '.join(masked)}.",
        'Everything but the column "elsewhere" is measured here. That column is what was measured of the same effect',
        "on other images: expect its sign and its size, not its digits. What each table reproduces is named by its",
        "place in the survey of metric conventions that this project began with.",
    ]
    for trap in traps:
        lines += [
            "",
            f"## {trap.title}",
            "",
            trap.moral,
            f"Reproduces: {trap.figure}.",
            "",
            "| | here | elsewhere |",
            "|---|---:|---:|",
        ]
        lines += [f"| {each.what} | {each.text} | {each.elsewhere} |" for each in trap.findings]
    return "\n".join(lines) + "\n"


def describe(traps: Sequence[Trap]) -> list[dict[str, object]]:
    """The same as plain values; JSON has no infinity."""
    return [
        {
            "title": trap.title,
            "moral": trap.moral,
            "figure": trap.figure,
            "findings": [
                {**each._asdict(), "value": each.value if math.isfinite(each.value) else str(each.value)}
                for each in trap.findings
            ],
        }
        for trap in traps
    ]


def print_tables(traps: Sequence[Trap]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    for trap in traps:
        table = Table(title=trap.title, caption=trap.moral, title_justify="left", caption_justify="left")
        table.add_column("")
        table.add_column("here", justify="right")
        table.add_column("elsewhere", justify="right", style="dim")
        for each in trap.findings:
            table.add_row(each.what, each.text, each.elsewhere)
        console.print(table)
