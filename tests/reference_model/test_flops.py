"""The FLOPs stated are the FLOPs done."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from reference_model.flops import cache_flops, denoise_flops, forward_flops
from reference_model.model import Kaleido
from reference_model.presets import smoke
from tests.reference_model.models import DESIGNS, SEEING, build_config, build_views


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


def test_views_are_cut_from_the_size_on_where_that_pays() -> None:
    config = dataclasses.replace(smoke().model, window=2, window_from=17)
    assert [config.window_of(patches) for patches in (4, 16, 17, 64)] == [0, 0, 2, 2]
    assert dataclasses.replace(config, window_from=0).window_of(16) == 2
    assert dataclasses.replace(config, window=0).window_of(10**6) == 0
    whole = dataclasses.replace(config, window=0, image_size=32)
    assert forward_flops(config, 1, 1, 16) == forward_flops(whole, 1, 1, 16)
    assert forward_flops(config, 1, 1, 64) < forward_flops(whole, 1, 1, 64)
