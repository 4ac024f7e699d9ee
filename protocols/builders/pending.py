"""What the protocols share whose view ids the user has to bring from a published archive of scene folders.

A `Published` is one such benchmark: what all its protocols have in common. An `Entry` is one protocol of it.
"""

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
LAYOUT = "scene folders in the layout of the published archive, views sorted by path"


class Published(NamedTuple):
    """A benchmark whose splits are in a published archive."""

    kind: str  # of `kbench import-split`; its protocols are named below it
    title: str  # with {} for an entry's own
    root: str  # below the folder of data sets
    obtain: str
    size: int | tuple[int, int]  # (width, height), or the side of a square
    sources: tuple[str, ...]
    problems: tuple[str, ...]  # said after those of an entry
    convention: str = "kbench-v1"
    metrics: tuple[str, ...] = ("psnr", "ssim", "lpips-alex")
    optional: tuple[str, ...] = ("lpips-vgg",)
    filter: str = "lanczos"


class Entry(NamedTuple):
    """One protocol: the scenes of a folder of the archive, and how many views are given and asked for."""

    name: str
    title: str
    folder: str
    data: str  # name of the data set
    level: str  # object or scene
    scenes: int
    counts: tuple[int, ...]  # of references
    targets: Mapping[int, int] | None = None  # of a case, by its number of references; None: not known
    problems: tuple[str, ...] = ()
    size: int | None = None  # other than the benchmark's
    cameras: Mapping[str, JsonValue] = GIVEN
    scene_names: tuple[str, ...] = ()  # of the scenes that are known by name


def draft_entry(of: Published, entry: Entry) -> Draft:
    """The pending protocol."""
    root = f"{of.root}/{entry.folder}"
    targets = None if entry.targets is None else tuple(entry.targets[count] for count in entry.counts)
    size = entry.size or of.size
    return Draft(
        name=f"{of.kind}/{entry.name}",
        title=of.title.format(entry.title),
        level=entry.level,
        regime="many-view" if max(entry.counts) > 9 else "few-view",
        data=Data(entry.data, "seva", root, LAYOUT),
        pending=Pending(of.kind, entry.folder, of.obtain, entry.scenes, targets, entry.scene_names),
        counts=entry.counts,
        preparation=describe_preparation(*((size,) if isinstance(size, int) else size), filter=of.filter),
        cameras=entry.cameras,
        convention=of.convention,
        metrics=of.metrics,
        optional_metrics=of.optional,
        targets="as-published",
        sources=of.sources,
        problems=(*entry.problems, *of.problems),
    )
