"""What scoring refuses: predictions, ground truth and conventions that are not right."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from kaleido_bench.data.images import encode_png
from kaleido_bench.errors import BenchError
from kaleido_bench.items import Deviations
from tests.predict.tiny import HEIGHT, WIDTH
from tests.score.desk import CONVENTION, LPIPS, Desk, set_up


@pytest.mark.parametrize("message", ["missing", "extra, no target of case 'bow-r3'", "8x8", "altered", "truncated"])
def test_a_prediction_that_is_not_right_is_refused_and_corrected_it_is_scored(
    desk: Desk, tmp_path: Path, message: str
) -> None:
    """What the list of files tells is found before anything is scored; an altered image, when it is read. Then what
    was scored before it is kept, and no result is made."""
    folder = desk.path("bow-r3")
    shutil.copytree(folder, tmp_path / "kept")
    small, other = encode_png(np.zeros((8, 8, 3), np.uint8)), (folder / "0005.png").read_bytes()
    {
        "missing": (folder / "0005.png").unlink,
        "extra, no target of case 'bow-r3'": lambda: (folder / "0009.png").write_bytes(small),
        "8x8": lambda: (folder / "0004.png").write_bytes(small),
        "altered": lambda: (folder / "0004.png").write_bytes(other),
        "truncated": lambda: (folder / "0004.png").write_bytes(other[:99]),
    }[message]()
    with pytest.raises(BenchError, match=f"bow-r3/.*{message}.*; expected 2 views of {WIDTH}x{HEIGHT}"):
        desk.score()
    assert not desk.run.scores("kbench-v1").exists()
    parts = {path.stem for path in (desk.run.path / "scores").glob("*/*.json")}
    assert parts == (set() if message[:5] in ("missi", "extra") else {"arc-r1", "arc-r3", "bow-r1"})
    shutil.rmtree(folder)
    shutil.copytree(tmp_path / "kept", folder)
    assert desk.score().scored == 4 - len(parts)


def test_a_prediction_that_was_altered_after_it_was_scored_is_noticed(desk: Desk) -> None:
    desk.score()
    path = desk.path("arc-r1") / "0004.png"
    path.write_bytes((desk.path("arc-r1") / "0005.png").read_bytes())
    with pytest.raises(BenchError, match=r"arc-r1/0004.png: altered, its sha256 is not the one in case.json"):
        desk.score()


def test_a_prediction_nobody_asked_for_is_refused(desk: Desk) -> None:
    desk.path("bow-r3").rename(desk.path("bow-r33"))
    with pytest.raises(BenchError, match="bow-r33: a prediction that the protocol does not ask for"):
        desk.score()


def test_samples_of_an_earlier_call_are_not_unexpected(desk: Desk) -> None:
    from kaleido_bench.predictions import Session, append_session

    session = Session(
        started="2026-01-01T00:00:00Z",
        command=(),
        device="cpu",
        precision="float32",
        versions={},
        git_commit=None,
        git_dirty=None,
        deviations=Deviations(samples=2),
    )
    run = append_session(desk.run, session)
    shutil.copytree(desk.path("arc-r1"), desk.path("arc-r1~s1"))
    assert desk._replace(run=run).score().scored == 4


@pytest.mark.parametrize("what", ["image", "camera"])
def test_ground_truth_other_than_the_frozen_one_is_refused(tmp_path: Path, what: str) -> None:
    desk = set_up(tmp_path, **{f"{what}_sha256": {"arc": {"0005": "0" * 64}}})
    with pytest.raises(BenchError, match=f"the {what} differs from the one the protocol froze"):
        desk.score()


def test_no_data_directory_is_refused(desk: Desk) -> None:
    with pytest.raises(BenchError, match="no data directory"):
        desk.score(data_dir=None)


def test_a_convention_that_asks_for_more_than_there_is_is_refused(tmp_path: Path) -> None:
    desk = set_up(tmp_path, replace=[LPIPS])
    recipe = CONVENTION.lpips[0].model_copy(update={"version": "0.2"})
    convention = CONVENTION.model_copy(update={"lpips": (recipe,)})
    with pytest.raises(BenchError, match=r"convention: lpips-alex.version: '0.2', which this version cannot score"):
        desk.score(convention=convention)
