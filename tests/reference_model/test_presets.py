"""Presets: their sizes, and what each says of its training."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from reference_model.config import ModelConfig
from reference_model.flops import forward_flops
from reference_model.flow import level_mean
from reference_model.model import Kaleido, count_parameters
from reference_model.presets import PRESETS, large, latent, medium, small
from reference_model.stored import from_json, to_json
from tests.reference_model.models import build_views

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


def test_the_large_preset_says_the_latents_and_features_it_needs() -> None:
    config = large().model
    assert config.channels == 32 * (config.patch // 8) ** 2  # FLUX.2's 32 latent channels at 1/8 of the size
    assert config.feature_channels == 768


@pytest.mark.parametrize("name", PRESETS)
def test_presets_divide_their_budget_and_their_steps(name: str) -> None:
    config = PRESETS[name]().train
    assert sum(stage.share for stage in config.stages) == pytest.approx(1.0)
    assert all(stage.scenes % config.pieces == 0 for stage in config.stages)
    assert config.stages[-1].image_size == PRESETS[name]().model.image_size


def test_small_and_latent_take_as_many_tokens_a_step_in_two_pieces() -> None:
    for preset, size in ((small(), 128), (latent(), 256)):
        stages = preset.train.stages
        assert preset.train.pieces == 2 and [stage.video for stage in stages] == [True, False, False]
        assert [(stage.image_size, stage.scenes) for stage in stages] == [(size // 2, 120)] * 2 + [(size, 80)]


def test_pure_noise_is_trained_where_a_clean_image_is_predicted_at_once() -> None:
    """It was measured there and nowhere else (docs/log.md, entry 15)."""
    found = {name: (build().flow.prediction, build().flow.pure_noise) for name, build in PRESETS.items()}
    assert {name for name, (_, share) in found.items() if share} == {"small", "medium"}
    assert {name for name, (prediction, _) in found.items() if prediction == "velocity"} == {"latent", "large"}


@pytest.mark.parametrize("size", [64, 128, 256])
def test_the_bias_of_medium_is_small_s_at_five_targets(size: int) -> None:
    tokens = (size // 8) ** 2
    assert level_mean(medium().flow, tokens, 5) == pytest.approx(level_mean(small().flow, tokens, 5), abs=0.01)


def test_the_bias_of_large_is_about_latent_s_at_its_size() -> None:
    tokens = (256 // 16) ** 2
    assert level_mean(large().flow, tokens, 5) == pytest.approx(level_mean(latent().flow, tokens, 5), abs=0.15)
