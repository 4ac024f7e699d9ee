"""RealEstate10K as LVSM unpacks pixelSplat's chunks: `metadata/<key>.json` and `images/<key>/00000.png`.

Each frame has `image_path`, `fxfycxcy` in pixels and `w2c`, 4x4 world to camera in OpenCV axes. Source: Haian-Jin/LVSM:
process_data.py; read by facebookresearch/lagernvs:data/sources/re10k_dataset.py too. `image_path` is a path of the
machine that unpacked; only its name counts here. A view's id is its position in `frames`, as in the chunks.

The JPEGs were decoded and written as PNG, so the pixels are those of the chunk, and the bytes, which an index may
freeze, are not.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from kaleido_bench.data.cameras import build_camera, intrinsics_matrix
from kaleido_bench.data.datasets import how_to_get
from kaleido_bench.data.readers.arrays import c2w_from_w2c
from kaleido_bench.data.readers.folders import find_scene_folder, is_below, read_image_size, require_images
from kaleido_bench.data.readers.frames import load_frames, read_matrix
from kaleido_bench.data.scenes import Scene, View, build_scene
from kaleido_bench.errors import BenchError

_GET = how_to_get("re10k")


class Re10kLvsmReader:
    """Reads a folder that holds `metadata/` and `images/`."""

    def scene_names(self, root: Path) -> list[str]:
        """The keys of `metadata/` whose images are there."""
        if not (root / "metadata").is_dir():
            raise BenchError(root / "metadata", "no such folder", expected="LVSM's camera files", fix=_GET)
        paths = (root / "metadata").glob("*.json")
        return sorted(path.stem for path in paths if (root / "images" / path.stem).is_dir())

    def load_scene(self, root: Path, name: str) -> Scene:
        """The cameras of all frames; images stay on disk, but for the header of the first, which gives their size.

        Raises:
            BenchError: no such scene, no images, a malformed file, a camera that is none.
        """
        path = root / "metadata" / f"{name}.json"
        if not is_below(name) or not path.is_file():
            raise BenchError(path, "no such scene", expected="the clip's camera file", fix=_GET)
        folder = find_scene_folder(root / "images", name, _GET)
        size = read_image_size(require_images(folder, _GET)[0])
        views = [
            _build_view(str(number), frame, folder, size, f"{path}, frame {number}")
            for number, frame in enumerate(load_frames(path))
        ]
        return build_scene(name, views, path)


def _build_view(view_id: str, frame: Mapping[str, Any], folder: Path, size: tuple[int, int], where: str) -> View:
    image_path = frame.get("image_path")
    if not isinstance(image_path, str) or not PurePosixPath(image_path).name:
        raise BenchError(where, f"image_path is {image_path!r}", expected="a path", fix="Run LVSM's script again.")
    image = folder / PurePosixPath(image_path).name
    try:
        lens = np.asarray(frame.get("fxfycxcy"), np.float64).reshape(4)
    except (TypeError, ValueError):
        raise BenchError(where, "no fxfycxcy", expected="four numbers", fix="Run LVSM's script again.") from None
    c2w = c2w_from_w2c(read_matrix(frame, "w2c", where), where)
    camera = build_camera(c2w, intrinsics_matrix(*lens), *size, where=where)
    return View(view_id, camera, image.read_bytes, None, str(image))
