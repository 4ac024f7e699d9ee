"""ShapeNet at 64 x 64: the NMR renders in DVR's format, which PixelNeRF's category-agnostic numbers rest on.

`<category>/<object>/image/0000.png` to `0023.png`, `mask/`, and `cameras.npz` with, for each image i by name,
`world_mat_<i>` (world to camera), mostly `world_mat_inv_<i>`, and `camera_mat_<i>`, a lens to [-1, 1] x [-1, 1] with
y down. Source: sxyu/pixel-nerf:src/data/DVRDataset.py (sub_format shapenet);
autonomousvision/differentiable_volumetric_rendering:FAQ.md.

- Where both are there, `world_mat_inv` is taken, as PixelNeRF does. Axes are OpenCV's. `scale_mat` is not used there.
- fx = K00 * width / 2 and cx = (K02 + 1) * width / 2. PixelNeRF casts its rays through the corners of pixels, DVR
  lets -1 and 1 be the centres of the first and last pixel; here the interval is the image, and the three agree within
  half a pixel.
- PixelNeRF turns the world to have z up; here it stays as on disk.
- A view's id is the stem; `viewlist/src_dvr.txt` counts positions, which are the same numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from kaleido_bench.data.cameras import Camera, build_camera, intrinsics_matrix
from kaleido_bench.data.datasets import how_to_get
from kaleido_bench.data.readers.arrays import c2w_from_w2c, load_npz, matrix_of
from kaleido_bench.data.readers.dtu import check_count, find_masks
from kaleido_bench.data.readers.folders import find_scene_folder, nested_scenes, read_image_size, require_images
from kaleido_bench.data.scenes import Scene, View, build_scene, view_id_of

_GET = how_to_get("shapenet-nmr")
_FILE = "cameras.npz"


class NmrReader:
    """Reads the NMR renders; a scene is `<category>/<object>`."""

    def scene_names(self, root: Path) -> list[str]:
        """All objects of all categories."""
        return nested_scenes(root, lambda folder: (folder / _FILE).is_file(), depth=2)

    def load_scene(self, root: Path, name: str) -> Scene:
        """The cameras of all images; images stay on disk, but for the header of the first, which gives their size.

        Raises:
            BenchError: no such object, cameras missing or unreadable, a camera that is none.
        """
        folder = find_scene_folder(root, name, _GET)
        path = folder / _FILE
        arrays = load_npz(path, "the object's cameras", _GET)
        images = require_images(folder / "image", _GET)
        check_count(arrays, "camera_mat", len(images), path)
        size = read_image_size(images[0])
        return build_scene(
            name,
            (
                View(
                    view_id_of(image.name),
                    _build_camera(arrays, number, size, f"{path}, image {number}"),
                    image.read_bytes,
                    None if mask is None else mask.read_bytes,
                    str(image),
                )
                for number, (image, mask) in enumerate(zip(images, find_masks(folder, images), strict=True))
            ),
            folder,
        )


def _build_camera(arrays: Mapping[str, np.ndarray], number: int, size: tuple[int, int], where: str) -> Camera:
    if f"world_mat_inv_{number}" in arrays:
        c2w = matrix_of(arrays, f"world_mat_inv_{number}", where)
    else:
        c2w = c2w_from_w2c(matrix_of(arrays, f"world_mat_{number}", where), where)
    lens = matrix_of(arrays, f"camera_mat_{number}", where)
    width, height = size
    K = intrinsics_matrix(
        lens[0, 0] * width / 2, lens[1, 1] * height / 2, (lens[0, 2] + 1) * width / 2, (lens[1, 2] + 1) * height / 2
    )
    return build_camera(c2w, K, width, height, where=where)
