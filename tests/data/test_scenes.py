"""Views and scenes: lazy, and with a plain word for everything that can be wrong with a file."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kaleido_bench.data.cameras import build_camera, intrinsics_matrix
from kaleido_bench.data.images import ImagePreparation, encode_png
from kaleido_bench.data.scenes import (
    Pin,
    PreparedView,
    View,
    build_scene,
    check_view_id,
    decode_mask,
    find_view,
    hash_image,
    load_camera,
    load_view,
    pin_view,
    view_id_of,
)
from kaleido_bench.errors import BenchError

PREPARATION = ImagePreparation(
    size=(16, 16), fit="cover-crop", filter="lanczos", antialias=True, background="white", alpha="composite"
)
CAMERA = build_camera(np.eye(4), intrinsics_matrix(20, 20, 12, 10), 24, 20, where="test")
IMAGE = encode_png(np.random.default_rng(0).integers(0, 256, (20, 24, 3), dtype=np.uint8))


class Counted:
    """Bytes that know how often they were read."""

    def __init__(self, data: bytes) -> None:
        self.data, self.reads = data, 0

    def __call__(self) -> bytes:
        self.reads += 1
        return self.data


def view(view_id: str = "0001", image: bytes = IMAGE, mask: bytes | None = None) -> View:
    return View(view_id, CAMERA, Counted(image), None if mask is None else Counted(mask), f"fox/images/{view_id}.png")


def load(image: bytes = IMAGE, mask: bytes | None = None, pin: Pin = Pin()) -> PreparedView:
    return load_view(build_scene("fox", [view(image=image, mask=mask)], "fox"), "0001", PREPARATION, pin)


def test_load_view_reads_its_own_image_and_nothing_else() -> None:
    views = [view(f"{number:04}") for number in range(5)]
    scene = build_scene("fox", views, "fox")
    assert list(scene.views) == ["0000", "0001", "0002", "0003", "0004"]
    prepared = load_view(scene, "0003", PREPARATION, pin_view(views[3]))
    assert prepared.id == "0003" and prepared.image.shape == (16, 16, 3) and prepared.mask is None
    assert (prepared.camera.width, prepared.camera.height) == (16, 16)
    assert [one.read_image.reads for one in views] == [0, 0, 0, 2, 0]  # type: ignore[attr-defined]


def test_a_mask_file_goes_with_its_image() -> None:
    mask = np.zeros((20, 24), np.uint8)
    mask[:, 12:] = 255
    prepared = load(mask=encode_png(np.repeat(mask[..., None], 3, axis=2)))
    assert prepared.mask is not None
    assert np.array_equal(prepared.mask, np.broadcast_to(np.arange(16) >= 8, (16, 16)))


def test_masks_of_all_kinds_mean_the_same() -> None:
    inside = np.zeros((6, 5), np.uint8)
    inside[2:4, 1:3] = 1
    grey = encode_png(np.repeat((255 * inside)[..., None], 3, axis=2))
    as_one = encode_png(np.repeat(inside[..., None], 3, axis=2))
    in_alpha = encode_png(np.dstack([np.full((6, 5, 3), 9, np.uint8), 255 * inside]))
    opaque = encode_png(np.dstack([np.repeat((255 * inside)[..., None], 3, axis=2), np.full((6, 5), 255, np.uint8)]))
    for data in (grey, as_one, in_alpha, opaque):
        assert np.array_equal(decode_mask(data, "test"), 255 * inside)


# ------------------------------------------------------------------------------------------------------------ refusal


def test_a_frozen_image_that_changed_is_refused() -> None:
    assert hash_image(view()) == hashlib.sha256(IMAGE).hexdigest()
    with pytest.raises(BenchError, match=r"0001\.png: the image differs from the one the protocol froze"):
        load(pin=Pin(image="0" * 64))
    same_pixels_other_bytes = IMAGE + b"trailing"
    with pytest.raises(BenchError, match="differs from the one the protocol froze"):
        load(same_pixels_other_bytes, pin=pin_view(view()))


def test_a_frozen_camera_that_changed_is_refused() -> None:
    nudged = intrinsics_matrix(20 + 1e-5, 20, 12, 10)
    camera = build_camera(CAMERA.c2w, nudged, CAMERA.width, CAMERA.height, where="nudged")
    scene = build_scene("fox", [replace(view(), camera=camera)], "fox")
    frozen = pin_view(view())
    with pytest.raises(BenchError, match=r"0001\.png: the camera differs from the one the protocol froze.*Fetch"):
        load_view(scene, "0001", PREPARATION, frozen)
    with pytest.raises(BenchError, match="the camera differs"):
        load_camera(scene, "0001", PREPARATION, frozen)


def test_a_camera_alone_is_that_of_its_view() -> None:
    scene = build_scene("fox", [view()], "fox")
    camera, prepared = load_camera(scene, "0001", PREPARATION, pin_view(view())), load()
    assert np.array_equal(camera.K, prepared.camera.K) and np.array_equal(camera.c2w, prepared.camera.c2w)
    assert scene.views["0001"].read_image.reads == 0  # type: ignore[attr-defined]


def test_a_truncated_image_is_refused() -> None:
    with pytest.raises(BenchError, match=r"fox/images/0001\.png: unreadable image"):
        load(IMAGE[:-300])


def test_an_image_of_another_size_than_declared_is_refused() -> None:
    with pytest.raises(BenchError, match="an image of 12 x 10 pixels; expected 24 x 20, as its camera says"):
        load(encode_png(np.zeros((10, 12, 3), np.uint8)))
    with pytest.raises(BenchError, match="a mask of 12 x 10 pixels; expected 24 x 20"):
        load(mask=encode_png(np.zeros((10, 12, 3), np.uint8)))


def test_a_missing_image_is_named(tmp_path: Path) -> None:
    path = tmp_path / "0001.png"
    scene = build_scene("fox", [View("0001", CAMERA, path.read_bytes, None, str(path))], "fox")
    with pytest.raises(BenchError, match=r"0001\.png: no such image"):
        load_view(scene, "0001", PREPARATION)
    path.mkdir()
    with pytest.raises(BenchError, match=r"0001\.png: cannot be read"):
        load_view(scene, "0001", PREPARATION)


def test_an_unknown_id_names_the_nearest() -> None:
    scene = build_scene("fox", [view(f"train/r_{number}") for number in range(30)], "fox")
    with pytest.raises(BenchError, match=r"no view 'train/r_99' among 30; expected an id such as train/r_9"):
        load_view(scene, "train/r_99", PREPARATION)
    with pytest.raises(BenchError, match="an id such as train/r_0, train/r_1, train/r_2"):
        find_view(scene, "Q")


def test_an_empty_scene_and_a_doubled_id_are_refused() -> None:
    with pytest.raises(BenchError, match="scene fox has no views"):
        build_scene("fox", [], "scenes/fox")
    with pytest.raises(BenchError, match="two views with the id 0001"):
        build_scene("fox", [view(), view()], "scenes/fox")


@pytest.mark.parametrize("view_id", ["0001", "train/r_0", "IMG_5881", "a.b+c-d", "..a/b"])
def test_ids_that_can_be_paths(view_id: str) -> None:
    check_view_id(view_id, "test")


@pytest.mark.parametrize("view_id", ["", "/a", "a/", "a//b", "..", "a/../b", "./a", "a b", "ä", "a\\b", "a\n", "c:d"])
def test_ids_that_cannot_be_paths_are_refused(view_id: str) -> None:
    with pytest.raises(BenchError, match="Rename the image file"):
        check_view_id(view_id, "test")


@pytest.mark.parametrize(
    ("path", "view_id"),
    [
        ("images/0001.jpg", "0001"),
        ("./images/0001.PNG", "0001"),
        ("images/left/0001.jpeg", "left/0001"),
        ("./train/r_0", "train/r_0"),
        ("train\\r_0.png", "train/r_0"),
        ("images/frame.0001", "frame.0001"),
        ("images/frame.0001.png", "frame.0001"),
    ],
)
def test_the_id_is_the_path_without_images_and_suffix(path: str, view_id: str) -> None:
    assert view_id_of(path) == view_id


def test_jpegs_are_read_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "0001.jpg"
    Image.new("L", (24, 20), 77).save(path)
    assert (load(path.read_bytes()).image == 77).all()
