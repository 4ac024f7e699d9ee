"""Predictions that are not what their manifest says are found and refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kaleido_bench.data.images import encode_png
from kaleido_bench.errors import BenchError
from kaleido_bench.items import WorkItem
from kaleido_bench.predictions import (
    Run,
    check_prediction,
    load_prediction,
    unexpected_items,
    write_prediction,
)
from kaleido_bench.protocol import LoadedProtocol
from tests.predictions.conftest import SIZE


def break_missing(folder: Path) -> None:
    (folder / "t/1.png").unlink()


def break_extra(folder: Path) -> None:
    shutil.copy(folder / "t/1.png", folder / "t/2.png")


def break_size(folder: Path) -> None:
    (folder / "t/1.png").write_bytes(encode_png(np.zeros((12, 15, 3), np.uint8)))


def break_altered(folder: Path) -> None:
    (folder / "t/1.png").write_bytes(encode_png(np.zeros((12, 16, 3), np.uint8)))


def break_swapped(folder: Path) -> None:
    first, second = (folder / "t/0.png").read_bytes(), (folder / "t/1.png").read_bytes()
    (folder / "t/0.png").write_bytes(second)
    (folder / "t/1.png").write_bytes(first)


def break_truncated(folder: Path) -> None:
    path = folder / "t/1.png"
    path.write_bytes(path.read_bytes()[:-200])


def break_empty(folder: Path) -> None:
    (folder / "t/1.png").write_bytes(b"")


def break_alpha(folder: Path) -> None:
    (folder / "t/1.png").write_bytes(encode_png(np.zeros((12, 16, 4), np.uint8)))


def break_manifest_missing(folder: Path) -> None:
    (folder / "case.json").unlink()


def break_manifest_syntax(folder: Path) -> None:
    (folder / "case.json").write_bytes((folder / "case.json").read_bytes()[:-20])


def edit_manifest(folder: Path, **changes: Any) -> None:
    manifest = json.loads((folder / "case.json").read_bytes())
    (folder / "case.json").write_text(json.dumps({**manifest, **changes}))


def break_manifest_key(folder: Path) -> None:
    edit_manifest(folder, second=1.0)


def break_manifest_item(folder: Path) -> None:
    edit_manifest(folder, item="b-r2")


def break_manifest_protocol(folder: Path) -> None:
    edit_manifest(folder, protocol_hash="0" * 64)


def break_manifest_adapter(folder: Path) -> None:
    edit_manifest(folder, fingerprint="other")


def break_manifest_hashes(folder: Path) -> None:
    manifest = json.loads((folder / "case.json").read_bytes())
    edit_manifest(folder, sha256={"t/0": manifest["sha256"]["t/0"], "t/9": "0" * 64})


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (break_missing, ["t/1.png: missing"]),
        (break_extra, ["t/2.png: extra, no target of case 'a-r2'"]),
        (break_size, ["t/1.png: 15x12, expected 16x12"]),
        (break_altered, ["t/1.png: altered, its sha256 is not the one in case.json"]),
        (break_swapped, ["t/0.png: altered", "t/1.png: altered"]),
        (break_truncated, ["t/1.png: truncated or not a PNG"]),
        (break_empty, ["t/1.png: truncated or not a PNG (0 bytes)"]),
        (break_alpha, ["t/1.png: 4 channels, expected 3"]),
        (break_manifest_missing, ["case.json: no such file"]),
        (break_manifest_syntax, ["case.json: not JSON"]),
        (break_manifest_key, ["case.json: unknown key 'second'"]),
        (break_manifest_item, ["case.json: item 'b-r2', expected 'a-r2'"]),
        (break_manifest_protocol, ["case.json: protocol hash"]),
        (break_manifest_adapter, ["case.json: adapter fingerprint 'other', expected 'f1'"]),
        (break_manifest_hashes, ["no sha256 for the view 't/1'", "sha256 for 't/9', which is no target"]),
    ],
)
def test_a_damaged_prediction_is_found_and_refused(
    run: Run, item: WorkItem, written: Path, damage: Any, words: list[str]
) -> None:
    damage(written)
    state = check_prediction(run, item, SIZE)
    assert state.present and not state.whole
    for word in words:
        assert any(word in problem for problem in state.problems), state.problems
    assert all("\n" not in problem for problem in state.problems)
    with pytest.raises(BenchError) as caught:
        load_prediction(run, item, SIZE)
    assert str(written) in str(caught.value) and "Predict it again" in str(caught.value)


def test_a_prediction_of_another_size_is_found_even_when_its_hashes_agree(run: Run, item: WorkItem) -> None:
    write_prediction(run, item, np.zeros((2, 12, 15, 3), np.uint8), seed=0, seconds=0)
    assert [problem.split(": ")[1] for problem in check_prediction(run, item, SIZE).problems] == [
        "15x12, expected 16x12"
    ] * 2


def test_folders_that_answer_nothing_are_listed(run: Run, loaded: LoadedProtocol, written: Path) -> None:
    assert unexpected_items(run, loaded) == []
    (run.predictions / "c-r1").mkdir()
    (run.predictions / ".tmp.host.1.x").mkdir()
    assert unexpected_items(run, loaded) == ["c-r1"]


def test_hidden_files_of_an_operating_system_are_not_ours(
    run: Run, loaded: LoadedProtocol, item: WorkItem, written: Path
) -> None:
    for folder in (run.predictions, written, written / "t"):
        (folder / ".DS_Store").write_bytes(b"x")
    assert check_prediction(run, item, SIZE).whole and unexpected_items(run, loaded) == []
