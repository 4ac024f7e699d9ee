"""ShapeNet cars and chairs as SRN rendered them: `rgb/000000.png`, `pose/000000.txt`, `intrinsics.txt`.

Sources: vsitzmann/scene-representation-networks:util.py (parse_intrinsics) and
sxyu/pixel-nerf:src/data/SRNDataset.py.

- `intrinsics.txt` has the lines: f cx cy 0; a barycentre; a scale; height width; and at times a flag, 1 where poses
  are world to camera. Some DeepVoxels files have a near plane before the scale. Barycentre, near plane and scale are
  not used.
- The lens belongs to height x width of that file and is scaled to the images at hand, as SRN does; PixelNeRF leaves
  it, which is the same for the 128 x 128 files it hosts.
- A pose is 16 numbers, camera to world in OpenCV axes. The principal point is the image's centre, 64 of 128, so pixel
  centres are at .5; SRN and PixelNeRF cast their rays through the corners of pixels.
- Images and poses go together by name. Backgrounds are white, and there are no masks.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from kaleido_bench.data.cameras import build_camera, intrinsics_matrix, resize_camera
from kaleido_bench.data.datasets import how_to_get
from kaleido_bench.data.readers.arrays import c2w_from_w2c, load_numbers, parse_numbers
from kaleido_bench.data.readers.folders import (
    child_scenes,
    find_scene_folder,
    read_image_size,
    read_text,
    require_images,
)
from kaleido_bench.data.scenes import Scene, View, build_scene, view_id_of
from kaleido_bench.errors import BenchError

_GET = how_to_get("srn-cars", "srn-chairs")
_FILE = "intrinsics.txt"


class SrnReader:
    """Reads folders that hold `intrinsics.txt`, `rgb/` and `pose/`."""

    def scene_names(self, root: Path) -> list[str]:
        """The folders directly below `root` that hold `intrinsics.txt`."""
        return child_scenes(root, lambda folder: (folder / _FILE).is_file())

    def load_scene(self, root: Path, name: str) -> Scene:
        """The cameras of all images; images stay on disk, but for the header of the first, which gives their size.

        Raises:
            BenchError: no such object, another number of poses than of images, a pose or lens that is none.
        """
        folder = find_scene_folder(root, name, _GET)
        lens = _load_lens(folder / _FILE)
        images = require_images(folder / "rgb", _GET)
        poses = len(list((folder / "pose").glob("*.txt")))
        if poses != len(images):
            raise BenchError(folder, f"{poses} poses for {len(images)} images", expected="one for each", fix=_GET)
        size = read_image_size(images[0])
        return build_scene(name, (_build_view(folder, image, lens, size) for image in images), folder)


class _Lens(NamedTuple):
    """What `intrinsics.txt` says: the lens, the (width, height) it belongs to, and which way poses go."""

    K: Float64[np.ndarray, "3 3"]
    size: tuple[int, int]
    world_to_camera: bool


def _load_lens(path: Path) -> _Lens:
    lines = [parse_numbers(line, path) for line in read_text(path, "SRN's lens", _GET).splitlines() if line.strip()]
    after = next((number for number, line in enumerate(lines[2:], 2) if len(line) == 2), None)
    if after is None or len(lines[0]) < 3 or len(lines) > after + 2:
        raise BenchError(
            path, "another layout", expected="f cx cy 0; barycentre; scale; height width; flag", fix="Fetch it again."
        )
    focal, cx, cy = lines[0][:3]
    height, width = (int(side) for side in lines[after])
    flagged = len(lines) == after + 2 and bool(lines[after + 1][0])
    return _Lens(intrinsics_matrix(focal, focal, cx, cy), (width, height), flagged)


def _build_view(folder: Path, image: Path, lens: _Lens, size: tuple[int, int]) -> View:
    path = folder / "pose" / f"{image.stem}.txt"
    pose = load_numbers(path, 16, "a 4x4 pose", _GET).reshape(4, 4)
    c2w = c2w_from_w2c(pose, path) if lens.world_to_camera else pose
    camera = build_camera(c2w, lens.K, *lens.size, where=path)
    return View(view_id_of(image.name), resize_camera(camera, *size), image.read_bytes, None, str(image))
