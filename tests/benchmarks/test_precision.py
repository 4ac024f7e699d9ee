"""The comparison of precisions runs through the adapter and says what it measured; its numbers mean nothing here."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest
import torch

from reference_model.checkpoint import write_checkpoint
from reference_model.model import Kaleido
from reference_model.presets import smoke

ROOT = Path(__file__).resolve().parents[2]


def test_a_row_for_each_size_number_of_steps_and_precision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also at another size than the weights'. The first row is its own baseline, and bfloat16 moves something."""
    torch.manual_seed(0)
    model = Kaleido(smoke().model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    write_checkpoint(tmp_path / "weights", model.state_dict(), smoke(), {})
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    monkeypatch.setenv("OUT", str(tmp_path))
    words = ["--model", tmp_path / "weights", "--device", "cpu", "--sizes", "32,64", "--steps", "1,2", "--scenes", "1"]
    monkeypatch.setattr(sys, "argv", ["precision.py", *map(str, words), "--repeats", "1"])
    runpy.run_path(str(ROOT / "benchmarks" / "precision.py"), run_name="__main__")
    head, *rows = [json.loads(line) for line in (tmp_path / "model.jsonl").read_text().splitlines()]
    assert (head["device"], head["references"], head["targets"]) == ("cpu", 4, 4)
    said = [(row["size"], row["steps"], row["precision"]) for row in rows]
    assert said == [(s, n, p) for s in (32, 64) for n in (1, 2) for p in ("float32", "bfloat16")]
    for wide, narrow in zip(rows[::2], rows[1::2], strict=True):
        assert (wide["gain"], wide["dB_gained"]) == (1, 0)
        assert 30 < narrow["dB_to_float32"] < wide["dB_to_float32"] == 100
        assert all(row["ms_a_view"] > 0 and row["first_s"] > 0 for row in (wide, narrow))
