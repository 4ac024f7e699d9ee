"""Pages in HTML. Each is whole by itself: no server, no network, no script but the one that sorts."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from urllib.parse import quote

from kaleido_bench.publish import html
from kaleido_bench.publish.html import list_legend, render_document, render_heading, render_notes, render_table
from kaleido_bench.publish.site import curves
from kaleido_bench.publish.site.subjects import Subject
from kaleido_bench.publish.site.tables import build_scene, list_scenes, split_section
from kaleido_bench.publish.site.words import (
    MEASURED,
    MODEL_HEADINGS,
    PUBLISHED,
    WHY_NOT,
    PublishedTable,
    build_published,
    list_baselines,
    list_facts,
    list_remarks,
    name_targets,
    tag_models,
    write_model,
)
from kaleido_bench.publish.tables import Section, build_table
from kaleido_bench.publish.words import column_title, group_columns
from kaleido_bench.records import HASH_LENGTH

STYLE = (
    html.STYLE
    + """
body { margin: 1.5rem auto 4rem; max-width: 76rem; overflow-wrap: break-word; }
th[scope=row] { max-width: min(30rem, 45vw); white-space: normal; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: .5rem 0 .25rem; }
h2 { margin: 2.5rem 0 .5rem; }
h3 { font-size: 1rem; margin: 1.5rem 0 .25rem; }
p { max-width: 48rem; margin: .5rem 0; }
a { color: inherit; text-underline-offset: 3px; }
code, .mono { font: .85em/1.5 ui-monospace, monospace; overflow-wrap: anywhere; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; margin: 1rem 0; font-size: .9375rem; }
dt { color: var(--dim); }
dd { margin: 0; min-width: 0; }
@media (max-width: 48rem) { thead th[scope=colgroup] { text-align: left; padding-left: 1.6rem; } }
@media (max-width: 34rem) { dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: .5rem; } }
.lead { color: var(--dim); }
.rank { display: inline-block; min-width: 1.4em; padding-left: .25em; text-align: left; }
.rank { color: var(--dim); font-weight: normal; }
td.best .rank, td.second .rank { text-decoration: none; }
details { margin: 1rem 0; }
summary { cursor: pointer; font-weight: 600; }
td.words { white-space: normal; min-width: 9rem; max-width: 22rem; vertical-align: top; }
td.short { min-width: 0; }
td code { white-space: nowrap; }
td.why { min-width: 15rem; }
.listed td.title { min-width: 13rem; }
.scenes { display: flex; flex-wrap: wrap; gap: 0 2rem; }
.scene { min-width: 0; max-width: 100%; }
.listed th[scope=row] { vertical-align: top; }
caption { position: sticky; left: 0; width: min(100%, calc(100vw - 2rem)); }
.reported th:first-child { text-align: left; }
.reported th[scope=row] { white-space: normal; min-width: 8rem; vertical-align: top; }
.reported td { vertical-align: top; }
.reported tbody tr.ours { font-style: italic; border-bottom: 2px solid var(--line); }
.reported { border-left: 3px solid var(--line); padding-left: .5rem; }
"""
    + curves.STYLE
)


def page_name(subject: Subject) -> str:
    """The file of a protocol's page."""
    return f"{subject.protocol.name}.html"


def data_name(subject: Subject, file: str) -> str:
    """The file of one of its results, as it is stored."""
    return f"data/{subject.protocol.name}/{file}"


def csv_name(subject: Subject) -> str:
    """The file of its table."""
    return f"data/{subject.protocol.name}.csv"


# A protocol


def render_page(subject: Subject) -> str:
    """The page of one protocol."""
    protocol = subject.protocol
    up = "../" * protocol.name.count("/")
    facts = "".join(
        f"<dt>{escape(fact.title)}</dt><dd{_class('mono' if fact.mono else '')}>{escape(fact.text)}</dd>"
        for fact in list_facts(subject)
    )
    main = [
        f'<nav><a href="{up}index.html">All protocols</a></nav>',
        f"<h1>{escape(protocol.title)}</h1>",
        f"<dl>{facts}</dl>",
        *(_render_results(subject, up) if subject.results else _render_nothing(subject)),
        *_render_published(subject),
        *(_render_models(subject, up) if subject.results else []),
        *(line for title, lines in list_remarks(protocol) for line in (f"<h2>{title}</h2>", render_notes(lines))),
    ]
    return render_document(f"{protocol.name}: {protocol.title}", main, style=STYLE)


def _render_nothing(subject: Subject) -> list[str]:
    return [
        "<h2>Results</h2>",
        "<p>None yet. What is below was published by others.</p>" if subject.published else "<p>None yet.</p>",
    ]


def _render_results(subject: Subject, up: str) -> list[str]:
    sections = build_table(subject.results, "both").sections
    lines = ["<h2>Results</h2>", f'<p class="lead">{escape(MEASURED)}</p>']
    for section in sections:
        lines += [f"<h3>{escape(name_targets(section))}</h3>"] if len(sections) > 1 else []
        lines += _render_section(subject, section)
    lines.append(f'<p><a href="{up}{quote(csv_name(subject))}">The table as CSV</a>, every number in full.</p>')
    return [*lines, *_render_scenes(subject)]


def _render_section(subject: Subject, section: Section) -> list[str]:
    tags = tag_models(subject.results, subject.protocol.dataset.name)
    baselines = list_baselines(subject.results)
    return [
        *(render_table(block, tags, ranks=True, quiet=place > 0) for place, block in enumerate(split_section(section))),
        render_notes([*list_legend(section), "small: the rank; =: shared", _describe_order(section), *section.notes]),
        *curves.render_curves(section, baselines),
    ]


def _describe_order(section: Section) -> str:
    first = column_title(group_columns(section.columns)[0].first)
    return f"from top to bottom: by the sum of the ranks in {first}; a click on a heading sorts by it"


def _render_scenes(subject: Subject) -> list[str]:
    scenes = list_scenes(subject.results)
    if len(scenes) < 2:
        return []
    lines = ["<details>", f"<summary>Each of the {len(scenes)} scenes</summary>", '<div class="scenes">']
    for scene in scenes:
        lines.append(f'<div class="scene"><h3>{escape(scene)}</h3>')
        lines += [render_table(block, quiet=True) for block in split_section(build_scene(subject.results, scene))]
        lines.append("</div>")
    return [*lines, "</div>", "</details>"]


def _render_models(subject: Subject, up: str) -> list[str]:
    headings = "".join(f'<th scope="col" class="words">{escape(word)}</th>' for word in (*MODEL_HEADINGS, "result"))
    lines: list[str] = []
    for result in subject.results:
        name, *cells = write_model(result, subject.protocol.dataset.name)
        file = subject.files[result.model.model].name
        link = f'<a href="{up}{quote(data_name(subject, file))}">JSON</a>'
        words = "".join(f'<td class="words short">{escape(cell)}</td>' for cell in cells)
        lines.append(f'<tr><th scope="row">{escape(name)}</th>{words}<td class="words short">{link}</td></tr>')
    notes = [
        "zero-shot: what the model says it was trained on does not have this protocol's data set",
        f"weights and predictions: the first {HASH_LENGTH} digits of their sha256",
    ]
    return [
        "<h2>Models</h2>",
        '<div class="scroll listed" tabindex="0" role="region" aria-label="Models">',
        f"<table><thead><tr>{headings}</tr></thead><tbody>",
        *lines,
        "</tbody></table></div>",
        render_notes(notes),
    ]


# What others published


def _render_published(subject: Subject) -> list[str]:
    tables = build_published(subject)
    if not tables:
        return []
    lines = ["<h2>Published numbers</h2>", f'<p class="lead">{escape(PUBLISHED)}</p>']
    return [*lines, *(line for table in tables for line in render_published_table(table))]


def render_published_table(table: PublishedTable, level: str = "h3") -> list[str]:
    """A table of others' numbers under its title; sortable by method and number."""
    headings = "".join(
        render_heading(word, place, "descending" if "↑" in word else "ascending")
        if place == 0 or place in table.numbers
        else f'<th scope="col" class="words">{escape(word)}</th>'
        for place, word in enumerate(table.headings)
    )
    return [
        f"<{level}>{escape(table.title)}</{level}>",
        f'<div class="scroll reported" tabindex="0" role="region" aria-label="{escape(table.title)}">',
        f"<table><thead><tr>{headings}</tr></thead><tbody>",
        *(_render_line(table, line, "ours") for line in table.anchors),
        *(_render_line(table, line, "") for line in table.lines),
        "</tbody></table></div>",
    ]


def _render_line(table: PublishedTable, line: Sequence[str], kind: str) -> str:
    name, *cells = line
    words = "".join(_render_cell(table, place, cell) for place, cell in enumerate(cells, start=1))
    sorting = f' data-place="0" data-value="{escape(name)}"'
    return f'<tr{_class(kind)}><th scope="row"{sorting}>{escape(name)}</th>{words}</tr>'


def _render_cell(table: PublishedTable, place: int, cell: str) -> str:
    if place not in table.numbers:
        return f"<td{_class('words why' if table.headings[place] == WHY_NOT else 'words')}>{escape(cell)}</td>"
    # Nothing, and "all", sort to the end.
    value = f' data-place="{place}" data-value="{cell}"' if cell.replace(".", "").isdigit() else ""
    return f"<td{value}>{escape(cell)}</td>"


def _class(word: str) -> str:
    return f' class="{word}"' if word else ""
