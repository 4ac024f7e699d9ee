"""Checkpoints: sharded safetensors with the preset as JSON beside them. Nothing is unpickled."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from reference_model.config import Preset, from_json, to_json

MAX_SHARD_BYTES = 12 * 2**20
SHIPPED = Path(__file__).parent / "weights"


def write_checkpoint(
    folder: Path,
    weights: dict[str, Tensor],
    preset: Preset,
    card: dict[str, object],
    max_shard_bytes: int = MAX_SHARD_BYTES,
) -> None:
    """Write model-00001-of-0000N.safetensors, preset.json and card.json (what it was trained on, with what compute
    and scores).
    """
    shards: list[dict[str, Tensor]] = [{}]
    room = max_shard_bytes
    for name, tensor in weights.items():
        size = tensor.numel() * tensor.element_size()
        if size > room and shards[-1]:
            shards.append({})
            room = max_shard_bytes
        shards[-1][name] = tensor.detach().contiguous().cpu()
        room -= size
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("model-*.safetensors"):
        old.unlink()
    for i, shard in enumerate(shards):
        save_file(shard, folder / f"model-{i + 1:05d}-of-{len(shards):05d}.safetensors")
    (folder / "preset.json").write_text(to_json(preset))
    (folder / "card.json").write_text(json.dumps(card, indent=2, sort_keys=True) + "\n")


def find_checkpoint(variant: str | Path) -> Path:
    """A folder, or the name of weights that ship with the package. FileNotFoundError names what there is."""
    for folder in (Path(variant), SHIPPED / str(variant)):
        if (folder / "preset.json").is_file():
            return folder
    shipped = sorted(path.parent.name for path in SHIPPED.glob("*/preset.json"))
    raise FileNotFoundError(
        f"no checkpoint {str(variant)!r}: give a folder with preset.json, or one of {', '.join(shipped)}"
    )


def load_checkpoint(folder: Path) -> tuple[dict[str, Tensor], Preset, dict[str, object]]:
    """Weights in float32, preset, card. ValueError when a shard is missing or the preset is of another version."""
    shards = sorted(folder.glob("model-*.safetensors"))
    expected = int(shards[0].stem.rsplit("-", 1)[1]) if shards else 1
    if len(shards) != expected:
        raise ValueError(f"{folder}: {len(shards)} of {expected} weight files are there; copy the missing ones")
    weights: dict[str, Tensor] = {}
    for shard in shards:
        weights |= load_file(shard)
    preset = from_json((folder / "preset.json").read_text())
    card: dict[str, object] = json.loads((folder / "card.json").read_text())
    return {name: tensor.to(torch.float32) for name, tensor in weights.items()}, preset, card


def hash_checkpoint(folder: Path) -> str:
    """sha256 over the preset and the weight files, in order of their names."""
    digest = hashlib.sha256()
    for path in [folder / "preset.json", *sorted(folder.glob("model-*.safetensors"))]:
        digest.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
