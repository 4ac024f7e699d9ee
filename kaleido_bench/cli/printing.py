"""How commands print records on standard output: aligned columns for people, one JSON document with --json."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import cast

import typer


def print_json(document: object) -> None:
    """One JSON document, indented, keys in the order given."""
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False))


def print_rows(rows: Sequence[Mapping[str, object]], *, as_json: bool, empty: str) -> None:
    """Records of one shape, one a line under a heading; `empty` (on standard error) where there are none."""
    if as_json:
        print_json(list(rows))
    elif rows:
        typer.echo(format_rows([list(rows[0]), *([_cell(value) for value in row.values()] for row in rows)]))
    else:
        typer.echo(empty, err=True)


def format_rows(lines: Sequence[Sequence[str]]) -> str:
    """Cells in aligned columns, two spaces apart."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    padded = ("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)
    return "\n".join(line.rstrip() for line in padded)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ",".join(map(str, cast("Sequence[object]", value)))
    return str(value)
