"""Tables and prose on terminals: within their width, and no word lost."""

from __future__ import annotations

import pytest

from kaleido_bench.cli.printing import fold_text, format_rows, print_rows

ROWS = [["name", "size", "title"], ["first", "12", "a title of many words"], ["second", "3", "short"]]


@pytest.mark.parametrize("width", [None, 200, 60, 45, 32])
def test_tables_keep_within_a_terminal_and_lose_no_word(width: int | None) -> None:
    rows = [[*row[:2], f"{row[2]} and words enough that a line is long" if place else row[2]]
            for place, row in enumerate(ROWS)]  # fmt: skip
    text = format_rows(rows, width)
    assert sorted(text.split()) == sorted(" ".join(cell for row in rows for cell in row).split())
    if width is not None:
        assert max(map(len, text.split("\n"))) <= width
    if width in (None, 200):
        assert len(text.split("\n")) == 3


def test_prose_is_folded_between_words() -> None:
    text = "  get          https://example.org/a/long/address/that/is/to/be/copied then unpack it there"
    folded = fold_text(text, 40, indent=15)
    assert "https://example.org/a/long/address/that/is/to/be/copied" in folded.split()
    assert folded.split("\n")[-1].startswith(" " * 15) and folded.split() == text.split()
    assert fold_text(text, None, indent=15) == text


def test_a_narrow_terminal_says_which_columns_it_lacks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("kaleido_bench.cli.printing.terminal_width", lambda: 40)
    rows = [{"name": "first", "hash": "0" * 30, "title": "a title of some ten words that is far too long"}]
    print_rows(rows, as_json=False, empty="", spare=("hash",), one_line_each=True)
    out, err = capsys.readouterr()
    assert "0" * 30 not in out and "left out for want of width: hash" in err
    assert all(len(line) <= 40 for line in out.split("\n")) and len(out.strip().split("\n")) == 2
