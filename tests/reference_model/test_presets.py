"""Presets: their sizes, their stored form, and that the FLOPs stated are the FLOPs done."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from reference_model.config import FlowConfig, ModelConfig, from_json, to_json
from reference_model.flops import cache_flops, denoise_flops, forward_flops
from reference_model.model import Kaleido, Views, count_parameters
from reference_model.presets import PRESETS, large, smoke, tiny
from tests.reference_model.models import DESIGNS, SEEING, build_config

PARAMETERS = {
    "tiny": 7_853_760,
    "small": 28_816_576,
    "latent": 28_750_976,
    "medium": 115_921_600,
    "large": 3_106_332_800,
    "smoke": 186_944,
}
# Of a forward pass of 5 references, 1 target.
GFLOPS = {"tiny": 39, "small": 118, "latent": 118, "medium": 1731, "large": 41009}


def build_on_meta(config: ModelConfig) -> Kaleido:
    with torch.device("meta"):
        return Kaleido(config)


def build_views(references: int, targets: int, size: int, device: str = "cpu") -> Views:
    count = references + targets
    k = torch.tensor([[40.0, 0, 17], [0, 44, 15], [0, 0, 1]], device=device).expand(1, count, 3, 3)
    return Views(torch.eye(4, device=device).expand(1, count, 4, 4), k, references, size, size)


def count_flops(model: Kaleido, references: int, targets: int, size: int, kind: str = "forward") -> int:
    """What PyTorch counts. The counter does not know the CPU's fused attention: let it be matrix products."""
    config = model.config
    n = (size // config.patch) ** 2
    tokens = torch.randn(1, references + targets, n, config.channels)
    features = torch.randn(1, references, n, config.feature_channels) if config.feature_channels else None
    views, level = build_views(references, targets, size), torch.rand(1)
    alone = views.take(0, references, references)
    with sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        cache = model.encode_references(tokens[:, :references], alone, features) if kind == "denoise" else ()
        with FlopCounterMode(display=False) as counter:
            if kind == "forward":
                model(tokens, level, views, features)
            elif kind == "cache":
                model.encode_references(tokens[:, :references], alone, features)
            else:
                model.denoise(tokens[:, references:], level, views.take(references, references + targets, 0), cache)
    return counter.get_total_flops()


ALL = {
    **DESIGNS,
    "seeing": SEEING,
    "no-pose": {"pose_channels": 0},
    "no-rays": {"rays": "none"},
    "plucker": {"rays": "plucker"},
}


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize(("references", "targets", "size"), [(1, 3, 32), (3, 1, 16), (0, 2, 32)])
def test_the_stated_flops_are_the_flops_done(name: str, references: int, targets: int, size: int) -> None:
    config = build_config(**ALL[name])
    n = (size // config.patch) ** 2
    counted = count_flops(Kaleido(config), references, targets, size)
    assert counted == forward_flops(config, references, targets, n)


@pytest.mark.parametrize("name", DESIGNS)
def test_the_flops_of_caching_and_of_a_step_beside_the_cache(name: str) -> None:
    config = build_config(**DESIGNS[name])
    model = Kaleido(config)
    assert count_flops(model, 3, 2, 32, "cache") == cache_flops(config, 3, 16)
    assert count_flops(model, 3, 2, 32, "denoise") == denoise_flops(config, 3, 2, 16)


@pytest.mark.parametrize("name", PARAMETERS)
def test_presets_have_the_parameters_they_say(name: str) -> None:
    assert count_parameters(build_on_meta(PRESETS[name]().model)) == PARAMETERS[name]


@pytest.mark.parametrize("name", GFLOPS)
def test_presets_have_the_flops_they_say(name: str) -> None:
    config = PRESETS[name]().model
    n = (config.image_size // config.patch) ** 2
    assert round(forward_flops(config, 5, 1, n) / 1e9) == GFLOPS[name]


def test_small_fits_its_budget_and_tiny_its_own() -> None:
    assert PARAMETERS["small"] <= 31_000_000
    assert 2 * PARAMETERS["tiny"] <= 16 * 2**20  # in bfloat16, so that the weights can ship with the package


@pytest.mark.parametrize("name", ["small", "latent", "medium", "large"])
def test_presets_run_on_the_meta_device(name: str) -> None:
    """Shapes alone, at full width: forward, and the cached way. Blocks repeat in twos, local and grid windows."""
    config = dataclasses.replace(PRESETS[name]().model, depth=2)
    model = build_on_meta(config)
    n = (config.image_size // config.patch) ** 2
    with torch.device("meta"), torch.no_grad():
        tokens = torch.empty(1, 4, n, config.channels)
        features = torch.empty(1, 3, n, config.feature_channels) if config.feature_channels else None
        views = build_views(3, 1, config.image_size, "meta")
        assert model(tokens, torch.empty(1), views, features).shape == (1, 1, n, config.channels)
        cache = model.encode_references(tokens[:, :3], views.take(0, 3, 3), features)
        assert len(cache) == config.depth
        assert cache[0].k.shape == (1, 3, n + config.registers, config.key_heads, config.head_channels)
        out = model.denoise(tokens[:, 3:], torch.empty(1), views.take(3, 4, 0), cache)
        assert out.shape == (1, 1, n, config.channels)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_survive_json(name: str) -> None:
    assert from_json(to_json(PRESETS[name]())) == PRESETS[name]()


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
    assert read == tiny()
    config = read.model
    assert (config.pose, config.value_action, config.rays) == ("gta", "joint", "camera")
    assert (config.window, config.registers, config.time_channels) == (0, 0, 0)
    assert (config.references_see_targets, config.key_heads, read.flow.prediction) == (False, 4, "clean")


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
    ],
)
def test_an_impossible_flow_is_refused(change: dict[str, Any], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        dataclasses.replace(smoke().flow, **change)


def test_the_large_preset_says_the_latents_and_features_it_needs() -> None:
    config = large().model
    assert config.channels == 32 * (config.patch // 8) ** 2  # FLUX.2's 32 latent channels at 1/8 of the size
    assert isinstance(large().flow, FlowConfig) and config.feature_channels == 768


def test_views_are_cut_from_the_size_on_where_that_pays() -> None:
    config = dataclasses.replace(smoke().model, window=2, window_from=17)
    assert [config.window_of(patches) for patches in (4, 16, 17, 64)] == [0, 0, 2, 2]
    assert dataclasses.replace(config, window_from=0).window_of(16) == 2
    assert dataclasses.replace(config, window=0).window_of(10**6) == 0
    whole = dataclasses.replace(config, window=0, image_size=32)
    assert forward_flops(config, 1, 1, 16) == forward_flops(whole, 1, 1, 16)
    assert forward_flops(config, 1, 1, 64) < forward_flops(whole, 1, 1, 64)
