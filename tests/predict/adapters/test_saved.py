from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kaleido_bench.data.cameras import Cameras
from kaleido_bench.data.images import encode_png
from kaleido_bench.errors import BenchError
from kaleido_bench.predict.adapters import ReferenceViews, TargetCameras, build_adapter, resolve_model

VIEWS = ("0001", "train/r_0")


def cameras(count: int, width: int = 6, height: int = 4) -> Cameras:
    return Cameras(np.repeat(np.eye(4)[None], count, 0), np.repeat(np.eye(3)[None], count, 0), width, height)


REFERENCES = ReferenceViews(("ref",), np.zeros((1, 4, 6, 3), np.uint8), cameras(1))
TARGETS = TargetCameras("fox-r1", VIEWS, cameras(2))


def write_image(path: Path, shape: tuple[int, int, int] = (4, 6, 3), seed: int = 0) -> np.ndarray:
    image = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_png(image))
    return image


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for seed, view in enumerate(VIEWS):
        write_image(tmp_path / "fox-r1" / f"{view}.png", seed=seed)
    return tmp_path


def predict(folder: Path) -> np.ndarray:
    adapter = build_adapter(resolve_model(f"saved@{folder}"), {}, "cpu")
    return adapter.predict(REFERENCES, TARGETS, np.random.default_rng(0))


def test_images_come_back_in_the_order_asked_for(folder: Path) -> None:
    (folder / "fox-r1" / "case.json").write_text("{}")
    expected = [write_image(folder / "fox-r1" / f"{view}.png", seed=seed) for seed, view in enumerate(VIEWS)]
    np.testing.assert_array_equal(predict(folder), np.stack(expected))


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"absent: no such folder"):
        predict(tmp_path / "absent")


def test_no_folder_for_the_case(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"fox-r1/0001\.png: missing, and so is its folder"):
        predict(tmp_path)


def test_missing_view(folder: Path) -> None:
    (folder / "fox-r1" / "train" / "r_0.png").unlink()
    with pytest.raises(BenchError, match=r"fox-r1/train/r_0\.png: missing;"):
        predict(folder)


def test_extra_view(folder: Path) -> None:
    write_image(folder / "fox-r1" / "0002.png")
    with pytest.raises(BenchError, match=r"fox-r1/0002\.png: not a target view of this case"):
        predict(folder)


def test_wrong_size(folder: Path) -> None:
    write_image(folder / "fox-r1" / "0001.png", (6, 4, 3))
    with pytest.raises(BenchError, match=r"fox-r1/0001\.png: 4x6 pixels with 3 channels; expected 6x4"):
        predict(folder)


def test_transparency_is_refused(folder: Path) -> None:
    write_image(folder / "fox-r1" / "0001.png", (4, 6, 4))
    with pytest.raises(BenchError, match=r"fox-r1/0001\.png: 6x4 pixels with 4 channels"):
        predict(folder)


def test_truncated_file(folder: Path) -> None:
    path = folder / "fox-r1" / "0001.png"
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(BenchError, match=r"fox-r1/0001\.png"):
        predict(folder)


def test_fingerprint_is_of_the_content(folder: Path) -> None:
    adapter = build_adapter(resolve_model(f"saved@{folder}"), {}, "cpu")
    before = adapter.describe().fingerprint
    (folder / "fox-r1" / "notes.txt").write_text("ignored")
    assert adapter.describe().fingerprint == before
    write_image(folder / "fox-r1" / "0001.png", seed=9)
    assert adapter.describe().fingerprint != before
    assert adapter.describe().training_data is None
