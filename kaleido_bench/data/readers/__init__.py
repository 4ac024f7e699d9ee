"""Readers, one for each on-disk layout, and where data lies.

A reader is named in a protocol and imported only when it is used, so that optional packages stay optional.
"""

from __future__ import annotations

import importlib
import importlib.resources
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Protocol, cast

from kaleido_bench.data.scenes import Scene
from kaleido_bench.errors import BenchError


class Reader(Protocol):
    """Finds the scenes below a folder and reads their cameras. Images are read later, one by one, by the views."""

    def scene_names(self, root: Path) -> list[str]:
        """The scenes below `root`, sorted by name."""
        ...

    def load_scene(self, root: Path, name: str) -> Scene:
        """The scene `name` below `root`.

        Raises:
            BenchError: the scene or a file of it is missing, malformed or of a kind this project does not take.
        """
        ...


READERS: Mapping[str, str] = MappingProxyType(
    {
        "transforms": "kaleido_bench.data.readers.transforms:TransformsReader",
        "colmap": "kaleido_bench.data.readers.colmap:ColmapReader",
        "colmap-2": "kaleido_bench.data.readers.colmap:build_half_reader",
        "colmap-4": "kaleido_bench.data.readers.colmap:build_quarter_reader",
        "colmap-8": "kaleido_bench.data.readers.colmap:build_eighth_reader",
        "mipnerf360": "kaleido_bench.data.readers.mipnerf360:MipNerf360Reader",
        "llff": "kaleido_bench.data.readers.llff:LlffReader",
        "llff-4": "kaleido_bench.data.readers.llff:build_quarter_reader",
        "llff-8": "kaleido_bench.data.readers.llff:build_eighth_reader",
        "parquet": "kaleido_bench.data.readers.parquet:ParquetReader",
        "re10k": "kaleido_bench.data.readers.re10k:Re10kReader",
        "re10k-raw": "kaleido_bench.data.readers.re10k_raw:Re10kRawReader",
        "re10k-lvsm": "kaleido_bench.data.readers.re10k_lvsm:Re10kLvsmReader",
        "dl3dv": "kaleido_bench.data.readers.dl3dv:Dl3dvReader",
        "dl3dv-4": "kaleido_bench.data.readers.dl3dv:build_quarter_reader",
        "dl3dv-8": "kaleido_bench.data.readers.dl3dv:build_eighth_reader",
        "long-lrm": "kaleido_bench.data.readers.long_lrm:LongLrmReader",
        "co3d": "kaleido_bench.data.readers.co3d:Co3dReader",
        "wildrgbd": "kaleido_bench.data.readers.wildrgbd:WildRgbdReader",
        "dtu-pixelnerf": "kaleido_bench.data.readers.dtu:build_pixelnerf_reader",
        "dtu-idr": "kaleido_bench.data.readers.dtu:build_idr_reader",
        "dtu-mvsnet": "kaleido_bench.data.readers.dtu_mvsnet:MvsnetReader",
        "dtu-mvsplat": "kaleido_bench.data.readers.dtu_mvsnet:build_mvsplat_reader",
        "nerf-synthetic": "kaleido_bench.data.readers.nerf_synthetic:NerfSyntheticReader",
        "gso-eschernet": "kaleido_bench.data.readers.blender_renders:build_gso_reader",
        "objaverse": "kaleido_bench.data.readers.blender_renders:build_objaverse_reader",
        "rtmv": "kaleido_bench.data.readers.rtmv:RtmvReader",
        "omniobject3d": "kaleido_bench.data.readers.object_renders:build_omniobject3d_reader",
        "two-object": "kaleido_bench.data.readers.object_renders:build_two_object_reader",
        "srn": "kaleido_bench.data.readers.srn:SrnReader",
        "nmr": "kaleido_bench.data.readers.nmr:NmrReader",
        "seva": "kaleido_bench.data.readers.seva:SevaReader",
    }
)
"""Name in a protocol -> "module:builder", imported by `build_reader`. A builder, mostly a class, takes no argument."""


def build_reader(name: str) -> Reader:
    """The reader of this name.

    Raises:
        BenchError: there is none.
    """
    if name not in READERS:
        raise BenchError(
            "data set reader", repr(name), expected=f"one of {', '.join(READERS)}", fix="Correct the name."
        )
    module, _, attribute = READERS[name].partition(":")
    return cast(Reader, getattr(importlib.import_module(module), attribute)())


def resolve_root(root: str, data_dir: Path | None, get: str = "Fetch the data, or point --data elsewhere.") -> Path:
    """The folder that a protocol's `root` means.

    Args:
        root: `package:NAME` for scenes that ship with this package, otherwise a path below `data_dir`.
        data_dir: from --data or KBENCH_DATA; None where neither is given.
        get: what a person can do where the folder is missing (kaleido_bench.data.datasets.how_to_get).

    Raises:
        BenchError: no data directory, no such folder, or a path that leaves the data directory.
    """
    if root.startswith("package:"):
        return _embedded_root(root.removeprefix("package:"))
    if data_dir is None:
        raise BenchError(
            f"data set root {root}",
            "no data directory",
            expected="the folder that holds your data sets",
            fix="Set KBENCH_DATA or pass --data DIR.",
        )
    relative = Path(root)
    if relative.is_absolute() or ".." in relative.parts:
        raise BenchError(
            f"data set root {root}",
            "a path that leaves the data directory",
            expected="a path below it",
            fix="Correct it.",
        )
    folder = data_dir / relative
    if not folder.is_dir():
        raise BenchError(
            folder,
            "no such folder",
            expected="the protocol's data set",
            fix=get,
        )
    return folder


def _embedded_root(name: str) -> Path:
    scenes = Path(str(importlib.resources.files("kaleido_bench"))) / "embedded" / "scenes"
    available = sorted(path.name for path in scenes.iterdir() if path.is_dir()) if scenes.is_dir() else []
    if name not in available:
        raise BenchError(
            f"data set root package:{name}",
            "no such scenes in the package",
            expected=f"one of {', '.join(available) or 'none'}",
            fix="Correct the name, or install the package again.",
        )
    return scenes / name
