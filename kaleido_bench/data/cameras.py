"""The Camera, in the one convention of this project, and what may be done to it.

- `c2w` is 4x4, camera to world, in OpenCV axes: x right, y down, z forward. Its last column is the camera centre in
  world units.
- `K` is 3x3, in pixels. The centre of the top-left pixel is (0.5, 0.5), so an image spans [0, width] x [0, height].
- Everything is float64. A camera is changed by making another one; its arrays cannot be written to.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64
from numpy.typing import ArrayLike

from kaleido_bench.errors import BenchError

# |R R^T - I| up to here is rounding: published poses carry as few as six decimals (Strecha), which stays below 1e-5.
RIGID_TOLERANCE = 1e-4

# What `hash_camera` keeps. Far above the rounding of float64 (1e-16), so that readers that compute differently agree;
# and no file is written with one decimal more, whose last 5 would be a tie that rounding noise breaks either way.
HASHED_DIGITS = 10
HASHED_DECIMALS_OF_K = 6

# Flips the y and z axes of the camera: OpenGL (x right, y up, z backward) to OpenCV and back.
_FLIP_YZ = np.diag([1.0, -1.0, -1.0, 1.0])


@dataclass(frozen=True, eq=False)
class Camera:
    """A pinhole camera. Build it with `build_camera`, which refuses what is not one.

    Attributes:
        c2w: camera to world, OpenCV axes, translation in world units.
        K: intrinsics in pixels, pixel centres at .5.
        width: image width in pixels.
        height: image height in pixels.
    """

    c2w: Float64[np.ndarray, "4 4"]
    K: Float64[np.ndarray, "3 3"]
    width: int
    height: int


class Cameras(NamedTuple):
    """Cameras of one image size, stacked: what an adapter is given."""

    c2w: Float64[np.ndarray, "view 4 4"]
    K: Float64[np.ndarray, "view 3 3"]
    width: int
    height: int


class Projection(NamedTuple):
    """Where world points fall in an image: pixels as (x, y), and depth along the optical axis in world units."""

    pixels: Float64[np.ndarray, "point 2"]
    depth: Float64[np.ndarray, " point"]


# Building


def build_camera(c2w: ArrayLike, K: ArrayLike, width: int, height: int, *, where: object) -> Camera:
    """A checked Camera.

    Args:
        c2w: 4x4 camera to world in OpenCV axes (see the converters below for other sources).
        K: 3x3 intrinsics in pixels, [[fx, skew, cx], [0, fy, cy], [0, 0, 1]].
        width: image width in pixels.
        height: image height in pixels.
        where: the file and frame, for the error.

    Raises:
        BenchError: wrong shape, NaN or infinity, a rotation that is not rigid or is left-handed, a last row other than
            0 0 0 1, a focal length that is not positive, a K that is no pinhole, an empty image.
    """
    pose, intrinsics = _read_matrix(c2w, (4, 4), "c2w", where), _read_matrix(K, (3, 3), "K", where)
    fault = _find_fault(pose, intrinsics, (width, height))
    if fault is not None:
        raise BenchError(where, fault.found, expected=fault.expected, fix=fault.fix)
    return _freeze(pose, intrinsics, int(width), int(height))


def stack_cameras(cameras: Sequence[Camera]) -> Cameras:
    """Stack cameras of one image size, in the given order.

    Raises:
        ValueError: none given, or more than one image size (a caller's mistake: prepare the images first).
    """
    sizes = {(camera.width, camera.height) for camera in cameras}
    if len(sizes) != 1:
        raise ValueError(f"cameras of exactly one image size can be stacked, got sizes {sorted(sizes)}")
    width, height = sizes.pop()
    return Cameras(
        np.stack([camera.c2w for camera in cameras]), np.stack([camera.K for camera in cameras]), width, height
    )


def unstack_cameras(cameras: Cameras) -> list[Camera]:
    """The inverse of `stack_cameras`."""
    return [_freeze(c2w, K, cameras.width, cameras.height) for c2w, K in zip(cameras.c2w, cameras.K, strict=True)]


def hash_camera(camera: Camera) -> str:
    """sha256 of a camera, as a case index freezes it. Readers that keep float64 agree on it, however they compute.

    It is over the canonical JSON (keys sorted, no spaces, a newline at the end) of `K`, `centre`, `height`, `rotation`
    and `width`: the rotation of c2w to 10 decimals, K to 6, its translation to 9 - floor(log10(m) + 0.1) with m the
    largest |component| and 0.001 at least (about 10 significant digits); -0.0 is 0.0.
    """
    centre = camera.c2w[:3, 3]
    # At least 0.001, since a camera at the origin of the world is there up to rounding noise. The 0.1 moves the change
    # of digits from m = 1, which is a common radius of rigs, to 7.94, which is none.
    largest = max(float(np.abs(centre).max()), 1e-3)
    decimals = HASHED_DIGITS - 1 - math.floor(math.log10(largest) + 0.1)
    plain = {
        "K": _round(camera.K, HASHED_DECIMALS_OF_K),
        "centre": _round(centre, decimals),
        "height": camera.height,
        "rotation": _round(camera.c2w[:3, :3], HASHED_DIGITS),
        "width": camera.width,
    }
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), allow_nan=False) + "\n"
    return hashlib.sha256(text.encode()).hexdigest()


def _round(values: Float64[np.ndarray, "*shape"], decimals: int) -> list[float]:
    # Python's round, which is exact: numpy's multiplies first, and a double times 10^10 is rounded already.
    return [round(float(value), decimals) + 0.0 for value in values.flat]


def intrinsics_matrix(fx: float, fy: float, cx: float, cy: float) -> Float64[np.ndarray, "3 3"]:
    """K from focal lengths and principal point, all in pixels."""
    return np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])


def _freeze(c2w: Float64[np.ndarray, "4 4"], K: Float64[np.ndarray, "3 3"], width: int, height: int) -> Camera:
    pose, intrinsics = np.array(c2w, np.float64), np.array(K, np.float64)
    pose.setflags(write=False)
    intrinsics.setflags(write=False)
    return Camera(pose, intrinsics, width, height)


def _read_matrix(
    values: ArrayLike, shape: tuple[int, int], name: str, where: object
) -> Float64[np.ndarray, "row column"]:
    try:
        matrix = np.asarray(values, np.float64)
    except (TypeError, ValueError):
        raise BenchError(
            where,
            f"{name} holds something that is not a number",
            expected=f"{shape[0]}x{shape[1]} numbers",
            fix="Correct the file.",
        ) from None
    if matrix.shape != shape:
        found = "x".join(map(str, matrix.shape)) or "a single number"
        raise BenchError(where, f"{name} of shape {found}", expected=f"{shape[0]}x{shape[1]}", fix="Correct the file.")
    if not np.isfinite(matrix).all():
        raise BenchError(
            where,
            f"{name} holds NaN or infinity",
            expected="finite numbers",
            fix="Leave this view out or estimate its camera again.",
        )
    return matrix


class _Fault(NamedTuple):
    found: str
    expected: str
    fix: str


def _find_fault(
    pose: Float64[np.ndarray, "4 4"], K: Float64[np.ndarray, "3 3"], size: tuple[int, int]
) -> _Fault | None:
    """What keeps finite matrices and a size from being a camera; the first thing."""
    if not np.allclose(pose[3], [0, 0, 0, 1], rtol=0, atol=1e-8):
        found = f"the last row of c2w is {pose[3].tolist()}"
        return _Fault(found, "0 0 0 1", "Check whether the matrix is transposed.")
    rotation = pose[:3, :3]
    error = float(np.abs(rotation @ rotation.T - np.eye(3)).max())
    if error > RIGID_TOLERANCE:
        found = f"the rotation of c2w is not rigid, |R R^T - I| = {error:.2g}"
        return _Fault(found, f"at most {RIGID_TOLERANCE:g}", "Remove scale and shear from the matrix.")
    if np.linalg.det(rotation) < 0:
        found = "the rotation of c2w is left-handed (determinant -1)"
        return _Fault(found, "determinant +1", "One axis is mirrored: check the source's axis convention.")
    if K[0, 0] <= 0 or K[1, 1] <= 0:
        found = f"focal lengths {K[0, 0]:g}, {K[1, 1]:g}"
        return _Fault(found, "positive, in pixels", "Correct the intrinsics.")
    if not np.allclose(K[2], [0, 0, 1], rtol=0, atol=1e-8) or abs(K[1, 0]) > 1e-8:
        fix = "Check whether the matrix is transposed or not divided by its last element."
        return _Fault(f"K is {K.tolist()}", "[[fx, skew, cx], [0, fy, cy], [0, 0, 1]]", fix)
    if min(size) < 1:
        return _Fault(f"an image of {size[0]} x {size[1]} pixels", "at least 1 x 1", "Check w and h.")
    return None


# Geometry


def invert_rigid(c2w: Float64[np.ndarray, "*batch 4 4"]) -> Float64[np.ndarray, "*batch 4 4"]:
    """The inverse of rigid transforms, analytically: [R t; 0 1]^-1 = [R^T -R^T t; 0 1]."""
    rotation_t = np.swapaxes(c2w[..., :3, :3], -1, -2)
    inverse = np.zeros_like(c2w, dtype=np.float64)
    inverse[..., :3, :3] = rotation_t
    inverse[..., :3, 3:] = -rotation_t @ c2w[..., :3, 3:]
    inverse[..., 3, 3] = 1.0
    return inverse


def project(camera: Camera, points: Float64[np.ndarray, "point 3"]) -> Projection:
    """Project world points. Points at depth <= 0 are behind the camera; their pixels mean nothing."""
    w2c = invert_rigid(camera.c2w)
    in_camera = points @ w2c[:3, :3].T + w2c[:3, 3]
    homogeneous = in_camera @ camera.K.T
    with np.errstate(divide="ignore", invalid="ignore"):
        pixels = homogeneous[:, :2] / homogeneous[:, 2:]
    return Projection(pixels, in_camera[:, 2])


def resize_camera(camera: Camera, width: int, height: int) -> Camera:
    """The camera of the image resized to width x height; each axis scales by its own ratio.

    With pixel centres at .5 a resize is x' = x * width' / width, and nothing else.
    """
    scale = np.diag([width / camera.width, height / camera.height, 1.0])
    return _freeze(camera.c2w, scale @ camera.K, width, height)


def crop_camera(camera: Camera, left: int, top: int, width: int, height: int) -> Camera:
    """The camera of the window of width x height pixels whose top-left corner is (left, top); negative values pad."""
    shift = np.array([[1.0, 0.0, -left], [0.0, 1.0, -top], [0.0, 0.0, 1.0]])
    return _freeze(camera.c2w, shift @ camera.K, width, height)


# Other conventions


def c2w_from_opengl(c2w: Float64[np.ndarray, "*batch 4 4"]) -> Float64[np.ndarray, "*batch 4 4"]:
    """From camera-to-world in OpenGL axes (x right, y up, z backward): Blender, nerfstudio, instant-ngp."""
    return np.asarray(c2w, np.float64) @ _FLIP_YZ


def c2w_to_opengl(c2w: Float64[np.ndarray, "*batch 4 4"]) -> Float64[np.ndarray, "*batch 4 4"]:
    """To camera-to-world in OpenGL axes, for writing `transforms.json`."""
    return np.asarray(c2w, np.float64) @ _FLIP_YZ


def c2w_from_colmap(qvec: ArrayLike, tvec: ArrayLike) -> Float64[np.ndarray, "4 4"]:
    """From COLMAP's world-to-camera unit quaternion (w, x, y, z) and translation, whose camera axes are OpenCV's.

    The quaternion is normalised first, as COLMAP does (https://colmap.github.io/format.html, images.txt).
    """
    quaternion = np.asarray(qvec, np.float64)
    w, x, y, z = quaternion / np.linalg.norm(quaternion)
    w2c = np.eye(4)
    w2c[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    w2c[:3, 3] = tvec
    return invert_rigid(w2c)


def c2w_from_llff(rows: Float64[np.ndarray, "view 3 5"]) -> Float64[np.ndarray, "view 4 4"]:
    """From `poses_bounds.npy` of LLFF: row v is 3x5, columns (down, right, backward, centre, [height, width, focal]).

    Source: https://github.com/Fyusion/LLFF, "Using your own poses without running COLMAP".
    """
    rows = np.asarray(rows, np.float64)
    c2w = np.zeros((len(rows), 4, 4))
    c2w[:, :3, 0], c2w[:, :3, 1], c2w[:, :3, 2] = rows[..., 1], rows[..., 0], -rows[..., 2]
    c2w[:, :3, 3] = rows[..., 3]
    c2w[:, 3, 3] = 1.0
    return c2w


def camera_from_pytorch3d(
    R: ArrayLike,
    T: ArrayLike,
    focal_ndc: ArrayLike,
    principal_ndc: ArrayLike,
    width: int,
    height: int,
    *,
    where: object,
) -> Camera:
    """From a PyTorch3D `PerspectiveCameras` in NDC (CO3D's annotations with `intrinsics_format: ndc_isotropic`).

    PyTorch3D multiplies row vectors, X_camera = X_world R + T, with camera axes x left, y up, z forward. Its NDC has +x
    left and +y up, and one unit is half of the shorter image side, so with s = min(width, height) / 2

        fx = s * focal_x, cx = width / 2 - s * principal_x,   and the same for y with the height.

    Source: https://pytorch3d.org/docs/cameras (pixel centres are at .5 there too).
    """
    rotation, translation = _read_matrix(R, (3, 3), "R", where), np.asarray(T, np.float64)
    focal, principal = np.asarray(focal_ndc, np.float64), np.asarray(principal_ndc, np.float64)
    flip_xy = np.diag([-1.0, -1.0, 1.0])
    w2c = np.eye(4)
    w2c[:3, :3] = flip_xy @ rotation.T
    w2c[:3, 3] = flip_xy @ translation
    unit = min(width, height) / 2
    K = intrinsics_matrix(
        unit * focal[0], unit * focal[1], width / 2 - unit * principal[0], height / 2 - unit * principal[1]
    )
    return build_camera(invert_rigid(w2c), K, width, height, where=where)
