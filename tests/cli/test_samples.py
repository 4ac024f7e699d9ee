"""Several samples and what predicting took, by the command line: asked for, counted, shown, kept over a kill."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Ended, Kbench


def run(kbench: Kbench, tiny: Path, *words: object, out: str = "runs") -> Ended:
    ended = kbench("run", tiny / "tiny.yaml", "--data", tiny / "data", "--out", tiny / out, *words)
    assert ended.code == 0, ended.err
    return ended


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def test_samples_are_seeded_by_the_case_and_counted_together(tiny: Path, toys: Path, kbench: Kbench) -> None:
    ended = run(kbench, tiny, "--model", "toy", "--samples", 3)
    for part in ("PSNR best of 3 ↑", "PSNR spread", "oracle, not ranked", "toy: mean over 3 samples a case", "partial"):
        assert part in ended.out
    predictions = tiny / "runs/tiny/toy/predictions"
    seeds = [read(predictions / name / "case.json")["seed"] for name in ("arc-r1", "arc-r1~s1", "arc-r1~s2", "bow-r1")]
    assert len(set(seeds)) == 4
    run(kbench, tiny, "--model", "toy", "--samples", 2, out="fewer")
    other = tiny / "fewer/tiny/toy/predictions"
    assert read(other / "arc-r1~s1/case.json")["sha256"] == read(predictions / "arc-r1~s1/case.json")["sha256"]
    assert "best of" not in kbench("table", tiny / "runs", "--no-samples").out


def test_a_deterministic_method_is_asked_once_and_its_result_is_the_same_file(tiny: Path, kbench: Kbench) -> None:
    ended = run(kbench, tiny, "--model", "nearest", "--samples", 4, out="four")
    assert "answers every sample of a case alike, so it is asked for one and one is counted" in ended.err
    assert "spread" not in ended.out and "partial" not in ended.out
    run(kbench, tiny, "--model", "nearest", out="one")
    four, one = tiny / "four/tiny/nearest", tiny / "one/tiny/nearest"
    assert (four / "result.json").read_bytes() == (one / "result.json").read_bytes()
    assert len(list((four / "predictions").iterdir())) == 4
    dry = kbench(
        "run", tiny / "tiny.yaml", "--model", "nearest", "--samples", 4, "--out", tiny / "four", "--dry-run", "--json"
    )
    assert json.loads(dry.out)[0]["predictions"] == 4 and json.loads(dry.out)[0]["to predict"] == 0


def test_a_table_says_which_models_have_one_sample(tiny: Path, toys: Path, kbench: Kbench) -> None:
    ended = run(kbench, tiny, "--model", "toy", "--model", "mean", "--samples", 2)
    assert "mean: one sample a case, so neither a best nor a spread" in ended.out
    rows = list(csv.DictReader(io.StringIO(kbench("table", tiny / "runs", "--format", "csv").out)))
    status = {
        (row["model"], row["metric"], row["statistic"]): row["status"] for row in rows if row["references"] == "1"
    }
    assert status["toy", "psnr", "spread"] == status["mean", "psnr", "mean"] == "value"
    assert status["mean", "psnr", "spread"] == "none"
    assert {row["rank"] for row in rows if row["statistic"] != "mean"} == {""}


def test_samples_made_elsewhere_are_counted(tiny: Path, toys: Path, kbench: Kbench) -> None:
    run(kbench, tiny, "--model", "toy", "--samples", 2)
    folder = tiny / "runs/tiny/toy/predictions"
    saved = run(kbench, tiny, "--model", f"saved@{folder}", "--samples", 2, out="saved")
    assert "PSNR best of 2" in saved.out
    one, other = (
        read(path)["means"] for path in (tiny / "runs/tiny/toy/result.json", *(tiny / "saved").rglob("result.json"))
    )
    assert one == other


def test_what_predicting_took_outlives_a_kill_and_leaves_the_result_alone(
    tiny: Path, toys: Path, kbench: Kbench
) -> None:
    words = ("--model", "toy", "--model-arg", "sleep=0.2")
    run(kbench, tiny, *words)
    folder = tiny / "runs/tiny/toy+sleep=0.2"
    result, before = (folder / "result.json").read_bytes(), read(folder / "efficiency.json")
    shutil.rmtree(folder / "predictions/bow-r3")  # what a kill before the last item leaves
    (folder / "result.json").unlink()
    (folder / "efficiency.json").unlink()
    kept = read(folder / "predictions/arc-r1/case.json")["seconds"]
    run(kbench, tiny, *words)
    after = read(folder / "efficiency.json")
    assert (folder / "result.json").read_bytes() == result
    assert read(folder / "predictions/arc-r1/case.json")["seconds"] == kept >= 0.2
    (measured,) = after["measurements"]
    assert (measured["items"], measured["views"]) == (4, 8) and 0.1 <= measured["median_seconds"] < 0.5
    assert before["measurements"][0]["device"] == measured["device"] is not None
    assert "seconds" not in result.decode() and "device" not in result.decode()


@pytest.mark.parametrize("form", ["text", "md", "latex", "csv", "json", "html"])
def test_what_predicting_took_in_every_format(tiny: Path, kbench: Kbench, form: str) -> None:
    run(kbench, tiny, "--model", "nearest", "--model", "mean")
    (tiny / "runs/tiny/mean/efficiency.json").unlink()  # a run of before there was one
    without = kbench("table", tiny / "runs", "--format", form)
    shown = kbench("table", tiny / "runs", "--format", form, "--efficiency")
    assert without.code == shown.code == 0
    words = {"csv": ["function-evaluations", "median-seconds"], "json": ['"function_evaluations"', '"median_seconds"']}
    for word in words.get(form, ["NFE", "s/view"]):
        assert word in shown.out and word not in without.out
    assert shown.out.count("cpu (") >= 2


def test_a_table_that_mixes_devices_says_so(tiny: Path, kbench: Kbench) -> None:
    run(kbench, tiny, "--model", "nearest", "--model", "mean")
    for path in (tiny / "runs/tiny/mean/predictions").rglob("case.json"):
        path.write_text(path.read_text().replace('"device":"cpu (', '"device":"cuda:3 (H100; not '))
    ended = kbench("table", tiny / "runs", "--efficiency")
    assert "devices differ (cuda (H100" in ended.out
    assert "seconds and memory are not comparable between them" in ended.out


def test_an_edited_result_is_not_believed(tiny: Path, kbench: Kbench) -> None:
    run(kbench, tiny, "--model", "nearest", "--model", "mean")
    path = tiny / "runs/tiny/mean/result.json"
    document = read(path)
    document["means"][0]["mean"] = 45.0
    path.write_text(json.dumps(document))
    ended = kbench("table", tiny / "runs")
    assert ended.code == 2 and "means[0].mean is 45.0" in ended.err and "kbench score" in ended.err
    assert "nearest" in ended.out and "45.00" not in ended.out
    assert kbench("score", path.parent, "--data", tiny / "data").code == 0
    assert kbench("table", tiny / "runs").code == 0


def test_fitting_is_told_apart(tiny: Path, toys: Path, kbench: Kbench) -> None:
    run(kbench, tiny, "--model", "scene-toy")
    (measured,) = read(tiny / "runs/tiny/scene-toy/efficiency.json")["measurements"]
    assert measured["fit_seconds"] > 0
