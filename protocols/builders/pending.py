"""What the protocols share whose view ids the user has to bring."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from pydantic import JsonValue

from kaleido_bench.drafts import GIVEN, Data, Draft, Pending, describe_preparation

SEVA_ZIP = "benchmark.zip of github.com/Stability-AI/stable-virtual-camera/releases/tag/benchmark"

FROZEN_TODAY = (
    "The few-view rule of RegNeRF and FreeNeRF over this data set is frozen as {} and runs today; here sizes and "
    "numbering are the archive's."
)
V_INPUTS = "SEVA's Table 2 says one input; its Table 7, as far as it is legible, two."


class Split(NamedTuple):
    """One pending protocol, whose ids are in a published archive of scene folders."""

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
    sources: tuple[str, ...]
    problems: tuple[str, ...]
    root: str
    obtain: str
    convention: str = "kbench-v1"
    metrics: tuple[str, ...] = ("psnr", "ssim", "lpips-alex")
    optional: tuple[str, ...] = ("lpips-vgg",)
    filter: str = "lanczos"
    cameras: Mapping[str, JsonValue] = GIVEN
    scene_names: tuple[str, ...] = ()  # of the scenes that are known by name


def draft_of(split: Split) -> Draft:
    """The pending protocol."""
    return Draft(
        name=split.name,
        title=split.title,
        level=split.level,
        regime="many-view" if max(split.counts) > 9 else "few-view",
        data=Data(
            split.data, "seva", split.root, "scene folders in the layout of the published archive, views sorted by path"
        ),
        pending=Pending(split.kind, split.entry, split.obtain, split.scenes, split.targets, split.scene_names),
        counts=split.counts,
        preparation=describe_preparation(*split.size, filter=split.filter),
        cameras=split.cameras,
        convention=split.convention,
        metrics=split.metrics,
        optional_metrics=split.optional,
        targets="as-published",
        sources=split.sources,
        problems=split.problems,
    )
