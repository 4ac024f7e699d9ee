"""Scenes with LLFF's `poses_bounds.npy` beside `images/` or `images_<factor>/`.

Row v holds 17 numbers: a 3x5 pose (see `c2w_from_llff`) with [height, width, focal] of the full-size photograph in its
last column, then two depth bounds, which are not used. Rows go with the image files sorted by name. The lens is
[[f, 0, w/2], [0, f, h/2]], as in NeRF's loader (bmild/nerf, load_llff.py), scaled to the images at hand.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Float64

from kaleido_bench.data.cameras import Camera, build_camera, c2w_from_llff, intrinsics_matrix, resize_camera
from kaleido_bench.data.datasets import how_to_get
from kaleido_bench.data.readers.folders import (
    child_scenes,
    find_scene_folder,
    find_side_file,
    list_images,
    read_image_size,
)
from kaleido_bench.data.scenes import Scene, View, build_scene, view_id_of
from kaleido_bench.errors import BenchError

_GET = how_to_get("llff")


class LlffReader:
    """Reads LLFF folders.

    Args:
        factor: read `images_<factor>`; None reads `images`, or the largest reduced images where that folder is missing.
    """

    def __init__(self, factor: int | None = None) -> None:
        self._factor = factor

    def scene_names(self, root: Path) -> list[str]:
        """The folders directly below `root` that hold `poses_bounds.npy`."""
        return child_scenes(root, lambda folder: (folder / "poses_bounds.npy").is_file())

    def load_scene(self, root: Path, name: str) -> Scene:
        """The cameras of all rows; images stay on disk, but for the header of the first, which gives their size.

        Raises:
            BenchError: a missing or malformed `poses_bounds.npy`, no images, or another number of them than of rows.
        """
        folder = find_scene_folder(root, name, _GET)
        path = folder / "poses_bounds.npy"
        rows = _load_rows(path)
        images = list_images(self._find_images(folder))
        if len(images) != len(rows):
            raise BenchError(
                path,
                f"{len(rows)} rows for {len(images)} images",
                expected="one row for each image, in order of file name",
                fix="Remove stray images, or fetch the scene again.",
            )
        if not images:
            return build_scene(name, (), folder)
        size = read_image_size(images[0])
        poses = c2w_from_llff(rows)
        views = [
            _build_view(folder, image, _build_camera(pose, row[:, 4], size, f"{path}, row {number}"))
            for number, (image, pose, row) in enumerate(zip(images, poses, rows, strict=True))
        ]
        return build_scene(name, views, folder)

    def _find_images(self, folder: Path) -> Path:
        if self._factor is not None:
            wanted = [folder / f"images_{self._factor}"]
        else:
            reduced = (path for path in folder.glob("images_*") if path.name.removeprefix("images_").isdigit())
            wanted = [folder / "images", *sorted(reduced, key=lambda path: int(path.name.removeprefix("images_")))]
        for candidate in wanted:
            if candidate.is_dir():
                return candidate
        raise BenchError(folder, f"no {wanted[0].name} folder", expected="the scene's images", fix=_GET)


def build_quarter_reader() -> LlffReader:
    """LLFF at a quarter of the photographs' side, `images_4`."""
    return LlffReader(4)


def build_eighth_reader() -> LlffReader:
    """LLFF at an eighth of the photographs' side, `images_8`: what few-view papers score."""
    return LlffReader(8)


def _load_rows(path: Path) -> Float64[np.ndarray, "view 3 5"]:
    if not path.is_file():
        raise BenchError(path, "no such file", expected="LLFF's poses_bounds.npy", fix="Check root and reader.")
    try:
        numbers = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise BenchError(path, f"unreadable ({error})", expected="an .npy file", fix="Fetch the file again.") from None
    if numbers.ndim != 2 or numbers.shape[1] != 17 or numbers.dtype.kind != "f":
        raise BenchError(
            path,
            f"{numbers.dtype} of shape {'x'.join(map(str, numbers.shape))}",
            expected="floats of shape (views, 17)",
            fix="Check that this is LLFF's file.",
        )
    return numbers[:, :15].reshape(-1, 3, 5).astype(np.float64)


def _build_camera(
    c2w: Float64[np.ndarray, "4 4"], lens: Float64[np.ndarray, " 3"], size: tuple[int, int], where: str
) -> Camera:
    height, width, focal = lens
    if not (np.isfinite(lens).all() and width >= 1 and height >= 1):
        raise BenchError(
            where, f"image size {width:g} x {height:g}", expected="whole pixels", fix="Fetch the file again."
        )
    photograph = build_camera(
        c2w, intrinsics_matrix(focal, focal, width / 2, height / 2), round(width), round(height), where=where
    )
    return resize_camera(photograph, *size)


def _build_view(folder: Path, image: Path, camera: Camera) -> View:
    view_id = view_id_of(image.name)
    mask = find_side_file(folder / "masks", view_id)
    return View(view_id, camera, image.read_bytes, None if mask is None else mask.read_bytes, str(image))
