"""A run's log and judged checkpoints as a figure: what is read, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "training_curves.py"
LOG = [
    {"parameters": 10, "processes": 2},
    {"step": 1, "seconds": 10.0, "size": 64, "loss": 0.9, "lr": 1e-3, "tflops": 0.0},
    {"spike": 2, "loss": 2.0},
    {"step": 100, "seconds": 20.0, "size": 128, "loss": 0.5, "lr": 5e-4, "tflops": 50.0},
]


def write_result(path: Path, psnr: float) -> Path:
    mean = {"metric": "psnr", "references": "3", "targets": "strict-novel", "mean": psnr}
    path.write_text(json.dumps({"means": [{**mean, "targets": "all", "mean": 1.0}, mean]}))
    return path


def call(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, SCRIPT, *map(str, words)], check=False, capture_output=True, text=True)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log"
    path.write_text("a line of torchrun's\n" + "\n".join(map(json.dumps, LOG)))
    return path


def test_flops_are_summed_over_processes(monkeypatch: pytest.MonkeyPatch, log: Path) -> None:
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    from training_curves import Logged, read_log, read_logs  # pyright: ignore

    first = [Logged(0, 0.0, 64, 0.9, 1e-3), Logged(0, 1e15, 128, 0.5, 5e-4)]
    assert read_log(log.read_text()) == first
    second = [Logged(1, 1e15, 64, 0.9, 1e-3), Logged(1, 2e15, 128, 0.5, 5e-4)]
    assert read_logs([log.read_text()] * 2) == [*first, *second]  # a run that began with the other's weights


def test_checkpoints_are_held_against_nearest(tmp_path: Path, log: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "card.json").write_text('{"flops": 1.5e15, "initial_card": {"flops": 5e14}}')
    nearest, mine = write_result(tmp_path / "nearest.json", 12.0), write_result(tmp_path / "mine.json", 15.5)
    done = call(log, "--out", tmp_path / "x.png", "--nearest", nearest, "--judged", tmp_path / "mine", mine)
    assert "mine: 2e+15 FLOPs, 15.50 dB, +3.50 over nearest" in done.stdout, done.stderr
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--judged", "there", "result.json"], "--judged needs --nearest"),
        (["--nearest", "{nearest}", "--references", "7"], "no mean PSNR from 7 references"),
        (["--nearest", "missing.json"], "missing.json"),
    ],
)
def test_what_cannot_be_drawn_is_refused(tmp_path: Path, log: Path, words: list[str], said: str) -> None:
    nearest = write_result(tmp_path / "nearest.json", 12.0)
    done = call(log, "--out", tmp_path / "x.png", *(word.format(nearest=nearest) for word in words))
    assert done.returncode == 2 and said in done.stderr


def test_a_log_without_steps_is_refused(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("nothing\n")
    done = call(tmp_path / "log", "--out", tmp_path / "x.png")
    assert done.returncode == 2 and "no step of training" in done.stderr
