"""What is scored again and what is not, and that the bytes hold: killed, in pieces, twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kaleido_bench.conventions import CapInfinite
from kaleido_bench.data.images import decode_image, encode_png
from kaleido_bench.errors import BenchError
from kaleido_bench.items import Deviations
from kaleido_bench.predictions import write_prediction
from kaleido_bench.score.results.records import render_result
from kaleido_bench.score.results.rows import Row, read_rows
from tests.score.desk import CONVENTION, Desk, noise, read_scores, set_up


def test_a_second_call_scores_nothing_and_changes_no_byte(desk: Desk) -> None:
    first = desk.score()
    rows, result = read_scores(desk), render_result(desk.result())
    second = desk.score()
    assert (first.scored, first.reused, second.scored, second.reused) == (4, 0, 0, 4)
    assert (read_scores(desk), render_result(desk.result())) == (rows, result)


class _StopError(Exception):
    pass


def test_stopped_in_the_middle_it_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    whole, stopped = set_up(tmp_path / "a"), set_up(tmp_path / "b")
    whole.score()

    def stop(done: int, total: int) -> None:
        assert total == 8
        if done == 4:
            raise _StopError

    with pytest.raises(_StopError):
        stopped.score(report=stop)
    assert not stopped.run.scores("kbench-v1").exists()
    scores = stopped.score()
    assert (scores.scored, scores.reused) == (2, 2)
    assert read_scores(stopped) == read_scores(whole)
    assert render_result(stopped.result()) == render_result(whole.result())


def score_and_die(folder: Path) -> None:
    """Run in a process of its own: it scores half of the views and is killed without a word."""
    set_up(folder).score(report=lambda done, total: os.kill(os.getpid(), signal.SIGKILL) if done == 4 else None)


def test_killed_in_the_middle_it_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    whole = set_up(tmp_path / "a")
    whole.score()
    code = "import sys, pathlib, tests.score.test_rescoring as this; this.score_and_die(pathlib.Path(sys.argv[1]))"
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "b")], cwd=Path(__file__).parents[2], check=False)
    assert done.returncode == -signal.SIGKILL
    killed = set_up(tmp_path / "b", predict=())
    scores = killed.score()
    assert (scores.scored, scores.reused) == (2, 2)
    assert read_scores(killed) == read_scores(whole)
    assert render_result(killed.result()) == render_result(whole.result())


def test_scored_in_pieces_it_is_the_same_file(tmp_path: Path) -> None:
    whole, pieces = set_up(tmp_path / "a"), set_up(tmp_path / "b")
    whole.score()
    pieces.score(deviations=Deviations(scenes=("bow",)))
    pieces.score(deviations=Deviations(reference_counts=(3,)))
    assert pieces.score().scored == 1
    assert read_scores(pieces) == read_scores(whole)


def test_a_changed_prediction_is_scored_again(desk: Desk) -> None:
    before = desk.score().rows
    write_prediction(desk.run, desk.item("bow-r3"), 255 - noise(desk.item("bow-r3")), seed=1, seconds=0.5)
    after = desk.score()
    assert (after.scored, after.reused) == (1, 3)
    assert {new.case for old, new in zip(before, after.rows, strict=True) if old.value != new.value} == {"bow-r3"}


def test_a_changed_ground_truth_is_scored_again(desk: Desk) -> None:
    """The index of this protocol froze no hashes, so the file's own are what the rows depend on."""
    desk.score()
    path = desk.data_dir / "scenes" / "arc" / "images" / "0005.png"
    path.write_bytes(encode_png(255 - decode_image(path.read_bytes(), path)))
    assert desk.score().scored == 2


def test_a_convention_that_changed_under_its_name_is_scored_again(desk: Desk) -> None:
    assert max(row.value for row in desk.score().rows if row.metric == "psnr") > 5
    capped = CONVENTION.model_copy(update={"infinite_psnr": CapInfinite(policy="cap", decibels=5.0)})
    again = desk.score(convention=capped)
    assert (again.scored, again.reused) == (4, 0)
    assert max(row.value for row in again.rows if row.metric == "psnr") == 5


def test_a_part_that_cannot_be_read_is_scored_again(desk: Desk) -> None:
    desk.score()
    rows = read_scores(desk)
    part = desk.run.path / "scores" / "kbench-v1" / "arc-r1.json"
    part.write_bytes(part.read_bytes()[:50])
    assert desk.score().scored == 1
    assert read_scores(desk) == rows


def test_the_file_is_sorted_and_reads_back(desk: Desk) -> None:
    scores = desk.score()
    rows = read_rows(desk.run.scores("kbench-v1"))
    assert rows == scores.rows
    assert rows == sorted(rows, key=lambda row: (row.case, row.sample, row.view, row.metric))
    assert isinstance(rows[0], Row)


def test_a_file_that_is_not_of_rows_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    with pytest.raises(BenchError, match="no such file"):
        read_rows(path)
    path.write_bytes(b"PAR1")
    with pytest.raises(BenchError, match="not a Parquet file; expected the columns case, scene"):
        read_rows(path)
