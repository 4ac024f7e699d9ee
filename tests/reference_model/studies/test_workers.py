"""The processes that work a study off: each with a device of its own, none brought down by another's run."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import time
from multiprocessing.connection import Connection

import pytest

from reference_model.studies.runs import Study
from reference_model.studies.workers import choose_next, receive, take_device, work_off
from tests.reference_model.studies.study import build_run


def test_a_run_waits_for_one_that_compiles_the_same_code() -> None:
    first, again, other = build_run(0), build_run(1), build_run(0, mlp="gelu")
    deep = build_run(0, depth=4)
    assert first.graph == again.graph == deep.graph != other.graph
    assert choose_next([again, other], [first], set()) is other
    assert choose_next([again, other], [first], {first.graph}) is again
    assert choose_next([again, deep], [first], set()) is again  # nothing else is left


def pretend(connection: Connection, device: str, study: Study) -> None:
    """A worker that trains nothing: it answers with its process, fails at seed 1, dies at seed 2, has no end at 3."""
    while (run := receive(connection)) is not None:
        while run.seed == 3:
            time.sleep(1)
        if run.seed == 2:
            os._exit(3)
        if run.seed == 1:
            connection.send([{"row": "failed", "weights": run.weights, "seed": 1, "error": "ValueError: no"}])
            return
        connection.send([{"row": "run", "weights": run.weights, "seed": run.seed, "process": os.getpid()}])


def test_a_run_that_fails_or_kills_its_process_stops_no_other() -> None:
    runs = [build_run(seed) for seed in (0, 1, 2, 4, 5)]
    outcomes = list(work_off(runs, ["cpu"], Study(1e9, 16, 2), target=pretend))
    rows = [row for outcome in outcomes for row in outcome.rows]
    assert [(row["row"], row["seed"]) for row in rows] == [
        ("run", 0), ("failed", 1), ("failed", 2), ("run", 4), ("run", 5),
    ]  # fmt: skip
    assert rows[2]["error"] == "its process ended with exit code 3"
    assert rows[3]["process"] == rows[4]["process"] != rows[0]["process"]


def test_a_study_that_is_broken_off_leaves_no_process() -> None:
    outcomes = work_off([build_run(0), build_run(3)], ["cpu", "cpu"], Study(1e9, 16, 2), target=pretend)
    assert next(outcomes).rows[0]["seed"] == 0 and multiprocessing.active_children()
    outcomes.close()
    assert not multiprocessing.active_children()


def test_after_the_deadline_nothing_is_begun() -> None:
    assert not list(work_off([build_run()], ["cpu"], Study(1e9, 16, 2), deadline=0.0, target=pretend))


def test_a_gpu_is_one_of_those_that_may_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    assert take_device("1") == "cuda" and os.environ["CUDA_VISIBLE_DEVICES"] == "6"
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert take_device("cpu") == "cpu" and "CUDA_VISIBLE_DEVICES" not in os.environ
    assert take_device("1") == "cuda" and os.environ["CUDA_VISIBLE_DEVICES"] == "1"


def test_presets_travel_to_another_process_whole() -> None:
    import pickle

    run = build_run(3, mlp="gelu")
    back = pickle.loads(pickle.dumps(run))
    assert back == run and dataclasses.asdict(back.preset) == dataclasses.asdict(run.preset)
