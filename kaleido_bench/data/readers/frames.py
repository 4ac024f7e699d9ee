"""The frames of a `transforms.json`, which several layouts share: poses, lenses, paths, and what is refused in them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, cast

import numpy as np
from jaxtyping import Float64

from kaleido_bench.data.cameras import Camera, build_camera, c2w_from_opengl, intrinsics_matrix
from kaleido_bench.data.readers.folders import load_json, read_image_size
from kaleido_bench.errors import BenchError

_DISTORTION = ("k1", "k2", "k3", "k4", "p1", "p2")
_PINHOLE_MODELS = ("PINHOLE", "SIMPLE_PINHOLE", "OPENCV", "SIMPLE_RADIAL", "RADIAL", "PERSPECTIVE")


class Intrinsics(NamedTuple):
    """A lens in pixels and the image it belongs to."""

    K: Float64[np.ndarray, "3 3"]
    width: int
    height: int


Sizes = dict[str, tuple[int, int]]
"""The (width, height) read from the first image header of a file, if one had to be. Starts empty."""


def load_frames(path: Path) -> list[dict[str, Any]]:
    """The frames of a transforms file as listed, each with what the file says for all of them.

    Raises:
        BenchError: no such file, not JSON, no list of frames, a frame that is no object.
    """
    document = load_json(path, "a transforms.json")
    frames = document.get("frames")
    if not isinstance(frames, list):
        raise BenchError(
            path, "no list of frames", expected='"frames": [...]', fix="Check that this is a transforms.json."
        )
    merged: list[dict[str, Any]] = []
    for number, frame in enumerate(cast(list[object], frames)):
        if not isinstance(frame, dict):
            raise BenchError(f"{path}, frame {number}", "not an object", expected="a frame", fix="Correct the file.")
        merged.append(merge_frame(document, cast(dict[str, Any], frame)))
    return merged


def build_frame_camera(frame: Mapping[str, Any], image: Path, where: str, sizes: Sizes) -> Camera:
    """The camera of one frame, of `read_pose` and `read_intrinsics`."""
    lens = read_intrinsics(frame, image, where, sizes)
    return build_camera(c2w_from_opengl(read_pose(frame, where)), lens.K, lens.width, lens.height, where=where)


def merge_frame(document: Mapping[str, Any], frame: Mapping[str, Any]) -> dict[str, Any]:
    """What holds for a frame: its own keys, then the file's. Its own angle wins over a focal length of the file."""
    merged = {key: value for key, value in document.items() if key != "frames"} | dict(frame)
    for focal, angle in (("fl_x", "camera_angle_x"), ("fl_y", "camera_angle_y")):
        if angle in frame and focal not in frame:
            merged.pop(focal, None)
    return merged


def relative_path(value: object, key: str, where: str) -> PurePosixPath:
    """A path of the file, below the scene. Raises BenchError for anything else."""
    if not isinstance(value, str) or not value:
        raise BenchError(where, f"{key} is {value!r}", expected="a path below the scene", fix="Correct the file.")
    path = PurePosixPath(value.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts:
        raise BenchError(
            where, f"{key} {value} leaves the scene", expected="a path below the scene", fix="Correct the file."
        )
    return path


def read_pose(frame: Mapping[str, Any], where: str) -> Float64[np.ndarray, "4 4"]:
    """`transform_matrix`: camera to world in OpenGL axes, 4x4 or 3x4. Raises BenchError where it is neither."""
    return read_matrix(frame, "transform_matrix", where)


def read_matrix(frame: Mapping[str, Any], key: str, where: str) -> Float64[np.ndarray, "4 4"]:
    """A 4x4 matrix of a frame; 3x4, which instant-ngp writes, gets the row 0 0 0 1.

    Raises:
        BenchError: there is none, or it has another shape.
    """
    try:
        matrix = np.asarray(frame.get(key), np.float64)
    except (TypeError, ValueError):
        matrix = np.empty(0)
    if matrix.shape == (3, 4):
        matrix = np.vstack([matrix, [0.0, 0.0, 0.0, 1.0]])
    if matrix.shape != (4, 4):
        raise BenchError(where, f"no 4x4 {key}", expected="16 numbers", fix="Correct the file.")
    return matrix


def refuse_distortion(frame: Mapping[str, Any], where: str) -> None:
    """Raise BenchError for a lens that is not a pinhole."""
    model = str(frame.get("camera_model", "PINHOLE")).upper()
    coefficients = {key: read_number(frame, key, where) for key in _DISTORTION}
    found = [f"{key} = {value:g}" for key, value in coefficients.items() if value]
    if model not in _PINHOLE_MODELS or frame.get("is_fisheye"):
        found = [f"camera model {'fisheye' if frame.get('is_fisheye') else model}"]
    if found:
        raise BenchError(
            where,
            f"a lens that is not a pinhole ({', '.join(found)})",
            expected="undistorted images",
            fix="Undistort them first, with colmap image_undistorter or ns-process-data.",
        )


def read_intrinsics(frame: Mapping[str, Any], image: Path, where: str, sizes: Sizes) -> Intrinsics:
    """The lens of a frame: focal lengths in pixels, else angles of view; the principal point, else the centre.

    Without `w` and `h` the size is that of the first image whose header had to be read; it is kept in `sizes`.

    Raises:
        BenchError: no focal length, a number that is none, an image whose header is needed and cannot be read.
    """
    width, height = read_side(frame, "w", where), read_side(frame, "h", where)
    if width is None or height is None:
        if "first" not in sizes:
            sizes["first"] = read_image_size(image)
        width, height = sizes["first"]
    fx = _read_focal(frame, "fl_x", "camera_angle_x", width, where)
    fy = _read_focal(frame, "fl_y", "camera_angle_y", height, where)
    if fx is None and fy is None:
        raise BenchError(
            where, "no focal length", expected="fl_x in pixels or camera_angle_x in radians", fix="Correct the file."
        )
    cx, cy = read_number(frame, "cx", where), read_number(frame, "cy", where)
    K = intrinsics_matrix(
        cast(float, fy if fx is None else fx),
        cast(float, fx if fy is None else fy),
        width / 2 if cx is None else cx,
        height / 2 if cy is None else cy,
    )
    return Intrinsics(K, width, height)


def _read_focal(frame: Mapping[str, Any], key: str, angle_key: str, side: int, where: str) -> float | None:
    focal = read_number(frame, key, where)
    if focal is not None:
        return focal
    angle = read_number(frame, angle_key, where)
    if angle is None:
        return None
    if not 0 < angle < math.pi:
        raise BenchError(
            where, f"{angle_key} is {angle:g}", expected="between 0 and pi radians", fix="Correct the file."
        )
    return side / 2 / math.tan(angle / 2)


def read_side(frame: Mapping[str, Any], key: str, where: str) -> int | None:
    """A whole number of pixels, which instant-ngp writes as a float; None where there is none."""
    side = read_number(frame, key, where)
    if side is not None and (not math.isfinite(side) or side != int(side)):
        raise BenchError(where, f"{key} is {side:g}", expected="a whole number of pixels", fix="Correct the file.")
    return None if side is None else int(side)


def read_number(frame: Mapping[str, Any], key: str, where: str) -> float | None:
    """A number of a frame; None where there is none. Raises BenchError for what is no number."""
    value = frame.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BenchError(where, f"{key} is {value!r}", expected="a number", fix="Correct the file.")
    return float(value)
