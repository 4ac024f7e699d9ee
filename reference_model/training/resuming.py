"""The state of a run on disk: weights, their average, what the optimizers remember, and how far the run is. A run that
is started again goes on from it exactly: everything else that a step depends on is a function of its number.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

import reference_model
from reference_model.checkpoint import stream_shards, write_shards
from reference_model.config import Preset, without_idle
from reference_model.model import Kaleido
from reference_model.stored import VersionError, from_json, to_json
from reference_model.training.progress import Spent
from reference_model.training.sharding import scatter, share_like

NAMES = ("state.new", "state", "state.old")
"""Below OUT: a state that is being written, the newest whole one, and the one before it until that one lies there."""


class Initial(NamedTuple):
    """The weights that a run began with, as they were then. `card`: what made them, which names in turn those that they
    began with.
    """

    sha256: str
    card: dict[str, Any]


class Begun(NamedTuple):
    """What a state says of its run."""

    spent: Spent
    code_sha256: str
    initial: Initial | None  # None: it began from nothing


class Trained(NamedTuple):
    """What changes from step to step."""

    model: Kaleido
    averaged: Kaleido
    optimizers: Sequence[torch.optim.Optimizer]


def hash_code() -> str:
    """sha256 over the reference model's Python files, in order of their paths."""
    root, digest = Path(reference_model.__file__).parent, hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def name_tensors(trained: Trained) -> Iterator[tuple[str, Tensor]]:
    """Every tensor of the state, under the name it has on disk."""
    for prefix, module in (("model", trained.model), ("averaged", trained.averaged)):
        for name, tensor in module.state_dict().items():
            yield f"{prefix}.{name}", tensor
    for number, optimizer in enumerate(trained.optimizers):
        for index, remembered in optimizer.state_dict()["state"].items():
            for name, tensor in remembered.items():
                yield f"optimizer{number}.{index}.{name}", tensor


def write_state(
    out: Path, tensors: Iterable[tuple[str, Tensor]], preset: Preset, source: dict[str, object], begun: Begun
) -> None:
    """Write OUT/state anew. What was there before stays until the new one is whole.

    Raises OSError, naming the file, where one cannot be written.
    """
    new, current, old = (out / name for name in NAMES)
    shutil.rmtree(new, ignore_errors=True)
    try:
        write_shards(new, "state", tensors)
        told = {"code_sha256": begun.code_sha256, **describe_initial(begun.initial), **begun.spent._asdict()}
        header = {"preset": to_json(preset), "source": source, **told}
        (new / "state.json").write_text(json.dumps(header, indent=2) + "\n")
    except OSError:
        shutil.rmtree(new, ignore_errors=True)  # what is full is not left fuller
        raise
    if current.exists():  # else a run was killed between the two renames: the old one is all that there is
        shutil.rmtree(old, ignore_errors=True)
        current.rename(old)
    new.rename(current)
    shutil.rmtree(old, ignore_errors=True)


def describe_initial(initial: Initial | None) -> dict[str, object]:
    """For a state's header and the card of what comes out."""
    if initial is None:
        return {"initial_sha256": None}
    return {"initial_sha256": initial.sha256, "initial_card": initial.card}


def find_state(out: Path) -> Path | None:
    """The newest whole state below OUT, if there is one."""
    found = (out / name for name in NAMES[1:])
    return next((folder for folder in found if (folder / "state.json").is_file()), None)


def clear_leftovers(out: Path) -> None:
    """Remove what killed runs have left beside a whole state: it is as large."""
    new, current, old = (out / name for name in NAMES)
    shutil.rmtree(new, ignore_errors=True)
    if (current / "state.json").is_file():
        shutil.rmtree(old, ignore_errors=True)


def read_header(folder: Path, preset: Preset, source: dict[str, object]) -> Begun:
    """How far the run is, by which code, and from what.

    Raises ValueError when it is a run of another preset or on other data, or its header cannot be read.
    """
    out, path = folder.parent, folder / "state.json"
    try:
        header: dict[str, Any] = json.loads(path.read_text())
        spent = Spent(header["seconds"], header["steps"], header["flops"], header.get("seconds_preparing", 0.0))
        written, source_then = from_json(header["preset"]), header["source"]
        initial = header.get("initial_sha256")
        begun = Begun(
            spent, header["code_sha256"], Initial(initial, header.get("initial_card", {})) if initial else None
        )
    except VersionError as error:
        raise ValueError(f"{path}: {error}, or give another --out") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not what a run wrote ({error}); delete {folder} to begin anew") from error
    if differing := _name_differences(*(json.loads(to_json(without_idle(each))) for each in (written, preset))):
        raise ValueError(
            f"{out} holds a run of another preset: it differs in {', '.join(differing)}. Give another --out, or delete "
            f"{folder} to begin anew"
        )
    if source_then != source:
        names = _name_differences(source_then, source)
        raise ValueError(
            f"{out} holds a run on other data: {_list_values(source_then, names)}; not {_list_values(source, names)}. "
            f"Give another --out, or delete {folder} to begin anew"
        )
    return begun


def _name_differences(a: dict[str, Any], b: dict[str, Any], prefix: str = "") -> list[str]:
    names: list[str] = []
    for key in sorted(a.keys() | b.keys()):
        left, right = a.get(key), b.get(key)
        if isinstance(left, dict) and isinstance(right, dict):
            names += _name_differences(left, right, f"{prefix}{key}.")
        elif left != right:
            names.append(f"{prefix}{key}")
    return names


def _list_values(described: dict[str, Any], names: Sequence[str]) -> str:
    """`data.fit "centre"`: of nested fields by their dotted names."""
    found: list[str] = []
    for name in names:
        value: Any = described
        for key in name.split("."):
            value = value.get(key) if isinstance(value, dict) else None
        found.append(f"{name} {json.dumps(value)}")
    return ", ".join(found)


def read_state(folder: Path, trained: Trained) -> None:
    """Put a state back where `name_tensors` took it from, one tensor at a time: of a sharded model only this process'
    rows stay. Raises ValueError where it is the state of another model.
    """
    prefixes = ("model.", "averaged.")
    weights = {name: tensor for name, tensor in name_tensors(trained) if name.startswith(prefixes)}
    owners = [[p for group in o.param_groups for p in group["params"]] for o in trained.optimizers]
    remembered: list[dict[int, dict[str, Tensor]]] = [{} for _ in owners]
    for name, whole in stream_shards(folder, "state"):
        if name.startswith(prefixes):
            if name not in weights:
                raise ValueError(f"{folder}: {name} is no part of this model; delete it to begin anew")
            scatter(weights.pop(name), whole)
        else:
            number, index, field = name.removeprefix("optimizer").split(".", 2)
            owner = owners[int(number)][int(index)]
            remembered[int(number)].setdefault(int(index), {})[field] = share_like(owner, whole)
    if weights:
        raise ValueError(f"{folder} lacks {', '.join(sorted(weights))}; delete it to begin anew")
    for number, state in enumerate(remembered):
        if len({frozenset(fields) for fields in state.values()}) != 1:  # of a parameter that no step used it is silent
            raise ValueError(f"{folder}: what optimizer {number} remembers is not whole; delete it to begin anew")
    for optimizer, state in zip(trained.optimizers, remembered, strict=True):
        optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
