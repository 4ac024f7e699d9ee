"""Cameras: every converter must put world points on the pixels that its source's own formula gives."""

from __future__ import annotations

import hashlib
import json
import math
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from kaleido_bench.data.cameras import (
    Camera,
    build_camera,
    c2w_from_colmap,
    c2w_from_llff,
    c2w_from_opengl,
    c2w_to_opengl,
    camera_from_pytorch3d,
    crop_camera,
    hash_camera,
    intrinsics_matrix,
    invert_rigid,
    project,
    resize_camera,
    stack_cameras,
    unstack_cameras,
)
from kaleido_bench.errors import BenchError

WIDTH, HEIGHT = 640, 480
FX, FY, CX, CY = 500.0, 510.0, 300.0, 250.0
K = intrinsics_matrix(FX, FY, CX, CY)


class Setup(NamedTuple):
    """A camera's place as a Hamilton quaternion (w, x, y, z) and a centre, and a world point."""

    quaternion: np.ndarray
    centre: np.ndarray
    point: np.ndarray


_unit = st.floats(-1, 1, allow_nan=False)
_length = st.floats(-5, 5, allow_nan=False)


@st.composite
def setups(draw: st.DrawFn) -> Setup:
    quaternion = np.array(draw(st.tuples(_unit, _unit, _unit, _unit)))
    assume(np.linalg.norm(quaternion) > 0.1)
    centre = np.array(draw(st.tuples(_length, _length, _length)))
    point = np.array(draw(st.tuples(_length, _length, _length)))
    return Setup(quaternion / np.linalg.norm(quaternion), centre, point)


def hamilton(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The quaternion product, written out."""
    aw, av, bw, bv = a[0], a[1:], b[0], b[1:]
    return np.concatenate([[aw * bw - av @ bv], aw * bv + bw * av + np.cross(av, bv)])


def rotate(quaternion: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """q v q*: a rotation without any matrix."""
    conjugate = quaternion * [1, -1, -1, -1]
    return hamilton(hamilton(quaternion, np.concatenate([[0.0], vector])), conjugate)[1:]


def axes(setup: Setup) -> np.ndarray:
    """The images of the x, y and z axes as columns: the camera's axes in the world, in whatever convention."""
    return np.stack([rotate(setup.quaternion, axis) for axis in np.eye(3)], axis=1)


def pixel_of(c2w: np.ndarray, point: np.ndarray, K: np.ndarray = K) -> np.ndarray:
    camera = build_camera(c2w, K, WIDTH, HEIGHT, where="test")
    return project(camera, point[None]).pixels[0]


@given(setups())
def test_opengl_point_falls_where_opengl_says(setup: Setup) -> None:
    right, up, backward = axes(setup).T
    offset = setup.point - setup.centre
    depth = -(backward @ offset)
    assume(depth > 0.1)
    expected = [CX + FX * (right @ offset) / depth, CY - FY * (up @ offset) / depth]

    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = axes(setup), setup.centre
    assert np.allclose(pixel_of(c2w_from_opengl(matrix), setup.point), expected, atol=1e-6)
    assert np.array_equal(c2w_to_opengl(c2w_from_opengl(matrix)), matrix)


@given(setups(), st.floats(0.5, 2))
def test_colmap_point_falls_where_colmap_says(setup: Setup, length: float) -> None:
    translation = setup.centre  # any translation will do
    in_camera = rotate(setup.quaternion, setup.point) + translation
    assume(in_camera[2] > 0.1)
    expected = [CX + FX * in_camera[0] / in_camera[2], CY + FY * in_camera[1] / in_camera[2]]

    c2w = c2w_from_colmap(length * setup.quaternion, translation)  # COLMAP normalises, and so must we
    assert np.allclose(pixel_of(c2w, setup.point), expected, atol=1e-6)


@given(setups())
def test_llff_point_falls_where_llff_says(setup: Setup) -> None:
    down, right, backward = axes(setup).T
    offset = setup.point - setup.centre
    depth = -(backward @ offset)
    assume(depth > 0.1)
    expected = [CX + FX * (right @ offset) / depth, CY + FY * (down @ offset) / depth]

    row = np.stack([down, right, backward, setup.centre, [HEIGHT, WIDTH, FX]], axis=1)
    assert np.allclose(pixel_of(c2w_from_llff(row[None])[0], setup.point), expected, atol=1e-6)


@given(setups(), st.tuples(st.floats(0.5, 3), st.floats(0.5, 3)), st.tuples(_unit, _unit))
def test_pytorch3d_point_falls_where_pytorch3d_says(
    setup: Setup, focal: tuple[float, float], principal: tuple[float, float]
) -> None:
    R, T = axes(setup), setup.centre
    in_camera = setup.point @ R + T  # row vectors
    assume(in_camera[2] > 0.1)
    ndc = np.array(focal) * in_camera[:2] / in_camera[2] + principal
    unit = min(WIDTH, HEIGHT) / 2
    expected = [WIDTH / 2 - unit * ndc[0], HEIGHT / 2 - unit * ndc[1]]

    camera = camera_from_pytorch3d(R, T, focal, principal, WIDTH, HEIGHT, where="test")
    assert np.allclose(project(camera, setup.point[None]).pixels[0], expected, atol=1e-6)


def test_axes_of_an_identity_camera() -> None:
    # No formula shared with the code: looking along +z of the world, something to the right and below.
    camera = build_camera(np.eye(4), K, WIDTH, HEIGHT, where="test")
    pixels, depth = project(camera, np.array([[0.0, 0.0, 2.0], [1.0, 0.0, 2.0], [0.0, 1.0, 2.0]]))
    assert pixels.tolist() == [[300, 250], [550, 250], [300, 505]]
    assert depth.tolist() == [2, 2, 2]


@given(setups())
def test_invert_rigid_is_the_inverse(setup: Setup) -> None:
    c2w = np.eye(4)
    c2w[:3, :3], c2w[:3, 3] = axes(setup), setup.centre
    assert np.allclose(invert_rigid(c2w), np.linalg.inv(c2w), atol=1e-9)
    assert np.allclose(invert_rigid(np.stack([c2w, np.eye(4)])) @ np.stack([c2w, np.eye(4)]), np.eye(4), atol=1e-9)


@given(setups(), st.integers(1, 999), st.integers(1, 999), st.integers(-99, 99), st.integers(-99, 99))
def test_resize_and_crop_move_points_as_they_move_pixels(
    setup: Setup, width: int, height: int, left: int, top: int
) -> None:
    camera = some_camera(setup)
    before, depth = project(camera, setup.point[None])
    assume(depth[0] > 0.1)
    moved = crop_camera(resize_camera(camera, width, height), left, top, 50, 60)
    expected = before * [width / WIDTH, height / HEIGHT] - [left, top]
    assert np.allclose(project(moved, setup.point[None]).pixels, expected, rtol=1e-9, atol=1e-6)
    assert (moved.width, moved.height) == (50, 60)


def some_camera(setup: Setup) -> Camera:
    c2w = np.eye(4)
    c2w[:3, :3], c2w[:3, 3] = axes(setup), setup.centre
    return build_camera(c2w, K, WIDTH, HEIGHT, where="test")


# ------------------------------------------------------------------------------------------------------------ refusal


def rigid(**changes: float) -> np.ndarray:
    matrix = np.eye(4)
    for place, value in changes.items():
        matrix[int(place[1]), int(place[2])] = value
    return matrix


@pytest.mark.parametrize(
    ("c2w", "bad_K", "found"),
    [
        (rigid(m03=math.nan), K, "c2w holds NaN or infinity"),
        (rigid(m11=math.inf), K, "c2w holds NaN or infinity"),
        (np.eye(3), K, "c2w of shape 3x3"),
        ([["a"] * 4] * 4, K, "c2w holds something that is not a number"),
        (rigid(m00=1.001), K, "not rigid"),
        (rigid(m01=0.01), K, "not rigid"),
        (rigid(m00=2, m11=2, m22=2), K, "not rigid"),
        (rigid(m22=-1), K, "left-handed"),
        (rigid(m30=1), K, "the last row of c2w"),
        (np.eye(4).T + rigid(m03=5).T - np.eye(4), K, "the last row of c2w"),
        (np.eye(4), np.diag([-500.0, 500, 1]), "focal lengths -500, 500"),
        (np.eye(4), np.diag([500.0, 0, 1]), "focal lengths 500, 0"),
        (np.eye(4), np.full((3, 3), math.nan), "K holds NaN or infinity"),
        (np.eye(4), 2 * K, "K is"),
        (np.eye(4), K.T, "K is"),
        (np.eye(4), np.eye(4), "K of shape 4x4"),
    ],
)
def test_build_camera_refuses_what_is_not_one(c2w: object, bad_K: np.ndarray, found: str) -> None:
    with pytest.raises(BenchError, match=found) as caught:
        build_camera(c2w, bad_K, WIDTH, HEIGHT, where="scenes/fox/transforms.json, frame 3")  # type: ignore[arg-type]
    assert caught.value.where == "scenes/fox/transforms.json, frame 3"
    assert "\n" not in str(caught.value)


def test_build_camera_refuses_an_empty_image() -> None:
    with pytest.raises(BenchError, match="0 x 480 pixels"):
        build_camera(np.eye(4), K, 0, 480, where="test")


def test_build_camera_takes_poses_of_six_decimals() -> None:
    angle = 0.3
    rotation = np.round([[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0], [0, 0, 1]], 6)
    matrix = np.eye(4)
    matrix[:3, :3] = rotation
    assert np.array_equal(build_camera(matrix, K, WIDTH, HEIGHT, where="test").c2w, matrix)


def test_a_camera_cannot_be_written_to() -> None:
    source = np.eye(4)
    camera = build_camera(source, K, WIDTH, HEIGHT, where="test")
    with pytest.raises(ValueError, match="read-only"):
        camera.c2w[0, 3] = 1
    source[0, 3] = 7
    assert camera.c2w[0, 3] == 0


def test_stack_and_unstack_are_inverse_and_one_size_is_needed() -> None:
    cameras = [build_camera(rigid(m03=x), K, WIDTH, HEIGHT, where="test") for x in (0.0, 1.0)]
    stacked = stack_cameras(cameras)
    assert stacked.c2w.shape == (2, 4, 4) and stacked.K.shape == (2, 3, 3) and stacked[2:] == (WIDTH, HEIGHT)
    assert [camera.c2w.tolist() for camera in unstack_cameras(stacked)] == [camera.c2w.tolist() for camera in cameras]
    with pytest.raises(ValueError, match="exactly one image size"):
        stack_cameras([cameras[0], resize_camera(cameras[1], 10, 10)])
    with pytest.raises(ValueError, match="exactly one image size"):
        stack_cameras([])


# ------------------------------------------------------------------------------------------------------ frozen cameras


def test_the_hash_of_a_camera_is_what_its_definition_says() -> None:
    # Written out by hand: indices in the world hold these hashes, so no change of code may move them.
    c2w = np.eye(4)
    c2w[:3, 3] = 1234.567890123456, -1.2345e-7, -0.0
    intrinsics = intrinsics_matrix(500, 510, 300.1234567, 250)
    text = (
        '{"K":[500.0,0.0,300.123457,0.0,510.0,250.0,0.0,0.0,1.0],"centre":[1234.56789,0.0,0.0],'
        '"height":480,"rotation":[1.0,0.0,0.0,0.0,1.0,0.0,0.0,0.0,1.0],"width":640}\n'
    )
    assert hash_camera(build_camera(c2w, intrinsics, 640, 480, where="")) == hashlib.sha256(text.encode()).hexdigest()


@given(setup=setups(), scale=st.sampled_from([1e-2, 1.0, 1e6]))
def test_computing_a_camera_in_another_way_leaves_its_hash(setup: Setup, scale: float) -> None:
    c2w = np.eye(4)
    c2w[:3, :3], c2w[:3, 3] = axes(setup), scale * setup.centre
    again = invert_rigid(invert_rigid(c2w))
    written = np.array(json.loads(json.dumps(c2w_to_opengl(c2w).tolist())))
    hashes = {
        hash_camera(build_camera(pose, K, WIDTH, HEIGHT, where="")) for pose in (c2w, again, c2w_from_opengl(written))
    }
    assert len(hashes) == 1


@pytest.mark.parametrize(
    ("c2w_change", "K_change", "width"),
    [
        ((0, 3, 1e-7), (0, 0, 0), WIDTH),
        ((2, 3, -1e-7), (0, 0, 0), WIDTH),
        ((0, 1, 1e-9), (0, 0, 0), WIDTH),
        ((0, 0, 0), (0, 0, 1e-5), WIDTH),
        ((0, 0, 0), (1, 2, 1e-5), WIDTH),
        ((0, 0, 0), (0, 0, 0), WIDTH + 1),
    ],
)
def test_a_change_that_moves_a_pixel_changes_the_hash(
    c2w_change: tuple[int, int, float], K_change: tuple[int, int, float], width: int
) -> None:
    c2w, intrinsics = np.eye(4), K.copy()
    c2w[:3, 3] = 10, 0, 3
    before = hash_camera(build_camera(c2w, intrinsics, WIDTH, HEIGHT, where=""))
    for matrix, (row, column, change) in ((c2w, c2w_change), (intrinsics, K_change)):
        matrix[row, column] += change
    assert hash_camera(build_camera(c2w, intrinsics, width, HEIGHT, where="")) != before
