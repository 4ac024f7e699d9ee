"""How the names of metrics, arrows and captions are written, in every format alike."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Literal, NamedTuple

from kaleido_bench.publish.tables import Cell, Column, Section
from kaleido_bench.records import short_hash


def metric_title(metric: str) -> str:
    """`psnr` is PSNR, `lpips-alex` is LPIPS-alex."""
    name, dash, variant = metric.partition("-")
    return f"{name.upper()}{dash}{variant}"


def column_title(column: Column) -> str:
    """`PSNR`, `PSNR best of 4`, `PSNR spread`."""
    title = metric_title(column.metric)
    if column.statistic == "mean":
        return title
    return f"{title} spread" if column.statistic == "spread" else f"{title} best of {column.samples or 'N'}"


def arrow(column: Column) -> str:
    """Which way is better; a spread has none."""
    if column.statistic == "spread":
        return ""
    return "↑" if column.higher_is_better else "↓"


class Group(NamedTuple):
    """Neighbouring columns that differ in the number of references alone, and their places in a row."""

    first: Column
    places: tuple[int, ...]

    @property
    def title(self) -> str:
        return f"{column_title(self.first)} {arrow(self.first)}".rstrip()


def group_columns(columns: Sequence[Column]) -> list[Group]:
    """The groups that a table has headings for."""
    places = groupby(range(len(columns)), key=lambda place: (columns[place].metric, columns[place].statistic))
    found = [tuple(members) for _, members in places]
    return [Group(columns[members[0]], members) for members in found]


class Caption(NamedTuple):
    """What the numbers of a section are about: which question and which metrics, by hash, and over how much."""

    question: str
    extent: str

    def __str__(self) -> str:
        return f"{self.question}; {self.extent}"


def write_caption(section: Section) -> Caption:
    """The caption of a section."""
    return Caption(
        f"protocol {section.protocol} v{section.version} ({short_hash(section.protocol_hash)}), "
        f"convention {section.convention} ({short_hash(section.convention_hash)})",
        f"targets {section.targets}, {count(section.scenes, 'scene')}, {count(section.target_views, 'target view')}",
    )


def find_mark(section: Section, cell: Cell, place: int) -> Literal["best", "second", ""]:
    """How a cell is marked: ranks 1 and 2, where somebody is worse. Equal cells share a rank, and so a mark."""
    if cell.rank not in (1, 2) or not any((row.cells[place].rank or 0) > cell.rank for row in section.rows):
        return ""
    return "best" if cell.rank == 1 else "second"


def has_shared_mark(section: Section) -> bool:
    """Whether two cells of a column share a mark, which a legend should then explain."""
    for place in range(len(section.columns)):
        ranks = [row.cells[place].rank for row in section.rows if find_mark(section, row.cells[place], place)]
        if len(ranks) != len(set(ranks)):
            return True
    return False


def count(number: int, word: str) -> str:
    """`1 scene`, `6 scenes`."""
    return f"{number} {word}" if number == 1 else f"{number} {word}s"
