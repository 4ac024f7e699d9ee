"""The benchmark runs, section by section, at toy size: its numbers mean nothing here, its lines do."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(*words: str, out: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OUT": str(out)}
    command = [sys.executable, str(ROOT / "benchmarks" / "model.py"), *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_every_section_reports_and_names_its_bar(tmp_path: Path) -> None:
    sections = ["ceiling", "kernels", "train", "gta", "window", "cache", "frames", "latency"]
    done = run("--tiny", "--only", ",".join(sections), "--ways", "now,plain", out=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (tmp_path / "model.jsonl").read_text().splitlines()]
    assert {row["section"] for row in rows} == set(sections)
    assert len(done.stdout.splitlines()) == len(rows)
    for section in ("train", "gta", "window", "cache", "frames"):
        bars = [row["bar"] for row in rows if row["section"] == section and "bar" in row]
        assert bars and all(bar.endswith((" met", " MISSED")) for bar in bars)
    assert all(row["largest_difference"] < 1e-5 for row in rows if row["section"] == "cache")  # cached equals uncached
    assert all(row["gradients_apart"] < 1e-5 for row in rows if row["section"] == "train")
    rendered = [row for row in rows if row.get("device") == "cpu" and row["section"] == "latency"]
    assert [row["targets"] for row in rendered] == [1, 4, 12]
    assert all(row["largest_difference"] < 1e-5 and row["flops_gain"] >= 1 for row in rendered)


def test_kernels_are_sorted_by_what_they_are_for() -> None:
    sort = runpy.run_path(str(ROOT / "benchmarks" / "kernels_used.py"))["sort_kernels"]
    names = {
        "nvjet_hsh_128x256": 4.0,
        "cudnn_generated_fort_native_sdpa_sm90_flash_fprop": 3.0,
        "_forward_kernel": 2.0,
        "triton_poi_fused_add_0": 1.5,
        "_swiglu_backward_kernel": 1.0,
        "Memcpy DtoD": 0.5,
        "elementwise": 0.1,
    }
    found = {"products": 4.0, "attention": 3.0, "stream": 2.0, "compiled": 1.5, "swiglu": 1.0, "copies": 0.5}
    assert sort(names) == {**found, "other": 0.1}


def test_a_section_or_a_way_that_is_none_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    for words, said in ((["--only", "trian"], "no section trian"), (["--ways", "slow"], "no way slow")):
        monkeypatch.setattr(sys, "argv", ["model.py", "--tiny", *words])
        with pytest.raises(SystemExit, match="2"):
            runpy.run_path(str(ROOT / "benchmarks" / "model.py"), run_name="__main__")
        assert said in capsys.readouterr().err
