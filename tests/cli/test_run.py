"""The main job: several protocols, several models, a table; and what becomes of a pair that fails."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from reference_model.checkpoint import write_checkpoint
from reference_model.model import Kaleido as ReferenceModel
from reference_model.presets import smoke
from tests.cli.conftest import Kbench, start_kbench
from tests.predict.tiny import write_protocol


def test_a_table_of_all_protocols_and_models(tiny: Path, kbench: Kbench) -> None:
    write_protocol(tiny / "other.yaml", scenes=("arc",), counts=(2,))
    ended = kbench(
        "run", tiny / "tiny.yaml", tiny / "other.yaml", "--model", "nearest", "--model", "mean",
        "--data", tiny / "data", "--out", tiny / "runs",
    )  # fmt: skip
    assert ended.code == 0, ended.err
    for word in ("tiny", "other", "nearest", "mean", "PSNR", "SSIM"):
        assert word in ended.out
    assert ended.out.index("tiny") < ended.out.index("other")
    assert "Traceback" not in ended.err


def test_json_is_one_document(tiny: Path, kbench: Kbench) -> None:
    ended = kbench(
        "run", tiny / "tiny.yaml", "--model", "mean", "--data", tiny / "data", "--out", tiny / "runs", "--json"
    )
    assert ended.code == 0
    assert "mean" in json.dumps(json.loads(ended.out))


def test_a_failing_pair_does_not_lose_the_others(tiny: Path, toys: Path, kbench: Kbench) -> None:
    words = ["--data", tiny / "data", "--out", tiny / "runs", "--model", "scene-toy", "--model", "mean"]
    write_protocol(tiny / "wide.yaml", scenes=("arc",), counts=(4,), targets=("0005",))
    ended = kbench("run", tiny / "wide.yaml", tiny / "absent.yaml", tiny / "tiny.yaml", *words)
    assert ended.code == 2
    errors = [line for line in ended.err.splitlines() if line.startswith("kbench: error: ")]
    assert len(errors) == 2 and "absent.yaml" in errors[0] and "at most 3" in errors[1]
    assert ended.err.splitlines()[-1].startswith("kbench: 2 failed (")
    assert "absent.yaml" in ended.err.splitlines()[-1] and "wide scene-toy" in ended.err.splitlines()[-1]
    results = sorted(path.relative_to(tiny / "runs").as_posix() for path in (tiny / "runs").rglob("result.json"))
    assert results == ["tiny/mean/result.json", "tiny/scene-toy/result.json", "wide/mean/result.json"]
    assert "scene-toy" in ended.out and "mean" in ended.out


def test_weights_that_scoring_asks_for_are_missed_before_anything_is_predicted(
    tiny: Path, kbench: Kbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KBENCH_CACHE", str(tiny / "cache"))
    path = write_protocol(tiny / "strict.yaml")
    path.write_text(path.read_text().replace("metrics: [psnr, ssim]", "metrics: [psnr, ssim, lpips-alex]"))
    words = [path, "--model", "mean", "--data", tiny / "data", "--out", tiny / "runs"]
    ended = kbench("run", *words)
    assert ended.code == 2 and "alexnet_features" in ended.err and not list((tiny / "runs").rglob("*.png"))
    assert kbench("predict", *words).code == 0  # which needs no metric


def test_a_fault_of_a_method_shows_its_traceback_and_ends_with_1(tiny: Path, toys: Path, kbench: Kbench) -> None:
    words = ["--data", tiny / "data", "--out", tiny / "runs", "--model", "toy", "--model-arg", "raise=arc-r3"]
    ended = kbench("run", tiny / "tiny.yaml", *words)
    assert ended.code == 1
    assert "Traceback" in ended.err and "in predict" in ended.err
    assert ended.err.splitlines()[-1] == "kbench: error: tiny toy+raise=arc-r3: ValueError: the toy broke"


@pytest.mark.parametrize("words", [["--limit", "1"], ["--scenes", "arc"], ["--references", "3"]])
def test_a_subset_is_marked_partial(tiny: Path, kbench: Kbench, words: list[str]) -> None:
    arguments = [tiny / "tiny.yaml", "--model", "mean", "--data", tiny / "data", "--out", tiny / "runs"]
    ended = kbench("run", *arguments, *words)
    assert ended.code == 0, ended.err
    result = json.loads((tiny / "runs/tiny/mean/result.json").read_text())
    assert result["partial"] is True and result["partial_reasons"]
    assert "partial" in ended.out.lower()
    assert kbench("run", *arguments).code == 0
    assert json.loads((tiny / "runs/tiny/mean/result.json").read_text())["partial"] is False


def test_predict_then_score_then_table_is_run(tiny: Path, kbench: Kbench) -> None:
    arguments = [tiny / "tiny.yaml", "--model", "mean", "--data", tiny / "data"]
    run = kbench("run", *arguments, "--out", tiny / "a")
    assert kbench("predict", *arguments, "--out", tiny / "b").code == 0
    scored = kbench("score", tiny / "b/tiny/mean", "--data", tiny / "data")
    table = kbench("table", tiny / "b")
    assert (scored.code, table.code) == (0, 0), (scored.err, table.err)
    assert run.out == table.out
    first, second = (tiny / each / "tiny/mean/result.json" for each in "ab")
    assert first.read_bytes() == second.read_bytes()


def test_dry_run_makes_nothing(tiny: Path, kbench: Kbench) -> None:
    arguments = [
        tiny / "tiny.yaml",
        "--model",
        "mean",
        "--model",
        "nearest",
        "--data",
        tiny / "data",
        "--out",
        tiny / "runs",
    ]
    ended = kbench("run", *arguments, "--dry-run", "--json")
    assert ended.code == 0
    rows = json.loads(ended.out)
    assert [(row["model"], row["predictions"], row["there"], row["result"]) for row in rows] == [
        ("mean", 4, 0, False),
        ("nearest", 4, 0, False),
    ]
    assert not (tiny / "runs").exists()
    assert kbench("run", *arguments, "--limit", 3).code == 0
    rows = json.loads(kbench("run", *arguments, "--dry-run", "--json").out)
    assert [row["there"] for row in rows] == [3, 3]


def test_the_run_folder_says_how_it_was_made(tiny: Path, kbench: Kbench) -> None:
    assert (
        kbench("run", tiny / "tiny.yaml", "--model", "mean", "--data", tiny / "data", "--out", tiny / "runs").code == 0
    )
    record = json.loads((tiny / "runs/tiny/mean/run.json").read_text())
    session = record["sessions"][0]
    assert session["command"][0] == "kbench"
    assert session["device"].startswith("cpu") and session["versions"]["numpy"]
    assert record["adapter"]["name"] == "mean" and record["adapter"]["training_data"] == []


@pytest.mark.parametrize("name", ["text", "md", "latex", "csv", "json"])
def test_table_formats(tiny: Path, kbench: Kbench, name: str) -> None:
    assert (
        kbench("run", tiny / "tiny.yaml", "--model", "mean", "--data", tiny / "data", "--out", tiny / "runs").code == 0
    )
    ended = kbench("table", tiny / "runs/tiny/mean", "--format", name)
    assert ended.code == 0, ended.err
    assert "mean" in ended.out


def test_a_table_of_nothing(tmp_path: Path, kbench: Kbench) -> None:
    ended = kbench("table", tmp_path)
    assert ended.code == 2
    assert ended.err.startswith("kbench: error: ") and str(tmp_path) in ended.err


def test_the_reference_model_gives_the_same_bytes_on_one_worker_and_two(tiny: Path, kbench: Kbench) -> None:
    checkpoint = write_smoke_checkpoint(tiny / "checkpoint")
    arguments = [tiny / "tiny.yaml", "--model", f"kaleido@{checkpoint}", "--data", tiny / "data"]
    one = kbench("run", *arguments, "--out", tiny / "one", "--model-arg", "steps=2")
    two = kbench("run", *arguments, "--out", tiny / "two", "--model-arg", "steps=2", "--workers", 2)
    assert (one.code, two.code) == (0, 0), (one.err, two.err)
    assert "kaleido@checkpoint+steps=2" in one.out and one.out == two.out
    first, second = (tiny / each / "tiny/kaleido@checkpoint+steps=2" for each in ("one", "two"))
    pngs = sorted(path.relative_to(first) for path in first.rglob("*.png"))
    assert len(pngs) == 8
    for path in (*pngs, Path("result.json")):
        assert (first / path).read_bytes() == (second / path).read_bytes()
    again = kbench("run", *arguments, "--out", tiny / "one", "--model-arg", "steps=2")
    assert "nothing to do: 4 of 4 predictions, scores and result are there" in again.err


def write_smoke_checkpoint(folder: Path) -> Path:
    """Weights of the reference model's smallest preset, untrained."""
    torch.manual_seed(0)
    preset = smoke()
    write_checkpoint(folder, ReferenceModel(preset.model).state_dict(), preset, {"training_data": []})
    return folder


def predict_mean(tiny: Path, kbench: Kbench, *words: object) -> Path:
    arguments = [tiny / "tiny.yaml", "--model", "mean", "--data", tiny / "data", "--out", tiny / "runs"]
    assert kbench("predict", *arguments, *words).code == 0
    return tiny / "runs/tiny/mean"


def test_score_with_a_prediction_missing_ends_with_1_and_has_no_mean(tiny: Path, kbench: Kbench) -> None:
    run = predict_mean(tiny, kbench)
    shutil.rmtree(run / "predictions/arc-r3")
    ended = kbench("score", run, "--data", tiny / "data")
    assert ended.code == 1
    assert ended.err.splitlines()[-1].startswith("kbench: error: ") and "3 of 4 predictions" in ended.err
    result = json.loads((run / "result.json").read_text())
    assert (result["complete"], result["means"], result["missing_items"]) == (False, [], ["arc-r3"])
    assert "incomplete" in ended.out


def test_score_of_a_partial_run_scores_what_was_asked_for(tiny: Path, kbench: Kbench) -> None:
    run = predict_mean(tiny, kbench, "--scenes", "bow")
    ended = kbench("score", run, "--data", tiny / "data")
    assert ended.code == 0, ended.err
    result = json.loads((run / "result.json").read_text())
    assert (result["partial"], result["partial_reasons"]) == (True, ["--scenes bow"])


def test_a_smaller_call_does_not_make_less_of_a_whole_run(tiny: Path, kbench: Kbench) -> None:
    arguments = [tiny / "tiny.yaml", "--model", "mean", "--data", tiny / "data", "--out", tiny / "runs"]
    assert kbench("run", *arguments).code == 0
    before = (tiny / "runs/tiny/mean/result.json").read_bytes()
    ended = kbench("run", *arguments, "--limit", 1)
    assert ended.code == 0 and "nothing to do" in ended.err
    assert (tiny / "runs/tiny/mean/result.json").read_bytes() == before


def test_score_under_an_unknown_convention(tiny: Path, kbench: Kbench) -> None:
    ended = kbench("score", predict_mean(tiny, kbench), "--data", tiny / "data", "--convention", "kbench-v2")
    assert ended.code == 2
    assert "'kbench-v2'" in ended.err and "Did you mean 'kbench-v1'?" in ended.err


def test_a_run_without_a_result_is_named_after_the_table_of_the_others(tiny: Path, kbench: Kbench) -> None:
    predict_mean(tiny, kbench)
    empty = kbench("table", tiny / "runs")
    assert empty.code == 1 and "no result" in empty.err and empty.out == ""
    arguments = ["--data", tiny / "data", "--out", tiny / "runs"]
    assert kbench("run", tiny / "tiny.yaml", "--model", "nearest", *arguments).code == 0
    ended = kbench("table", tiny / "runs")
    assert ended.code == 1
    assert "nearest" in ended.out and str(tiny / "runs/tiny/mean") in ended.err


def test_a_run_that_cannot_be_read_does_not_hide_the_others(tiny: Path, kbench: Kbench) -> None:
    arguments = ["--data", tiny / "data", "--out", tiny / "runs", "--model", "nearest", "--model", "mean"]
    assert kbench("run", tiny / "tiny.yaml", *arguments).code == 0
    (tiny / "runs/tiny/mean/run.json").write_text("{}")
    ended = kbench("table", tiny / "runs")
    assert ended.code == 2
    assert "nearest" in ended.out and "mean/run.json:1: the key 'protocol' is missing" in ended.err
    listed = kbench("list", "runs", "--out", tiny / "runs", "--json")
    mean, nearest = json.loads(listed.out)
    assert "'protocol' is missing" in mean["problem"] and mean["predictions"] is None
    assert nearest["problem"] is None and nearest["predictions"] == "4 of 4"
    assert listed.code == 1 and str(tiny / "runs/tiny/mean") in listed.err


def test_an_output_folder_that_cannot_be_written(tiny: Path, kbench: Kbench) -> None:
    ended = kbench("run", tiny / "tiny.yaml", "--model", "mean", "--data", tiny / "data", "--out", "/proc/runs")
    assert ended.code == 1
    assert "Traceback" not in ended.err and ended.err.splitlines()[-1].startswith("kbench: error: tiny mean: [Errno")


def test_one_protocol_spelt_in_two_ways_is_run_and_shown_once(
    tiny: Path, kbench: Kbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tiny)
    arguments = ["--model", "mean", "--data", tiny / "data", "--out", tiny / "runs"]
    ended = kbench("run", "tiny.yaml", tiny / "tiny.yaml", *arguments)
    assert ended.code == 0 and "4 of 4 predictions made" in ended.err
    run = tiny / "runs/tiny/mean"
    once, twice = kbench("table", run), kbench("table", run, "runs/tiny", tiny / "runs/tiny/../tiny/mean")
    assert once.out == twice.out == ended.out


def test_a_method_that_calls_exit_is_a_method_that_failed(tiny: Path, toys: Path, kbench: Kbench) -> None:
    words = ["--data", tiny / "data", "--model", "toy", "--model-arg", "exit=arc-r3"]
    for workers in (1, 2):
        ended = kbench("run", tiny / "tiny.yaml", *words, "--out", tiny / "runs", "--workers", workers)
        assert ended.code == 1, ended.err
        assert "SystemExit: 0" in ended.err and ended.err.splitlines()[-1].startswith("kbench: error: tiny toy+exit")


@pytest.mark.parametrize("workers", [1, 2])
def test_what_a_method_prints_is_no_part_of_the_answer(
    tiny: Path, toys: Path, workers: int, capfd: pytest.CaptureFixture[str]
) -> None:
    process = start_kbench(
        "run", tiny / "tiny.yaml", "--model", "toy", "--model-arg", "print=1", "--data", tiny / "data",
        "--out", tiny / "runs", "--workers", workers, "--json",
    )  # fmt: skip
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "toy" in json.dumps(json.loads(out)) and err.count("the toy talks") == 4


def test_a_card_that_is_none_is_refused_before_anything_is_made(tiny: Path, toys: Path, kbench: Kbench) -> None:
    words = ["--data", tiny / "data", "--out", tiny / "runs", "--model", "toy", "--model-arg", "nameless=1"]
    ended = kbench("run", tiny / "tiny.yaml", *words)
    assert ended.code == 2 and not (tiny / "runs").exists()
    assert "describe(): name: Input should be a valid string; expected an AdapterCard" in ended.err
