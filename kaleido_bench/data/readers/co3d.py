"""CO3D v2: `<category>/frame_annotations.jgz` and the images it names.

A .jgz is gzipped JSON. `frame_annotations.jgz` is a list of frames of all sequences of a category: `sequence_name`,
`frame_number`, `image` (path below the root, size as (height, width)), `mask` (path) and `viewpoint`: a PyTorch3D
camera in NDC with `R`, `T`, `focal_length`, `principal_point`, `intrinsics_format`. Sources:
facebookresearch/co3d:README.md, co3d/dataset/data_types.py;
facebookresearch/pytorch3d:pytorch3d/implicitron/dataset/frame_data.py.

- `intrinsics_format: ndc_isotropic`, of version 2: one unit is half of the shorter side, on both axes.
  `ndc_norm_image_bounds`, of version 1 and the default where none is named: one unit is half of each axis' own side.
  Any other format is refused.
- A view's id is its `frame_number`, which need not be the number in the file's name (CO3D's README says so).
- A sequence's images have one size, sequences differ. Masks are probabilities, 0 to 255; half and above is inside.
- The annotations of a category are large (hundreds of MB of JSON), so those of one category are kept, by sequence.
- A few sequences carry poses that are not rigid (latentSplat skips them,
  Chrixtar/latentsplat:src/dataset/dataset_co3d.py). Here they are refused by name.
"""

from __future__ import annotations

import functools
import gzip
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike

from kaleido_bench.data.cameras import Camera, camera_from_pytorch3d
from kaleido_bench.data.datasets import how_to_get
from kaleido_bench.data.readers.folders import is_below, require_file
from kaleido_bench.data.readers.frames import relative_path
from kaleido_bench.data.scenes import Scene, View, build_scene
from kaleido_bench.errors import BenchError

_GET = how_to_get("co3d")
_FRAMES, _SEQUENCES = "frame_annotations.jgz", "sequence_annotations.jgz"
_FORMATS = ("ndc_isotropic", "ndc_norm_image_bounds")

_Frame = Mapping[str, Any]


class Co3dReader:
    """Reads CO3D; a scene is `<category>/<sequence>`."""

    def __init__(self) -> None:
        self._load_frames = functools.lru_cache(maxsize=1)(_load_frames)

    def scene_names(self, root: Path) -> list[str]:
        """All sequences that are annotated and whose folder is there."""
        if not root.is_dir():
            raise BenchError(root, "no such folder", expected="CO3D's categories", fix=_GET)
        return [
            f"{path.parent.name}/{name}"
            for path in sorted(root.glob(f"*/{_FRAMES}"))
            for name in sorted(_sequence_names(path.parent))
            if (path.parent / name).is_dir()
        ]

    def load_scene(self, root: Path, name: str) -> Scene:
        """The cameras of the frames, by `frame_number`; images stay on disk.

        Raises:
            BenchError: no such sequence, annotations missing or truncated, a camera that is none.
        """
        category, _, sequence = name.partition("/")
        path = root / category / _FRAMES
        frames = self._load_frames(path).get(sequence) if is_below(name) and sequence else None
        if not frames:
            raise BenchError(path, f"no sequence {sequence!r}", expected="<category>/<sequence> of CO3D v2", fix=_GET)
        views = [_build_view(root, frame, f"{path}, sequence {sequence}") for frame in frames]
        return build_scene(name, views, path)


def _sequence_names(category: Path) -> set[str]:
    rows = _load_jgz(category / _SEQUENCES)
    return {str(row["sequence_name"]) for row in rows if "sequence_name" in row}


def _load_frames(path: Path) -> Mapping[str, list[_Frame]]:
    by_sequence: dict[str, list[_Frame]] = {}
    for number, frame in enumerate(_load_jgz(path)):
        if not isinstance(frame.get("sequence_name"), str) or not isinstance(frame.get("frame_number"), int):
            raise BenchError(
                f"{path}, frame {number}", "no sequence_name or no frame_number", expected="both", fix="Fetch it again."
            )
        by_sequence.setdefault(frame["sequence_name"], []).append(frame)
    return {name: sorted(frames, key=lambda frame: frame["frame_number"]) for name, frames in by_sequence.items()}


def _load_jgz(path: Path) -> list[_Frame]:
    require_file(path, "annotations of CO3D v2", _GET)
    try:
        with gzip.open(path) as file:
            rows = json.load(file)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise BenchError(
            path, f"unreadable ({error})", expected="a whole file of gzipped JSON", fix="Fetch the file again."
        ) from None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in cast("list[object]", rows)):
        raise BenchError(path, "not a list of annotations", expected="CO3D v2's file", fix="Fetch the file again.")
    return cast("list[_Frame]", rows)


def _build_view(root: Path, frame: _Frame, where: str) -> View:
    where = f"{where}, frame {frame['frame_number']}"
    image, mask = _part(frame, "image", where), frame.get("mask")
    path = root / relative_path(image.get("path"), "image.path", where)
    mask_path = root / relative_path(mask["path"], "mask.path", where) if mask and mask.get("path") else None
    return View(
        str(frame["frame_number"]),
        _build_camera(_part(frame, "viewpoint", where), image.get("size"), where),
        path.read_bytes,
        None if mask_path is None else mask_path.read_bytes,
        str(path),
    )


def _part(frame: _Frame, key: str, where: str) -> _Frame:
    part = frame.get(key)
    if not isinstance(part, dict):
        raise BenchError(where, f"no {key}", expected="a frame with an image and a camera", fix="Fetch the file again.")
    return cast("_Frame", part)


def _build_camera(viewpoint: _Frame, size: object, where: str) -> Camera:
    try:
        height, width = np.asarray(size, np.int64)
        lens = [np.asarray(viewpoint[key], np.float64).reshape(2) for key in ("focal_length", "principal_point")]
        translation = np.asarray(viewpoint["T"], np.float64).reshape(3)
    except (KeyError, TypeError, ValueError) as error:
        raise BenchError(
            where, f"no camera ({error!r})", expected="R, T, focal_length, principal_point", fix="Fetch the file again."
        ) from None
    intrinsics_format = viewpoint.get("intrinsics_format", "ndc_norm_image_bounds")
    if intrinsics_format not in _FORMATS:
        raise BenchError(
            where,
            f"intrinsics_format {intrinsics_format!r}",
            expected=f"one of {', '.join(_FORMATS)}",
            fix="Fetch CO3D v2's own annotations.",
        )
    # In units of half the shorter side on both axes, as frame_data.py does it.
    unit = np.ones(2) if intrinsics_format == "ndc_isotropic" else np.array([width, height]) / min(width, height)
    focal, principal = (values * unit for values in lens)
    rotation = cast("ArrayLike", viewpoint.get("R"))  # whatever it is, it is checked there
    return camera_from_pytorch3d(rotation, translation, focal, principal, int(width), int(height), where=where)
