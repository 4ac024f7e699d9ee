"""NeRF-Synthetic: `transforms_train.json`, `transforms_val.json`, `transforms_test.json`, and RGBA renders without
suffix.

Source: bmild/nerf:load_blender.py. `file_path` is `./train/r_0`, the lens is `camera_angle_x` over 800 pixels, poses
are camera to world in OpenGL axes. Views come split by split in the order of the files, which counts r_0, r_1, r_2
and not by name; the depth and normal maps in `test/` are in no file and are not read. A view's id is `train/r_0`.
"""

from __future__ import annotations

from pathlib import Path

from kaleido_bench.data.datasets import how_to_get
from kaleido_bench.data.readers.folders import child_scenes, find_scene_folder
from kaleido_bench.data.readers.transforms import read_views
from kaleido_bench.data.scenes import Scene, build_scene
from kaleido_bench.errors import BenchError

_GET = how_to_get("nerf-synthetic")
_SPLITS = ("train", "val", "test")


class NerfSyntheticReader:
    """Reads folders that hold a transforms file for each split; `val` may be missing, as few protocols use it."""

    def scene_names(self, root: Path) -> list[str]:
        """The folders directly below `root` that hold a training and a test split."""
        return child_scenes(root, lambda folder: all(_file(folder, split).is_file() for split in ("train", "test")))

    def load_scene(self, root: Path, name: str) -> Scene:
        """The cameras of all splits; images stay on disk, but for the header of each split's first.

        Raises:
            BenchError: no such scene, no training or test split, a malformed file, a camera that is none.
        """
        folder = find_scene_folder(root, name, _GET)
        for split in ("train", "test"):
            if not _file(folder, split).is_file():
                raise BenchError(_file(folder, split), "no such file", expected="a split of the scene", fix=_GET)
        paths = [path for split in _SPLITS if (path := _file(folder, split)).is_file()]
        return build_scene(name, (view for path in paths for view in read_views(folder, path)), folder)


def _file(folder: Path, split: str) -> Path:
    return folder / f"transforms_{split}.json"
