"""The COLMAP reader: a real scene written by pycolmap in both formats and read back, and what it refuses."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pycolmap
import pytest
from scipy.spatial.transform import Rotation

from kaleido_bench.data.cameras import c2w_from_colmap, invert_rigid
from kaleido_bench.data.images import ImagePreparation
from kaleido_bench.data.readers.colmap import ColmapReader
from kaleido_bench.data.readers.transforms import TransformsReader
from kaleido_bench.data.scenes import Scene, load_view
from kaleido_bench.errors import BenchError

SMALL = ImagePreparation(
    size=(64, 64), fit="cover-crop", filter="lanczos", antialias=True, background="white", alpha="composite"
)


def build_model(scene: Scene, model: str = "PINHOLE", shuffle: bool = True) -> pycolmap.Reconstruction:
    """The scene's cameras as a sparse model without points, its images numbered in a random order, as COLMAP's are."""
    reconstruction = pycolmap.Reconstruction()
    views = list(scene.views.values())
    order = np.random.default_rng(0).permutation(len(views)) if shuffle else np.arange(len(views))
    for number, place in enumerate(order, start=1):
        camera, name = views[place].camera, Path(views[place].source).name
        fx, fy, cx, cy = camera.K[0, 0], camera.K[1, 1], camera.K[0, 2], camera.K[1, 2]
        params = {"PINHOLE": [fx, fy, cx, cy], "SIMPLE_PINHOLE": [fx, cx, cy], "OPENCV": [fx, fy, cx, cy, 0, 0, 0, 0]}
        reconstruction.add_camera_with_trivial_rig(
            pycolmap.Camera(
                camera_id=number, model=model, width=camera.width, height=camera.height, params=params[model]
            )
        )
        w2c = invert_rigid(camera.c2w)
        reconstruction.add_image_with_trivial_frame(
            pycolmap.Image(image_id=number, camera_id=number, name=name),
            pycolmap.Rigid3d(pycolmap.Rotation3d(w2c[:3, :3]), w2c[:3, 3]),
        )
    return reconstruction


def write_scene(root: Path, scene: Scene, images: Path, where: str, text: bool, model: str = "PINHOLE") -> Path:
    folder = root / "door" / where
    folder.mkdir(parents=True)
    (root / "door" / "images").symlink_to(images)
    reconstruction = build_model(scene, model)
    (reconstruction.write_text if text else reconstruction.write_binary)(folder)
    return folder


@pytest.fixture(scope="module")
def door(data_dir: Path) -> Scene:
    return TransformsReader().load_scene(data_dir / "scenes", "lund_door")


@pytest.mark.parametrize(("where", "text"), [("sparse/0", False), ("sparse", True), ("colmap/sparse/0", False)])
def test_a_written_model_reads_back_equal(door: Scene, data_dir: Path, tmp_path: Path, where: str, text: bool) -> None:
    write_scene(tmp_path, door, data_dir / "scenes" / "lund_door" / "images", where, text)
    assert ColmapReader().scene_names(tmp_path) == ["door"]
    found = ColmapReader().load_scene(tmp_path, "door")
    assert list(found.views) == sorted(door.views)
    for view_id, view in found.views.items():
        expected = door.views[view_id]
        # COLMAP keeps a unit quaternion; the published matrices are orthogonal to about 1e-6, and so is the difference.
        assert np.allclose(view.camera.c2w[:3, :3], expected.camera.c2w[:3, :3], rtol=0, atol=1e-5)
        assert np.allclose(view.camera.c2w[:3, 3], expected.camera.c2w[:3, 3], rtol=1e-5, atol=1e-4)
        assert np.allclose(view.camera.K, expected.camera.K, rtol=1e-14)
    same = load_view(found, "DSC_0001", SMALL), load_view(door, "DSC_0001", SMALL)
    assert np.array_equal(same[0].image, same[1].image)


def test_simple_pinholes_have_one_focal_length(door: Scene, data_dir: Path, tmp_path: Path) -> None:
    write_scene(tmp_path, door, data_dir / "scenes" / "lund_door" / "images", "sparse/0", True, "SIMPLE_PINHOLE")
    camera = ColmapReader().load_scene(tmp_path, "door").views["DSC_0001"].camera
    assert camera.K[0, 0] == camera.K[1, 1] == pytest.approx(door.views["DSC_0001"].camera.K[0, 0])


def test_images_of_another_shape_than_the_model_says_are_refused(door: Scene, tmp_path: Path) -> None:
    size = next(iter(door.views.values())).camera
    write_scene(tmp_path, door, tmp_path / "turned", "sparse/0", True)
    (tmp_path / "turned").mkdir()
    for view in door.views.values():
        PIL.Image.new("RGB", (size.height, size.width)).save(tmp_path / "turned" / Path(view.source).name)
    with pytest.raises(BenchError, match=rf"an image of {size.height} x {size.width} pixels; expected the sides of"):
        ColmapReader().load_scene(tmp_path, "door")
    (tmp_path / "door" / "images").unlink()
    with pytest.raises(BenchError, match="no images folder"):
        ColmapReader().load_scene(tmp_path, "door")
    with pytest.raises(BenchError, match=r"no images_4 folder.*360_v2"):
        ColmapReader(4).load_scene(tmp_path, "door")


def test_quaternions_agree_with_scipy_and_pycolmap() -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        x, y, z, w = Rotation.random(rng=rng).as_quat()
        translation = rng.normal(size=3)
        c2w = c2w_from_colmap((w, x, y, z), translation)
        w2c = np.linalg.inv(c2w)
        assert np.allclose(w2c[:3, :3], Rotation.from_quat([x, y, z, w]).as_matrix(), atol=1e-12)
        rigid = pycolmap.Rigid3d(pycolmap.Rotation3d(np.array([x, y, z, w])), translation)
        assert np.allclose(w2c[:3], rigid.matrix(), atol=1e-12)


def test_distorted_models_are_refused(door: Scene, tmp_path: Path) -> None:
    write_scene(tmp_path, door, tmp_path, "sparse/0", True, "OPENCV")
    with pytest.raises(BenchError, match=r"image DSC_0001\.jpg: camera model OPENCV"):
        ColmapReader().load_scene(tmp_path, "door")


@pytest.mark.parametrize("text", [False, True])
def test_a_broken_model_is_refused(door: Scene, tmp_path: Path, text: bool) -> None:
    model = write_scene(tmp_path, door, tmp_path, "sparse/0", text)
    path = model / ("images.txt" if text else "images.bin")
    path.write_bytes(b"garbage here\n" if text else path.read_bytes()[:300])
    with pytest.raises(BenchError, match="pycolmap cannot read the sparse model") as caught:
        ColmapReader().load_scene(tmp_path, "door")
    assert "\n" not in str(caught.value)


def test_a_model_without_images_is_an_empty_scene(door: Scene, tmp_path: Path) -> None:
    write_scene(tmp_path, Scene("door", {}), tmp_path, "sparse/0", True)
    with pytest.raises(BenchError, match="scene door has no views"):
        ColmapReader().load_scene(tmp_path, "door")


def test_no_model_and_no_pycolmap_are_said(door: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty" / "sparse").mkdir(parents=True)
    assert ColmapReader().scene_names(tmp_path) == []
    with pytest.raises(BenchError, match="no sparse model; expected cameras and images"):
        ColmapReader().load_scene(tmp_path, "empty")
    write_scene(tmp_path, door, tmp_path, "sparse/0", True)
    monkeypatch.setitem(sys.modules, "pycolmap", None)
    with pytest.raises(BenchError, match=r"pip install 'kaleido-bench\[colmap\]'"):
        ColmapReader().load_scene(tmp_path, "door")
