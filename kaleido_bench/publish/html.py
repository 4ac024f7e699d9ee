"""A table as one HTML page that needs nothing else: no network, no font, no script of others.

It reads without a script: then it only cannot be sorted. Marks are said in words to those who do not see them, numbers
of one column line up, and both colour schemes keep the contrast that WCAG 2.2 asks of text (4.5 : 1).
"""

from __future__ import annotations

import hashlib
import math
from base64 import b64encode
from collections.abc import Mapping, Sequence
from html import escape

from kaleido_bench.publish.efficiency import HEADINGS, EfficiencyRow, write_cells, write_notes
from kaleido_bench.publish.tables import NOT_SCORED, Cell, Section, Table, TableRow
from kaleido_bench.publish.words import Group, arrow, column_title, find_mark, group_columns, write_caption

STYLE = """
:root { color-scheme: light dark; --line: #8b8f98; --dim: #565b64; --best: #0b6e3a; --hover: #eef1f6; }
@media (prefers-color-scheme: dark) { :root { --line: #71767f; --dim: #a9afb9; --best: #6fd39b; --hover: #23272e; } }
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 100rem; padding: 0 1rem; }
section { margin-bottom: 3rem; }
h2 { font-size: 1.25rem; margin: 0 0 .25rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: .75rem 0; }
caption { text-align: left; color: var(--dim); font-size: .875rem; padding-bottom: .5rem; }
th, td { padding: .3rem .7rem; text-align: right; white-space: nowrap; font-weight: normal; }
th[scope=row], .words { text-align: left; }
th[scope=row], th.words:first-child { position: sticky; left: 0; background: Canvas; }
.start { padding-left: 1.6rem; }
thead tr:last-child { border-bottom: 2px solid var(--line); }
thead th[scope=colgroup] { text-align: center; font-weight: 600; border-bottom: 1px solid var(--line); }
tbody tr { border-bottom: 1px solid color-mix(in srgb, var(--line) 35%, transparent); }
tbody tr:hover, tbody tr:hover th { background: var(--hover); }
button { font: inherit; color: inherit; background: none; border: 0; padding: 0; cursor: pointer; }
button:focus-visible { outline: 2px solid; outline-offset: 3px; }
th[aria-sort=ascending] button::after { content: " \\25B2"; }
th[aria-sort=descending] button::after { content: " \\25BC"; }
.best { font-weight: 700; color: var(--best); }
.second { text-decoration: underline; text-underline-offset: 3px; }
.none { color: var(--dim); }
.notes { color: var(--dim); font-size: .875rem; padding-left: 1.2rem; }
.said { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
@media print { button::after { content: none !important; } }
"""

# Rows without a number stay at the end, whichever way a column is sorted.
SCRIPT = """
for (const table of document.querySelectorAll("table")) {
  const body = table.tBodies[0], status = document.getElementById("status");
  for (const button of table.querySelectorAll("th button")) button.addEventListener("click", () => {
    const head = button.closest("th"), place = Number(head.dataset.place), first = head.dataset.first;
    const order = head.ariaSort === first ? (first === "ascending" ? "descending" : "ascending") : first;
    for (const other of table.querySelectorAll("th[aria-sort]")) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", order);
    const key = row => (row.querySelector(`[data-place="${place}"]`) || {dataset: {}}).dataset.value;
    const sign = order === "ascending" ? 1 : -1;
    const compare = (a, b) => isNaN(a) || isNaN(b) ? a.localeCompare(b) : Number(a) - Number(b);
    [...body.rows].sort((one, two) => {
      const a = key(one), b = key(two);
      return a === undefined ? (b === undefined ? 0 : 1) : b === undefined ? -1 : sign * compare(a, b);
    }).forEach(row => body.append(row));
    status.textContent = `sorted by ${button.getAttribute("aria-label") || button.textContent}, ${order}`;
  });
}
"""


def render_html(table: Table) -> str:
    """The page. Sections become sections, in order."""
    title = table.sections[0].title if len(table.sections) == 1 else "kaleido-bench results"
    heading = '<h1 class="said">kaleido-bench results</h1>'
    return render_document(title, [heading, *(_render_section(section) for section in table.sections)])


def render_document(title: str, main: Sequence[str], *, style: str = STYLE) -> str:
    """A whole page around some markup.

    Args:
        title: of the window, as plain text.
        main: markup, whose text is escaped.
        style: all of the page's style.
    """
    # The policy lets this very style and script run and nothing else, and keeps the page from asking any server.
    policy = f"default-src 'none'; style-src {_hash_source(style)}; script-src {_hash_source(SCRIPT)}"
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            f"<title>{escape(title)}</title>",
            f"<style>{style}</style>",
            "</head>",
            "<body>",
            "<main>",
            *main,
            "</main>",
            '<p id="status" class="said" role="status"></p>',
            f"<script>{SCRIPT}</script>",
            "</body>",
            "</html>\n",
        ]
    )


def _hash_source(text: str) -> str:
    return f"'sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _render_section(section: Section) -> str:
    return "\n".join(
        [
            "<section>",
            f"<h2>{escape(section.title)}</h2>",
            render_table(section),
            render_notes([*list_legend(section), *section.notes]),
            *_render_efficiency(section.efficiency),
            "</section>",
        ]
    )


def render_table(
    section: Section, tags: Mapping[str, str] | None = None, *, ranks: bool = False, quiet: bool = False
) -> str:
    """The numbers of a section, sortable.

    Args:
        tags: model -> a word that stands beside its name.
        ranks: write the rank of each number beside it; `=` where others share it.
        quiet: the caption is there for those who do not see the page; the others have read it above.
    """
    groups = group_columns(section.columns)
    caption = escape(f"{write_caption(section)}. Columns: the number of reference views.")
    return "\n".join(
        [
            '<div class="scroll" tabindex="0" role="region" aria-label="Results">',
            "<table>",
            f"<caption{_class('said' if quiet else '')}>{caption}</caption>",
            "<thead>",
            f"<tr><td></td>{''.join(_render_group(group) for group in groups)}</tr>",
            f"<tr>{render_heading('model', -1, 'ascending', kind='words')}{_render_columns(groups, section)}</tr>",
            "</thead>",
            "<tbody>",
            *(_render_row(section, row, (tags or {}).get(row.model, ""), ranks=ranks) for row in section.rows),
            "</tbody>",
            "</table>",
            "</div>",
        ]
    )


def list_legend(section: Section) -> list[str]:
    """What the marks of a section mean, where it has any."""
    marks = any(find_mark(section, cell, place) for row in section.rows for place, cell in enumerate(row.cells))
    return ["bold: best; underlined: second; equal after rounding shares a mark"] if marks else []


def _render_group(group: Group) -> str:
    return f'<th scope="colgroup" colspan="{len(group.places)}">{escape(group.title)}</th>'


def _render_columns(groups: Sequence[Group], section: Section) -> str:
    headings: list[str] = []
    for group in groups:
        best_first = "descending" if arrow(group.first) == "↑" else "ascending"
        for place in group.places:
            references = section.columns[place].references
            said = f"{column_title(group.first)}, {references} references"
            kind = "start" if place == group.places[0] else ""
            headings.append(render_heading(references, place, best_first, said, kind))
    return "".join(headings)


def render_heading(text: str, place: int, first: str, said: str = "", kind: str = "") -> str:
    """The heading of a column that can be sorted by.

    Args:
        place: of the column, as its cells have it in `data-place` beside their `data-value`.
        first: the order that a first click gives, ascending or descending.
        said: its name where the text alone says too little.
        kind: its class.
    """
    label = f' aria-label="{escape(said)}"' if said else ""
    return (
        f'<th scope="col"{_class(kind)} data-place="{place}" data-first="{first}">'
        f'<button type="button"{label}>{escape(text)}</button></th>'
    )


def _class(*words: str) -> str:
    return f' class="{" ".join(filter(None, words))}"' if any(words) else ""


def _render_row(section: Section, row: TableRow, tag: str, *, ranks: bool) -> str:
    words = [word for word in ("(partial)" if row.partial else "", tag) if word]
    beside = "".join(f' <span class="none">{escape(word)}</span>' for word in words)
    name = f'<th scope="row" data-place="-1" data-value="{escape(row.model)}">{escape(row.model)}{beside}</th>'
    if row.incomplete:
        return f'<tr>{name}<td class="none words" colspan="{len(row.cells)}">{escape(row.incomplete)}</td></tr>'
    starts = {group.places[0] for group in group_columns(section.columns)}
    cells = (
        _render_cell(section, cell, place, "start" if place in starts else "", ranks=ranks)
        for place, cell in enumerate(row.cells)
    )
    return f"<tr>{name}{''.join(cells)}</tr>"


def _render_cell(section: Section, cell: Cell, place: int, start: str, *, ranks: bool) -> str:
    if cell.status != "value":
        return f"<td{_class('none', start)}>{cell.status if cell.status in NOT_SCORED else '–'}</td>"
    mark = find_mark(section, cell, place)
    said = f'<span class="said"> ({mark})</span>' if mark else ""
    value = "Infinity" if cell.mean == math.inf else repr(cell.mean)
    rank = _render_rank(section, cell, place) if ranks and cell.rank is not None else ""
    return f'<td{_class(mark, start)} data-place="{place}" data-value="{value}">{cell.text}{said}{rank}</td>'


def _render_rank(section: Section, cell: Cell, place: int) -> str:
    shared = sum(row.cells[place].rank == cell.rank for row in section.rows) > 1
    return f'<small class="rank"><span class="said"> rank </span>{"=" if shared else ""}{cell.rank}</small>'


def render_notes(notes: Sequence[str]) -> str:
    """A list of notes, or nothing."""
    items = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return f'<ul class="notes">{items}</ul>' if items else ""


def _render_efficiency(rows: Sequence[EfficiencyRow]) -> list[str]:
    if not rows:
        return []
    ends = (0, len(HEADINGS) - 1)
    headings = "".join(
        f'<th scope="col"{_class("words" if place in ends else "")}>{escape(word)}</th>'
        for place, word in enumerate(HEADINGS)
    )
    lines: list[str] = []
    for name, *numbers, device in map(write_cells, rows):
        cells = "".join(f"<td>{escape(word)}</td>" for word in numbers)
        lines.append(f'<tr><th scope="row">{escape(name)}</th>{cells}<td class="words">{escape(device)}</td></tr>')
    return [
        '<div class="scroll" tabindex="0" role="region" aria-label="What predicting took">',
        "<table>",
        "<caption>What predicting took. Not ranked.</caption>",
        f"<thead><tr>{headings}</tr></thead>",
        "<tbody>",
        *lines,
        "</tbody>",
        "</table>",
        "</div>",
        render_notes(write_notes(rows)),
    ]
