"""Taking a result in: what is refused, what a replacement says, and that the old one is never lost."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kaleido_bench.errors import BenchError, IncompleteError
from kaleido_bench.protocol import LoadedProtocol, load_protocol
from kaleido_bench.publish.adding import add_result
from kaleido_bench.publish.boards import Shelf, name_file, read_boards
from kaleido_bench.score.results.records import Result, load_result
from tests.publish.test_boards import FEW, SHIPPED, TINY, board, change, put, rewrite, shelf

__all__ = ["board", "shelf"]  # fixtures


@pytest.fixture(scope="module")
def loaded() -> LoadedProtocol:
    return load_protocol(FEW)


@pytest.fixture(scope="module")
def result() -> Result:
    return load_result(SHIPPED / TINY)


def test_a_result_is_taken_in_once(tmp_path: Path, result: Result, loaded: LoadedProtocol, shelf: Shelf) -> None:
    first = add_result(tmp_path, result, loaded, "run")
    assert (first.done, first.changes, first.path) == ("added", (), tmp_path / TINY)
    assert first.path.read_bytes() == (SHIPPED / TINY).read_bytes()
    stamp = first.path.stat().st_mtime_ns
    assert add_result(tmp_path, result, loaded, "run").done == "unchanged" and first.path.stat().st_mtime_ns == stamp
    assert read_boards(tmp_path, shelf).faults == ()


def test_what_a_replacement_changes_is_said(board: Path, result: Result, loaded: LoadedProtocol) -> None:
    def older(document: Any) -> None:
        document["model"]["weights_sha256"] = "0" * 64
        document["means"][0]["mean"] = 12.345
        document["means"][0]["targets"] = document["means"][1]["targets"] = "strict-novel"
        del document["means"][1]

    rewrite(board / TINY, older)
    added = add_result(board, result, loaded, "run")
    assert added.done == "replaced"
    assert [str(each) for each in added.changes] == ["weights 000000000000 -> 564757de6856", "psnr (1) 12.35 -> 19.49"]
    assert (board / TINY).read_bytes() == (SHIPPED / TINY).read_bytes()


REFUSED: list[tuple[str, Callable[[Any], None], type[Exception], str]] = [
    ("partial", put("partial", True), IncompleteError, "run: its result is partial .*takes whole ones"),
    (
        "incomplete",
        put("complete", False),
        IncompleteError,
        "run: its result has 54 of 54 views. `kbench run` finishes",
    ),
    ("metric", put("metrics.1.status", "weights missing"), IncompleteError, "run: ssim of its protocol not scored"),
    ("protocol", put("protocol.hash", "0" * 64), BenchError, "run: protocol.hash is 0000.*expected"),
    ("convention", put("convention.hash", "0" * 64), BenchError, "run: convention.hash is 0000"),
    ("mean", put("means.0.mean", 40.0), BenchError, r"run: means\(1, psnr, as-published\).mean is 40.0"),
    (
        "a metric that the one there has",
        lambda document: (
            put("metrics.2.status", "weights missing")(document),
            document.update(means=[mean for mean in document["means"] if mean["metric"] != "lpips-alex"]),
            document.update(scenes=[mean for mean in document["scenes"] if mean["metric"] != "lpips-alex"]),
        )[0],
        IncompleteError,
        "run: lpips-alex not scored, and .*kaleido@tiny.json has it.*or remove that file first",
    ),
]


@pytest.mark.parametrize(
    ("edit", "error", "message"), [each[1:] for each in REFUSED], ids=[each[0] for each in REFUSED]
)
def test_a_refused_result_leaves_the_one_that_is_there(
    board: Path,
    result: Result,
    loaded: LoadedProtocol,
    edit: Callable[[Any], None],
    error: type[Exception],
    message: str,
) -> None:
    with pytest.raises(error, match=message):
        add_result(board, change(result, edit), loaded, "run")
    assert (board / TINY).read_bytes() == (SHIPPED / TINY).read_bytes()


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_crash_while_writing_leaves_the_old_result_whole(
    board: Path, result: Result, loaded: LoadedProtocol, shelf: Shelf, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    rewrite(board / TINY, put("protocol.title", "An older title"))
    before = (board / TINY).read_bytes()

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(*((os, "fsync") if call == "fsync" else (Path, "replace")), crash)
        with pytest.raises(KeyboardInterrupt):
            add_result(board, result, loaded, "run")
    assert (board / TINY).read_bytes() == before
    assert read_boards(board, shelf).faults == ()


def test_what_a_killed_process_left_is_named_and_gone_with_the_next(
    board: Path, result: Result, loaded: LoadedProtocol, shelf: Shelf
) -> None:
    # As atomic.py names it; process ids end far below this one.
    left = board / FEW / "results" / f".tmp.{re.sub(r'[^A-Za-z0-9]', '-', socket.gethostname())[:40]}.99999999.half"
    left.write_text("{")
    (fault,) = read_boards(board, shelf).faults
    assert fault.file == str(left) and fault.found == "no result"
    add_result(board, result, loaded, "run")
    assert not left.exists() and read_boards(board, shelf).faults == ()


def test_a_file_in_the_way_that_cannot_be_read_is_not_replaced(
    board: Path, result: Result, loaded: LoadedProtocol
) -> None:
    (board / TINY).write_text("{")
    with pytest.raises(BenchError, match="not JSON"):
        add_result(board, result, loaded, "run")
    assert (board / TINY).read_text() == "{"


def test_a_label_that_is_no_file_name_gets_one(result: Result) -> None:
    name = name_file(change(result, put("model.model", "../../etc/passwd")))
    assert "/" not in name and name.endswith(".json") and not name.startswith(".")


def test_another_method_of_the_same_label_takes_no_place(board: Path, result: Result, loaded: LoadedProtocol) -> None:
    """Two programs in two folders are both `external@method.yaml`."""
    before = (board / TINY).read_bytes()
    other = change(result, put("model.variant", "another"))
    with pytest.raises(BenchError, match=r"label kaleido@tiny is that of kaleido 'tiny' in .*kaleido 'another'"):
        add_result(board, other, loaded, "run")
    assert (board / TINY).read_bytes() == before
