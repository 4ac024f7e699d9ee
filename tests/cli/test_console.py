from __future__ import annotations

import pytest

from kaleido_bench.cli import console
from kaleido_bench.cli.console import LateProgress, format_pace, format_seconds, show_progress
from kaleido_bench.cli.options import parse_model_args
from kaleido_bench.cli.printing import format_rows
from kaleido_bench.errors import BenchError


def test_seconds() -> None:
    assert [format_seconds(s) for s in (0.4, 59.4, 60, 3599, 7500)] == [
        "0 s",
        "59 s",
        "1 min 00 s",
        "59 min 59 s",
        "2 h 05 min",
    ]


def test_pace() -> None:
    assert format_pace(0, 10, 5, "cases") == ""
    assert format_pace(5, 10, 2.5, "cases") == "2.0 cases/s, 2 s left"
    assert format_pace(2, 10, 8, "cases") == "4.0 s a case, 32 s left"
    assert format_pace(10, 10, 5, "cases") == "2.0 cases/s"


def test_plain_lines_are_rare_and_the_last_one_is_always_there(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(0, 1000, 4))
    monkeypatch.setattr(console.time, "monotonic", lambda: float(next(clock)))
    with show_progress("protocol model: predict", 6, "cases") as advance:
        for done in range(1, 7):
            advance(done)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "protocol model: predict: 3/6, 4.0 s a case, 12 s left",
        "protocol model: predict: 6/6, 4.0 s a case",
    ]


def test_a_terminal_gets_a_bar(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console.sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "110")
    with show_progress("protocol model: predict", 2, "cases") as advance:
        advance(1)
        advance(2)
    text = capsys.readouterr().err
    assert "protocol model: predict" in text and "2/2" in text


def test_late_progress_counts_from_its_start_and_says_nothing_without_work(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([0.0, 0.0, 4.0, 8.0])
    monkeypatch.setattr(console.time, "monotonic", lambda: next(clock))
    with LateProgress("idle", "views"):
        pass
    with LateProgress("busy", "views") as progress:
        progress.report(1, 2)
        progress.report(2, 2)
    assert capsys.readouterr().err == "busy: 2/2, 4.0 s a view\n"


def test_rows_are_aligned() -> None:
    assert format_rows([["a", "bcd", "e"], ["fgh", "i", ""]]) == "a    bcd  e\nfgh  i"


@pytest.mark.parametrize("texts", [["steps"], ["=4"], ["steps=1", "steps=2"]])
def test_model_arguments_that_are_none(texts: list[str]) -> None:
    with pytest.raises(BenchError, match="KEY=VALUE"):
        parse_model_args(texts)


def test_a_model_argument_may_hold_an_equals_sign_or_nothing() -> None:
    assert parse_model_args(["a=b=c", "d="]) == {"a": "b=c", "d": ""}
    assert parse_model_args(None) == {}
