"""Scenes of SEVA's benchmark, which are ReconFusion's: `transforms.json` beside `train_test_split_<P>.json`.

Source: Stability-AI/stable-virtual-camera:seva/data_io.py (ReconfusionParser), benchmark/README.md,
benchmark/export_reconfusion_example.py.

- `train_ids` and `test_ids` are positions in `frames`, so a view's id is its position. The benchmark asks for frames
  sorted by image path when a data set is converted; an order that is not sorted is read as it stands, as SEVA does.
- Poses are camera to world in OpenGL axes; `applied_transform`, where there is one, is undone.
- A lens named for the whole file wins over a frame's own.
- A frame whose `file_path` is null has a camera but no image (a trajectory to render): it keeps its position and is
  no view.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kaleido_bench.data.cameras import build_camera, c2w_from_opengl
from kaleido_bench.data.datasets import how_to_get
from kaleido_bench.data.readers.arrays import c2w_from_w2c
from kaleido_bench.data.readers.folders import find_scene_folder, load_json, nested_scenes, require_file
from kaleido_bench.data.readers.frames import (
    Sizes,
    load_frames,
    read_intrinsics,
    read_matrix,
    read_pose,
    refuse_distortion,
    relative_path,
)
from kaleido_bench.data.scenes import Scene, View, build_scene

_GET = how_to_get("seva")
_FILE = "transforms.json"
_LENS = ("fl_x", "fl_y", "cx", "cy", "w", "h")
_MAX_DEPTH = 5  # entry, kind, category, scene: as deep as the archive goes, with one to spare


class SevaReader:
    """Reads folders that hold `transforms.json`, any depth down; a scene is named by its path."""

    def scene_names(self, root: Path) -> list[str]:
        """The paths below `root` of the scenes."""
        return nested_scenes(root, lambda folder: (folder / _FILE).is_file(), depth=_MAX_DEPTH)

    def load_scene(self, root: Path, name: str) -> Scene:
        """The cameras of all frames that have an image; images stay on disk.

        Raises:
            BenchError: no such scene, a malformed file, a lens that is no pinhole, a camera that is none.
        """
        folder = find_scene_folder(root, name, _GET)
        path = require_file(folder / _FILE, "the scene's cameras", _GET)
        document = load_json(path, "the scene's cameras", _GET)
        shared = {key: document[key] for key in _LENS if document.get(key) is not None}
        sizes: Sizes = {}
        views = [
            _build_view(str(number), {**frame, **shared}, folder, f"{path}, frame {number}", sizes)
            for number, frame in enumerate(load_frames(path))
            if frame.get("file_path") is not None
        ]
        return build_scene(name, views, path)


def _build_view(view_id: str, frame: Mapping[str, Any], folder: Path, where: str, sizes: Sizes) -> View:
    image = folder / relative_path(frame["file_path"], "file_path", where)
    refuse_distortion(frame, where)
    pose = read_pose(frame, where)
    if "applied_transform" in frame:
        pose = c2w_from_w2c(read_matrix(frame, "applied_transform", where), f"{where}, applied_transform") @ pose
    lens = read_intrinsics(frame, image, where, sizes)
    camera = build_camera(c2w_from_opengl(pose), lens.K, lens.width, lens.height, where=where)
    return View(view_id, camera, image.read_bytes, None, str(image))
