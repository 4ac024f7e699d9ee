"""`benchmarks/ablations.py` from its words to its figure."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from reference_model.studies.results import load_results

ROOT = Path(__file__).parents[3]
SCRIPT = ROOT / "benchmarks" / "ablations.py"


def start(monkeypatch: pytest.MonkeyPatch, *words: str) -> int | str | None:
    monkeypatch.setattr(sys, "argv", ["ablations.py", *words])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(SCRIPT), run_name="__main__")
    return ended.value.code


def test_the_script_trains_scores_goes_on_and_draws(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "--tiny",
        "--groups",
        "ix,vii",
        "--flops",
        "1.5e8",
        "--scenes",
        "2",
        "--devices",
        "cpu",
        "--out",
        str(tmp_path),
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *words], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr + done.stdout
    assert "3 of 3 runs to do" in done.stdout and "3 done, 0 failed, 0 left" in done.stdout
    results = load_results(tmp_path / "ablations.jsonl")
    by_group = {group["group"]: group for group in results.groups}
    ours, other = (results.runs[by_group["ix"][side]] for side in ("ours", "other"))
    assert [run["seed"] for run in ours] == [run["seed"] for run in other] == [0, 1]
    for a, b in zip(ours, other, strict=True):
        assert a["weights"] == b["weights"] and a["psnr"]["5->5"]["1"] == b["psnr"]["5->5"]["1"]
        assert a["psnr"]["5->5"]["8"] != b["psnr"]["5->5"]["8"]
    gelu = results.runs[by_group["vii"]["other"]][0]
    assert gelu["flops"] == pytest.approx(ours[0]["flops"], rel=0.5) and gelu["flops"] >= 1.5e8
    assert ours[0]["psnr"] != ours[1]["psnr"] and (tmp_path / "ablations.png").is_file()
    before = (tmp_path / "ablations.jsonl").read_text()
    assert start(monkeypatch, *words) == 0 and "0 of 3 runs to do" in capsys.readouterr().out
    after = load_results(tmp_path / "ablations.jsonl")
    assert after == results and (tmp_path / "ablations.jsonl").read_text().startswith(before)
    refused = start(monkeypatch, *[word.replace("1.5e8", "3e8") for word in words])
    assert "holds another study (flops 150000000.0 there, 300000000.0 here" in str(refused)


def test_a_pair_is_kept_through_its_stages_and_diagnosed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--tiny", "--groups", "vi", "--stages", "preset", "--flops", "2e8", "--scenes", "2", "--devices", "cpu",
             "--seeds", "1,1", "--diagnose", "vi", "--no-draw", "--eager", "--out", str(tmp_path / "out"),
             "--weights", str(tmp_path / "weights")]  # fmt: skip
    assert start(monkeypatch, *words, "--dry-run") == 0 and not (tmp_path / "out").exists()
    planned = capsys.readouterr().out
    assert f"base, seed 0, kept as {tmp_path / 'weights' / 'vi-none'}" in planned
    assert "2 runs of 2e+08 model FLOPs, 4e+08 in all, on 1 devices" in planned
    assert start(monkeypatch, *words) == 0
    assert {path.name for path in (tmp_path / "weights").iterdir()} == {"vi-none", "vi-registers"}
    assert not list((tmp_path / "weights").rglob("state*"))  # nothing that only resuming reads
    found = json.loads((tmp_path / "out" / "diagnostics" / "activations.json").read_text())
    assert set(found) == {"vi-none", "vi-registers"} and set(found["vi-none"]) == {"16", "32", "64"}
    written = sorted(path.name for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert written == ["ablations.jsonl", "activations.json", "attention-vi-none.npz", "attention-vi-registers.npz"]
    results = load_results(tmp_path / "out" / "ablations.jsonl")
    assert results.plan["sizes"] == [16, 32] and results.plan["views"] == 4 and not results.plan["compiled"]
    for path in (tmp_path / "weights" / "vi-none").iterdir():
        path.unlink()
    assert "no weights in" in str(start(monkeypatch, *words))


def test_words_that_mean_nothing_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "no group xi: expected some of i, ii" in str(start(monkeypatch, "--out", str(tmp_path), "--groups", "i,xi"))
    assert "iv to be kept: not among the groups that are run, vi" in str(
        start(monkeypatch, "--out", str(tmp_path), "--groups", "vi", "--keep", "iv")
    )
    assert start(monkeypatch, "--tiny") == 2
    assert "is not there" in str(start(monkeypatch, "--draw", str(tmp_path / "no.jsonl")))
