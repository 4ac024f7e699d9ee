"""Finding weights: where, that they are the right ones, and what is said when they are not there."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from kaleido_bench.conventions import find_conventions, load_convention
from kaleido_bench.errors import BenchError
from kaleido_bench.score.metrics.weights import (
    HEADS_FILE,
    HEADS_SHA256,
    WEIGHTS,
    WeightsFile,
    WeightsMissing,
    find_weights,
    weights_folders,
    write_trunk,
)


def test_looks_in_the_weights_folder_then_in_the_cache(tmp_path: Path) -> None:
    weights, cache = tmp_path / "weights", tmp_path / "cache"
    both = {"KBENCH_WEIGHTS": str(weights), "KBENCH_CACHE": str(cache)}
    assert weights_folders(both) == (weights / "lpips", weights, cache / "weights")
    assert weights_folders({}) == (Path.home() / ".cache" / "kaleido-bench" / "weights",)
    for folder in reversed(weights_folders(both)):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "vgg16_features.safetensors").write_bytes(str(folder).encode())
        found = find_weights("vgg16_features", both)
        assert found == WeightsFile(
            folder / "vgg16_features.safetensors", hashlib.sha256(str(folder).encode()).hexdigest()
        )


@pytest.mark.parametrize("name", ["alexnet_features", "squeezenet1_1_features"])
def test_the_pinned_files_are_these(weights_dir: Path, name: str) -> None:
    found = find_weights(name, {"KBENCH_WEIGHTS": str(weights_dir)})
    assert isinstance(found, WeightsFile)
    assert found.sha256 == WEIGHTS[name].accepted[0] == hashlib.sha256(found.path.read_bytes()).hexdigest()
    assert found.path.stat().st_size == WEIGHTS[name].size


def test_the_conventions_name_these_weights() -> None:
    """A convention pins weights by the name and the hash that this table knows them by."""
    for convention in map(load_convention, find_conventions()):
        for recipe in convention.lpips:
            accepted = WEIGHTS[recipe.trunk.name].accepted
            assert recipe.trunk.sha256 == (accepted[0] if accepted else None)
            assert (f"{recipe.heads.name}.safetensors", recipe.heads.sha256) == (HEADS_FILE, HEADS_SHA256)


def test_altered_weights_are_refused(tmp_path: Path, weights_dir: Path) -> None:
    data = bytearray((weights_dir / "lpips" / "squeezenet1_1_features.safetensors").read_bytes())
    data[-1] ^= 1
    path = tmp_path / "squeezenet1_1_features.safetensors"
    path.write_bytes(data)
    with pytest.raises(
        BenchError, match=r"squeezenet1_1_features.safetensors: sha256 \w+; expected sha256 9b5919c1.*Delete"
    ):
        find_weights("squeezenet1_1_features", {"KBENCH_WEIGHTS": str(tmp_path)})


def test_missing_weights_say_which_where_and_what_to_do(tmp_path: Path) -> None:
    missing = find_weights("alexnet_features", {"KBENCH_WEIGHTS": str(tmp_path / "w"), "KBENCH_CACHE": str(tmp_path)})
    assert isinstance(missing, WeightsMissing)
    for part in (
        "alexnet_features.safetensors",
        WEIGHTS["alexnet_features"].accepted[0],
        str(tmp_path / "w" / "lpips"),
        str(tmp_path / "weights"),
        "alexnet-owt-7be5be79.pth",
    ):
        assert part in missing.message
    assert "\n" not in missing.message
    assert str(missing.error()).endswith(missing.message)


def test_unknown_weights_name_the_nearest() -> None:
    with pytest.raises(BenchError, match="Did you mean 'alexnet_features'"):
        find_weights("alexnet", {})


def test_a_torchvision_checkpoint_becomes_an_accepted_file(tmp_path: Path, weights_dir: Path) -> None:
    """What the message about missing weights tells a user to do."""
    state = load_file(weights_dir / "lpips" / "squeezenet1_1_features.safetensors")
    checkpoint = tmp_path / "squeezenet1_1-b8a52dc0.pth"
    torch.save({**dict(reversed(state.items())), "classifier.1.bias": torch.zeros(1000)}, checkpoint)
    path = write_trunk("squeezenet1_1_features", checkpoint, tmp_path / "lpips")
    assert hashlib.sha256(path.read_bytes()).hexdigest() == WEIGHTS["squeezenet1_1_features"].accepted[1]
    found = find_weights("squeezenet1_1_features", {"KBENCH_WEIGHTS": str(tmp_path)})
    assert found == WeightsFile(path, WEIGHTS["squeezenet1_1_features"].accepted[0])


def test_another_checkpoint_is_refused(tmp_path: Path) -> None:
    checkpoint = tmp_path / "alexnet.pth"
    with pytest.raises(BenchError, match="no such file"):
        write_trunk("alexnet_features", checkpoint, tmp_path)
    torch.save({"features.0.weight": torch.zeros(64, 3, 11, 11)}, checkpoint)
    with pytest.raises(BenchError, match="its features have sha256"):
        write_trunk("alexnet_features", checkpoint, tmp_path)
    assert list(tmp_path.iterdir()) == [checkpoint]
