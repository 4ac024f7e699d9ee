"""All files of a site, in memory. The same subjects give the same bytes."""

from __future__ import annotations

from kaleido_bench.publish.formats import render_csv
from kaleido_bench.publish.site import markdown as text
from kaleido_bench.publish.site.lists import ALL_CSV, EXTERNAL_PAGE, render_elsewhere, render_index
from kaleido_bench.publish.site.pages import csv_name, data_name, page_name, render_page
from kaleido_bench.publish.site.subjects import Subjects
from kaleido_bench.publish.tables import build_table


def build_site(subjects: Subjects, *, markdown: bool = False) -> dict[str, bytes]:
    """Contents by path: `index.html`, `<protocol>.html`, all numbers as `results.csv`, and below `data/` the
    table of each protocol and each result as it is stored.

    Args:
        markdown: each page in Markdown beside it, too.
    """
    everything = [result for subject in subjects.measured for result in subject.results]
    pages = {"index.html": render_index(subjects), ALL_CSV: render_csv(build_table(everything, "both"))}
    files: dict[str, bytes] = {}
    for subject in (*subjects.measured, *subjects.unmeasured):
        pages[page_name(subject)] = render_page(subject)
        if subject.results:
            pages[csv_name(subject)] = render_csv(build_table(subject.results, "both"))
        files |= {data_name(subject, file.name): file.data for file in subject.files.values()}
        if markdown:
            pages[f"{subject.protocol.name}.md"] = text.render_page(subject)
    if subjects.elsewhere:
        pages[EXTERNAL_PAGE] = render_elsewhere(subjects.elsewhere)
    if markdown:
        pages["index.md"] = text.render_index(subjects)
        if subjects.elsewhere:
            pages[EXTERNAL_PAGE.replace(".html", ".md")] = text.render_elsewhere(subjects.elsewhere)
    return {**{name: page.encode() for name, page in pages.items()}, **files}
