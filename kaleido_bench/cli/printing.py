"""How commands print records on standard output: aligned columns for people, one JSON document with --json."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from collections.abc import Mapping, Sequence
from typing import cast

import typer

ROOM = 28
"""Columns that the last cell of a line needs beside the others; with less it goes below them."""


def print_json(document: object) -> None:
    """One JSON document, indented, keys in the order given."""
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False))


def print_rows(
    rows: Sequence[Mapping[str, object]],
    *,
    as_json: bool,
    empty: str,
    spare: Sequence[str] = (),
    one_line_each: bool = False,
) -> None:
    """Records of one shape, one a line under a heading; `empty` (on standard error) where there are none.

    On a terminal that is too narrow, columns named in `spare` are left out, the first one first, and said to be; then
    the last cell is folded, or cut with `one_line_each`.
    """
    if as_json:
        print_json(list(rows))
    elif rows:
        lines = [list(rows[0]), *([_cell(value) for value in row.values()] for row in rows)]
        width = terminal_width()
        kept = lines if width is None else _leave_out(lines, width, spare)
        text = format_rows(kept, None if one_line_each else width)
        typer.echo("\n".join(_cut(line, width) for line in text.split("\n")) if one_line_each else text)
        if left_out := [name for name in lines[0] if name not in kept[0]]:
            typer.echo(
                f"left out for want of width: {', '.join(left_out)} (in a file or pipe they are there)", err=True
            )
    else:
        typer.echo(empty, err=True)


def terminal_width() -> int | None:
    """Columns of the terminal that standard output is; None where it is a file or a pipe, which get whole lines."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def format_rows(lines: Sequence[Sequence[str]], width: int | None = None) -> str:
    """Cells in aligned columns, two spaces apart.

    Args:
        lines: the rows, the heading first.
        width: columns to keep within where that is possible: the last cell of a line is then folded, in its column or,
            where that is narrower than `ROOM`, below the others.
    """
    widths = _widths(lines)
    fixed = sum(each + 2 for each in widths[:-1])
    if width is None or fixed + widths[-1] <= width:
        return "\n".join(_align(line, widths) for line in lines)
    if width - fixed >= ROOM:
        return "\n".join(
            _align([*(line[:-1] if first else [""] * (len(line) - 1)), part], widths)
            for line in lines
            for first, part in _fold(line[-1], width - fixed)
        )
    below = max(ROOM, width - 4)
    return "\n".join(
        text
        for line in lines
        for text in (_align(line[:-1], widths), *(f"    {part}" for _, part in _fold(line[-1], below)))
    )


def fold_text(text: str, width: int | None, *, indent: int) -> str:
    """One line of prose within `width` columns, its continuation indented; as it is where width is None."""
    if width is None or len(text) <= width:
        return text
    lines = textwrap.wrap(
        text, max(ROOM, width), subsequent_indent=" " * indent, break_on_hyphens=False, break_long_words=False
    )  # a name, an address or a hash stays whole, to be copied
    return "\n".join(lines)


def _leave_out(lines: Sequence[Sequence[str]], width: int, spare: Sequence[str]) -> Sequence[Sequence[str]]:
    for name in spare:
        widths = _widths(lines)
        if sum(each + 2 for each in widths[:-1]) + min(widths[-1], ROOM) <= width:
            break
        place = list(lines[0]).index(name)
        lines = [[*line[:place], *line[place + 1 :]] for line in lines]
    return lines


def _widths(lines: Sequence[Sequence[str]]) -> list[int]:
    return [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]


def _align(line: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=False)).rstrip()


def _fold(text: str, width: int) -> list[tuple[bool, str]]:
    """The parts of a cell, each with whether it is the first."""
    parts = textwrap.wrap(text, width, break_on_hyphens=False, break_long_words=False) or [""]
    return [(place == 0, part) for place, part in enumerate(parts)]


def _cut(line: str, width: int | None) -> str:
    return line if width is None or len(line) <= width else line[: width - 3] + "..."


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ",".join(map(str, cast("Sequence[object]", value)))
    return str(value)
