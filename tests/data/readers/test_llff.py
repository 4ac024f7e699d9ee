"""The LLFF reader: real poses_bounds.npy against the cameras of the same photographs, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kaleido_bench.data.readers import build_reader
from kaleido_bench.data.readers.llff import LlffReader
from kaleido_bench.data.readers.transforms import TransformsReader
from kaleido_bench.errors import BenchError


@pytest.mark.parametrize("name", ["fern", "flower"])
def test_cameras_agree_with_the_same_scene_in_nerfstudios_layout(name: str, data_dir: Path, tmp_path: Path) -> None:
    # One file was made from the other by a program that is not ours. Nothing is rescaled on the way: NeRF's loader
    # divides translations by 0.75 times the nearest bound, this reader leaves LLFF's units.
    folder = tmp_path / name
    folder.mkdir()
    (folder / "poses_bounds.npy").symlink_to(data_dir / "splits" / "llff_poses_bounds" / f"{name}.npy")
    (folder / "images").symlink_to(data_dir / "scenes" / f"llff_{name}" / "images")

    found = LlffReader().load_scene(tmp_path, name)
    expected = TransformsReader().load_scene(data_dir / "scenes", f"llff_{name}")
    assert list(found.views) == list(expected.views)
    for view_id, view in found.views.items():
        assert np.allclose(view.camera.c2w, expected.views[view_id].camera.c2w, rtol=0, atol=1e-12)
        assert np.allclose(view.camera.K, expected.views[view_id].camera.K, rtol=1e-12)
        assert (view.camera.width, view.camera.height) == (504, 378)  # photographs of 4032 x 3024
        assert view.read_image() == expected.views[view_id].read_image()


ROW = np.array([[0, 1, 0, 4, 300], [1, 0, 0, 5, 400], [0, 0, -1, 6, 500.0]])  # down, right, backward, centre, lens


def write_scene(root: Path, rows: np.ndarray, folders: dict[str, tuple[int, int]], count: int = 2) -> None:
    (root / "fern").mkdir()
    np.save(root / "fern" / "poses_bounds.npy", rows)
    for name, size in folders.items():
        (root / "fern" / name).mkdir()
        for number in range(count):
            Image.new("RGB", size).save(root / "fern" / name / f"{number:03}.png")


def rows(count: int = 2, row: np.ndarray = ROW) -> np.ndarray:
    return np.concatenate([np.repeat(row.reshape(1, 15), count, axis=0), np.full((count, 2), [1.0, 9.0])], axis=1)


@pytest.mark.parametrize(
    ("reader", "folder", "factor"), [("llff", "images", 1), ("llff-4", "images_4", 4), ("llff-8", "images_8", 8)]
)
def test_the_lens_follows_the_images_at_hand(tmp_path: Path, reader: str, folder: str, factor: int) -> None:
    sizes = {"images": (400, 300), "images_4": (100, 75), "images_8": (50, 38)}  # 300 / 8 is no whole number
    write_scene(tmp_path, rows(), sizes)
    view = build_reader(reader).load_scene(tmp_path, "fern").views["001"]
    width, height = sizes[folder]
    assert np.allclose(view.camera.K, [[500 / factor, 0, width / 2], [0, 500 * height / 300, height / 2], [0, 0, 1]])
    assert (view.camera.width, view.camera.height) == (width, height)
    assert Path(view.source).parent.name == folder


def test_without_images_the_largest_reduced_ones_are_read(tmp_path: Path) -> None:
    write_scene(tmp_path, rows(), {"images_16": (25, 19), "images_4": (100, 75), "images_backup": (1, 1)})
    assert LlffReader().load_scene(tmp_path, "fern").views["000"].camera.width == 100
    assert LlffReader().scene_names(tmp_path) == ["fern"]


@pytest.mark.parametrize(
    ("array", "found"),
    [
        (rows(3), "3 rows for 2 images"),
        (rows(2)[:, :15], r"shape 2x15; expected floats of shape \(views, 17\)"),
        (np.array(["a", "b"]), "<U1 of shape 2"),
        (rows(2, np.where(ROW == 500, np.nan, ROW)), "row 0: image size 400 x 300"),
        (rows(2, np.where(ROW == 4, np.nan, ROW)), "row 0: c2w holds NaN"),
        (rows(2, np.where(ROW == -1, 1, ROW)), "row 0: the rotation of c2w is left-handed"),
        (rows(2, np.where(ROW == 500, -1, ROW)), "row 0: focal lengths -1, -1"),
    ],
)
def test_a_malformed_file_is_refused(tmp_path: Path, array: np.ndarray, found: str) -> None:
    write_scene(tmp_path, array, {"images": (400, 300)})
    with pytest.raises(BenchError, match=found):
        LlffReader().load_scene(tmp_path, "fern")


def test_missing_and_unreadable_files_are_refused(tmp_path: Path) -> None:
    write_scene(tmp_path, rows(), {})
    with pytest.raises(BenchError, match="no images folder"):
        LlffReader().load_scene(tmp_path, "fern")
    with pytest.raises(BenchError, match="no images_8 folder"):
        LlffReader(8).load_scene(tmp_path, "fern")
    path = tmp_path / "fern" / "poses_bounds.npy"
    path.write_bytes(path.read_bytes()[:150])
    with pytest.raises(BenchError, match="unreadable"):
        LlffReader().load_scene(tmp_path, "fern")
    path.unlink()
    with pytest.raises(BenchError, match=r"poses_bounds\.npy: no such file"):
        LlffReader().load_scene(tmp_path, "fern")


def test_a_scene_of_no_views_is_refused(tmp_path: Path) -> None:
    write_scene(tmp_path, rows(0), {"images": (4, 3)}, count=0)
    with pytest.raises(BenchError, match="scene fern has no views"):
        LlffReader().load_scene(tmp_path, "fern")
