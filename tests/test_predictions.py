"""The run folder: identity, and predictions that are whole or refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kaleido_bench.data.images import encode_png
from kaleido_bench.errors import BenchError
from kaleido_bench.items import Deviations, WorkItem, plan_items
from kaleido_bench.predictions import (
    AdapterRecord,
    Run,
    Session,
    append_session,
    check_prediction,
    create_run,
    find_runs,
    load_prediction,
    load_prediction_record,
    load_run_protocol,
    open_run,
    run_folder,
    unexpected_items,
    write_prediction,
)
from kaleido_bench.protocol import LoadedProtocol

SIZE = (16, 12)
CARD = AdapterRecord(name="mean", variant=None, weights_sha256=None, settings={}, training_data=())
SESSION = Session(
    started="2025-01-01T00:00:00Z",
    command=("kbench", "run"),
    device="cpu",
    precision="float32",
    versions={"torch": "2.13.0"},
    git_commit=None,
    git_dirty=None,
)


@pytest.fixture
def loaded(protocol_files: Any) -> LoadedProtocol:
    return protocol_files.load()


@pytest.fixture
def run(tmp_path: Path, loaded: LoadedProtocol) -> Run:
    return create_run(tmp_path / "runs", loaded, model="mean", adapter=CARD, fingerprint="f1")


@pytest.fixture
def item(loaded: LoadedProtocol) -> WorkItem:
    return plan_items(loaded)[1]


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (2, 12, 16, 3), dtype=np.uint8)


@pytest.fixture
def written(run: Run, item: WorkItem, images: np.ndarray) -> Path:
    write_prediction(run, item, images, seed=5, seconds=1.5)
    return run.item_folder(item)


# The run folder


def test_a_run_is_made_opened_and_continued(tmp_path: Path, loaded: LoadedProtocol, run: Run) -> None:
    assert run.path == tmp_path / "runs" / "tiny" / "mean"
    assert open_run(run.path) == run
    assert create_run(tmp_path / "runs", loaded, model="mean", adapter=CARD, fingerprint="f1") == run
    assert find_runs(tmp_path / "runs") == [run.path]
    assert run.record.sessions == () and run.record.seed == 7


def test_continuing_brings_up_to_date_what_follows_from_protocol_and_adapter(
    tmp_path: Path, protocol_files: Any, run: Run
) -> None:
    run = append_session(run, SESSION)
    record = run.path / "run.json"
    record.write_bytes(record.read_bytes().replace(b'"model":"mean"', b'"model":"better"'))
    (run.path / "protocol.json").unlink()
    renamed = protocol_files.load(title="A better title")
    card = CARD.model_copy(update={"training_data": ("co3d",)})
    again = create_run(tmp_path / "runs", renamed, model="mean", adapter=card, fingerprint="f1")
    assert again == open_run(run.path)
    assert again.record == run.record.model_copy(update={"adapter": card})
    assert load_run_protocol(again).protocol.title == "A better title"


def test_a_link_back_to_a_folder_above_is_not_followed(tmp_path: Path, run: Run) -> None:
    (tmp_path / "runs" / "tiny" / "back").symlink_to(tmp_path / "runs")
    (tmp_path / "runs" / "tiny" / "itself").symlink_to("itself")
    assert find_runs(tmp_path / "runs") == [run.path]


def test_two_calls_at_once_lose_no_session(run: Run) -> None:
    partial = SESSION.model_copy(update={"deviations": Deviations(limit=2)})
    append_session(run, partial)
    assert append_session(run, SESSION).record.sessions == (partial, SESSION)


def test_a_run_of_another_protocol_is_refused(tmp_path: Path, protocol_files: Any, run: Run) -> None:
    other = protocol_files.load(seed=8)
    with pytest.raises(BenchError) as caught:
        create_run(tmp_path / "runs", other, model="mean", adapter=CARD, fingerprint="f1")
    message = str(caught.value)
    assert "protocol hash" in message and other.hash in message and run.record.protocol_hash in message
    assert "run.json" in message and "--out" in message


def test_a_run_of_another_adapter_is_refused(tmp_path: Path, loaded: LoadedProtocol, run: Run) -> None:
    with pytest.raises(BenchError, match="adapter fingerprint f1; expected f2"):
        create_run(tmp_path / "runs", loaded, model="mean", adapter=CARD, fingerprint="f2")


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"run\.json: no such file; expected a run folder"):
        open_run(tmp_path)
    assert find_runs(tmp_path / "none") == []


def test_a_damaged_run_record_is_refused_with_its_line(run: Run) -> None:
    path = run.path / "run.json"
    path.write_bytes(path.read_bytes().replace(b'"seed":7', b'"seed":"7"'))
    with pytest.raises(BenchError, match=r"run\.json:1: 'seed' is \"7\""):
        open_run(run.path)


def test_a_run_carries_its_protocol(run: Run, loaded: LoadedProtocol) -> None:
    again = load_run_protocol(run)
    assert (again.hash, again.protocol, again.index) == (loaded.hash, loaded.protocol, loaded.index)
    path = run.path / "protocol.json"
    path.write_bytes(path.read_bytes().replace(b'"seed":7', b'"seed":9'))
    with pytest.raises(BenchError, match=r"protocol\.json: protocol hash .* as run\.json says"):
        load_run_protocol(run)


def test_sessions_are_appended(run: Run) -> None:
    partial = SESSION.model_copy(update={"deviations": Deviations(limit=2)})
    run = append_session(append_session(run, partial), SESSION)
    assert open_run(run.path).record.sessions == (partial, SESSION)
    assert not run.record.deviations.any


def test_a_model_name_cannot_leave_the_folder(tmp_path: Path) -> None:
    assert run_folder(tmp_path, "real/x", "kaleido@tiny") == tmp_path / "real" / "x" / "kaleido@tiny"
    names = {run_folder(tmp_path, "x", model).name for model in ("saved@../p", "saved@/p", "saved@p", "..", "saved@p/")}
    assert len(names) == 5
    for name in names:
        assert "/" not in name and not name.startswith(".")


def test_leftovers_go_when_a_run_is_continued(tmp_path: Path, loaded: LoadedProtocol, run: Run, written: Path) -> None:
    from kaleido_bench import atomic

    dead = [folder / f".tmp.{atomic._HOST}.{2**22 + 1}.x" for folder in (run.path, run.predictions)]
    for path in dead:
        path.mkdir()
        (path / "half.png").write_bytes(b"x")
    create_run(tmp_path / "runs", loaded, model="mean", adapter=CARD, fingerprint="f1")
    assert not any(path.exists() for path in dead) and written.is_dir()


# One prediction


def test_what_is_written_is_what_is_loaded(run: Run, item: WorkItem, images: np.ndarray, written: Path) -> None:
    assert check_prediction(run, item, SIZE).whole
    np.testing.assert_array_equal(load_prediction(run, item, SIZE), images)
    record = load_prediction_record(run, item)
    assert (record.item, record.case, record.sample, record.scale) == ("a-r2", "a-r2", 0, None)
    assert (record.seed, record.seconds, record.width, record.height) == (5, 1.5, 16, 12)
    assert (record.fingerprint, record.protocol_hash) == ("f1", run.record.protocol_hash)
    assert {path.relative_to(written).as_posix() for path in written.rglob("*.*")} == {
        "case.json",
        "t/0.png",
        "t/1.png",
    }
    assert (written / "case.json").stat().st_size < 1000


def test_writing_again_replaces(run: Run, item: WorkItem, images: np.ndarray, written: Path) -> None:
    write_prediction(run, item, 255 - images, seed=5, seconds=1.5)
    np.testing.assert_array_equal(load_prediction(run, item, SIZE), 255 - images)


@pytest.mark.parametrize(
    "change",
    [
        lambda images: images[:1],
        lambda images: images.astype(np.float32),
        lambda images: images[..., :1],
        lambda images: images[0],
    ],
)
def test_images_of_another_shape_are_refused(run: Run, item: WorkItem, images: np.ndarray, change: Any) -> None:
    with pytest.raises(BenchError, match=r"expected uint8 \[2, height, width, 3\], one image per target"):
        write_prediction(run, item, change(images), seed=5, seconds=1.0)
    assert not run.item_folder(item).exists()


def test_an_absent_prediction_is_no_problem_until_it_is_loaded(run: Run, item: WorkItem) -> None:
    state = check_prediction(run, item, SIZE)
    assert (state.present, state.problems, state.whole) == (False, (), False)
    with pytest.raises(BenchError, match="no such prediction"):
        load_prediction(run, item, SIZE)


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
