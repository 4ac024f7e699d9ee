"""A preset as a checkpoint, a run's state and a user's file hold it: JSON with a version."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from reference_model.config import FlowConfig, ModelConfig, Preset, Stage, TrainConfig

VERSION = 4  # of the stored form. An older one lacks fields that came later: their defaults say what it meant, but for
MEANT = {"window_from": 0}  # whose default has changed since: a window was cut from views of any size


class VersionError(ValueError):
    """Stored by other code than this can read."""


def to_json(preset: Preset) -> str:
    return json.dumps({"version": VERSION, **dataclasses.asdict(preset)}, indent=2, sort_keys=True) + "\n"


def is_of_kind(value: object, kind: str) -> bool:
    """Whether a value read from JSON is what a field's annotation says; a list of stages has become a tuple."""
    if kind.startswith("tuple["):
        return isinstance(value, tuple)
    kinds: dict[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "str": (str,), "bool": (bool,)}
    return any(
        value is None
        if each == "None"
        else isinstance(value, kinds[each]) and (each == "bool") == isinstance(value, bool)
        for each in kind.split(" | ")
    )


def build_record(record: type[Any], raw: Any, *, whole: bool = False) -> Any:
    """The record from its fields as JSON, `whole` where each of them must be there, default or not.

    Raises TypeError naming what is missing, unknown or of another type, ValueError for a value out of range.
    """
    if not isinstance(raw, dict):
        raise TypeError(f"{record.__name__} {raw!r}: expected its fields by name")
    fields = dataclasses.fields(record)
    if whole and (missing := {field.name for field in fields} - set(raw)):
        raise TypeError(f"{record.__name__} lacks {', '.join(sorted(missing))}")
    if isinstance(raw.get("stages"), list):
        raw = {**raw, "stages": tuple(build_record(Stage, stage, whole=whole) for stage in raw["stages"])}
    needed = {field.name for field in fields if field.default is dataclasses.MISSING}
    if set(raw) <= {field.name for field in fields} and (missing := needed - set(raw)):
        raise TypeError(f"{record.__name__} lacks {', '.join(sorted(missing))}")
    for field in fields:
        if field.name in raw and not is_of_kind(raw[field.name], str(field.type)):
            raise TypeError(f"{field.name} {raw[field.name]!r}: expected a value of type {field.type}")
    return record(**raw)


def from_json(text: str) -> Preset:
    """Read a stored preset; one of an older version is filled with the defaults, and with `MEANT`: the model it was.

    Raises ValueError, naming the record or the version, when it is of a later version or a field is missing, unknown,
    of another type or out of range.
    """
    raw: Any = json.loads(text)
    if not isinstance(raw, dict):
        raise ValueError(f"not a preset: {type(raw).__name__}, expected its groups model, flow and train by name")
    version = raw.get("version", 1)
    if version not in range(1, VERSION + 1):
        raise VersionError(f"a preset of version {version!r}: this code reads 1 to {VERSION}; update it")
    if version < VERSION and isinstance(raw.get("model"), dict):
        raw = {**raw, "model": {**MEANT, **raw["model"]}}
    groups = {"model": ModelConfig, "flow": FlowConfig, "train": TrainConfig}
    try:
        return Preset(
            **{name: build_record(record, raw[name], whole=version == VERSION) for name, record in groups.items()}
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a preset of this version: {error}") from error
