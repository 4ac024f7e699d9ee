"""The run folder: its identity, its protocol, its sessions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kaleido_bench.errors import BenchError
from kaleido_bench.items import Deviations
from kaleido_bench.predictions import (
    Run,
    append_session,
    create_run,
    find_runs,
    load_run_protocol,
    open_run,
    run_folder,
)
from kaleido_bench.protocol import LoadedProtocol
from tests.predictions.conftest import CARD, SESSION


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
