"""Published split files, as questions: which views of which scene are given and which are asked for.

A protocol whose view ids are pending (`kaleido_bench.protocol.PendingIndex`) is completed from such a file, and a
published index of a known layout becomes a protocol like another one. An importer is named on the command line and in
the pending protocol, and imported only when it is used.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple, Protocol, cast

from kaleido_bench.errors import BenchError
from kaleido_bench.importers.archives import Archive
from kaleido_bench.records import suggest

__all__ = ["IMPORTERS", "Importer", "ImporterEntry", "PublishedSplit", "Question", "ViewRef", "build_importer"]

ViewRef = int | str
"""A view as a split file names it: by its position among the scene's views, or by its id."""


class Question(NamedTuple):
    """One entry of a split file."""

    scene: str
    references: tuple[ViewRef, ...]
    targets: tuple[ViewRef, ...]
    where: str  # for errors


class PublishedSplit(NamedTuple):
    """What a split file says."""

    questions: tuple[Question, ...]
    frames: Mapping[str, tuple[str, ...]]  # scene -> image paths in the order that positions count, where the file says
    nulls: int = 0  # scenes that it names and asks nothing of
    skipped: tuple[str, ...] = ()  # parts that were left out, for people


class Importer(Protocol):
    """Reads one published layout."""

    def read_split(self, archive: Archive, entry: str | None) -> PublishedSplit:
        """The questions of one entry of an archive.

        Args:
            archive: the published file.
            entry: the split's name inside it; None where the layout holds one split only.

        Raises:
            BenchError: the entry is not there, or what is there is not this layout.
        """
        ...


class ImporterEntry(NamedTuple):
    """One importer, as `kbench import-split --help` lists it."""

    target: str  # "module:builder"
    title: str


IMPORTERS: Mapping[str, ImporterEntry] = MappingProxyType(
    {
        "seva": ImporterEntry(
            "kaleido_bench.importers.split_folders:SplitFolders",
            "benchmark.zip of SEVA: <entry>/<scene>/train_test_split_<P>.json",
        ),
        "reconfusion": ImporterEntry(
            "kaleido_bench.importers.split_folders:SplitFolders",
            "ReconFusion's and CAT3D's splits: <data set>/<scene>/train_test_split_<n>.json",
        ),
        "viewcrafter": ImporterEntry(
            "kaleido_bench.importers.split_folders:SplitFolders",
            "ViewCrafter's trajectories, as SEVA's benchmark.zip publishes them",
        ),
        "4dim": ImporterEntry(
            "kaleido_bench.importers.split_folders:SplitFolders",
            "4DiM's RealEstate10K split, as SEVA's benchmark.zip publishes it",
        ),
        "pixelsplat": ImporterEntry(
            "kaleido_bench.importers.evaluation_index:EvaluationIndex",
            "evaluation_index*.json of pixelSplat and those who took its layout",
        ),
        "mipnerf360": ImporterEntry(
            "kaleido_bench.importers.on_disk:build_mipnerf360",
            "the folder of Mip-NeRF 360's scenes, whose every 8th image is a target",
        ),
        "long-lrm": ImporterEntry(
            "kaleido_bench.importers.on_disk:build_long_lrm",
            "a folder of scenes as Long-LRM prepares them, whose every 8th frame is a target",
        ),
        "srn": ImporterEntry(
            "kaleido_bench.importers.on_disk:build_srn",
            "a folder of SRN's ShapeNet objects (cars_test, chairs_test), of which views 64 and 104 are given",
        ),
        "rtmv": ImporterEntry(
            "kaleido_bench.importers.on_disk:build_rtmv",
            "a folder of RTMV scenes, of which the first views are given",
        ),
    }
)
"""Name on the command line -> importer, imported by `build_importer`. A builder takes no argument."""


def build_importer(kind: str) -> Importer:
    """The importer of this name.

    Raises:
        BenchError: there is none.
    """
    if kind not in IMPORTERS:
        raise BenchError(
            "split kind",
            repr(kind),
            expected=f"one of {', '.join(IMPORTERS)}",
            fix=suggest(kind, IMPORTERS, otherwise="Use one of these."),
        )
    module, _, attribute = IMPORTERS[kind].target.partition(":")
    return cast(Importer, getattr(importlib.import_module(module), attribute)())
