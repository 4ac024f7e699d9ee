"""Interrupted, partial and damaged runs: what `score` and `table` say of them, and what the reader can do."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.cli.conftest import Ended, Kbench


@pytest.fixture
def run(tiny: Path, kbench: Kbench, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A whole run of `mean`, made by a command that it remembers."""
    words = ["run", tiny / "tiny.yaml", "--data", tiny / "data", "--out", tiny / "runs", "--model", "mean"]
    monkeypatch.setattr("sys.argv", ["kbench", *map(str, words)])
    ended = kbench(*words)
    assert ended.code == 0, ended.err
    return tiny / "runs/tiny/mean"


def said(ended: Ended, code: int, *parts: str) -> None:
    """That a command ended so, with one error, which says all of this."""
    errors = [line for line in ended.err.splitlines() if line.startswith("kbench: error: ")]
    assert (ended.code, len(errors)) == (code, 1), ended.err
    for part in parts:
        assert part in errors[0]


def test_missing_predictions_are_named_with_the_command_that_makes_them(run: Path, kbench: Kbench, tiny: Path) -> None:
    shutil.rmtree(run / "predictions/arc-r1")
    command = f"`kbench run {tiny}/tiny.yaml --data {tiny}/data --out {tiny}/runs --model mean`"
    parts = ("3 of 4 predictions are there", "missing arc-r1.", f"Finish it: {command}")
    scored = kbench("score", run, "--data", tiny / "data")
    said(scored, 1, *parts)
    assert "incomplete 75 % (6 of 8 views)" in scored.out
    table = kbench("table", run)
    said(table, 1, *parts)
    assert table.out == scored.out
    assert kbench(*command.strip("`").split()[1:]).code == 0
    assert kbench("table", run).code == 0


def test_of_many_missing_predictions_the_first_are_named(run: Path, kbench: Kbench, tiny: Path) -> None:
    shutil.rmtree(run / "predictions")
    said(kbench("score", run, "--data", tiny / "data"), 1, "missing arc-r1, arc-r3, bow-r1 and 1 more")


def test_an_incomplete_run_does_not_hide_the_others(run: Path, kbench: Kbench, tiny: Path) -> None:
    words = [tiny / "tiny.yaml", "--data", tiny / "data", "--out", tiny / "runs", "--model", "nearest"]
    assert kbench("run", *words).code == 0
    shutil.rmtree(run / "predictions/arc-r1")
    assert kbench("score", run, "--data", tiny / "data").code == 1
    table = kbench("table", tiny / "runs")
    said(table, 1, "3 of 4 predictions")
    assert "nearest" in table.out and "incomplete" in table.out
    assert table.err.splitlines()[-1] == f"kbench: 1 failed ({run}), 1 finished"


def test_a_partial_result_says_how_much_of_the_protocol_it_is(tiny: Path, kbench: Kbench) -> None:
    words = [tiny / "tiny.yaml", "--data", tiny / "data", "--out", tiny / "runs", "--model", "mean"]
    ended = kbench("run", *words, "--limit", 3)
    assert ended.code == 0 and "mean: partial and not ranked (--limit 3: 6 of 8 target views)" in ended.out


def test_predictions_made_after_the_result_are_said_to_be_there(tiny: Path, kbench: Kbench) -> None:
    words = [tiny / "tiny.yaml", "--data", tiny / "data", "--out", tiny / "runs", "--model", "mean"]
    run = tiny / "runs/tiny/mean"
    assert kbench("run", *words, "--limit", 1).code == 0
    assert kbench("table", run).err == ""
    assert kbench("predict", *words).code == 0
    table = kbench("table", run)
    assert (table.code, table.err) == (0, f"{run}: 3 more predictions are there: `kbench score {run}` counts them\n")
    assert kbench("score", run, "--data", tiny / "data").code == 0
    assert kbench("table", run).err == ""


def test_what_is_not_scored_says_under_which_convention_and_how(run: Path, kbench: Kbench) -> None:
    said(
        kbench("table", run, "--convention", "3dgs"),
        1,
        "no result under 3dgs",
        f"`kbench score {run} --convention 3dgs`",
    )
    (run / "result.json").unlink()
    said(kbench("table", run), 1, "no result under kbench-v1", f"`kbench score {run}`")


def test_a_convention_that_is_none_is_not_looked_for(run: Path, kbench: Kbench) -> None:
    said(kbench("table", run, "--convention", "kbench-v2"), 2, "'kbench-v2'", "Did you mean 'kbench-v1'?")


@pytest.mark.parametrize(
    ("name", "fix"),
    [
        ("result.json", "`kbench score`"),
        ("scores/kbench-v1.parquet", "`kbench score`"),
        ("predictions/arc-r1/case.json", "`kbench run` replaces a prediction that is not whole"),
        ("protocol.json", "`kbench run` writes it again"),
    ],
)
def test_a_file_that_was_cut_short_says_what_makes_it_again(
    run: Path, kbench: Kbench, tiny: Path, name: str, fix: str
) -> None:
    (run / name).write_bytes((run / name).read_bytes()[:40])
    said(kbench("table", run), 2, name, fix)
    words = ["run", tiny / "tiny.yaml", "--data", tiny / "data", "--out", tiny / "runs", "--model", "mean"]
    again = kbench(*words) if "kbench run" in fix else kbench("score", run, "--data", tiny / "data")
    assert again.code == 0, again.err
    assert kbench("table", run).code == 0
