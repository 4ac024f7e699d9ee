"""Printing results as a table: what `run`, `score` and `table` share."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from kaleido_bench.publish.tables import Table
    from kaleido_bench.score.results.efficiency import Efficiency
    from kaleido_bench.score.results.records import Result

# Columns where no terminal and no COLUMNS says how many there are.
DEFAULT_WIDTH = 120


class Format(StrEnum):
    """How a table is written."""

    TEXT = "text"
    MARKDOWN = "md"
    LATEX = "latex"
    CSV = "csv"
    JSON = "json"
    HTML = "html"


def print_table(
    results: Sequence[Result], form: Format, *, samples: bool = True, efficiencies: Sequence[Efficiency] = ()
) -> None:
    """One table of these results on standard output; coloured text on a terminal.

    A protocol whose targets are partly shown is there twice: as published, and without those targets.

    Args:
        samples: show best and spread where a result has several samples.
        efficiencies: what predicting took, of those results for which it is to be shown.
    """
    from kaleido_bench.publish import formats, html
    from kaleido_bench.publish.tables import build_table

    table = build_table(results, "both", samples=samples, efficiencies=efficiencies)
    if form is Format.TEXT:
        _print_text(table)
        return
    render = {
        Format.MARKDOWN: formats.render_markdown,
        Format.LATEX: formats.render_latex,
        Format.CSV: formats.render_csv,
        Format.JSON: formats.render_json,
        Format.HTML: html.render_html,
    }[form]
    typer.echo(render(table).rstrip("\n"))


def _print_text(table: Table) -> None:
    from kaleido_bench.publish import text

    if sys.stdout.isatty():
        from rich.console import Console

        text.print_table(table, Console())
    else:
        typer.echo(text.render_text(table, output_width()).rstrip("\n"))


def output_width() -> int:
    """Columns of the terminal, or what COLUMNS says."""
    return shutil.get_terminal_size((DEFAULT_WIDTH, 0)).columns
