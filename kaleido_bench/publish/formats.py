"""A table in the formats that other programs read: Markdown, LaTeX, CSV, JSON."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence

from kaleido_bench.publish.efficiency import HEADINGS, EfficiencyRow, write_cells, write_notes
from kaleido_bench.publish.tables import NOT_SCORED, Cell, Column, Section, Table, TableRow
from kaleido_bench.publish.words import (
    Group,
    arrow,
    column_title,
    find_mark,
    group_columns,
    has_shared_mark,
    write_caption,
)

TABLE_VERSION = 1
"""Of the JSON form."""

CSV_FIELDS = (
    *(
        "protocol",
        "version",
        "protocol_hash",
        "convention",
        "convention_hash",
        "targets",
        "model",
        "metric",
        "references",
    ),
    *("status", "mean", "rounded", "rank", "views", "scenes", "partial", "statistic", "samples"),
)
"""`mean` is the number in full, whatever its `statistic`: of what predicting took, a line for each number."""


def render_markdown(table: Table) -> str:
    """One pipe table a section; the best is bold, the second italic."""
    return "\n".join(_render_markdown_section(section) for section in table.sections)


def render_latex(table: Table) -> str:
    """One booktabs table a section; the best is bold, the second underlined."""
    return "\n".join(_render_latex_section(section) for section in table.sections)


def render_csv(table: Table) -> str:
    """One line a model, metric and number of references, with the mean as the result has it."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, CSV_FIELDS, lineterminator="\n")
    writer.writeheader()
    for section in table.sections:
        for row in section.rows:
            for column, cell in zip(section.columns, row.cells, strict=True):
                writer.writerow(_csv_record(section, row, column, cell))
        for row in section.efficiency:
            writer.writerows(_csv_efficiency(section, row))
    return buffer.getvalue()


def render_json(table: Table) -> str:
    """The table as one JSON document."""
    sections = [
        {
            **{key: value for key, value in section._asdict().items() if key not in ("columns", "rows", "efficiency")},
            "columns": [column._asdict() for column in section.columns],
            "rows": [{**row._asdict(), "cells": [_json_cell(cell) for cell in row.cells]} for row in section.rows],
            **({"efficiency": [_json_efficiency(row) for row in section.efficiency]} if section.efficiency else {}),
        }
        for section in table.sections
    ]
    return json.dumps({"schema_version": TABLE_VERSION, "sections": sections}, indent=2, ensure_ascii=False) + "\n"


def _json_cell(cell: Cell) -> dict[str, object]:
    # JSON has no infinity; a result writes it in the same way.
    return {**cell._asdict(), "mean": "inf" if cell.mean == math.inf else cell.mean}


def _json_efficiency(row: EfficiencyRow) -> dict[str, object]:
    measured = None if row.measurement is None else row.measurement.model_dump(mode="json")
    return {**row._asdict(), "measurement": measured}


def _csv_section(section: Section) -> dict[str, object]:
    return {
        "protocol": section.protocol,
        "version": section.version,
        "protocol_hash": section.protocol_hash,
        "convention": section.convention,
        "convention_hash": section.convention_hash,
        "targets": section.targets,
    }


def _csv_efficiency(section: Section, row: EfficiencyRow) -> list[dict[str, object]]:
    """A line for each number that is known; `status` says of which device."""
    numbers: list[tuple[str, object, str]] = [
        ("parameters", row.parameters, ""),
        ("function-evaluations", row.function_evaluations, ""),
    ]
    if row.measurement is not None:
        device = row.measurement.device or ""
        fields = ("median_seconds", "mean_seconds", "fit_seconds", "peak_memory")
        numbers += [(name.replace("_", "-"), getattr(row.measurement, name), device) for name in fields]
    common = {**_csv_section(section), "model": row.model, "statistic": "cost"}
    return [
        {**common, "metric": name, "mean": value, "status": device}
        for name, value, device in numbers
        if value is not None
    ]


def _csv_record(section: Section, row: TableRow, column: Column, cell: Cell) -> dict[str, object]:
    return {
        **_csv_section(section),
        "model": row.model,
        "metric": column.metric,
        "references": column.references,
        "status": row.incomplete or cell.status,
        "mean": cell.mean,
        "rounded": cell.text,
        "rank": cell.rank,
        "views": cell.views,
        "scenes": cell.scenes,
        "partial": " ".join(row.partial),
        "statistic": column.statistic,
        "samples": column.samples,
    }


# Markdown


def _render_markdown_section(section: Section) -> str:
    titles = [f"{column_title(c)} {arrow(c)}".rstrip() + f" ({c.references})" for c in section.columns]
    lines = [
        f"**{escape_markdown(section.title)}**",
        "",
        f"{write_caption(section)}. In parentheses: the number of reference views.",
        "",
        f"| model | {' | '.join(titles)} |",
        f"|:--{'|--:' * len(titles)}|",
        *(f"| {' | '.join(_markdown_cells(section, row))} |" for row in section.rows),
        "",
        *(f"- {escape_markdown(note)}" for note in section.notes),
    ]
    shared = "; equal after rounding shares a mark" if has_shared_mark(section) else ""
    lines += [f"- **best**, *second*{shared}"] if _has_marks(section) else []
    lines += _markdown_efficiency(section.efficiency)
    return "\n".join(lines) + "\n"


def _markdown_efficiency(rows: Sequence[EfficiencyRow]) -> list[str]:
    if not rows:
        return []
    return [
        "",
        f"| {' | '.join(HEADINGS)} |",
        f"|:--{'|--:' * (len(HEADINGS) - 2)}|:--|",
        *(f"| {' | '.join(map(escape_markdown, write_cells(row)))} |" for row in rows),
        "",
        *(f"- {escape_markdown(note)}" for note in write_notes(rows)),
    ]


def _markdown_cells(section: Section, row: TableRow) -> list[str]:
    name = escape_markdown(row.model) + (" (partial)" if row.partial else "")
    wrap = {"best": "**", "second": "*", "": ""}
    if row.incomplete:
        return [name, row.incomplete, *[""] * (len(section.columns) - 1)]
    cells: list[str] = []
    for place, cell in enumerate(row.cells):
        mark = wrap[find_mark(section, cell, place)]
        cells.append(f"{mark}{cell.text}{mark}" if cell.status == "value" else _why_empty(cell))
    return [name, *cells]


def escape_markdown(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    text = " ".join(text.splitlines())
    for character in "\\`*_|<>[]":
        text = text.replace(character, "\\" + character)
    return text


# LaTeX


def _render_latex_section(section: Section) -> str:
    groups = group_columns(section.columns)
    body = [f"{_latex_row(section, row)} \\\\" for row in section.rows]
    notes = " ".join(f"{_escape_latex(note)}." for note in section.notes)
    lines = [
        "\\begin{table}[t]",
        "\\centering",
        f"\\caption{{{_escape_latex(f'{section.title} ({write_caption(section)}).')}{' ' + notes if notes else ''}}}",
        f"\\begin{{tabular}}{{l{''.join(' ' + 'r' * len(group.places) for group in groups)}}}",
        "\\toprule",
        f"{_latex_titles(groups)} \\\\",
        " ".join(_latex_rules(groups)),
        f"References & {' & '.join(_escape_latex(column.references) for column in section.columns)} \\\\",
        "\\midrule",
        *body,
        "\\bottomrule",
        "\\end{tabular}",
        "\\end{table}",
        *_latex_efficiency(section),
    ]
    return "\n".join(lines) + "\n"


def _latex_efficiency(section: Section) -> list[str]:
    """A table of its own."""
    if not section.efficiency:
        return []
    notes = " ".join(f"{_escape_latex(note)}." for note in write_notes(section.efficiency))
    rows = [" & ".join(map(_escape_latex, write_cells(row))) for row in section.efficiency]
    return [
        "",
        "\\begin{table}[t]",
        "\\centering",
        f"\\caption{{{_escape_latex(section.title)}: what predicting took. {notes}}}",
        f"\\begin{{tabular}}{{l{' r' * (len(HEADINGS) - 2)} l}}",
        "\\toprule",
        f"{' & '.join(map(_escape_latex, HEADINGS))} \\\\",
        "\\midrule",
        *(f"{row} \\\\" for row in rows),
        "\\bottomrule",
        "\\end{tabular}",
        "\\end{table}",
    ]


def _latex_titles(groups: Sequence[Group]) -> str:
    cells = [
        f"\\multicolumn{{{len(group.places)}}}{{c}}{{{_escape_latex(column_title(group.first))}{_latex_arrow(group.first)}}}"
        for group in groups
    ]
    return " & ".join(["", *cells]).lstrip()


def _latex_arrow(column: Column) -> str:
    return {"↑": " $\\uparrow$", "↓": " $\\downarrow$", "": ""}[arrow(column)]


def _latex_rules(groups: Sequence[Group]) -> list[str]:
    # The first column of the table is the name of the model.
    return [f"\\cmidrule(lr){{{group.places[0] + 2}-{group.places[-1] + 2}}}" for group in groups]


def _latex_row(section: Section, row: TableRow) -> str:
    name = _escape_latex(row.model) + ("$^\\dagger$" if row.partial else "")
    if row.incomplete:
        return f"{name} & \\multicolumn{{{len(section.columns)}}}{{c}}{{{_escape_latex(row.incomplete)}}}"
    wrap = {"best": "\\textbf{%s}", "second": "\\underline{%s}", "": "%s"}
    cells: list[str] = []
    for place, cell in enumerate(row.cells):
        text = cell.text.replace("-", "$-$") if cell.status == "value" else _why_empty(cell)
        cells.append(wrap[find_mark(section, cell, place)] % text)
    return " & ".join([name, *cells])


_LATEX = str.maketrans(
    {
        **{character: f"\\{character}" for character in "&%$#_{}"},
        "\\": "\\textbackslash{}",
        "~": "\\textasciitilde{}",
        "^": "\\textasciicircum{}",
    }
)


def _escape_latex(text: str) -> str:
    # Two hyphens in a row are an en dash, and an option has two.
    return text.translate(_LATEX).replace("--", "-{}-")


# Both


def _why_empty(cell: Cell) -> str:
    return cell.status if cell.status in NOT_SCORED else "--"


def _has_marks(section: Section) -> bool:
    return any(find_mark(section, cell, place) for row in section.rows for place, cell in enumerate(row.cells))
