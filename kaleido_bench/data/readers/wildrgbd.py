"""WildRGB-D: `<category>/scenes/scene_<number>/` with `rgb/`, `masks/`, `metadata` and `cam_poses.txt`.

Source: wildrgbd/wildrgbd:README.md and wildrgbd_generate_point_cloud.py. The README writes `scenes_<number>`, the
archives unpack to `scene_<number>`; both are read, and a scene is named `<category>/<number>` either way.

- `metadata` is JSON with `w`, `h` and `K`, nine numbers by columns (the script reshapes to 3x3 and transposes).
- A line of `cam_poses.txt` is the frame's number and a 4x4 camera to world in OpenCV axes, by rows.
- K comes from ARKit, which measures the principal point from the image's top-left corner; that is our convention. The
  repository's script hands it to Open3D, which takes it from the first pixel's centre, half a pixel off.
- A view's id is the file's stem, the frame's number in five digits.
"""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np
from jaxtyping import Float64

from kaleido_bench.data.cameras import build_camera
from kaleido_bench.data.datasets import how_to_get
from kaleido_bench.data.readers.arrays import parse_numbers
from kaleido_bench.data.readers.folders import find_side_file, is_below, load_json, read_text
from kaleido_bench.data.readers.frames import read_side
from kaleido_bench.data.scenes import Scene, View, build_scene
from kaleido_bench.errors import BenchError

_GET = how_to_get("wildrgbd")
_PREFIXES = ("scene_", "scenes_")


class WildRgbdReader:
    """Reads WildRGB-D; a scene is `<category>/<number>`."""

    def scene_names(self, root: Path) -> list[str]:
        """All scenes of all categories below `root` that have poses."""
        if not root.is_dir():
            raise BenchError(root, "no such folder", expected="WildRGB-D's categories", fix=_GET)
        return sorted(
            f"{path.parents[2].name}/{path.parent.name.rpartition('_')[2]}"
            for prefix in _PREFIXES
            for path in root.glob(f"*/scenes/{prefix}*/cam_poses.txt")
        )

    def load_scene(self, root: Path, name: str) -> Scene:
        """The cameras of all lines of `cam_poses.txt`; images stay on disk.

        Raises:
            BenchError: no such scene, a file missing or malformed, a camera that is none.
        """
        folder = _find_folder(root, name)
        metadata = load_json(folder / "metadata", "w, h and K of the scene", _GET)
        where = str(folder / "metadata")
        width, height = read_side(metadata, "w", where), read_side(metadata, "h", where)
        K = np.asarray(metadata.get("K", ()), np.float64) if _is_flat(metadata.get("K")) else np.empty(0)
        if width is None or height is None or K.size != 9:
            raise BenchError(where, "no lens", expected="w, h and nine numbers K", fix="Fetch the scene again.")
        path = folder / "cam_poses.txt"
        lines = [line for line in read_text(path, "the scene's poses", _GET).splitlines() if line.strip()]
        views = [
            _build_view(folder, line, K.reshape(3, 3).T, (width, height), f"{path}, line {number + 1}")
            for number, line in enumerate(lines)
        ]
        return build_scene(name, views, folder)


def _is_flat(values: object) -> bool:
    return isinstance(values, list) and all(isinstance(value, int | float) for value in cast("list[object]", values))


def _find_folder(root: Path, name: str) -> Path:
    category, _, number = name.partition("/")
    if is_below(name) and number and "/" not in number:
        for prefix in _PREFIXES:
            folder = root / category / "scenes" / f"{prefix}{number}"
            if folder.is_dir():
                return folder
    raise BenchError(
        root / category / "scenes" / f"scene_{number}", "no such scene", expected="<category>/<number>", fix=_GET
    )


def _build_view(folder: Path, line: str, K: Float64[np.ndarray, "3 3"], size: tuple[int, int], where: str) -> View:
    numbers = parse_numbers(line, where)
    if len(numbers) != 17 or numbers[0] != int(numbers[0]):
        raise BenchError(
            where, f"{len(numbers)} numbers", expected="the frame's number and a 4x4 matrix", fix="Fetch it again."
        )
    view_id = f"{int(numbers[0]):05d}"
    image = folder / "rgb" / f"{view_id}.png"
    mask = find_side_file(folder / "masks", view_id)
    camera = build_camera(numbers[1:].reshape(4, 4), K, *size, where=where)
    return View(view_id, camera, image.read_bytes, None if mask is None else mask.read_bytes, str(image))
