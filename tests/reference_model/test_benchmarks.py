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
    done = run("--tiny", "--only", ",".join(sections), out=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (tmp_path / "model.jsonl").read_text().splitlines()]
    assert {row["section"] for row in rows} == set(sections)
    assert len(done.stdout.splitlines()) == len(rows)
    for section in ("train", "gta", "window", "cache", "frames"):
        bars = [row["bar"] for row in rows if row["section"] == section and "bar" in row]
        assert bars and all(bar.endswith((" met", " MISSED")) for bar in bars)
    assert all(row["largest_difference"] < 1e-5 for row in rows if row["section"] == "cache")  # cached equals uncached


def test_a_section_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["model.py", "--tiny", "--only", "trian"])
    with pytest.raises(SystemExit, match="2"):
        runpy.run_path(str(ROOT / "benchmarks" / "model.py"), run_name="__main__")
    assert "no section trian" in capsys.readouterr().err
