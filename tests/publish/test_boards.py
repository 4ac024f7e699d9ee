"""A folder of results: what is found wrong in it."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kaleido_bench.errors import BenchError
from kaleido_bench.publish.boards import Shelf, find_files, load_entry, read_boards
from kaleido_bench.score.results.records import Result, load_result, render_result

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ROOT / "leaderboards"
FEW, MANY = "quickstart", "real/llff-many"


@pytest.fixture(scope="module")
def shelf() -> Shelf:
    return Shelf(None)


@pytest.fixture
def board(tmp_path: Path) -> Path:
    """Results of two protocols."""
    for name in (FEW, MANY):
        shutil.copytree(SHIPPED / name, tmp_path / "board" / name)
    return tmp_path / "board"


def change(result: Result, edit: Callable[[Any], None]) -> Result:
    document = json.loads(render_result(result))
    edit(document)
    return Result.model_validate_json(json.dumps(document))


def rewrite(path: Path, edit: Callable[[Any], None]) -> None:
    path.write_bytes(render_result(change(load_result(path), edit)))


def test_what_ships_has_no_fault(shelf: Shelf) -> None:
    read = read_boards(SHIPPED, shelf)
    assert read.faults == () and read.files == len(list(SHIPPED.glob("**/results/*.json"))) > 50
    assert {board.name for board in read.boards} == {
        path.parents[1].relative_to(SHIPPED).as_posix() for path in find_files(SHIPPED)
    }


@pytest.mark.parametrize("below", ["real", "real/llff-many", "real/llff-many/results"])
def test_a_part_of_the_folder_can_be_read(board: Path, shelf: Shelf, below: str) -> None:
    read = read_boards(board / below, shelf)
    assert (read.faults, read.files, [each.name for each in read.boards]) == ((), 4, [MANY])


def edit_file(name: str, edit: Callable[[Any], None]) -> Callable[[Path], None]:
    return lambda board: rewrite(board / name, edit)


def set_field(document: Any, path: str, value: object) -> None:
    *steps, last = [int(step) if step.isdigit() else step for step in path.split(".")]
    for step in steps:
        document = document[step]
    document[last] = value


def put(path: str, value: object) -> Callable[[Any], None]:
    return lambda document: set_field(document, path, value)


MEAN, TINY = f"{FEW}/results/mean.json", f"{FEW}/results/kaleido@tiny.json"

FAULTS: list[tuple[str, Callable[[Path], object], str]] = [
    ("a mean", edit_file(MEAN, put("means.0.mean", 40.0)), r"mean.json: means\(1, psnr, as-published\).mean is 40.0"),
    ("partial", edit_file(MEAN, put("partial", True)), "mean.json: partial is true; expected false"),
    ("protocol", edit_file(MEAN, put("protocol.hash", "0" * 64)), "mean.json: protocol.hash is 000"),
    ("convention", edit_file(MEAN, put("convention.hash", "0" * 64)), "mean.json: convention.hash is 000"),
    ("counts", edit_file(MEAN, put("counts.views_found", 1)), "mean.json: counts.views_found is 1; expected 54"),
    ("truth", edit_file(MEAN, put("truths_sha256", "0" * 64)), "mean.json: truths_sha256 is 000"),
    (
        "seen",
        edit_file(TINY, put("model.training_data", ["quickstart"])),
        r"kaleido@tiny.json: notes is \[\]; expected \[\"kaleido@tiny: trained on quickstart",
    ),
    (
        "other training data for the same weights",
        edit_file(TINY, put("model.training_data", [])),
        "training_data is .*as the same weights say",
    ),
    (
        "other weights under the same label",
        edit_file(TINY, put("model.weights_sha256", "0" * 64)),
        "kaleido@tiny has the weights .*expected .* as in",
    ),
    (
        "another name",
        lambda board: (board / MEAN).rename(board / FEW / "results" / "best.json"),
        "best.json: a result of mean; expected mean.json",
    ),
    (
        "another protocol's folder",
        lambda board: shutil.copy(board / MANY / "results/mean.json", board / MEAN),
        "mean.json: protocol.name is real/llff-many; expected quickstart",
    ),
    (
        "half a file",
        lambda board: (board / MEAN).write_bytes((board / MEAN).read_bytes()[:500]),
        "mean.json:.*not JSON",
    ),
    (
        "other spacing",
        lambda board: (board / MEAN).write_text(json.dumps(json.loads((board / MEAN).read_text()))),
        "mean.json: not written as kbench writes it",
    ),
    ("a stranger", lambda board: (board / FEW / "results" / "notes.txt").write_text("x"), "notes.txt: no result"),
    (
        "no such protocol",
        lambda board: (board / FEW).rename(board / "quickfinish"),
        "protocol 'quickfinish'|quickfinish.*none of that name ships",
    ),
    (
        "twice",
        lambda board: shutil.copytree(board / FEW, board / "more" / FEW),
        "two folders of the protocol quickstart",
    ),
]


@pytest.mark.parametrize(("damage", "message"), [case[1:] for case in FAULTS], ids=[case[0] for case in FAULTS])
def test_a_fault_is_named_with_its_file(
    board: Path, shelf: Shelf, damage: Callable[[Path], object], message: str
) -> None:
    damage(board)
    lines = [str(fault) for fault in read_boards(board, shelf).faults]
    assert any(re.search(message, line) for line in lines), lines
    assert all("\n" not in line and str(board) in line for line in lines)


def test_every_fault_is_named_and_few_of_each_file(board: Path, shelf: Shelf) -> None:
    for name in ("mean", "nearest"):
        rewrite(board / f"{FEW}/results/{name}.json", lambda document: document["means"].clear())
    rewrite(board / f"{MANY}/results/mean.json", put("digits", 3))
    faults = read_boards(board, shelf).faults
    assert len(faults) == 6 + 6 + 1 and sum("more such differences" in fault.found for fault in faults) == 2


def test_one_stored_result_is_refused_by_its_first_fault(board: Path, shelf: Shelf) -> None:
    assert load_entry(board / MEAN, shelf).model.model == "mean"
    rewrite(board / MEAN, put("digits", 3))
    with pytest.raises(BenchError, match=r"mean.json: digits is 3; expected 6. Score the run again"):
        load_entry(board / MEAN, shelf)


def test_masks_that_the_protocol_froze_are_held_to_it(tmp_path: Path, shelf: Shelf) -> None:
    folder = shutil.copytree(SHIPPED / "real/objects-masked", tmp_path / "real/objects-masked")
    rewrite(folder / "results/mean.json", put("masks_sha256", "0" * 64))
    (fault,) = read_boards(tmp_path, shelf).faults
    assert fault.found == f"masks_sha256 is {'0' * 64}"


def test_no_such_folder(tmp_path: Path, shelf: Shelf) -> None:
    with pytest.raises(BenchError, match="no such folder; expected a folder of results"):
        read_boards(tmp_path / "none", shelf)


# Protocols


def test_a_protocol_of_the_users_own_is_found_by_its_name(tmp_path: Path) -> None:
    from tests.predict.tiny import write_protocol

    write_protocol(tmp_path / "mine" / "tiny.yaml")
    assert Shelf(tmp_path / "mine").load("tiny").protocol.name == "tiny"
    with pytest.raises(BenchError, match=r"protocol 'tiny': none of that name ships; .*--completed DIR"):
        Shelf(None).load("tiny")


def test_a_pending_protocol_says_how_it_is_completed(shelf: Shelf) -> None:
    with pytest.raises(BenchError, match=r"its view ids are pending.*kbench import-split"):
        shelf.load("seva/re10k-v")


def test_branches_of_a_repository_are_no_results(board: Path, shelf: Shelf) -> None:
    for name in ("refs/heads/results/new", "logs/refs/heads/results/model.json"):
        (board / ".git" / name).parent.mkdir(parents=True)
        (board / ".git" / name).write_text("0" * 40)
    read = read_boards(board, shelf)
    assert read.faults == () and read.files == 8
