"""RTMV: a JSON for each view, and its image as OpenEXR or PNG.

`00000.json` has `camera_data` with `width`, `height`, `intrinsics` (fx, fy, cx, cy in pixels) and `cam2world`, a 4x4
camera to world stored by columns, in OpenGL axes. The image is `00000.exr` as published, or `00000.png`, or
`images/00000.png`. Sources: kxhit/EscherNet:eval_eschernet.py (reads the .exr); kwea123/ngp_pl:datasets/rtmv.py
(axes, lens, `images/`).

- EscherNet takes the .exr's linear values for 8-bit ones: times 255, cut to integers, no gamma, no alpha. Values
  above 1 wrap around there (NumPy's cast to uint8) and are clipped here. Elsewhere they are taken to sRGB first.
- An .exr is decoded when the view is read; its bytes are then those of a PPM file, the same on every machine.
- A view's id is the stem, `00000`.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np

from kaleido_bench.data.cameras import Camera, build_camera, c2w_from_opengl, intrinsics_matrix
from kaleido_bench.data.datasets import how_to_get
from kaleido_bench.data.readers.folders import child_scenes, find_scene_folder, load_json
from kaleido_bench.data.readers.frames import read_matrix, read_number, read_side
from kaleido_bench.data.scenes import Scene, View, build_scene
from kaleido_bench.errors import BenchError

_GET = how_to_get("rtmv")


class RtmvReader:
    """Reads folders of `00000.json` with their images."""

    def scene_names(self, root: Path) -> list[str]:
        """The folders directly below `root` that hold view files."""
        return child_scenes(root, lambda folder: bool(_view_files(folder)))

    def load_scene(self, root: Path, name: str) -> Scene:
        """The cameras of all views; images stay on disk.

        Raises:
            BenchError: no such scene, no view, a file that is malformed, a camera that is none.
        """
        folder = find_scene_folder(root, name, _GET)
        files = _view_files(folder)
        if not files:
            raise BenchError(folder, "no views", expected="00000.json and its siblings", fix=_GET)
        return build_scene(name, [_build_view(folder, path) for path in files], folder)


def _view_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.json") if path.stem.isdigit())


def _build_view(folder: Path, path: Path) -> View:
    data = load_json(path, "a view of RTMV").get("camera_data")
    if not isinstance(data, dict):
        raise BenchError(path, "no camera_data", expected="a view of RTMV", fix="Fetch the file again.")
    camera = _build_camera(cast("dict[str, Any]", data), str(path))
    image, read_image = _find_image(folder, path.stem)
    return View(path.stem, camera, read_image, None, str(image))


def _build_camera(data: Mapping[str, Any], where: str) -> Camera:
    intrinsics = data.get("intrinsics")
    lens = cast("dict[str, Any]", intrinsics) if isinstance(intrinsics, dict) else {}
    values = [read_number(lens, key, where) for key in ("fx", "fy", "cx", "cy")]
    width, height = read_side(data, "width", where), read_side(data, "height", where)
    if width is None or height is None or None in values:
        raise BenchError(where, "no lens", expected="width, height and intrinsics", fix="Fetch the file again.")
    K = intrinsics_matrix(*np.asarray(values, np.float64))
    return build_camera(c2w_from_opengl(read_matrix(data, "cam2world", where).T), K, width, height, where=where)


def _find_image(folder: Path, stem: str) -> tuple[Path, Callable[[], bytes]]:
    png = next((path for path in (folder / f"{stem}.png", folder / "images" / f"{stem}.png") if path.is_file()), None)
    exr = folder / f"{stem}.exr"
    if exr.is_file() or png is None:
        return exr, functools.partial(_read_exr, exr)
    return png, png.read_bytes


def _read_exr(path: Path) -> bytes:
    """The image as a PPM file: the linear values times 255, cut to integers.

    Raises:
        FileNotFoundError: it is missing.
        BenchError: OpenEXR is not installed, or the file is none.
    """
    if not path.is_file():
        raise FileNotFoundError(2, "no such image", str(path))
    try:
        openexr: Any = importlib.import_module("OpenEXR")  # here, because it is an extra
    except ImportError:
        raise BenchError(
            path, "OpenEXR is not installed", expected="what reads .exr images", fix="Run: pip install OpenEXR"
        ) from None
    try:
        with openexr.File(str(path)) as file:
            channels = file.channels()
            pixels: Any = channels["RGBA" if "RGBA" in channels else "RGB"].pixels
    except (RuntimeError, KeyError, ValueError, TypeError, OSError) as error:
        raise BenchError(path, f"unreadable ({error})", expected="an RGB OpenEXR file", fix="Fetch it again.") from None
    colour = np.asarray(pixels, np.float32)[:, :, :3]
    if not np.isfinite(colour).all():
        raise BenchError(path, "NaN or infinity", expected="finite colours", fix="Fetch the file again.")
    height, width = colour.shape[:2]
    return b"P6 %d %d 255\n" % (width, height) + (colour.clip(0, 1) * np.float32(255)).astype(np.uint8).tobytes()
