"""Checkpoints: sharded safetensors with the preset as JSON beside them. Nothing is unpickled."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from reference_model.config import Preset
from reference_model.stored import from_json, to_json

MAX_SHARD_BYTES = 12 * 2**20
NEW = "model.new"
"""The folder in which a checkpoint lies until it is whole."""

SHIPPED = Path(__file__).parent / "weights"


def cut_rows(name: str, tensor: Tensor, limit: int) -> list[tuple[str, Tensor]]:
    """A tensor as it is, or one of more than `limit` bytes as parts of whole rows, `name//0`, `name//1` and so on."""
    size = tensor.numel() * tensor.element_size()
    if size <= limit or tensor.ndim == 0:
        return [(name, tensor)]
    rows = max(1, limit * tensor.shape[0] // size)
    return [(f"{name}//{i}", part.clone()) for i, part in enumerate(tensor.split(rows))]


def write_shards(folder: Path, stem: str, tensors: Iterable[tuple[str, Tensor]], limit: int = MAX_SHARD_BYTES) -> None:
    """Write <stem>-00001.safetensors and so on, each of at most about `limit` bytes, holding no more than one of them
    in memory beside what is handed in; files of that stem that were there before are gone.

    Raises OSError, naming the file, where it cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob(f"{stem}-*.safetensors"):
        old.unlink()
    shard: dict[str, Tensor] = {}
    room, written = limit, 0

    def flush() -> None:
        nonlocal shard, room, written
        written += 1
        path = folder / f"{stem}-{written:05d}.safetensors"
        try:
            save_file(shard, path)
        except SafetensorError as error:  # what it makes of a full disk
            raise OSError(f"{path}: {error}") from error
        shard, room = {}, limit

    for whole_name, whole in tensors:
        for name, tensor in cut_rows(whole_name, whole.detach(), limit):
            size = tensor.numel() * tensor.element_size()
            if size > room and shard:
                flush()
            shard[name] = tensor.contiguous().cpu()
            room -= size
    flush()
    for i in range(1, written + 1):
        (folder / f"{stem}-{i:05d}.safetensors").rename(folder / f"{stem}-{i:05d}-of-{written:05d}.safetensors")


def stream_shards(folder: Path, stem: str) -> Iterator[tuple[str, Tensor]]:
    """What `write_shards` wrote, one whole tensor after another, holding no more than one in memory. ValueError, naming
    it, when a file is missing or is not what was written.
    """
    shards = sorted(folder.glob(f"{stem}-*.safetensors"))
    expected = int(shards[0].stem.rsplit("-", 1)[1]) if shards else 1
    if len(shards) != expected:
        raise ValueError(f"{folder}: {len(shards)} of {expected} weight files are there; copy the missing ones")
    places: dict[str, list[tuple[int, str, Path]]] = {}  # of each tensor's parts
    for shard in shards:
        try:
            with safe_open(shard, "pt") as file:
                names = list(file.keys())
        except SafetensorError as error:
            raise ValueError(f"{shard}: {error}; it was cut off or changed, copy it anew") from error
        for name in names:
            whole, _, number = name.partition("//")
            places.setdefault(whole, []).append((int(number or 0), name, shard))
    for whole, parts in places.items():
        rows: list[Tensor] = []
        for _, name, shard in sorted(parts):
            with safe_open(shard, "pt") as file:
                rows.append(file.get_tensor(name))
        yield whole, torch.cat(rows) if len(rows) > 1 else rows[0]


def read_shards(folder: Path, stem: str) -> dict[str, Tensor]:
    """All that `write_shards` wrote. ValueError when a file is missing."""
    return dict(stream_shards(folder, stem))


def write_checkpoint(
    folder: Path,
    weights: dict[str, Tensor] | Iterable[tuple[str, Tensor]],
    preset: Preset,
    card: dict[str, object],
    max_shard_bytes: int = MAX_SHARD_BYTES,
) -> None:
    """Write model-00001-of-0000N.safetensors, preset.json and card.json (what it was trained on, with what compute
    and scores). What was there before stays until the new files are whole; card.json goes first and comes last, so that
    where it lies, everything does.

    Raises OSError, naming the file, where one cannot be written.
    """
    new = folder / NEW
    shutil.rmtree(new, ignore_errors=True)
    try:
        named = cast("dict[str, Tensor]", weights).items() if isinstance(weights, dict) else weights
        write_shards(new, "model", named, max_shard_bytes)
        (new / "preset.json").write_text(to_json(preset))
        write_card(new, card)
    except OSError:
        shutil.rmtree(new, ignore_errors=True)  # what is full is not left fuller
        raise
    (folder / "card.json").unlink(missing_ok=True)
    for old in folder.glob("model-*.safetensors"):
        old.unlink()
    for path in sorted(new.iterdir(), key=lambda path: path.name == "card.json"):
        path.replace(folder / path.name)
    new.rmdir()


def write_card(folder: Path, card: dict[str, object]) -> None:
    """Write card.json, whole or not at all."""
    new = folder / "card.json.new"
    new.write_text(json.dumps(card, indent=2, sort_keys=True) + "\n")
    new.replace(folder / "card.json")


def read_card(folder: Path) -> dict[str, object]:
    """ValueError, naming the file, where it is not there or not what a run wrote."""
    path = folder / "card.json"
    try:
        card: object = json.loads(path.read_text())
    except (FileNotFoundError, ValueError) as error:
        raise ValueError(f"{path} is not what a run wrote ({error}); copy it anew") from error
    if not isinstance(card, dict):
        raise ValueError(f"{path} is not what a run wrote ({type(card).__name__}, expected a record); copy it anew")
    return cast("dict[str, object]", card)


def find_checkpoint(variant: str | Path) -> Path:
    """A folder, or the name of weights that ship with the package. FileNotFoundError names what there is."""
    for folder in (Path(variant), SHIPPED / str(variant)):
        if (folder / "preset.json").is_file():
            return folder
    shipped = sorted(path.parent.name for path in SHIPPED.glob("*/preset.json"))
    raise FileNotFoundError(
        f"no checkpoint {str(variant)!r}: give a folder with preset.json, or one of {', '.join(shipped)}"
    )


def read_stored_preset(folder: Path) -> Preset:
    """ValueError, naming the file, where it is not there or cannot be read."""
    path = folder / "preset.json"
    try:
        return from_json(path.read_text())
    except (FileNotFoundError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error


def load_checkpoint(folder: Path) -> tuple[dict[str, Tensor], Preset, dict[str, object]]:
    """Weights in float32, preset, card. ValueError, naming it, when a file is missing or is not what was written."""
    preset, weights, card = read_stored_preset(folder), read_shards(folder, "model"), read_card(folder)
    return {name: tensor.to(torch.float32) for name, tensor in weights.items()}, preset, card


def hash_checkpoint(folder: Path) -> str:
    """sha256 over the preset and the weight files, in order of their names."""
    digest = hashlib.sha256()
    for path in [folder / "preset.json", *sorted(folder.glob("model-*.safetensors"))]:
        digest.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
