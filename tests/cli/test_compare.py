"""`kbench compare` by the command line: what it prints, what it refuses, how it ends."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import ROOT, Ended, Kbench
from tests.predict.tiny import write_data, write_protocol


@pytest.fixture
def runs(tiny: Path, kbench: Kbench) -> Path:
    """The folder of two whole runs, `nearest` and `mean`."""
    words = ["run", tiny / "tiny.yaml", "--data", tiny / "data", "--out", tiny / "runs"]
    ended = kbench(*words, "--model", "nearest", "--model", "mean")
    assert ended.code == 0, ended.err
    return tiny / "runs/tiny"


def predict_part(kbench: Kbench, tiny: Path, *words: object, command: str = "run") -> Path:
    """A run of `nearest` that lacks something."""
    ended = kbench(
        command, tiny / "tiny.yaml", "--data", tiny / "data", "--out", tiny / "part", "--model", "nearest", *words
    )
    assert ended.code == 0, ended.err
    return tiny / "part/tiny/nearest"


def refused(ended: Ended, code: int, *parts: str) -> None:
    assert ended.code == code and ended.out == ""
    assert ended.err.startswith("kbench: error: ") and ended.err.count("\n") == 1
    for part in parts:
        assert part in ended.err


def test_two_runs(runs: Path, kbench: Kbench) -> None:
    ended = kbench("compare", runs / "nearest", runs / "mean")
    assert (ended.code, ended.err) == (0, "")
    for part in (
        "difference: nearest minus mean",
        "95 % interval",
        "nearest is",
        "2 scenes, 8 target views",
        "2 scenes: ",
    ):
        assert part in ended.out
    assert kbench("compare", runs / "nearest", runs / "mean").out == ended.out


def test_the_numbers_are_those_of_the_results(runs: Path, kbench: Kbench) -> None:
    document = json.loads(kbench("compare", runs / "nearest", runs / "mean", "--json", "--by-scene").out)
    results = {name: json.loads((runs / name / "result.json").read_text()) for name in ("nearest", "mean")}
    for side, name in (("first", "nearest"), ("second", "mean")):
        assert document[side]["model"] == name and document[side]["run"] == str(runs / name)
        assert document["protocol"]["hash"] == results[name]["protocol"]["hash"]
        means = {(m["metric"], m["references"], m["targets"]): m for m in results[name]["means"]}
        scenes = {(m["metric"], m["references"], m["targets"], m["scene"]): m["mean"] for m in results[name]["scenes"]}
        for row in document["differences"]:
            key = (row["metric"], row["references"], row["targets"])
            assert (row[side], row["views"], row["scenes"]) == (means[key]["mean"], means[key]["views"], 2)
            assert {scene["scene"]: scene[side] for scene in row["by_scene"]} == {
                s: scenes[*key, s] for s in ("arc", "bow")
            }


def test_formats(runs: Path, kbench: Kbench) -> None:
    pair = (runs / "nearest", runs / "mean")
    assert kbench("compare", *pair, "--format", "json").out == kbench("compare", *pair, "--json").out
    assert "| PSNR ↑ | 1 |" in kbench("compare", *pair, "-f", "md").out
    more = kbench("compare", *pair, "--views", 2, "--by-scene", "--level", "0.8").out
    for part in ("By scene", "Best and worst views of nearest", "80 % interval", "1 of 4", "4 of 4"):
        assert part in more


def test_under_another_convention(runs: Path, kbench: Kbench, tiny: Path) -> None:
    pair = (runs / "nearest", runs / "mean")
    refused(
        kbench("compare", *pair, "--convention", "3dgs"),
        1,
        "no result under 3dgs",
        f"kbench score {pair[0]} --convention 3dgs",
    )
    assert kbench("score", runs, "--convention", "3dgs", "--data", tiny / "data").code == 0
    ended = kbench("compare", *pair, "--convention", "3dgs")
    assert ended.code == 0 and "convention 3dgs" in ended.out
    refused(kbench("compare", *pair, "--convention", "3dg"), 2, "3dgs")


def test_what_is_no_run_or_the_same_run_is_refused(runs: Path, kbench: Kbench, tmp_path: Path) -> None:
    refused(kbench("compare", runs / "nearest", tmp_path / "nothing"), 2, "nothing/run.json", "run folder")
    refused(kbench("compare", runs / "nearest", runs), 2, "run.json", "run folder")
    refused(kbench("compare", runs / "nearest", runs / "nearest"), 2, "the first run again", "kbench list runs")
    refused(kbench("compare", runs / "nearest"), 2, "RUN_B")
    refused(kbench("compare", runs / "nearest", runs / "mean", "--level", "95"), 2, "--level")
    refused(kbench("compare", runs / "nearest", runs / "mean", "--views", "-1"), 2, "--views")


def test_another_protocol_is_refused(runs: Path, kbench: Kbench, tmp_path: Path) -> None:
    other = tmp_path / "other"
    write_data(other / "data", ("arc",))
    write_protocol(other / "tiny.yaml", scenes=("arc",))
    ended = kbench("run", other / "tiny.yaml", "--data", other / "data", "--out", other / "runs", "--model", "mean")
    assert ended.code == 0, ended.err
    for common in ([], ["--common"]):
        found = kbench("compare", runs / "nearest", other / "runs/tiny/mean", *common)
        refused(found, 2, "protocol tiny v1 (", "; expected tiny v1 (", f"as {runs / 'nearest'} has")


def test_a_partial_run_is_compared_when_asked_for(runs: Path, kbench: Kbench, tiny: Path) -> None:
    part = predict_part(kbench, tiny, "--scenes", "bow")
    refused(
        kbench("compare", part, runs / "mean"),
        2,
        "partial (--scenes bow), 2 predictions; expected the 4 that",
        "--common",
    )
    ended = kbench("compare", part, runs / "mean", "--common")
    assert ended.code == 0
    for words in ("partial: over 4 of the protocol's 8 target views", "mean has 4 more", "1 scene: no interval"):
        assert words in ended.out
    rows = json.loads(kbench("compare", part, runs / "mean", "--common", "--json").out)["differences"]
    assert {row["verdict"] for row in rows} == {None} and {row["scenes"] for row in rows} == {1}


def test_an_interrupted_run_is_compared_when_asked_for(runs: Path, kbench: Kbench) -> None:
    shutil.rmtree(runs / "nearest/predictions/arc-r1")
    kbench("score", runs / "nearest", "--data", runs.parents[1] / "data")
    refused(kbench("compare", runs / "nearest", runs / "mean"), 1, "3 of 4 predictions are there", "--common")
    ended = kbench("compare", runs / "nearest", runs / "mean", "--common")
    assert ended.code == 0 and "partial: over 6 of the protocol's 8 target views" in ended.out


def test_what_is_not_scored_is_incomplete(runs: Path, kbench: Kbench, tiny: Path) -> None:
    part = predict_part(kbench, tiny, command="predict")
    refused(kbench("compare", runs / "mean", part), 1, "no result under kbench-v1 yet", f"kbench score {part}")


def test_a_result_file_is_compared_by_its_scenes(runs: Path, kbench: Kbench, tiny: Path) -> None:
    shutil.copy(runs / "mean/result.json", tiny / "mean.json")
    found, whole = (
        json.loads(kbench("compare", runs / "nearest", other, "--json", "--by-scene").out)
        for other in (tiny / "mean.json", runs / "mean")
    )
    assert found["differences"] == whole["differences"] and "taken at its word" in found["notes"][-1]
    refused(kbench("compare", runs / "nearest", tiny / "mean.json", "--views", 1), 2, "mean.json has no views")
    part = predict_part(kbench, tiny, "--scenes", "bow") / "result.json"
    refused(kbench("compare", part, runs / "mean", "--common"), 2, "partial (--scenes bow)")
    (tiny / "mean.json").write_text("{}")
    refused(kbench("compare", runs / "nearest", tiny / "mean.json"), 2, "mean.json:1", "is missing")


def test_runs_of_one_model_are_told_apart(runs: Path, kbench: Kbench, tiny: Path) -> None:
    other = predict_part(kbench, tiny)
    text = kbench("compare", runs / "nearest", other).out
    for part in (
        "A is",
        f"\nA: {runs / 'nearest'}\nB: {other}\n",
        "difference: A minus B",
        "hold the same predictions",
    ):
        assert part in text
    assert json.loads(kbench("compare", runs / "nearest", other, "--json").out)["second"]["run"] == str(other)


def test_nothing_heavy_is_imported(runs: Path) -> None:
    code = (
        "import sys; from kaleido_bench.cli import main\ntry: main()\nfinally: sys.stderr.write(' '.join(sys.modules))"
    )
    words = [sys.executable, "-c", code, "compare", str(runs / "nearest"), str(runs / "mean")]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, check=True)
    assert "kaleido_bench.publish.comparison" in done.stderr.split()
    assert not {"torch", "scipy", "datasets", "reference_model"} & set(done.stderr.split())
