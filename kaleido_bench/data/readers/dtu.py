"""DTU with projection matrices in an .npz: IDR's layout, and PixelNeRF's `rs_dtu_4`, which is DVR's.

Both have `scan<N>/image/000000.png`, `scan<N>/mask/` and an .npz with `world_mat_<i>` and `scale_mat_<i>`, where i
counts the images sorted by name. They look alike and mean different things:

- IDR (lioryariv/idr:DATA_CONVENTION.md, code/datasets/scene_dataset.py; NeuS and VolSDF too): `world_mat` is P = K [R
  | t] to pixels of the 1600 x 1200 image, with the centre of the top-left pixel at (0, 0), so half a pixel is added
  to K here. P times `scale_mat` moves the object into the unit sphere; cameras come in that frame. The file is
  `cameras.npz` in IDR and `cameras_sphere.npz` in NeuS; where both exist the latter is read.
- PixelNeRF (sxyu/pixel-nerf:src/data/DVRDataset.py): `world_mat` is P to [-1, 1] x [-1, 1] over the 400 x 300 image,
  so fx = K00 * width / 2 and cx = (K02 + 1) * width / 2. The camera's centre is moved by `scale_mat`, centre' =
  (centre - translation) / scale. PixelNeRF averages K over the views of a scan, turns the world about x, and casts
  its rays through the corners of pixels; here each view keeps its K, and the world and pixel centres stay.

Masks are those of IDR; a view without one has none. View ids are stems, six digits.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from kaleido_bench.data.cameras import Camera, build_camera
from kaleido_bench.data.datasets import how_to_get
from kaleido_bench.data.readers.arrays import decompose_projection, load_npz, matrix_of
from kaleido_bench.data.readers.folders import (
    FETCH_AGAIN,
    child_scenes,
    find_scene_folder,
    read_image_size,
    require_images,
)
from kaleido_bench.data.scenes import Scene, View, build_scene, view_id_of
from kaleido_bench.errors import BenchError

_GET = how_to_get("dtu")
_Arrays = Mapping[str, np.ndarray]
_BuildCamera = Callable[[_Arrays, int, tuple[int, int], str], Camera]


class _Layout(NamedTuple):
    """The .npz files that may hold the cameras, the first that exists is read, and what its matrices mean."""

    files: tuple[str, ...]
    build_camera: _BuildCamera


class NpzCameraReader:
    """Reads folders that hold `image/` and an .npz of cameras."""

    def __init__(self, layout: _Layout) -> None:
        self._layout = layout

    def scene_names(self, root: Path) -> list[str]:
        """The folders directly below `root` that hold the .npz."""
        return child_scenes(root, lambda folder: self._find_file(folder) is not None)

    def load_scene(self, root: Path, name: str) -> Scene:
        """The cameras of all images; images stay on disk, but for the header of the first, which gives their size.

        Raises:
            BenchError: no such scene, cameras missing or unreadable, another number of masks or cameras than of images.
        """
        folder = find_scene_folder(root, name, _GET)
        path = self._find_file(folder)
        if path is None:
            raise BenchError(folder, "no cameras", expected=" or ".join(self._layout.files), fix=_GET)
        images = require_images(folder / "image", _GET)
        arrays = load_npz(path, "the scan's cameras", _GET)
        check_count(arrays, "world_mat", len(images), path)
        masks = find_masks(folder, images)
        size = read_image_size(images[0])
        return build_scene(
            name,
            (
                View(
                    view_id_of(image.name),
                    self._layout.build_camera(arrays, number, size, f"{path}, image {number}"),
                    image.read_bytes,
                    None if mask is None else mask.read_bytes,
                    str(image),
                )
                for number, (image, mask) in enumerate(zip(images, masks, strict=True))
            ),
            folder,
        )

    def _find_file(self, folder: Path) -> Path | None:
        return next((folder / name for name in self._layout.files if (folder / name).is_file()), None)


def find_masks(folder: Path, images: list[Path]) -> list[Path] | list[None]:
    """The masks in `mask/`, one for each image, or none at all.

    IDR and DVR pair both lists by position. Where all names are numbers, as `000.png` beside `000000.png`, they are
    paired by number here, which is the same while nothing is missing and says what is missing otherwise.

    Raises:
        BenchError: a mask is missing.
    """
    masks = require_images(folder / "mask") if (folder / "mask").is_dir() else []
    if not masks:
        return [None] * len(images)
    if all(path.stem.isdigit() for path in (*images, *masks)):
        by_number = {int(mask.stem): mask for mask in masks}
        missing = [image.name for image in images if int(image.stem) not in by_number]
        if not missing:
            return [by_number[int(image.stem)] for image in images]
        found = f"no mask for {missing[0]}"
    elif len(masks) == len(images):
        return masks
    else:
        found = f"{len(masks)} masks for {len(images)} images"
    raise BenchError(folder / "mask", found, expected="one for each image", fix=FETCH_AGAIN)


def check_count(arrays: _Arrays, name: str, images: int, path: Path) -> None:
    """Refuse another number of matrices `<name>_<i>` than of images: they go together by position.

    Raises:
        BenchError: one image or one matrix is missing.
    """
    cameras = sum(re.fullmatch(rf"{name}_\d+", key) is not None for key in arrays)
    if cameras != images:
        raise BenchError(
            path, f"{cameras} cameras for {images} images", expected="one for each image, by name", fix=FETCH_AGAIN
        )


def build_idr_reader() -> NpzCameraReader:
    """DTU's scans as IDR and NeuS publish them."""
    return NpzCameraReader(_Layout(("cameras_sphere.npz", "cameras.npz"), _idr_camera))


def build_pixelnerf_reader() -> NpzCameraReader:
    """DTU at 400 x 300 as PixelNeRF publishes it, `rs_dtu_4`: what RegNeRF and its successors split."""
    return NpzCameraReader(_Layout(("cameras.npz",), _pixelnerf_camera))


def _idr_camera(arrays: _Arrays, number: int, size: tuple[int, int], where: str) -> Camera:
    P = matrix_of(arrays, f"world_mat_{number}", where) @ matrix_of(arrays, f"scale_mat_{number}", where)
    K, c2w = decompose_projection(P[:3], where)
    return build_camera(c2w, _shift(0.5, 0.5) @ K, *size, where=where)


def _pixelnerf_camera(arrays: _Arrays, number: int, size: tuple[int, int], where: str) -> Camera:
    K, c2w = decompose_projection(matrix_of(arrays, f"world_mat_{number}", where)[:3], where)
    if f"scale_mat_{number}" in arrays:
        scale_mat = matrix_of(arrays, f"scale_mat_{number}", where)
        scale = np.diag(scale_mat)[:3]
        if not (scale > 0).all() or np.ptp(scale) > 1e-6 * scale.max():
            raise BenchError(where, f"scale_mat with scales {scale.tolist()}", expected="one positive scale", fix=_GET)
        c2w[:3, 3] = (c2w[:3, 3] - scale_mat[:3, 3]) / scale
    width, height = size
    pixels_from_unit = np.diag([width / 2, height / 2, 1.0]) @ _shift(1.0, 1.0)
    return build_camera(c2w, pixels_from_unit @ K, *size, where=where)


def _shift(x: float, y: float) -> Float64[np.ndarray, "3 3"]:
    return np.array([[1.0, 0.0, x], [0.0, 1.0, y], [0.0, 0.0, 1.0]])
