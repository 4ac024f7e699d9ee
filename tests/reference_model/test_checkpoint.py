"""Weights in files of bounded size."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from reference_model.checkpoint import load_checkpoint, read_shards, write_checkpoint, write_shards
from reference_model.presets import smoke


def test_checkpoints_are_sharded_and_a_missing_shard_is_named(tmp_path: Path) -> None:
    weights = {f"w{i}": torch.randn(100).to(torch.bfloat16) for i in range(6)}
    write_checkpoint(tmp_path, weights, smoke(), {"training_data": []}, max_shard_bytes=450)
    shards = sorted(path.name for path in tmp_path.glob("*.safetensors"))
    assert shards == [f"model-{i:05d}-of-00003.safetensors" for i in (1, 2, 3)]
    assert all((tmp_path / name).stat().st_size < 16 * 2**20 for name in shards)
    read, _, _ = load_checkpoint(tmp_path)
    assert all(torch.equal(read[name], tensor.float()) for name, tensor in weights.items())
    (tmp_path / shards[1]).unlink()
    with pytest.raises(ValueError, match="2 of 3"):
        load_checkpoint(tmp_path)


def test_large_tensors_are_cut_into_files_of_bounded_size(tmp_path: Path) -> None:
    tensors = {"large": torch.randn(50, 64), "scalar": torch.tensor(3.0), "small": torch.randn(3)}
    write_shards(tmp_path, "state", tensors.items(), limit=4000)
    sizes = [path.stat().st_size for path in tmp_path.glob("state-*-of-*.safetensors")]
    assert len(sizes) == 4 and max(sizes) < 4600
    read = read_shards(tmp_path, "state")
    assert read.keys() == tensors.keys() and all(torch.equal(read[name], t) for name, t in tensors.items())


@pytest.mark.parametrize("name", ["preset.json", "card.json"])
@pytest.mark.parametrize("text", [None, "no JSON"])
def test_a_file_that_was_lost_or_changed_is_named(tmp_path: Path, name: str, text: str | None) -> None:
    write_checkpoint(tmp_path, {"weights": torch.ones(2)}, smoke(), {"training_data": []})
    (tmp_path / name).unlink() if text is None else (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=name):
        load_checkpoint(tmp_path)
