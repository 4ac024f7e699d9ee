"""Presets by name and from files, their fields set one by one, and what is said of wrong ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from kaleido_bench.errors import BenchError
from kaleido_bench.training.presets import change_preset, load_preset, render_preset
from reference_model.config import Stage
from reference_model.presets import PRESETS, smoke


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
