"""What predicting took: from case.json to efficiency.json, over interruptions and devices."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from kaleido_bench.errors import BenchError
from kaleido_bench.items import plan_items
from kaleido_bench.predictions import Cost, write_prediction
from kaleido_bench.score.results.efficiency import (
    build_efficiency,
    load_efficiency,
    load_run_efficiency,
    write_efficiency,
)
from tests.score.desk import Desk, noise, set_up

GPU = Cost(peak_memory=3 * 2**20, memory_kind="device", device="cuda:0 (H100)", precision="tf32")


def predict(desk: Desk, key: str, seconds: float, cost: Cost) -> None:
    write_prediction(desk.run, desk.item(key), noise(desk.item(key)), seed=1, seconds=seconds, cost=cost)


def test_seconds_are_those_of_predict_by_view(tmp_path: Path) -> None:
    """Two views a call. Fitting is told apart; the median is over calls, the mean over views."""
    desk = set_up(tmp_path, predict=())
    for key, seconds in (("arc-r1", 5.0), ("arc-r3", 1.5), ("bow-r1", 1.1)):
        predict(desk, key, seconds, GPU._replace(fit_seconds=1.0, peak_memory=int(seconds * 2**20)))
    (found,) = build_efficiency(desk.run, desk.loaded).measurements
    assert (found.items, found.views, found.fewest_views, found.most_views) == (3, 6, 2, 2)
    assert found.median_seconds == pytest.approx(0.25) and found.mean_seconds == pytest.approx((4 + 0.5 + 0.1) / 6)
    assert found.fit_seconds == 1.0
    assert (found.peak_memory, found.memory_kind) == (5 * 2**20, "device")


def test_gpus_of_one_kind_are_one_device_and_others_are_apart(tmp_path: Path) -> None:
    desk = set_up(tmp_path, predict=())
    predict(desk, "arc-r1", 1.0, GPU)
    predict(desk, "arc-r3", 1.0, GPU._replace(device="cuda:1 (H100)"))
    predict(desk, "bow-r1", 9.0, GPU._replace(device="cpu (EPYC)", memory_kind="host growth", precision="no torch"))
    gpu, cpu = build_efficiency(desk.run, desk.loaded).measurements
    assert (gpu.device, gpu.items, gpu.precision) == ("cuda (H100)", 2, "tf32")
    assert (cpu.device, cpu.mean_seconds, cpu.precision) == ("cpu (EPYC)", 4.5, None)


def test_predictions_of_before_it_was_recorded_have_seconds_and_no_device(tmp_path: Path) -> None:
    desk = set_up(tmp_path)
    for item in plan_items(desk.loaded):
        path = desk.run.item_folder(item) / "case.json"
        document = json.loads(path.read_text())
        old = {key: value for key, value in document.items() if key not in Cost._fields}
        path.write_text(json.dumps(old))
    (found,) = build_efficiency(desk.run, desk.loaded).measurements
    assert (found.device, found.peak_memory, found.median_seconds) == (None, None, 0.25)


def test_the_file_stands_for_predictions_that_are_no_longer_here(tmp_path: Path) -> None:
    desk = set_up(tmp_path)
    built = load_run_efficiency(desk.run)
    assert not desk.run.efficiency.exists()
    write_efficiency(desk.run, built)
    shutil.rmtree(desk.run.predictions)
    assert load_efficiency(desk.run.efficiency) == load_run_efficiency(desk.run) == built
    write_efficiency(desk.run, built.model_copy(update={"fingerprint": "0" * 64}))
    with pytest.raises(BenchError, match=r"efficiency.json: of tiny noise \(0000.*Remove it"):
        load_run_efficiency(desk.run)


def test_a_file_of_fewer_predictions_than_there_are_is_not_believed(tmp_path: Path) -> None:
    """A call that was killed writes none; that of the call before it is left."""
    desk = set_up(tmp_path, predict=("arc-r1",))
    write_efficiency(desk.run, build_efficiency(desk.run, desk.loaded))
    predict(desk, "arc-r3", 9.0, Cost())
    (found,) = load_run_efficiency(desk.run).measurements
    assert (found.items, found.mean_seconds) == (2, 9.5 / 4)
