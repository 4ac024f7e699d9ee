"""What every reader refuses, in one line, with the place and what to do: missing, broken, foreign and hostile files."""

from __future__ import annotations

import gzip
import importlib
import json
import pickle
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from kaleido_bench.data.images import ImagePreparation, decode_image
from kaleido_bench.data.readers import build_reader
from kaleido_bench.data.scenes import Scene, load_view, read_image_file
from kaleido_bench.errors import BenchError
from tests.data.readers.layouts import LAYOUTS, Layout
from tests.data.readers.writing import write, write_jgz

AS_STORED = ImagePreparation(
    size=None, fit="none", filter="lanczos", antialias=True, background="white", alpha="composite"
)
BY_NAME = {layout.reader: layout for layout in reversed(LAYOUTS)}  # the first variant of each
SMALL = [layout for layout in BY_NAME.values() if layout.image_scale == 1 and layout.reader not in ("llff", "colmap")]

WITH_FILES = [
    layout for layout in SMALL if layout.reader != "re10k"
]  # whose images are in the chunk; they have tests below


def written(reader: str, root: Path) -> Layout:
    """The layout of a reader, on disk."""
    layout = BY_NAME[reader]
    if reader.startswith(("colmap", "mipnerf360")):
        pytest.importorskip("pycolmap")
    layout.write(root, layout.views())
    return layout


def load(layout: Layout, root: Path) -> Scene:
    return build_reader(layout.reader).load_scene(root, layout.scene)


def refuse(layout: Layout, root: Path, found: str) -> str:
    """The one line with which reading every view of the scene is refused."""
    with pytest.raises(BenchError, match=found) as caught:
        scene = load(layout, root)
        for view_id in scene.views:
            load_view(scene, view_id, AS_STORED)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# -------------------------------------------------------------------------------------------------------- all readers


@pytest.mark.parametrize("layout", BY_NAME.values(), ids=BY_NAME)
def test_a_missing_scene_is_named_with_how_to_get_it(layout: Layout, tmp_path: Path) -> None:
    written(layout.reader, tmp_path)
    for name in ("absent/scene", "absent", "..", "/etc", ""):
        with pytest.raises(BenchError, match=r"no (such )?(scene|sequence|file).*https?://") as caught:
            build_reader(layout.reader).load_scene(tmp_path, name)
        assert "\n" not in str(caught.value)
        assert name.rpartition("/")[2] in str(caught.value)


@pytest.mark.parametrize("layout", BY_NAME.values(), ids=BY_NAME)
def test_a_root_that_is_no_folder_is_refused(layout: Layout, tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"no such (folder|file)"):
        build_reader(layout.reader).scene_names(tmp_path / "absent")


@pytest.mark.parametrize("layout", WITH_FILES, ids=lambda layout: layout.reader)
def test_an_image_that_is_gone_is_missed_by_name(layout: Layout, tmp_path: Path) -> None:
    written(layout.reader, tmp_path)
    scene = load(layout, tmp_path)
    last = scene.views[layout.ids[-1]]
    Path(last.source).unlink()
    with pytest.raises(BenchError, match=rf"{re.escape(Path(last.source).name)}: no such image"):
        load_view(scene, last.id, AS_STORED)
    # And from the beginning: cameras that a listing pairs with images are refused at once, others when they are read.
    with pytest.raises(BenchError, match=r"no such image|for 3 images|without image or pose|no view"):
        load_view(load(layout, tmp_path), last.id, AS_STORED)


@pytest.mark.parametrize("layout", WITH_FILES, ids=lambda layout: layout.reader)
def test_an_image_of_another_size_is_refused(layout: Layout, tmp_path: Path) -> None:
    written(layout.reader, tmp_path)
    source = Path(load(layout, tmp_path).views[layout.ids[1]].source)
    with Image.open(source) as image:
        size = (image.width - 3, image.height)
    Image.new("RGB", size).save(source)
    refuse(layout, tmp_path, rf"an image of {size[0]} x {size[1]} pixels")


@pytest.mark.parametrize("layout", WITH_FILES, ids=lambda layout: layout.reader)
def test_a_truncated_image_is_refused(layout: Layout, tmp_path: Path) -> None:
    written(layout.reader, tmp_path)
    source = Path(load(layout, tmp_path).views[layout.ids[-1]].source)
    source.write_bytes(source.read_bytes()[:200])
    refuse(layout, tmp_path, r"unreadable image|bytes that are no image")


# What holds the cameras of each layout, below its root.
CAMERA_FILES = {
    "re10k": "000000.torch",
    "re10k-raw": "5aca87f95a9412c6.txt",
    "re10k-lvsm": "metadata/5aca87f95a9412c6.json",
    "dl3dv": "*/nerfstudio/transforms.json",
    "long-lrm": "*/opencv_cameras.json",
    "co3d": "hydrant/frame_annotations.jgz",
    "wildrgbd": "ball/scenes/scene_563/metadata",
    "dtu-idr": "scan24/cameras_sphere.npz",
    "dtu-pixelnerf": "scan8/cameras.npz",
    "dtu-mvsnet": "Cameras/train/00000001_cam.txt",
    "nerf-synthetic": "lego/transforms_test.json",
    "gso-eschernet": "elephant/render_mvs_25/model/001.npy",
    "objaverse": "*/001.npy",
    "rtmv": "00000/00001.json",
    "omniobject3d": "anise/anise_001/render/transforms.json",
    "two-object": "scene_0007/transforms.json",
    "srn": "1a1dcd236a1e6133/pose/000001.txt",
    "nmr": "*/*/cameras.npz",
    "seva": "wildgbd/easy/ball_563/transforms.json",
}


def test_every_small_layout_has_its_camera_file_spoilt() -> None:
    assert set(CAMERA_FILES) == {layout.reader for layout in SMALL}


@pytest.mark.parametrize("reader", CAMERA_FILES)
@pytest.mark.parametrize("spoil", ["truncated", "empty", "noise", "missing"])
def test_a_broken_camera_file_is_refused_by_name(reader: str, spoil: str, tmp_path: Path) -> None:
    layout = written(reader, tmp_path)
    (path,) = tmp_path.glob(CAMERA_FILES[reader])
    data = path.read_bytes()
    if spoil == "missing":
        path.unlink()
    else:
        noise = bytes(np.random.default_rng(0).integers(0, 256, 500, np.uint8))
        path.write_bytes({"truncated": data[: len(data) * 2 // 3], "empty": b"", "noise": noise}[spoil])
    if (reader, spoil) == ("rtmv", "missing"):  # each view is a file of its own, so this view is simply not there
        assert "00001" not in load(layout, tmp_path).views
        return
    message = refuse(layout, tmp_path, ".")
    assert any(part in message for part in (path.name, path.parent.name, path.stem))


# ------------------------------------------------------------------------------------------------------------ poses


def _edit_json(pattern: str, change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    def spoil(root: Path) -> None:
        (path,) = root.glob(pattern)
        document = json.loads(path.read_bytes())
        change(document)
        path.write_text(json.dumps(document))

    return spoil


def _edit_npz(pattern: str, name: str, value: float) -> Callable[[Path], None]:
    def spoil(root: Path) -> None:
        (path,) = root.glob(pattern)
        with np.load(path) as file:
            arrays = {key: file[key].copy() for key in file.files}
        arrays[name][0, 0] = value
        np.savez(path, **arrays)

    return spoil


def _edit_npy(pattern: str) -> Callable[[Path], None]:
    def spoil(root: Path) -> None:
        (path,) = root.glob(pattern)
        pose = np.load(path)
        pose[1, 1] = np.nan
        np.save(path, pose)

    return spoil


def _edit_text(pattern: str, word: int) -> Callable[[Path], None]:
    def spoil(root: Path) -> None:
        (path,) = root.glob(pattern)
        lines = path.read_text().splitlines()
        words = lines[-1].split()
        words[word] = "nan"
        path.write_text("\n".join([*lines[:-1], " ".join(words)]))

    return spoil


def _edit_co3d(root: Path) -> None:
    path = root / "hydrant" / "frame_annotations.jgz"
    rows = json.loads(gzip.decompress(path.read_bytes()))
    rows[1]["viewpoint"]["R"][0][0] = float("nan")
    write_jgz(path, rows)


def _edit_chunk(root: Path) -> None:
    import torch

    chunk = torch.load(root / "000000.torch", weights_only=True)
    chunk[1]["cameras"][2, 9] = float("nan")
    torch.save(chunk, root / "000000.torch")


def _nan_frame(document: dict[str, Any]) -> None:
    document["frames"][-1]["transform_matrix"][0][0] = float("nan")


NAN_POSES: dict[str, Callable[[Path], None]] = {
    "re10k": _edit_chunk,
    "re10k-raw": _edit_text("5aca87f95a9412c6.txt", 9),
    "dl3dv": _edit_json(CAMERA_FILES["dl3dv"], _nan_frame),
    "long-lrm": _edit_json(CAMERA_FILES["long-lrm"], lambda d: d["frames"][1]["w2c"][0].__setitem__(0, float("nan"))),
    "re10k-lvsm": _edit_json(
        CAMERA_FILES["re10k-lvsm"], lambda d: d["frames"][1]["w2c"][0].__setitem__(0, float("nan"))
    ),
    "co3d": _edit_co3d,
    "wildrgbd": _edit_text("ball/scenes/*/cam_poses.txt", 3),
    "dtu-idr": _edit_npz(CAMERA_FILES["dtu-idr"], "world_mat_2", np.nan),
    "dtu-pixelnerf": _edit_npz(CAMERA_FILES["dtu-pixelnerf"], "world_mat_2", np.nan),
    "nerf-synthetic": _edit_json(CAMERA_FILES["nerf-synthetic"], _nan_frame),
    "gso-eschernet": _edit_npy(CAMERA_FILES["gso-eschernet"]),
    "objaverse": _edit_npy(CAMERA_FILES["objaverse"]),
    "rtmv": _edit_json(CAMERA_FILES["rtmv"], lambda d: d["camera_data"]["cam2world"][0].__setitem__(0, float("nan"))),
    "omniobject3d": _edit_json(CAMERA_FILES["omniobject3d"], _nan_frame),
    "two-object": _edit_json(CAMERA_FILES["two-object"], _nan_frame),
    "srn": _edit_text(CAMERA_FILES["srn"], 5),
    "nmr": _edit_npz(CAMERA_FILES["nmr"], "world_mat_inv_1", np.nan),
    "seva": _edit_json(CAMERA_FILES["seva"], _nan_frame),
}


@pytest.mark.parametrize("reader", NAN_POSES)
def test_a_pose_of_nan_is_refused(reader: str, tmp_path: Path) -> None:
    layout = written(reader, tmp_path)
    NAN_POSES[reader](tmp_path)
    refuse(layout, tmp_path, "NaN")


@pytest.mark.parametrize("reader", ["dtu-idr", "nmr"])
def test_a_pose_that_is_not_rigid_or_a_matrix_that_is_singular_is_refused(reader: str, tmp_path: Path) -> None:
    layout = written(reader, tmp_path)
    name = {"dtu-idr": "world_mat_0", "nmr": "world_mat_inv_0"}[reader]
    _edit_npz(CAMERA_FILES[reader], name, 9e5)(tmp_path)
    if reader == "nmr":
        refuse(layout, tmp_path, "not rigid")
    with np.load(next(tmp_path.glob(CAMERA_FILES[reader]))) as file:
        arrays = {key: file[key].copy() for key in file.files}
    arrays[name][:3, :3] = 1.0
    np.savez(next(tmp_path.glob(CAMERA_FILES[reader])), **arrays)
    refuse(layout, tmp_path, "singular|not rigid")


# ---------------------------------------------------------------------------------------------------------- hostile


class Runs:
    """A pickle of it runs `write_text` on a file of the test's folder when it is loaded with trust."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self.path, "this was run")


@pytest.mark.parametrize("how", ["torch.save", "bare pickle"])
def test_a_chunk_that_carries_code_is_refused_and_nothing_of_it_runs(how: str, tmp_path: Path) -> None:
    import torch

    layout = written("re10k", tmp_path)
    path, proof = tmp_path / "000000.torch", tmp_path / "proof"
    chunk = torch.load(path, weights_only=True)
    chunk[1]["url"] = Runs(proof)
    if how == "torch.save":
        torch.save(chunk, path)
    else:
        path.write_bytes(pickle.dumps([{"key": layout.scene, "cameras": Runs(proof), "images": []}]))
    message = refuse(
        layout, tmp_path, r"which could run code \((GLOBAL|Unsupported operand) \S+\); nothing of it was run"
    )
    assert "000000.torch" in message and not proof.exists()
    torch.load(path, weights_only=False) if how == "torch.save" else pickle.loads(path.read_bytes())
    assert proof.read_text() == "this was run"  # so the file was a real threat


def test_npz_files_that_hold_objects_are_refused(tmp_path: Path) -> None:
    layout = written("nmr", tmp_path)
    (path,) = tmp_path.glob(CAMERA_FILES["nmr"])
    proof = tmp_path / "proof"
    np.savez(path, camera_mat_0=np.array([Runs(proof)], dtype=object))
    refuse(layout, tmp_path, r"cameras\.npz: unreadable \(Object arrays cannot be loaded")
    assert not proof.exists()


@pytest.mark.parametrize("path", ["../secret.torch", "/etc/passwd", "", 7])
def test_an_index_that_leaves_its_folder_is_refused(path: object, tmp_path: Path) -> None:
    layout = written("re10k", tmp_path)
    write(tmp_path / "index.json", {layout.scene: path})
    refuse(layout, tmp_path, "expected a chunk below this folder")


# ------------------------------------------------------------------------------------------------- each its own ways


def _save_chunk(root: Path, change: Callable[[list[dict[str, Any]]], Any]) -> None:
    import torch

    chunk = torch.load(root / "000000.torch", weights_only=True)
    torch.save(change(chunk) or chunk, root / "000000.torch")


def test_chunks_that_are_none(tmp_path: Path) -> None:
    import torch

    layout = written("re10k", tmp_path)
    saved = (tmp_path / "000000.torch").read_bytes()
    cases: list[tuple[Callable[[list[dict[str, Any]]], Any], str]] = [
        (lambda chunk: {"key": "a"}, "000000.torch: dict; expected a list of scenes"),
        (lambda chunk: [3], "entry 0: no scene"),
        (lambda chunk: [{"key": "a", "cameras": 1}], "entry 0: no scene"),
        (lambda chunk: chunk[:1], "no scene 5aca87f95a9412c6; expected what index.json says"),
        (lambda chunk: chunk[1].update(cameras=torch.zeros(4, 12)), "cameras of shape 4x12"),
        (lambda chunk: chunk[1].update(cameras="none"), r"expected \(frames, 18\)"),
        (lambda chunk: chunk[1].update(images=chunk[1]["images"][:3]), "3 images for 4 cameras"),
        (lambda chunk: chunk[1].update(images=[torch.zeros(9, dtype=torch.uint8)] * 4), "bytes that are no image"),
        (lambda chunk: chunk[1]["images"].__setitem__(2, chunk[1]["images"][2][:300]), "unreadable image"),
        (lambda chunk: chunk[1].update(cameras=torch.zeros(4, 18)), "frame 0: .*(not rigid|focal)"),
    ]
    for change, found in cases:
        (tmp_path / "000000.torch").write_bytes(saved)
        _save_chunk(tmp_path, change)
        refuse(layout, tmp_path, found)


def test_a_chunk_written_before_torch_1_6_reads_too(tmp_path: Path) -> None:
    import torch

    layout = written("re10k", tmp_path)
    path = tmp_path / "000000.torch"
    torch.save(torch.load(path, weights_only=True), path, _use_new_zipfile_serialization=False)
    assert not zipfile.is_zipfile(path)
    scene = load(layout, tmp_path)
    assert tuple(scene.views) == layout.ids and decode_image(read_image_file(scene.views["2"]), "2").shape == (
        72,
        96,
        3,
    )


def test_a_chunk_is_read_once_and_its_images_when_they_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    layout = written("re10k", tmp_path)
    loads: list[str] = []
    original = torch.load

    def counted(path: Path, **options: Any) -> Any:
        assert options["weights_only"] is True
        loads.append(Path(path).name)
        return original(path, **options)

    monkeypatch.setattr(torch, "load", counted)
    reader = build_reader("re10k")
    for name in (layout.scene, "0aa1", layout.scene, "1bb2", layout.scene):
        reader.load_scene(tmp_path, name)
    assert loads == ["000000.torch", "000001.torch"]


def test_dl3dv_refuses_a_hash_that_is_there_twice_and_a_missing_size(tmp_path: Path) -> None:
    layout = written("dl3dv", tmp_path)
    write(tmp_path / "1K" / layout.scene / "transforms.json", {"frames": []})
    refuse(layout, tmp_path, "twice .*1K.*Remove one of them")
    with pytest.raises(BenchError, match=r"images_8: no images; .*DL3DV"):
        build_reader("dl3dv-8").load_scene(tmp_path / "1K", layout.scene)


def test_co3d_refuses_an_unknown_lens_and_reads_no_other_category(tmp_path: Path) -> None:
    layout = written("co3d", tmp_path)
    (tmp_path / "teddybear").mkdir()
    (tmp_path / "teddybear" / "frame_annotations.jgz").write_bytes(b"broken")
    load(layout, tmp_path)
    path = tmp_path / "hydrant" / "frame_annotations.jgz"
    rows = json.loads(gzip.decompress(path.read_bytes()))
    rows[-1]["viewpoint"]["intrinsics_format"] = "screen"
    write_jgz(path, rows)
    refuse(layout, tmp_path, "intrinsics_format 'screen'; expected one of ndc_isotropic, ndc_norm_image_bounds")


def test_dtu_layouts_are_not_taken_for_one_another(tmp_path: Path) -> None:
    layout = written("dtu-mvsnet", tmp_path)
    for path in (tmp_path / "Rectified" / "scan1_train").glob("*_3_r5000.png"):
        Image.new("RGB", (1600, 1200)).save(path)
    refuse(layout, tmp_path, "1600 x 1200 pixels; expected 640 x 512")
    layout = written("dtu-idr", tmp_path)
    masks = tmp_path / "scan24" / "mask"
    (masks / "001.png").rename(masks / "007.png")  # as many as images, and yet one is missing
    refuse(layout, tmp_path, r"mask: no mask for 000001\.png")
    (masks / "007.png").rename(masks / "a.png")
    (masks / "002.png").unlink()
    refuse(layout, tmp_path, "3 masks for 4 images")
    (tmp_path / "scan24" / "image" / "000003.png").unlink()
    refuse(layout, tmp_path, "4 cameras for 3 images")


def test_mvsplats_lens_is_centred_and_shorter(tmp_path: Path) -> None:
    # donydchen/mvsplat:src/scripts/convert_dtu.py on MVSNet's own numbers at 160 x 128: fx = 361.54125, cx = 82.900625
    layout = written("dtu-mvsnet", tmp_path)
    for path in (tmp_path / "Cameras" / "train").glob("*.txt"):
        words = path.read_text().split()
        words[18:27] = ["361.54125", "0.0", "82.900625", "0.0", "360.3975", "66.383875", "0.0", "0.0", "1.0"]
        path.write_text(" ".join(words))
    calibrated = load(layout, tmp_path).views["000000"].camera
    published = build_reader("dtu-mvsplat").load_scene(tmp_path, "scan1").views["000000"].camera
    assert np.allclose(calibrated.K[:2], [[1446.165, 0, 331.8525], [0, 1441.59, 265.7855]])
    # saved_fx = fx / (2 cx) and saved_cx = 0.5, as fractions of the image's 640 x 512 pixels.
    assert np.allclose(published.K[:2], [[640 * 361.54125 / 165.80125, 0, 320], [0, 512 * 360.3975 / 132.76775, 256]])
    assert 0.96 < published.K[0, 0] / calibrated.K[0, 0] < 0.97
    assert (published.c2w == calibrated.c2w).all()


def test_srn_poses_that_are_flagged_world_to_camera_are_turned(tmp_path: Path) -> None:
    layout = written("srn", tmp_path)
    expected = load(layout, tmp_path)
    folder = tmp_path / layout.scene
    lines = (folder / "intrinsics.txt").read_text().splitlines()
    # DeepVoxels' variant: a near plane before the scale, and the flag at the end.
    write(folder / "intrinsics.txt", "\n".join([*lines[:2], "0.5", *lines[2:], "1"]))
    for path in (folder / "pose").iterdir():
        pose = np.linalg.inv(np.loadtxt(path).reshape(4, 4))
        path.write_text(" ".join(map(repr, map(float, pose.flatten()))))
    for view, other in zip(load(layout, tmp_path).views.values(), expected.views.values(), strict=True):
        assert np.allclose(view.camera.c2w, other.camera.c2w) and np.allclose(view.camera.K, other.camera.K)
    write(folder / "intrinsics.txt", "\n".join([*lines, "1", "another line"]))
    refuse(layout, tmp_path, r"intrinsics\.txt: (another layout|could not convert)")
    write(folder / "intrinsics.txt", "\n".join(lines))
    (folder / "pose" / "000003.txt").unlink()
    refuse(layout, tmp_path, "3 poses for 4 images")


def test_seva_prefers_the_lens_of_the_file_and_refuses_distortion(tmp_path: Path) -> None:
    layout = written("seva", tmp_path)
    path = tmp_path / layout.scene / "transforms.json"
    document = json.loads(path.read_bytes())
    path.write_text(json.dumps({**document, "fl_x": 77.0}))
    assert {view.camera.K[0, 0] for view in load(layout, tmp_path).views.values()} == {77.0}
    path.write_text(json.dumps({**document, "k1": 0.01}))
    refuse(layout, tmp_path, "not a pinhole")


# -------------------------------------------------------------------------------------------------------- OpenEXR


def _write_exr(path: Path, pixels: np.ndarray) -> None:
    openexr = pytest.importorskip("OpenEXR")
    header = {"compression": openexr.ZIP_COMPRESSION, "type": openexr.scanlineimage}
    with openexr.File(header, {"RGBA" if pixels.shape[2] == 4 else "RGB": pixels.astype(np.float32)}) as file:
        file.write(str(path))


@pytest.mark.parametrize("channels", [3, 4])
def test_exr_images_are_cut_to_bytes_as_eschernet_does(channels: int, tmp_path: Path) -> None:
    layout = written("rtmv", tmp_path)
    linear = np.random.default_rng(1).uniform(0, 1, (72, 96, channels))
    linear[0, 0, :3], linear[0, 1, :3] = 2.5, -0.5
    _write_exr(tmp_path / "00000" / "00002.exr", linear)
    read = decode_image(read_image_file(load(layout, tmp_path).views["00002"]), "00002")
    expected = np.uint8(np.clip(linear[:, :, :3].astype(np.float32), 0, 1) * 255.0)
    assert (read == expected).all() and (read[0, 0] == 255).all() and (read[0, 1] == 0).all()


def test_exr_images_that_cannot_be_read_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = written("rtmv", tmp_path)
    (tmp_path / "00000" / "00002.exr").write_bytes(b"\x76\x2f\x31\x01 and nothing more")
    scene = load(layout, tmp_path)

    def missing(name: str) -> Any:
        raise ImportError(name)

    with monkeypatch.context() as without:
        without.setattr(importlib, "import_module", missing)
        with pytest.raises(BenchError, match=r"OpenEXR is not installed.*pip install OpenEXR"):
            read_image_file(scene.views["00002"])
    pytest.importorskip("OpenEXR")
    refuse(layout, tmp_path, r"00002\.exr: unreadable")
