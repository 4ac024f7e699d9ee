"""A reader's scenes as the trainer takes them, and how a data set is named."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from kaleido_bench.data.images import encode_png
from kaleido_bench.errors import BenchError
from kaleido_bench.training.data import LazyImages, ReaderScenes, check_name, split_numbers
from reference_model.training.posed import PosedScene
from tests.predict.tiny import HEIGHT, WIDTH, make_image, write_data, write_scene


def test_a_reader_s_scenes_are_what_the_trainer_takes(tmp_path: Path) -> None:
    write_data(tmp_path, ("arc", "bow"))
    scenes = ReaderScenes(str(tmp_path / "scenes"), "transforms", ordered=None, background="white")
    assert scenes.names == ("arc", "bow") and len(scenes) == 2 and not scenes.ordered
    scene = PosedScene(*scenes[1])
    assert type(scenes[1])._fields == PosedScene._fields
    assert (scene.name, len(scene.images), scene.ordered) == ("bow", 6, False)
    assert scene.c2w.shape == (6, 4, 4) and scene.intrinsics.shape == (6, 3, 3)
    np.testing.assert_array_equal(scene.images[2], make_image(1, 0.5))
    opencv = np.diag([1.0, -1, -1, 1])  # the file is in OpenGL axes; the trainer wants these
    opencv[2, 3] = 4
    np.testing.assert_allclose(scene.c2w[0], opencv)


def test_the_card_tells_data_sets_apart_and_not_where_they_lie(tmp_path: Path) -> None:
    for place, names in (("a", ("arc",)), ("b", ("arc",)), ("c", ("arc", "bow"))):
        write_data(tmp_path / place, names)
    about = [
        ReaderScenes(str(tmp_path / place / "scenes"), "transforms", ordered=None, background="white").about
        for place in "abc"
    ]
    assert about[0] == about[1] != about[2]


def test_frames_of_a_video_are_taken_in_order(tmp_path: Path) -> None:
    """By the numbers in their names: listed backwards, and with an order of their own as text."""
    folder = write_scene(tmp_path / "walk", views=12)
    document = json.loads((folder / "transforms.json").read_text())
    for view, frame in enumerate(document["frames"]):
        (folder / frame["file_path"]).rename(folder / f"images/frame_{view + 1}.png")
        frame["file_path"] = f"images/frame_{view + 1}.png"
    document["frames"].reverse()
    (folder / "transforms.json").write_text(json.dumps(document))
    scene = ReaderScenes(str(tmp_path), "transforms", ordered=True, background="white")[0]
    assert scene.ordered
    np.testing.assert_array_equal(scene.images[11], make_image(0, 0.25 * 11))
    angles = np.unwrap(np.arctan2(scene.c2w[:, 0, 3], scene.c2w[:, 2, 3]))
    np.testing.assert_allclose(np.diff(angles), 0.25)
    as_listed = ReaderScenes(str(tmp_path), "transforms", ordered=False, background="white")[0]
    np.testing.assert_array_equal(as_listed.images[0], scene.images[11])
    assert sorted(["b10", "b9", "a2"], key=split_numbers) == ["a2", "b9", "b10"]


@pytest.mark.parametrize(("background", "value"), [("white", 255), ("black", 0), ("gray", 128)])
def test_transparency_lies_over_a_background(tmp_path: Path, background: str, value: int) -> None:
    folder = write_scene(tmp_path / "cut", views=1)
    clear = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    clear[:, : WIDTH // 2] = (10, 20, 30, 255)
    (folder / "images/0000.png").write_bytes(encode_png(clear))
    image = ReaderScenes(str(tmp_path), "transforms", ordered=None, background=background)[0].images[0]  # type: ignore[arg-type]
    assert image.shape == (HEIGHT, WIDTH, 3)
    assert image[0, 0].tolist() == [10, 20, 30] and image[0, -1].tolist() == [value] * 3


def test_images_are_decoded_when_they_are_asked_for(tmp_path: Path) -> None:
    folder = write_scene(tmp_path / "arc")
    (folder / "images/0003.png").write_bytes(encode_png(make_image(0, 0.0, 8, 8)))
    scene = ReaderScenes(str(tmp_path), "transforms", ordered=None, background="white")[0]
    assert isinstance(scene.images, LazyImages) and scene.images[2].shape == (HEIGHT, WIDTH, 3)
    with pytest.raises(BenchError, match=r"0003\.png: an image of 8 x 8 pixels; expected 40 x 32"):
        scene.images[3]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"root": "nowhere"}, "--data: no such folder nowhere"),
        ({"root": "package:quicksand"}, "expected one of"),
        ({"reader": "transform"}, "'transform'; expected one of transforms"),
        ({"reader": "nerf-synthetic"}, "no scene"),
    ],
)
def test_data_that_is_not_there(tmp_path: Path, change: dict[str, str], message: str) -> None:
    (tmp_path / "empty").mkdir()
    call = {"root": str(tmp_path / "empty"), "reader": "transforms", **change}
    with pytest.raises(BenchError, match=message):
        ReaderScenes(call["root"], call["reader"], ordered=None, background="white")


def test_a_data_set_s_name_is_spelt_as_protocols_spell_it() -> None:
    assert check_name("my-captures_2.0") == "my-captures_2.0"
    with pytest.raises(BenchError, match="Did you mean 'llff'"):
        check_name("LLFF")
