"""What stands between readers, the trainer and `kbench train`: scenes as the trainer takes them, and checked calls."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from kaleido_bench.data.images import encode_png
from kaleido_bench.errors import BenchError
from kaleido_bench.training.calls import DataCall
from kaleido_bench.training.checking import build_budget, check_initial, check_out, open_data
from kaleido_bench.training.data import LazyImages, ReaderScenes, check_name, split_numbers
from kaleido_bench.training.presets import change_preset, load_preset, render_preset
from reference_model.config import Stage
from reference_model.presets import PRESETS, smoke
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


def test_real_captures_can_be_trained_on(data_dir: Path) -> None:
    """Photographs of many sizes, renders over transparency, millimetres and metres: a step of each scene once."""
    source = open_data(
        DataCall(str(data_dir / "scenes"), "transforms", "real", None, "white", "random", None, 0, 1.0),
        load_preset("smoke", ("train.view_rule=mixed", "train.view_pool=2")),
        pytest.fail,
    )
    try:
        count = len(source.training)
        preset = load_preset("smoke", (f'train.stages=[{{"image_size": 32, "scenes": {count}, "share": 1}}]',))
        views = source.open(preset, 0, 0, "cpu").step(0)
    finally:
        source.close()
    assert views.images.shape == (count, 4, 3, 32, 32) and bool((views.images.std((1, 2, 3, 4)) > 0.05).all())
    distance = views.c2w[..., :3, 3].norm(dim=-1).mean(1)
    assert bool((distance < 1.01).all()) and bool((distance > 0.3).all())
    # Of the shorter side: the temple's lens, the longest, is 1520 / 480 of it; a middle lies within the window.
    focal, middle = views.intrinsics[..., 0, 0] / 32, views.intrinsics[..., :2, 2] / 32
    assert bool(((focal > 1) & (focal < 3.2)).all()) and bool(((middle > 0) & (middle < 1)).all())


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


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("train.seed=3", ("train", "seed", 3)),
        ("train.learning_rate=1e-3", ("train", "learning_rate", 1e-3)),
        ("train.view_rule=orbit", ("train", "view_rule", "orbit")),
        ('train.view_rule="orbit"', ("train", "view_rule", "orbit")),
        ("model.qk_norm=false", ("model", "qk_norm", False)),
        ("flow.sampling_mean=null", ("flow", "sampling_mean", None)),
        ("flow.sampling_mean=1", ("flow", "sampling_mean", 1)),
        (
            'train.stages=[{"image_size":32,"scenes":2,"share":1}]',
            ("train", "stages", (Stage(image_size=32, scenes=2, share=1),)),
        ),
    ],
)
def test_fields_of_a_preset_are_set(setting: str, expected: tuple[str, str, object]) -> None:
    group, field, value = expected
    assert getattr(getattr(change_preset(smoke(), (setting,)), group), field) == value


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("train.sed=3", "Did you mean 'train.seed'"),
        ("seed", "expected GROUP.FIELD=VALUE"),
        ("train.seed=three", "seed 'three': expected a value of type int"),
        ("train.seed=true", "seed True: expected a value of type int"),
        ("model.qk_norm=1", "expected a value of type bool"),
        ("model.width=65", "width 65 is not a multiple of heads 2"),
        ("train.pieces=3", "scenes do not divide"),
        ('train.stages=[{"size":32}]', "unexpected keyword argument 'size'"),
        ('train.stages=[{"image_size":32}]', "Stage lacks scenes, share"),
        ('train.stages=[{"image_size":32,"scenes":2,"share":0.5}]', r"shares of the budget are \[0.5\], 0.5 in all"),
        ("train.stages=[]", "no stages: expected at least one"),
        ("train.stages=[3]", "Stage 3: expected its fields by name"),
        ('train.stages=[{"image_size":"16","scenes":2,"share":1}]', "image_size '16': expected a value of type int"),
        ('train.stages=[{"image_size":20,"scenes":2,"share":1}]', "image_size 20 is not a multiple of patch 8"),
        ('train.stages=[{"image_size":16,"scenes":0,"share":1}]', "scenes 0: expected 1 or more"),
        ('train.stages=[{"image_size":16,"scenes":2,"share":0}]', "share 0 of the budget: expected above 0"),
        ("model.depth=0", "depth 0: expected 1 or more"),
        ("model.max_views=1", "max_views 1: expected 2 or more"),
        ("train.view_pool=0", "view_pool 0: expected 1 or more"),
        ("train.learning_rate=NaN", "learning_rate nan: expected 0 or more"),
        ("train.decay_share=-1", "decay_share -1, .*: expected 0 to 1"),
        ("train.scale_share=2", "scale_share 2, .*: expected 0 to 1"),
        ("train.ema_decay=1", "ema_decay 1: expected 0 to 1, the last below 1"),
        ("model.pose=plain", "pose 'plain': expected one of gta, prope"),
    ],
)
def test_what_a_preset_does_not_take(setting: str, message: str) -> None:
    with pytest.raises(BenchError, match=message):
        change_preset(smoke(), (setting,))


def test_every_preset_can_be_read_from_a_file(tmp_path: Path) -> None:
    for name in PRESETS:
        (tmp_path / "preset.json").write_text(render_preset(load_preset(name)))
        assert load_preset(str(tmp_path / "preset.json")) == PRESETS[name]()


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("{", "{{", "Expecting property name"),
        ('"seed": 0', '"seed": "x"', "seed 'x': expected a value of type int"),
        ('"max_views": 4', '"max_views": 4.5', "max_views 4.5: expected a value of type int"),
        ('"learning_rate": 0.002', '"learning_rate": null', "learning_rate None: expected a value of type float"),
        ('"version": 4', '"version": "4"', "a preset of version '4'"),
        ('"stages": [', '"stages": [3, ', "Stage 3: expected its fields by name"),
        ('"stages": [', '"stages": 3, "kept": [', "stages 3: expected a value of type tuple"),
        ('"flow": {', '"flow": 3, "kept": {', "FlowConfig 3: expected its fields by name"),
        ('"share": 0.5,', "", "Stage lacks share"),
        ('"share": 0.5', '"share": 0.75', "1.25 in all: expected 1"),
    ],
)
def test_a_preset_edited_by_hand_says_what_is_wrong(tmp_path: Path, before: str, after: str, message: str) -> None:
    path, text = tmp_path / "preset.json", render_preset(smoke())
    assert before in text
    path.write_text(text.replace(before, after, 1))
    with pytest.raises(BenchError, match=rf"preset\.json: .*{message}.*expected a preset\.json as a checkpoint holds"):
        load_preset(str(path))
    path.write_text("[]")
    with pytest.raises(BenchError, match="not a preset: list"):
        load_preset(str(path))


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        ((None, None, None), "neither --minutes nor --steps nor --flops"),
        ((1.0, 5, None), "--minutes and --steps"),
        ((None, 0, None), "--steps: 0; expected a number above 0"),
        ((float("nan"), None, None), "--minutes: nan"),
    ],
)
def test_a_budget_is_one_of_three(budget: tuple[float | None, int | None, float | None], message: str) -> None:
    with pytest.raises(BenchError, match=message):
        build_budget(*budget)


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    check_out(tmp_path)
    check_out(tmp_path / "new" / "deep")
    (tmp_path / "tensorboard").mkdir()
    (tmp_path / "model.new").mkdir()
    check_out(tmp_path)
    (tmp_path / "notes.txt").touch()
    with pytest.raises(BenchError, match=r"holds something else \(model.new, notes.txt, tensorboard\)"):
        check_out(tmp_path)
    with pytest.raises(BenchError, match=r"notes.txt is a file"):
        check_out(tmp_path / "notes.txt" / "run")
    (tmp_path / "preset.json").touch()
    with pytest.raises(BenchError, match="weights without the state of the run that made them"):
        check_out(tmp_path)
    (tmp_path / "state").mkdir()
    check_out(tmp_path)


def test_weights_to_begin_with_are_of_the_same_model() -> None:
    check_initial(Path("tiny"), PRESETS["tiny"]())
    check_initial(Path("tiny"), change_preset(PRESETS["tiny"](), ("model.image_size=256", "model.max_views=12")))
    with pytest.raises(BenchError, match=r"tiny is another model: it differs in model\..*width.*preset\.json"):
        check_initial(Path("tiny"), smoke())
    with pytest.raises(BenchError, match="--init: no checkpoint 'nowhere'"):
        check_initial(Path("nowhere"), smoke())
