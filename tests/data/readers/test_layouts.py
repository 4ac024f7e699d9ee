"""One oracle for all readers: in every published layout, every point must project onto its dot.

A half-pixel slip, a turned axis, a transposed matrix, a lens of the wrong size or a file out of order all move points
off their dots. The bound is a fifth of a pixel, and the last test says that it is sharp enough to see each of these.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kaleido_bench.data.cameras import Camera, build_camera, project
from kaleido_bench.data.images import decode_image
from kaleido_bench.data.readers import READERS, build_reader
from kaleido_bench.data.scenes import Scene, View, decode_mask, read_image_file, read_mask_file
from tests.data.readers.layouts import LAYOUTS, Layout
from tests.data.readers.points import COLOURS, POINTS, TrueView, measure_dot

BOUND = 0.2  # pixels
WITHOUT_POINTS = {
    "transforms",
    "parquet",
    "dtu-mvsplat",
}  # tests of their own; the last has MVSplat's wrong lens on purpose


def load(layout: Layout, root: Path) -> tuple[Scene, list[TrueView]]:
    """Write the layout's scene and read it back."""
    if layout.reader.startswith(("colmap", "mipnerf360")):
        pytest.importorskip("pycolmap")
    truth = layout.views()
    layout.write(root, truth)
    return build_reader(layout.reader).load_scene(root, layout.scene), truth


def worst_miss(layout: Layout, view: View, camera: Camera) -> float:
    """The largest distance from a point's projection to its dot, of the dots that can be measured; inf if few can."""
    image = decode_image(read_image_file(view), view.source)[:, :, :3]
    assert (camera.width, camera.height) == (image.shape[1], image.shape[0])
    world = layout.scale * (POINTS - np.array(layout.shift))
    seen = project(camera, world)
    misses: list[float] = []
    for number, (pixel, depth) in enumerate(zip(seen.pixels, seen.depth, strict=True)):
        rivals = np.flatnonzero(np.arange(len(POINTS)) % 3 == number % 3)
        alone = all(
            np.linalg.norm(seen.pixels[rival] - pixel) > 0.07 * camera.width for rival in rivals if rival != number
        )
        if depth > 0 and alone:
            dot = measure_dot(image, pixel, COLOURS[number])
            misses += [] if dot is None else [float(np.linalg.norm(dot - pixel))]
    return max(misses) if len(misses) >= 5 else np.inf


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.reader)
def test_points_fall_on_their_dots(layout: Layout, tmp_path: Path) -> None:
    scene, truth = load(layout, tmp_path)
    assert tuple(scene.views) == layout.ids
    for view in scene.views.values():
        assert worst_miss(layout, view, view.camera) < BOUND, view.id
    for view, true in zip(scene.views.values(), truth, strict=True):
        centre = layout.scale * (-true.R.T @ true.t - np.array(layout.shift))
        assert np.allclose(view.camera.c2w[:3, 3], centre, atol=1e-5 * abs(centre).max())


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.reader)
def test_the_scene_is_listed_under_the_name_that_loads_it(layout: Layout, tmp_path: Path) -> None:
    scene, _ = load(layout, tmp_path)
    assert layout.scene in build_reader(layout.reader).scene_names(tmp_path)
    assert scene.name == layout.scene


def test_every_reader_of_the_registry_is_held_to_its_layout() -> None:
    assert {layout.reader for layout in LAYOUTS} | WITHOUT_POINTS == set(READERS)


@pytest.mark.parametrize("reader", ["co3d", "wildrgbd", "dtu-idr"])
def test_masks_cover_the_dots(reader: str, tmp_path: Path) -> None:
    layout = next(layout for layout in LAYOUTS if layout.reader == reader)
    scene, truth = load(layout, tmp_path)
    for view, true in zip(scene.views.values(), truth, strict=True):
        data = read_mask_file(view)
        assert data is not None
        assert ((decode_mask(data, view.id) > 127) == (true.image.max(axis=2) > 100)).all()


def _moved(x: float, y: float) -> Callable[[Camera], Camera]:
    def change(camera: Camera) -> Camera:
        K = camera.K.copy()
        K[:2, 2] += x, y
        return dataclasses.replace(camera, K=K)

    return change


def _turned(axes: list[float]) -> Callable[[Camera], Camera]:
    return lambda camera: build_camera(
        camera.c2w @ np.diag([*axes, 1.0]), camera.K, camera.width, camera.height, where=""
    )


def _transposed(camera: Camera) -> Camera:
    c2w = camera.c2w.copy()
    c2w[:3, :3] = c2w[:3, :3].T
    return dataclasses.replace(camera, c2w=c2w)


def _swapped_focal(camera: Camera) -> Camera:
    K = camera.K.copy()
    K[0, 0], K[1, 1] = K[1, 1], K[0, 0]
    return dataclasses.replace(camera, K=K)


@pytest.mark.parametrize(
    "spoil",
    [
        _moved(0.5, 0),
        _moved(0, -0.5),
        _moved(0.25, 0.25),
        _turned([1, -1, -1]),
        _turned([-1, -1, 1]),
        _transposed,
        _swapped_focal,
    ],
    ids=[
        "half a pixel right",
        "half a pixel up",
        "a quarter of both",
        "OpenGL",
        "PyTorch3D",
        "transposed",
        "fx for fy",
    ],
)
def test_the_oracle_sees_each_usual_mistake(spoil: Callable[[Camera], Camera], tmp_path: Path) -> None:
    layout = next(layout for layout in LAYOUTS if layout.reader == "re10k-raw")
    scene, _ = load(layout, tmp_path)
    assert all(worst_miss(layout, view, spoil(view.camera)) > BOUND for view in scene.views.values())
