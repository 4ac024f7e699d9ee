"""The HTML page: whole by itself, readable without seeing it, and nothing in it is taken for markup."""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from collections.abc import Callable
from html.parser import HTMLParser

import pytest

from kaleido_bench.publish.html import render_html
from kaleido_bench.publish.tables import build_table
from kaleido_bench.score.results.records import Result

VOID = {"meta", "!doctype"}


class Page(HTMLParser):
    """Tags in order, with their attributes and the text directly inside; unbalanced ones are an error."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[int, str] = {}
        self._open: list[tuple[str, int]] = []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append((tag, len(self.tags) - 1))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        if self._open:
            place = self._open[-1][1]
            self.texts[place] = self.texts.get(place, "") + data

    def find(self, tag: str) -> list[tuple[dict[str, str | None], str]]:
        return [(attrs, self.texts.get(place, "")) for place, (name, attrs) in enumerate(self.tags) if name == tag]


@pytest.fixture
def page(every_case: list[Result]) -> Page:
    return Page(render_html(build_table(every_case)))


def test_it_asks_nobody_for_anything(every_case: list[Result]) -> None:
    text = render_html(build_table(every_case))
    assert not re.search(r"https?:|//[a-z]|url\(|@import|<img|<link|<iframe| src=", text)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy is not None and "default-src 'none'" in policy[1]
    for tag in ("style", "script"):
        inside = re.search(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        assert inside is not None
        digest = b64encode(hashlib.sha256(inside[1].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy[1], "the policy would keep the page's own from working"
    assert " style=" not in text and " onclick=" not in text


def test_every_number_has_its_headings(page: Page) -> None:
    assert page.find("html")[0][0]["lang"] == "en" and page.find("title")[0][1] == "kaleido-bench results"
    assert len(page.find("table")) == len(page.find("caption")) == 2
    scopes = [attrs.get("scope") for attrs, _ in page.find("th")]
    assert set(scopes) == {"col", "colgroup", "row"} and scopes.count("row") == 7
    labels = [attrs.get("aria-label") for attrs, _ in page.find("button")]
    assert "PSNR, 3 references" in labels and len(labels) == 2 + 12 + 3
    groups = sum(int(attrs["colspan"] or 0) for attrs, _ in page.find("th") if attrs.get("scope") == "colgroup")
    assert groups == 12 + 3


def test_marks_are_said_in_words(page: Page) -> None:
    best = [text for attrs, text in page.find("td") if "best" in (attrs.get("class") or "").split()]
    said = [text for attrs, text in page.find("span") if attrs.get("class") == "said"]
    assert best and len(best) == said.count(" (best)")


def test_cells_sort_by_the_number_in_full_and_columns_by_the_better_end_first(page: Page) -> None:
    cells = [(attrs["data-value"], text) for attrs, text in page.find("td") if attrs.get("data-value")]
    assert ("13.9949", "13.99") in cells and ("13.9951", "14.00") in cells
    first = {attrs["data-place"]: attrs["data-first"] for attrs, _ in page.find("th") if attrs.get("data-first")}
    assert first["-1"] == "ascending" and first["0"] == "descending" and first["6"] == "ascending"


def test_names_are_text(result: Callable[..., Result]) -> None:
    name = '<script>alert("x")</script>&amp;'
    text = render_html(build_table([result(name, {"psnr": (20.0,)}, labels=("1",), title="<b>bold</b>")]))
    assert name not in text and "<b>" not in text
    assert [text for attrs, text in Page(text).find("th") if attrs.get("scope") == "row"] == [name]


def test_what_is_missing_is_said(page: Page, result: Callable[..., Result]) -> None:
    texts = [text for _, text in page.find("td")]
    assert "weights missing" in texts and "incomplete 97 % (281 of 288 views)" in texts and "–" in texts
    infinite = render_html(build_table([result("a", {"psnr": (float("inf"),)}, labels=("1",))]))
    assert 'data-value="Infinity"' in infinite
