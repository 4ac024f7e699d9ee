"""Real photographs and cameras in the layouts of other data sets: each reader gives back what the scene was.

The cameras of these scenes are held to their pixels by tests/data/test_epipolar.py; here they are rewritten from their
JSON by the writers of the layouts, and must come back as the same cameras on the same pixels.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kaleido_bench.data.images import decode_image
from kaleido_bench.data.readers import build_reader
from kaleido_bench.data.scenes import read_image_file
from tests.data.readers.layouts import LAYOUTS, Layout
from tests.data.readers.points import COUNT, TrueView

# Which layouts can hold which scene: some have one lens for all views, or a principal point in the middle.
SCENES = {
    "dtu_scan24": {"re10k", "re10k-raw", "long-lrm", "co3d", "dtu-idr", "dtu-pixelnerf", "rtmv", "seva"},
    "llff_fern": {"dl3dv", "wildrgbd", "llff", "llff-4", "colmap", "colmap-2"},
    "nerf_synthetic_lego": {"nerf-synthetic", "omniobject3d", "two-object", "srn", "nmr"},
}
PAIRS = [(scene, layout) for scene, readers in SCENES.items() for layout in LAYOUTS if layout.reader in readers]
LOSSY = {"re10k", "co3d", "colmap", "colmap-2"}  # JPEG


def read_truth(data_dir: Path, scene: str) -> list[TrueView]:
    """Four views of a real scene, from its transforms.json by hand: OpenGL camera to world, lens in pixels."""
    folder = data_dir / "scenes" / scene
    frames = json.loads((folder / "transforms.json").read_bytes())["frames"]
    views = []
    for frame in frames[:: len(frames) // COUNT][:COUNT]:
        c2w = np.array(frame["transform_matrix"])
        c2w[:3, 1:3] *= -1
        w2c = np.linalg.inv(c2w)
        with Image.open(folder / frame["file_path"]) as image:
            pixels = np.asarray(image.convert("RGB"))
        lens = [frame[key] for key in ("fl_x", "fl_y", "cx", "cy")]
        views.append(TrueView(w2c[:3, :3], w2c[:3, 3], *lens, frame["w"], frame["h"], pixels))
    return views


@pytest.mark.parametrize(("scene", "layout"), PAIRS, ids=[f"{scene}-{layout.reader}" for scene, layout in PAIRS])
def test_a_real_scene_comes_back_from_another_layout(
    scene: str, layout: Layout, data_dir: Path, tmp_path: Path
) -> None:
    if layout.reader.startswith("colmap"):
        pytest.importorskip("pycolmap")
    truth = read_truth(data_dir, scene)
    layout.write(tmp_path, truth)
    found = build_reader(layout.reader).load_scene(tmp_path, layout.scene)
    assert tuple(found.views) == layout.ids
    for view, true in zip(found.views.values(), truth, strict=True):
        camera, scale = view.camera, layout.image_scale
        centre = layout.scale * (true.c2w[:3, 3] - np.array(layout.shift))
        assert np.allclose(camera.c2w[:3, :3], true.R.T, atol=2e-7)
        assert np.allclose(camera.c2w[:3, 3], centre, atol=1e-6 * abs(centre).max())
        lens = scale * np.array([[true.fx, 0, true.cx], [0, true.fy, true.cy]])
        # A side that the reduction does not divide loses its rest, and the lens follows the ratio of the sides.
        assert np.allclose(camera.K[:2], lens, rtol=0.02 if scale < 1 else 1e-6, atol=1e-3)
        pixels = decode_image(read_image_file(view), view.source)[:, :, :3].astype(int)
        assert pixels.shape == (camera.height, camera.width, 3)
        if scale == 1:
            assert abs(pixels - true.image).max() <= (24 if layout.reader in LOSSY else 0)
            assert abs(pixels - true.image).mean() < 1.5
