"""Rollouts over small random models."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from reference_model.config import FlowConfig
from reference_model.model import Kaleido, Views
from reference_model.rollout import Chunk, Rollout, Scene, roll_out
from reference_model.sampler import Sampling
from tests.reference_model.models import (
    ROWS,
    SIZE,
    build_config,
    build_model,
    random_poses,
)

FLOW = FlowConfig(1.2, 1.2, 0.2)
PRECISIONS = [pytest.param(torch.float64, 1e-9, id="float64"), pytest.param(torch.float32, 1e-5, id="float32")]
STD = 0.08  # outputs of order 1, as tokens are


def build_rollout(
    targets: int, references: int = 3, dtype: torch.dtype = torch.float64, **changes: Any
) -> tuple[Kaleido, Scene, torch.Tensor]:
    """A model, a scene of one batch row, and noise."""
    config = build_config(**{"max_views": 8, **changes})
    model = build_model(config, dtype, std=STD)
    generator = torch.Generator().manual_seed(3)
    count = references + targets
    k = torch.tensor([[40.0, 0, 17], [0, 44, 15], [0, 0, 1]], dtype=dtype).expand(1, count, 3, 3)
    views = Views(random_poses(count, seed=4).to(dtype), k, references, SIZE, SIZE)

    def draw(rows: int, channels: int = config.channels) -> torch.Tensor:
        return torch.randn(rows, ROWS**2, channels, generator=generator, dtype=torch.float64).to(dtype)

    features = draw(references, config.feature_channels) if config.feature_channels else None
    return model, Scene(draw(references), views, features), draw(targets)


def collect(chunks: list[Chunk], targets: int) -> torch.Tensor:
    out = chunks[0].tokens.new_full((targets, *chunks[0].tokens.shape[1:]), torch.nan)
    for chunk in chunks:
        assert out[chunk.targets].isnan().all()  # each target once
        out[chunk.targets] = chunk.tokens
    assert not out.isnan().any()
    return out


def run(parts: tuple[Kaleido, Scene, torch.Tensor], rollout: Rollout, steps: int = 2, *, cached: bool = True):
    model, scene, noise = parts
    with torch.no_grad():
        chunks = list(roll_out(model, FLOW, scene, noise, Sampling(steps), rollout, cached=cached))
    return chunks, collect(chunks, noise.shape[0])
