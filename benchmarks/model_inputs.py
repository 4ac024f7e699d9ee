"""What benchmarks/model.py measures: models with random weights, views and tokens, at real or at toy size."""

from __future__ import annotations

import dataclasses

import torch
from kernels_used import WAYS, take_away
from model_machine import Machine
from torch import Tensor

from reference_model.config import ModelConfig
from reference_model.model import Kaleido, Views
from reference_model.precision import round_weights


def build_config(machine: Machine, width: int = 512, size: int = 128, **changes: object) -> ModelConfig:
    """The shape of the first probe: 12 blocks, heads of 128 channels, half of a head pose, all of it multi-head."""
    config = ModelConfig(
        width=width, depth=12, heads=width // 128, mlp_width=-(-width * 8 // 3 // 64) * 64, patch=8, image_size=size,
        pose_channels=64, max_views=8,
    )  # fmt: skip
    if machine.toy:
        config = dataclasses.replace(config, width=64, depth=2, heads=2, mlp_width=128, pose_channels=16, image_size=32)
    return dataclasses.replace(config, **changes)


def build_model(machine: Machine, config: ModelConfig, *, way: str = "now", compiled: bool = True) -> Kaleido:
    """A model with random weights, its blocks compiled one by one on a GPU. `way`: without which kernels."""
    torch.manual_seed(0)
    model = Kaleido(config).to(machine.device)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.5 * parameter.shape[-1] ** -0.5)
    take_away(model, WAYS[way])
    if compiled and machine.cuda:
        torch._dynamo.config.cache_size_limit = 64
        for block in model.stack():
            block.compile(dynamic=False)
    return model


def build_sampling_model(machine: Machine, config: ModelConfig, way: str = "now") -> Kaleido:
    """Not compiled: with the kernels there is little left to fuse. Weights are rounded once."""
    model = build_model(machine, config, way=way, compiled=False).eval()
    return round_weights(model) if machine.cuda else model


def draw_views(machine: Machine, scenes: int, references: int, targets: int, size: int) -> Views:
    """Cameras on a circle about the origin, at distance 1."""
    count = references + targets
    angle = torch.linspace(0, 6.28, count + 1)[:-1]
    c2w = torch.eye(4).repeat(count, 1, 1)
    c2w[:, 0, 0], c2w[:, 0, 2], c2w[:, 2, 0], c2w[:, 2, 2] = angle.cos(), -angle.sin(), angle.sin(), angle.cos()
    c2w[:, :3, 3] = -c2w[:, :3, 2]
    k = torch.tensor([[1.2 * size, 0, size / 2], [0, 1.2 * size, size / 2], [0, 0, 1]])
    return Views(
        c2w.expand(scenes, -1, -1, -1).to(machine.device),
        k.expand(scenes, count, 3, 3).to(machine.device),
        references,
        size,
        size,
    )


def draw_tokens(machine: Machine, config: ModelConfig, scenes: int, views: int) -> Tensor:
    n = (config.image_size // config.patch) ** 2
    return torch.randn(scenes, views, n, config.channels, device=machine.device)
