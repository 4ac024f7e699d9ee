"""The same pages in Markdown, for a repository's own viewer."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from kaleido_bench.publish.formats import escape_markdown, render_markdown
from kaleido_bench.publish.site.subjects import Elsewhere, Subject, Subjects
from kaleido_bench.publish.site.words import (
    MEASURED,
    MODEL_HEADINGS,
    PUBLISHED,
    PublishedTable,
    build_published,
    build_published_table,
    list_facts,
    list_remarks,
    summarise_published,
    write_model,
)
from kaleido_bench.publish.tables import build_table


def render_page(subject: Subject) -> str:
    """The page of one protocol."""
    protocol = subject.protocol
    up = "../" * protocol.name.count("/")
    lines = [
        f"[All protocols]({up}index.md)",
        "",
        f"# {escape_markdown(protocol.title)}",
        "",
        *(
            f"- {fact.title}: {f'`{fact.text}`' if fact.mono else escape_markdown(fact.text)}"
            for fact in list_facts(subject)
        ),
        "",
        "## Results",
        "",
    ]
    if subject.results:
        lines += [MEASURED, "", render_markdown(build_table(subject.results, "both"))]
    else:
        lines += ["None yet.", ""]
    if tables := build_published(subject):
        lines += ["## Published numbers", "", PUBLISHED, ""]
        lines += [line for table in tables for line in _render_published(table, "###")]
    if subject.results:
        rows = [write_model(result, protocol.dataset.name) for result in subject.results]
        lines += ["## Models", "", *_render_rows(MODEL_HEADINGS, rows)]
    for title, remarks in list_remarks(protocol):
        lines += [f"## {title}", "", *(f"- {escape_markdown(each)}" for each in remarks), ""]
    return "\n".join(lines).rstrip("\n") + "\n"


def render_elsewhere(elsewhere: Sequence[Elsewhere]) -> str:
    """The page of numbers under protocols that this project has not."""
    lines = ["[All protocols](index.md)", "", "# Published under protocols that are not here", "", PUBLISHED, ""]
    for each in elsewhere:
        lines += _render_published(build_published_table(each.external.title, each.published, ()), "##")
    return "\n".join(lines).rstrip("\n") + "\n"


def render_index(subjects: Subjects) -> str:
    """The page that lists them."""
    lines = ["# Leaderboards of novel view synthesis", "", "## Measured here", ""]
    lines += ["| protocol | title | models |", "|:--|:--|:--|"]
    for each in subjects.measured:
        models = ", ".join(result.model.model for result in each.results)
        lines.append(f"| {_link(each)} | {escape_markdown(each.protocol.title)} | {escape_markdown(models)} |")
    lines += ["", "## Published by others, not measured here yet", ""] if subjects.unmeasured else []
    lines += ["| protocol | title | published |", "|:--|:--|:--|"] if subjects.unmeasured else []
    for each in subjects.unmeasured:
        found = summarise_published(each.published)
        lines.append(f"| {_link(each)} | {escape_markdown(each.protocol.title)} | {found} |")
    if subjects.elsewhere:
        lines += ["", "[Published under protocols that are not here](published-elsewhere.md)"]
    return "\n".join(lines) + "\n"


def _link(subject: Subject) -> str:
    name = subject.protocol.name
    return f"[{escape_markdown(name)}]({quote(name)}.md)"


def _render_published(table: PublishedTable, level: str) -> list[str]:
    return [
        f"{level} {escape_markdown(table.title)}",
        "",
        *_render_rows(table.headings, [*table.anchors, *table.lines]),
    ]


def _render_rows(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [" | ".join(map(escape_markdown, row)) for row in rows]
    return [f"| {' | '.join(headings)} |", f"|{':--|' * len(headings)}", *(f"| {line} |" for line in lines), ""]
