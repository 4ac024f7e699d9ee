"""DTU as MVSNet prepared it for training: `Cameras/train/00000000_cam.txt` and `Rectified/scan<N>_train/`.

A camera file has the word `extrinsic`, a 4x4 world to camera in millimetres, the word `intrinsic`, a 3x3 K, and a
line of depths. Images are `rect_<number + 1, three digits>_<light>_r5000.png`, 640 x 512: the 1600 x 1200 photographs
halved, then cropped by 80 and 44 pixels on each side. Light 3 is the one everybody uses. Sources: YoYo000/MVSNet;
apchenstu/mvsnerf:data/dtu_ft.py; donydchen/mvsplat:src/scripts/convert_dtu.py.

- K in `Cameras/train` belongs to 160 x 128, a quarter of the images, and is multiplied by 4.
- It was scaled from the photographs' calibration, whose first pixel's centre is (0, 0), as if a pixel were a point: x
  / 2 where a halved image has x / 2 - 1/4. With centres at .5, cx is therefore 4 times the file's plus 1/4.
- World units are millimetres divided by 200, as MVSNeRF and MVSplat have them.
- `dtu-mvsplat` is what MVSplat made of the same files: it takes the image for 2 cx by 2 cy pixels, so the principal
  point is the centre and the focal length some 3 percent shorter than the calibrated one. Its published numbers rest
  on it.
- View ids are the camera's number in six digits, from 0.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from kaleido_bench.data.cameras import Camera, build_camera, intrinsics_matrix
from kaleido_bench.data.datasets import how_to_get
from kaleido_bench.data.readers.arrays import c2w_from_w2c, parse_numbers
from kaleido_bench.data.readers.folders import child_scenes, find_scene_folder, read_image_size, read_text
from kaleido_bench.data.scenes import Scene, View, build_scene
from kaleido_bench.errors import BenchError

_GET = how_to_get("dtu-mvsnet")
_SIZE = (640, 512)
_UNIT = 200.0  # millimetres
_CAMERAS_REDUCED = 4
_HALVED_SHIFT = 0.25
_NAME = re.compile(r"rect_(\d{3})_3_r5000\.png")


class MvsnetReader:
    """Reads DTU in MVSNet's training layout.

    Args:
        centred: take the lens as MVSplat does.
    """

    def __init__(self, centred: bool = False) -> None:
        self._centred = centred

    def scene_names(self, root: Path) -> list[str]:
        """The scans below `Rectified/`, without `_train`."""
        names = child_scenes(root / "Rectified", lambda folder: folder.name.endswith("_train"))
        return [name.removesuffix("_train") for name in names]

    def load_scene(self, root: Path, name: str) -> Scene:
        """The cameras of the scan's images under light 3; images stay on disk, but for the header of the first.

        Raises:
            BenchError: no such scan, no image, a camera file missing or malformed, images of another size.
        """
        folder = find_scene_folder(root / "Rectified", f"{name}_train", _GET)
        images = sorted(path for path in folder.iterdir() if _NAME.fullmatch(path.name))
        if not images:
            raise BenchError(folder, "no images", expected="rect_001_3_r5000.png to rect_049_3_r5000.png", fix=_GET)
        size = read_image_size(images[0])
        if size != _SIZE:
            raise BenchError(
                images[0],
                f"an image of {size[0]} x {size[1]} pixels",
                expected="640 x 512, of MVSNet's training set",
                fix=_GET,
            )
        return build_scene(name, [self._build_view(root, image) for image in images], folder)

    def _build_view(self, root: Path, image: Path) -> View:
        number = int(image.name[5:8]) - 1
        camera = _load_camera(root / "Cameras" / "train" / f"{number:08d}_cam.txt", self._centred)
        return View(f"{number:06d}", camera, image.read_bytes, None, str(image))


def build_mvsplat_reader() -> MvsnetReader:
    """DTU with the lens that MVSplat's zero-shot numbers rest on."""
    return MvsnetReader(centred=True)


def _load_camera(path: Path, centred: bool) -> Camera:
    words = read_text(path, "MVSNet's camera file", _GET).split()
    if len(words) < 27 or words[0] != "extrinsic" or words[17] != "intrinsic":
        raise BenchError(
            path, "another layout", expected="extrinsic, 16 numbers, intrinsic, 9 numbers", fix="Fetch it again."
        )
    w2c = parse_numbers(" ".join(words[1:17]), path).reshape(4, 4)
    lens = parse_numbers(" ".join(words[18:27]), path).reshape(3, 3)
    c2w = c2w_from_w2c(w2c, path)
    c2w[:3, 3] /= _UNIT
    fx, fy, cx, cy = _CAMERAS_REDUCED * np.array([lens[0, 0], lens[1, 1], lens[0, 2], lens[1, 2]])
    width, height = _SIZE
    K = (
        intrinsics_matrix(width * fx / (2 * cx), height * fy / (2 * cy), width / 2, height / 2)
        if centred
        else intrinsics_matrix(fx, fy, cx + _HALVED_SHIFT, cy + _HALVED_SHIFT)
    )
    return build_camera(c2w, K, width, height, where=path)
