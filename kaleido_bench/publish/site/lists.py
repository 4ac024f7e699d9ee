"""The page that lists all others, and the one of numbers under protocols that this project has not."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from urllib.parse import quote

from kaleido_bench.publish.html import render_document
from kaleido_bench.publish.site.pages import STYLE, page_name, render_published_table
from kaleido_bench.publish.site.subjects import Elsewhere, Subject, Subjects
from kaleido_bench.publish.site.words import PUBLISHED, build_published_table, summarise_published
from kaleido_bench.publish.tables import build_table
from kaleido_bench.publish.words import column_title, group_columns
from kaleido_bench.records import short_hash

LEAD = (
    "Frozen protocols, named metric conventions, whole results. A protocol's page has every number, how it was made, "
    "and what others published on it. Numbers of two protocols do not compare."
)

ALL_CSV = "results.csv"

EXTERNAL_PAGE = "published-elsewhere.html"


def render_elsewhere(elsewhere: Sequence[Elsewhere]) -> str:
    """The page of numbers under protocols that this project has not."""
    main = [
        '<nav><a href="index.html">All protocols</a></nav>',
        "<h1>Published under protocols that are not here</h1>",
        f'<p class="lead">{escape(PUBLISHED)} Their view ids, scenes or images are not known well enough to ask the '
        "same question again.</p>",
    ]
    for each in elsewhere:
        main += render_published_table(build_published_table(each.external.title, each.published, ()), "h2")
    return render_document("Published under protocols that are not here", main, style=STYLE)


def render_index(subjects: Subjects) -> str:
    """The page that lists them."""
    main = [
        "<h1>Leaderboards of novel view synthesis</h1>",
        f'<p class="lead">{escape(LEAD)}</p>',
        "<h2>Measured here</h2>",
        *_render_list(
            ("protocol", "title", "references", "scenes", "models", "leads", "convention", "hash"),
            [_list_measured(each) for each in subjects.measured],
        ),
    ]
    main.append(f'<p><a href="{ALL_CSV}">All results as CSV</a>, a line for each number.</p>')
    if subjects.unmeasured:
        main += [
            "<h2>Published by others, not measured here yet</h2>",
            *_render_list(
                ("protocol", "title", "references", "published", "convention"),
                [_list_unmeasured(each) for each in subjects.unmeasured],
            ),
        ]
    if subjects.elsewhere:
        numbers = sum(len(line.values) for each in subjects.elsewhere for line in each.published)
        main.append(
            f'<p><a href="{EXTERNAL_PAGE}">{numbers} numbers under {len(subjects.elsewhere)} protocols that are not '
            "here</a>.</p>"
        )
    return render_document("Leaderboards of novel view synthesis", main, style=STYLE)


def _link(subject: Subject) -> str:
    return f'<a href="{quote(page_name(subject))}">{escape(subject.protocol.name)}</a>'


def _list_measured(subject: Subject) -> list[str]:
    assert subject.loaded is not None  # it has results
    protocol, loaded = subject.protocol, subject.loaded
    labels = ", ".join(loaded.reference_labels)
    scenes = str(len({case.scene for case in loaded.cases}))
    words = (protocol.title, labels, scenes, str(len(subject.results)), describe_first(subject), protocol.convention)
    return [_link(subject), *map(escape, words), f"<code>{short_hash(loaded.hash)}</code>"]


def describe_first(subject: Subject) -> str:
    """Who is on top, by the first metric at the last number of references: `kaleido@small, PSNR 18.58 at 6`."""
    section = build_table(subject.results).sections[0]
    group = group_columns(section.columns)[0]
    place = group.places[-1]
    best = [row for row in section.rows if row.cells[place].rank == 1]
    names = " = ".join(row.model for row in best)
    if not best:
        return "not ranked"
    label = section.columns[place].references
    return f"{names}, {column_title(group.first)} {best[0].cells[place].text} from {label}"


def _list_unmeasured(subject: Subject) -> list[str]:
    counts = subject.protocol.reference_counts
    references = counts if isinstance(counts, str) else ", ".join(map(str, counts))
    words = (subject.protocol.title, references, summarise_published(subject.published), subject.protocol.convention)
    return [_link(subject), *map(escape, words)]


def _render_list(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    heads = "".join(f'<th scope="col" class="words">{escape(word)}</th>' for word in headings)
    lines = [
        f'<tr><th scope="row">{name}</th>'
        + "".join(
            f'<td class="words {"title" if place == 0 else "short"}">{cell}</td>' for place, cell in enumerate(cells)
        )
        + "</tr>"
        for name, *cells in rows
    ]
    return [
        '<div class="scroll listed" tabindex="0" role="region" aria-label="Protocols">',
        f"<table><thead><tr>{heads}</tr></thead><tbody>",
        *lines,
        "</tbody></table></div>",
    ]
