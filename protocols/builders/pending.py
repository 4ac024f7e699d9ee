"""What the protocols share whose view ids the user has to bring."""

from __future__ import annotations

from typing import NamedTuple

from pydantic import JsonValue

SEVA_ZIP = "benchmark.zip of github.com/Stability-AI/stable-virtual-camera/releases/tag/benchmark"
GIVEN: JsonValue = {"policy": "given"}

FROZEN_TODAY = (
    "The few-view rule of RegNeRF and FreeNeRF over this data set is frozen as {} and runs today; here sizes and "
    "numbering are the archive's."
)
V_INPUTS = "SEVA's Table 2 says one input; its Table 7, as far as it is legible, two."


class Split(NamedTuple):
    """One pending protocol."""

    name: str
    title: str
    kind: str
    entry: str
    data: str
    level: str
    counts: tuple[int, ...]
    scenes: int | None
    targets: tuple[int, ...] | None
    size: tuple[int, int]
    cameras: JsonValue
    convention: str
    metrics: tuple[str, ...]
    filter: str
    sources: tuple[str, ...]
    problems: tuple[str, ...]
    root: str
    obtain: str
    optional: tuple[str, ...] = ()
    scene_names: tuple[str, ...] = ()  # of the scenes that are known by name


def fields_of(split: Split) -> dict[str, JsonValue]:
    """The YAML of a pending protocol, as plain values in the order to be written."""
    return {
        "schema_version": 1,
        "name": split.name,
        "version": 1,
        "title": split.title,
        "level": split.level,
        "regime": "many-view" if max(split.counts) > 9 else "few-view",
        "dataset": {
            "name": split.data,
            "reader": "seva",
            "root": split.root,
            "revision": "scene folders in the layout of the published archive, views sorted by path",
        },
        "index": {
            "ids": "pending",
            "completed_by": split.kind,
            "entry": split.entry,
            "obtain": split.obtain,
            "expected": {
                "scenes": split.scenes,
                "targets": None if split.targets is None else list(split.targets),
                **({"scene_names": list(split.scene_names)} if split.scene_names else {}),
            },
        },
        "reference_counts": list(split.counts),
        "preparation": {
            "size": list(split.size),
            "fit": "cover-crop",
            "filter": split.filter,
            "antialias": True,
            "background": "white",
            "alpha": "composite",
        },
        "cameras": split.cameras,
        "convention": split.convention,
        "metrics": list(split.metrics),
        "optional_metrics": list(split.optional),
        "samples": 1,
        "seed": 0,
        "targets": "as-published",
        "sources": list(split.sources),
        "known_problems": list(split.problems),
    }
