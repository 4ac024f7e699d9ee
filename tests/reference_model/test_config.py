"""The records of a preset: their stored form, and what they do not take."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from reference_model.config import ModelConfig, list_differences, without_idle
from reference_model.positions import NORMALISATIONS
from reference_model.presets import smoke, tiny
from reference_model.stored import from_json, to_json
from reference_model.training.settings import override
from reference_model.view_sampling import RULES


def test_a_preset_stored_before_the_later_designs_means_the_model_it_was() -> None:
    old: dict[str, Any] = {
        "model": {"width": 256, "depth": 7, "heads": 4, "mlp_width": 640, "patch": 8, "image_size": 128,
                  "pose_channels": 32, "max_views": 8},
        "flow": {"logit_mean": 1.2, "logit_std": 1.2, "min_t": 0.2},
        "train": {
            "stages": [
                {"image_size": 64, "scenes": 128, "share": 0.45},
                {"image_size": 128, "scenes": 64, "share": 0.55},
            ],
            "learning_rate": 0.004, "weight_decay": 0.01, "warmup_steps": 200, "decay_share": 0.4, "ema_decay": 0.9995,
            "clip_norm": 1.0, "seed": 0,
        },
    }  # fmt: skip
    read = from_json(json.dumps(old))
    assert without_idle(read) == without_idle(tiny())
    config = read.model
    assert (config.pose, config.value_action, config.rays) == ("gta", "joint", "camera")
    assert (config.window, config.registers, config.time_channels) == (0, 0, 0)
    assert (config.references_see_targets, config.key_heads, read.flow.prediction) == (False, 4, "clean")


def test_windows_of_an_older_preset_are_cut_as_they_were() -> None:
    """They were cut from views of any size; what is made now is cut where that pays, and says so when stored."""
    raw = json.loads(to_json(override(tiny(), ["model.window=8"])))
    assert raw["model"]["window_from"] == ModelConfig.window_from == 512
    assert from_json(json.dumps(raw)).model.window_of(256) == 0
    old = {**raw, "version": 2, "model": {k: v for k, v in raw["model"].items() if k != "window_from"}}
    assert from_json(json.dumps(old)).model.window_of(256) == 8
    assert from_json(json.dumps({**raw, "version": 2})).model.window_of(256) == 0  # what it says is not overruled


def test_how_views_are_cut_is_nothing_where_none_is() -> None:
    model = tiny().model
    idle = dataclasses.replace(model, window_from=0, window_rule="grid")
    assert list_differences(idle, model) == []
    windowed = [dataclasses.replace(each, window=8) for each in (idle, model)]
    assert list_differences(*windowed) == ["window_from", "window_rule"]


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"version": 99}, "version 99"),
        ({"version": "new"}, "version"),
        ({"model": {"deepth": 3}}, "deepth"),
    ],
)
def test_a_preset_of_another_version_or_with_unknown_fields_is_refused(change: dict[str, Any], word: str) -> None:
    raw = json.loads(to_json(smoke()))
    for key, value in change.items():
        raw[key] = {**raw[key], **value} if isinstance(value, dict) else value
    with pytest.raises(ValueError, match=word):
        from_json(json.dumps(raw))


def test_a_new_preset_must_say_every_field() -> None:
    raw = json.loads(to_json(smoke()))
    del raw["model"]["pose"]
    with pytest.raises(ValueError, match="ModelConfig lacks pose"):
        from_json(json.dumps(raw))


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"heads": 3}, "heads"),
        ({"kv_heads": 3, "heads": 4}, "kv_heads"),
        ({"pose_channels": 6}, "pose_channels"),
        ({"pose_channels": 4, "value_action": "split", "time_channels": 4}, "8"),
        ({"time_channels": 3}, "time"),
        ({"image_size": 30}, "image_size"),
        ({"window": 3}, "windows of 3"),
        ({"pose": "plucker"}, "gta, prope"),
        ({"mlp": "relu"}, "swiglu"),
        ({"layout": "encoder-decoder", "depth": 3}, "even depth"),
        ({"layout": "encoder-decoder", "references_see_targets": True}, "encoder-decoder"),
        ({"normalisation": "unit"}, "focus, first, none"),
        ({"mlp_width": 0}, "mlp_width 0: expected 1 or more"),
        ({"image_size": -32}, "image_size -32"),
        ({"pose_channels": -4}, "pose_channels -4: expected 0 or more"),
        ({"time_channels": -4}, "time_channels -4"),
        ({"window": -2}, "window -2"),
        ({"registers": -1}, "registers -1"),
        ({"feature_channels": -3}, "feature_channels -3"),
    ],
)
def test_an_impossible_config_is_refused(change: dict[str, Any], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        dataclasses.replace(smoke().model, **change)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"prediction": "score"}, "velocity"),
        ({"max_t": 0.0}, "max_t"),
        ({"reference_dropout": 1.0}, "reference_dropout"),
        ({"shift": "much"}, "resolution"),
        ({"logit_std": 0.0}, "logit_std 0.0"),
        ({"logit_mean": float("nan")}, "logit_mean nan"),
        ({"sampling_mean": float("inf")}, "sampling_mean inf"),
        ({"base_tokens": 0}, "base_tokens 0: expected 1 or more"),
        ({"min_t": -0.1}, "min_t -0.1: expected 0 or more"),
    ],
)
def test_an_impossible_flow_is_refused(change: dict[str, Any], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        dataclasses.replace(smoke().flow, **change)


def test_what_is_chosen_by_name_is_what_there_is() -> None:
    """Each rule there is may be named, and no other."""
    for rule in RULES:
        assert dataclasses.replace(smoke().train, view_rule=rule).view_rule == rule
    for rule in NORMALISATIONS:
        assert dataclasses.replace(smoke().model, normalisation=rule).normalisation == rule
    with pytest.raises(ValueError, match=f"view_rule 'spiral': expected one of {', '.join(RULES)}"):
        dataclasses.replace(smoke().train, view_rule="spiral")
    with pytest.raises(ValueError, match=f"normalisation 'spiral': expected one of {', '.join(NORMALISATIONS)}"):
        dataclasses.replace(smoke().model, normalisation="spiral")


def test_a_table_of_positions_belongs_to_one_size() -> None:
    model = smoke().model
    other = dataclasses.replace(model, image_size=64, max_views=5, depth=3)
    assert list_differences(other, model) == ["depth"]
    tables = [dataclasses.replace(each, position="learned") for each in (other, model)]
    assert list_differences(*tables) == ["depth", "image_size"]
