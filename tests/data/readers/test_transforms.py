"""The transforms reader: three dialects of one file, and what it refuses."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from kaleido_bench.data.images import ImagePreparation
from kaleido_bench.data.readers.transforms import TransformsReader
from kaleido_bench.data.scenes import Scene, load_view
from kaleido_bench.errors import BenchError

AS_STORED = ImagePreparation(
    size=None, fit="none", filter="lanczos", antialias=True, background="white", alpha="composite"
)
POSE = [[1, 0, 0, 4], [0, 0, -1, 5], [0, 1, 0, 6], [0, 0, 0, 1]]
# The same camera in OpenCV axes: y and z of the camera turned around.
POSE_OPENCV = [[1, 0, 0, 4], [0, 0, 1, 5], [0, -1, 0, 6], [0, 0, 0, 1]]
LENS = {"fl_x": 50.0, "fl_y": 51.0, "cx": 19.0, "cy": 14.0, "w": 40, "h": 30}


def frame(path: str = "images/0001.png", **changes: Any) -> dict[str, Any]:
    return {"file_path": path, "transform_matrix": POSE} | changes


def write_scene(root: Path, documents: dict[str, Any], images: list[str], size: tuple[int, int] = (40, 30)) -> None:
    folder = root / "fox"
    for name, document in documents.items():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(document))
    for number, name in enumerate(images):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, (number, 0, 0)).save(folder / name)


def load(root: Path, document: dict[str, Any], images: tuple[str, ...] = ("images/0001.png",)) -> Scene:
    write_scene(root, {"transforms.json": document}, list(images))
    return TransformsReader().load_scene(root, "fox")


def test_nerfstudio_with_intrinsics_of_each_frame(tmp_path: Path) -> None:
    scene = load(tmp_path, {"camera_model": "PINHOLE", "frames": [frame(**LENS)]})
    camera = scene.views["0001"].camera
    assert camera.c2w.tolist() == POSE_OPENCV
    assert camera.K.tolist() == [[50, 0, 19], [0, 51, 14], [0, 0, 1]]
    assert (camera.width, camera.height) == (40, 30)
    assert load_view(scene, "0001", AS_STORED).image.shape == (30, 40, 3)


def test_intrinsics_of_the_file_hold_until_a_frame_has_its_own(tmp_path: Path) -> None:
    frames = [frame(), frame("images/0002.png", fl_x=70.0), frame("images/0003.png", camera_angle_x=math.pi / 2)]
    scene = load(tmp_path, LENS | {"k1": 0, "k2": 0.0, "p1": 0.0, "camera_model": "OPENCV", "frames": frames})
    assert [view.camera.K[0, 0] for view in scene.views.values()] == pytest.approx([50, 70, 20])
    assert [view.camera.K[1, 1] for view in scene.views.values()] == [51, 51, 51]


def test_instant_ngp_angles_and_float_sizes(tmp_path: Path) -> None:
    scene = load(
        tmp_path,
        {
            "camera_angle_x": 2 * math.atan(20 / 50),
            "camera_angle_y": 2 * math.atan(15 / 51),
            "w": 40.0,
            "h": 30.0,
            "aabb_scale": 4,
            "frames": [frame("./images/0001.png", transform_matrix=POSE[:3])],
        },
    )
    camera = scene.views["0001"].camera
    assert np.allclose(camera.K, [[50, 0, 20], [0, 51, 15], [0, 0, 1]], rtol=1e-12)
    assert camera.c2w.tolist() == POSE_OPENCV


def test_blender_splits_without_suffixes_and_sizes(tmp_path: Path) -> None:
    angle = 2 * math.atan(20 / 55)
    documents = {
        f"transforms_{split}.json": {
            "camera_angle_x": angle,
            "frames": [{"file_path": f"./{split}/r_{n}", "rotation": 0.0, "transform_matrix": POSE} for n in range(2)],
        }
        for split in ("test", "val", "train", "extra")
    }
    images = [f"{split}/r_{n}.png" for split in ("train", "val", "test", "extra") for n in range(2)]
    write_scene(tmp_path, documents, images)
    scene = TransformsReader().load_scene(tmp_path, "fox")
    assert list(scene.views) == [image.removesuffix(".png") for image in images]
    camera = scene.views["test/r_1"].camera
    assert np.allclose(camera.K, [[55, 0, 20], [0, 55, 15], [0, 0, 1]], rtol=1e-12)
    assert load_view(scene, "test/r_1", AS_STORED).image[0, 0, 0] == 5


def test_transforms_json_wins_over_splits(tmp_path: Path) -> None:
    write_scene(tmp_path, {"transforms_train.json": {"frames": []}}, [])
    assert list(load(tmp_path, LENS | {"frames": [frame()]}).views) == ["0001"]


def test_a_blender_image_of_another_size_is_noticed_when_it_is_read(tmp_path: Path) -> None:
    document = {"camera_angle_x": 0.7, "frames": [frame("images/a.png"), frame("images/b.png")]}
    scene = load(tmp_path, document, ("images/a.png",))
    write_scene(tmp_path, {}, ["images/b.png"], size=(41, 30))
    with pytest.raises(BenchError, match="an image of 41 x 30 pixels; expected 40 x 30"):
        load_view(scene, "b", AS_STORED)


def test_masks_are_named_or_lie_beside(tmp_path: Path) -> None:
    frames = [frame("images/a.png"), frame("images/b.png", mask_path="other/m.png"), frame("images/c.png")]
    images = ["images/a.png", "images/b.png", "images/c.png", "masks/a.png", "masks/b.png", "other/m.png"]
    scene = load(tmp_path, LENS | {"frames": frames}, tuple(images))
    for view_id, mask in (("a", "masks/a.png"), ("b", "other/m.png")):
        read = scene.views[view_id].read_mask
        assert read is not None and read() == (tmp_path / "fox" / mask).read_bytes()
    assert scene.views["c"].read_mask is None


def test_scene_names_are_the_folders_with_a_transforms_file(tmp_path: Path) -> None:
    for name, file in (("b", "transforms.json"), ("a", "transforms_test.json"), ("c", "poses_bounds.npy")):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).touch()
    (tmp_path / "transforms.json").touch()
    assert TransformsReader().scene_names(tmp_path) == ["a", "b"]
    with pytest.raises(BenchError, match="no such folder"):
        TransformsReader().scene_names(tmp_path / "z")


def test_loading_reads_no_image_that_declares_its_size(tmp_path: Path) -> None:
    # No image exists at all, and the scene loads; reading a view says which file is missing.
    scene = load(tmp_path, LENS | {"frames": [frame()]}, images=())
    with pytest.raises(BenchError, match=r"images/0001\.png: no such image"):
        load_view(scene, "0001", AS_STORED)


# ------------------------------------------------------------------------------------------------------------ refusal


@pytest.mark.parametrize(
    ("document", "found"),
    [
        (LENS | {"frames": []}, "scene fox has no views"),
        (LENS, "no list of frames"),
        (LENS | {"frames": [7]}, "frame 0: not an object"),
        (LENS | {"frames": [frame(), frame()]}, "two views with the id 0001"),
        (LENS | {"frames": [frame("images/0001.png"), frame("0001.jpg")]}, "two views with the id 0001"),
        (LENS | {"frames": [frame("../0001.png")]}, "leaves the scene"),
        (LENS | {"frames": [frame("/data/0001.png")]}, "leaves the scene"),
        (LENS | {"frames": [frame(mask_path="/m.png")]}, "mask_path /m.png leaves the scene"),
        (LENS | {"frames": [frame("images/a b.png")]}, "the view id 'a b'"),
        (LENS | {"frames": [{"transform_matrix": POSE}]}, "file_path is None"),
        (LENS | {"frames": [{"file_path": "images/0001.png"}]}, "no 4x4 transform_matrix"),
        (LENS | {"frames": [frame(transform_matrix=[[1, 2], [3]])]}, "no 4x4 transform_matrix"),
        (
            LENS | {"frames": [frame(), frame("b.png", transform_matrix=[[math.nan] * 4] * 4)]},
            "frame 1 .*NaN or infinity",
        ),
        (LENS | {"frames": [frame(transform_matrix=(2 * np.eye(4)).tolist())]}, "the last row of c2w"),
        (LENS | {"frames": [frame(transform_matrix=np.diag([2.0, 2, 2, 1]).tolist())]}, "not rigid"),
        (LENS | {"k1": 0.01, "frames": [frame()]}, r"not a pinhole \(k1 = 0.01\)"),
        (LENS | {"frames": [frame(p2=-1e-5)]}, r"not a pinhole \(p2 = -1e-05\)"),
        (LENS | {"k1": "0.01", "frames": [frame()]}, "k1 is '0.01'"),
        (LENS | {"camera_model": "OPENCV_FISHEYE", "frames": [frame()]}, "camera model OPENCV_FISHEYE"),
        (LENS | {"is_fisheye": True, "frames": [frame()]}, "camera model fisheye"),
        ({"w": 40, "h": 30, "frames": [frame()]}, "no focal length"),
        (LENS | {"fl_x": "50", "frames": [frame()]}, "fl_x is '50'"),
        (LENS | {"fl_x": -50, "frames": [frame()]}, "focal lengths -50, 51"),
        (LENS | {"w": 40.5, "frames": [frame()]}, "w is 40.5"),
        ({"camera_angle_x": 4.0, "w": 40, "h": 30, "frames": [frame()]}, "camera_angle_x is 4"),
        ({"camera_angle_x": 0.7, "frames": [frame("images/none.png")]}, r"none\.png: no such image"),
    ],
)
def test_a_malformed_file_is_refused_with_its_place(tmp_path: Path, document: dict[str, Any], found: str) -> None:
    with pytest.raises(BenchError, match=found) as caught:
        load(tmp_path, document)
    assert "fox" in str(caught.value) and "\n" not in str(caught.value)


def test_what_is_not_json_or_not_there_is_refused(tmp_path: Path) -> None:
    load(tmp_path, LENS | {"frames": [frame()]})
    for content, found in ((b'{"frames": [', "not JSON"), (b"[]", "not a JSON object"), (b"\xff\xfe", "not JSON")):
        (tmp_path / "fox" / "transforms.json").write_bytes(content)
        with pytest.raises(BenchError, match=found):
            TransformsReader().load_scene(tmp_path, "fox")
    (tmp_path / "fox" / "transforms.json").unlink()
    with pytest.raises(BenchError, match=r"no transforms\.json"):
        TransformsReader().load_scene(tmp_path, "fox")
    for name in ("wolf", "", "../fox", str(tmp_path)):
        with pytest.raises(BenchError, match="no such scene"):
            TransformsReader().load_scene(tmp_path / "fox", name)
