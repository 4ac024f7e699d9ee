"""Scenes as Long-LRM prepares them: `opencv_cameras.json` beside undistorted images.

Each frame has `file_path`, `w` and `h`, `fx`, `fy`, `cx`, `cy` in pixels, and `w2c`, 4x4 world to camera in OpenCV
axes. Source: arthurhero/Long-LRM:data/prosess_dl3dv.py (writes it) and data/dataset.py (reads it). A view's id is its
position in `frames`, which is what data/*_fold_8_kmeans_input_idx.json counts. The world is nerfstudio's with two
axes swapped.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kaleido_bench.data.cameras import build_camera, intrinsics_matrix
from kaleido_bench.data.datasets import how_to_get
from kaleido_bench.data.readers.arrays import c2w_from_w2c
from kaleido_bench.data.readers.folders import child_scenes, find_scene_folder
from kaleido_bench.data.readers.frames import load_frames, read_matrix, read_number, read_side, relative_path
from kaleido_bench.data.scenes import Scene, View, build_scene
from kaleido_bench.errors import BenchError

_GET = how_to_get("dl3dv-140", "tanks-and-temples")
_FILE = "opencv_cameras.json"


class LongLrmReader:
    """Reads folders that hold `opencv_cameras.json`."""

    def scene_names(self, root: Path) -> list[str]:
        """The folders directly below `root` that hold the file."""
        return child_scenes(root, lambda folder: (folder / _FILE).is_file())

    def load_scene(self, root: Path, name: str) -> Scene:
        """The cameras of every frame; images stay on disk.

        Raises:
            BenchError: no such scene, a malformed file, a camera that is none.
        """
        folder = find_scene_folder(root, name, _GET)
        path = folder / _FILE
        views = [
            _build_view(str(number), frame, folder, f"{path}, frame {number}")
            for number, frame in enumerate(load_frames(path))
        ]
        return build_scene(name, views, folder)


def _build_view(view_id: str, frame: Mapping[str, Any], folder: Path, where: str) -> View:
    image = folder / relative_path(frame.get("file_path"), "file_path", where)
    lens = [read_number(frame, key, where) for key in ("fx", "fy", "cx", "cy")]
    width, height = read_side(frame, "w", where), read_side(frame, "h", where)
    if width is None or height is None or None in lens:
        raise BenchError(where, "no lens", expected="w, h, fx, fy, cx, cy", fix="Run Long-LRM's data script again.")
    fx, fy, cx, cy = np.asarray(lens, np.float64)
    c2w = c2w_from_w2c(read_matrix(frame, "w2c", where), where)
    camera = build_camera(c2w, intrinsics_matrix(fx, fy, cx, cy), width, height, where=where)
    return View(view_id, camera, image.read_bytes, None, str(image))
