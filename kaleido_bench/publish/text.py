"""A table for a terminal: metrics side by side, or under each other where it is too narrow for that."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from rich.console import Console
from rich.text import Text

from kaleido_bench.publish.efficiency import HEADINGS, EfficiencyRow, write_cells, write_notes
from kaleido_bench.publish.tables import NOT_SCORED, Section, Table, TableRow
from kaleido_bench.publish.words import find_mark, group_columns, has_shared_mark, write_caption

_MARKS = {"best": "¹", "second": "²", "": " "}
_STYLES = {"best": "bold", "second": "", "": ""}
_GAP = "   "

# For an output that is not UTF-8.
_ASCII = str.maketrans({"↑": "^", "↓": "v", "¹": "*", "²": "'", "─": "-", "–": "-", "†": "+"})


class _Group(NamedTuple):
    """The columns of one metric: their places in a row, and the printed width of each and of all."""

    title: str
    places: tuple[int, ...]
    cell_width: int
    width: int


def print_table(table: Table, console: Console) -> None:
    """Print a table. Sections wider than the console are printed as several blocks under each other."""
    for index, section in enumerate(table.sections):
        lines = [Text(), *_render_section(section, console.width)] if index else _render_section(section, console.width)
        for line in lines:
            console.print(_as_encodable(line, console.encoding), soft_wrap=True, highlight=False)


def render_text(table: Table, width: int = 120) -> str:
    """The same as plain text."""
    sections = (_render_section(section, width) for section in table.sections)
    return "\n\n".join("\n".join(line.plain.rstrip() for line in lines) for lines in sections) + "\n"


def _as_encodable(line: Text, encoding: str) -> Text:
    if encoding.lower().startswith("utf"):
        return line
    return Text(line.plain.translate(_ASCII), spans=line.spans, style=line.style)


def _render_section(section: Section, width: int) -> list[Text]:
    names = [row.model + (" †" if row.partial else "") for row in section.rows]
    name_width = max(map(len, ["references", *names]))
    groups = _plan_groups(section)
    lines = [Text(section.title, style="bold"), *(Text(part, style="dim") for part in write_caption(section))]
    for block in _split_blocks(groups, width - name_width):
        lines.append(Text())
        lines += _render_block(section, block, names, name_width)
    lines += [Text(line, style="dim") for line in _write_legend(section)]
    return lines + _render_efficiency(section.efficiency)


def _render_efficiency(rows: Sequence[EfficiencyRow]) -> list[Text]:
    """What predicting took, in columns of its own: names at the left, numbers at the right."""
    if not rows:
        return []
    cells = [HEADINGS, *(write_cells(row) for row in rows)]
    widths = [max(len(line[place]) for line in cells) for place in range(len(HEADINGS))]

    def align(line: Sequence[str]) -> str:
        ends = (0, len(HEADINGS) - 1)
        padded = (
            word.ljust(width) if place in ends else word.rjust(width)
            for place, (word, width) in enumerate(zip(line, widths, strict=True))
        )
        return _GAP.join(padded).rstrip()

    heading, *below = (align(line) for line in cells)
    rule = _GAP.join("─" * width for width in widths)
    notes = [Text(note, style="dim") for note in write_notes(rows)]
    return [Text(), Text(heading, style="bold"), Text(rule, style="dim"), *map(Text, below), *notes]


def _plan_groups(section: Section) -> list[_Group]:
    groups: list[_Group] = []
    for found in group_columns(section.columns):
        title, members = found.title, found.places
        # A mark follows each number, and a heading stands over the digits.
        longest = max(_longest(section, place) for place in members)
        needed = max(len(title), len(_find_lack(section.rows, members)))
        cell = max(longest + 1, -(-(needed - 2 * (len(members) - 1)) // len(members)))
        groups.append(_Group(title, members, cell, cell * len(members) + 2 * (len(members) - 1)))
    return groups


def _longest(section: Section, place: int) -> int:
    return max(len(section.columns[place].references), *(len(row.cells[place].text) for row in section.rows))


def _find_lack(rows: Sequence[TableRow], places: Sequence[int]) -> str:
    """Why some row has no numbers of a metric at all, the longest reason of several; "" where each has some."""
    statuses = {row.cells[place].status for row in rows for place in places}
    return max(statuses.intersection(NOT_SCORED), key=len, default="")


def _split_blocks(groups: Sequence[_Group], width: int) -> Iterator[list[_Group]]:
    """As many metrics side by side as fit; at least one."""
    block: list[_Group] = []
    for group in groups:
        if block and sum(len(_GAP) + each.width for each in [*block, group]) > width:
            yield block
            block = []
        block.append(group)
    yield block


def _render_block(section: Section, groups: Sequence[_Group], names: Sequence[str], name_width: int) -> list[Text]:
    titles = Text(" " * name_width)
    labels = Text("references".ljust(name_width), style="dim")
    rule = Text("─" * name_width, style="dim")
    for group in groups:
        titles.append(_GAP + group.title.center(group.width), style="bold")
        cells = (section.columns[place].references.rjust(group.cell_width - 1) + " " for place in group.places)
        labels.append(_GAP + "  ".join(cells))
        rule.append(_GAP + "─" * group.width)
    rows = [
        _render_row(section, row, name.ljust(name_width), groups) for row, name in zip(section.rows, names, strict=True)
    ]
    return [titles, labels, rule, *rows]


def _render_row(section: Section, row: TableRow, name: str, groups: Sequence[_Group]) -> Text:
    line = Text(name)
    if row.incomplete:
        return line.append(_GAP + row.incomplete, style="yellow")
    for group in groups:
        line.append(_GAP)
        if lack := _find_lack([row], group.places):
            line.append(lack.center(group.width), style="dim")
            continue
        for index, place in enumerate(group.places):
            cell = row.cells[place]
            mark = find_mark(section, cell, place)
            line.append("  " if index else "")
            line.append((cell.text or "–").rjust(group.cell_width - 1) + _MARKS[mark], style=_STYLES[mark])
    return line


def _write_legend(section: Section) -> list[str]:
    marks = {find_mark(section, cell, place) for row in section.rows for place, cell in enumerate(row.cells)}
    parts = [f"{_MARKS[mark]} {mark}" for mark in ("best", "second") if mark in marks]
    if has_shared_mark(section):
        parts.append("equal after rounding shares a mark")
    lines = [", ".join(parts)] if parts else []
    return lines + [("† " if _is_partial(note, section) else "") + note for note in section.notes]


def _is_partial(note: str, section: Section) -> bool:
    return any(row.partial and note.startswith(f"{row.model}: partial") for row in section.rows)
