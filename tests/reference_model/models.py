"""Small random models of every design, and the scenes they are shown."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import torch
from torch import Tensor

from reference_model.config import ModelConfig
from reference_model.model import Kaleido, Views
from reference_model.presets import smoke

ROWS, REFERENCES, VIEWS = 4, 2, 5
SIZE = 8 * ROWS

# One design each, or a few that touch each other. All are on top of the smoke preset: GTA, full attention, one stack.
DESIGNS: dict[str, dict[str, Any]] = {
    "plain": {},
    "prope": {"pose": "prope"},
    "split": {"value_action": "split"},
    "split-prope": {"value_action": "split", "pose": "prope"},
    "dual": {"value_action": "dual"},
    "untouched-values": {"value_action": "none"},
    "registers": {"registers": 3},
    "time": {"time_channels": 8},
    "grouped": {"heads": 4, "pose_channels": 8, "kv_heads": 2},
    "local-windows": {"window": 2, "window_rule": "local"},
    "windows-and-registers": {"window": 2, "registers": 2},
    "encoder-decoder": {"layout": "encoder-decoder", "registers": 1},
    "learned-position": {"position": "learned"},
    "own-modulation": {"modulation": "block", "mlp": "gelu", "qk_norm": False},
    "features": {"feature_channels": 6},
    "whole": {
        "pose": "prope", "value_action": "split", "time_channels": 8, "registers": 2, "window": 2, "kv_heads": 1,
        "feature_channels": 6, "modulation": "block",
    },
}  # fmt: skip
SEEING = {"references_see_targets": True}


def build_config(**changes: Any) -> ModelConfig:
    return dataclasses.replace(smoke().model, **changes)


def build_model(config: ModelConfig, dtype: torch.dtype = torch.float64, std: float = 0.15) -> Kaleido:
    """Random everywhere, also where training starts at zero: a zero gate would hide every difference."""
    torch.manual_seed(0)
    model = Kaleido(config).double()
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=std)
    return model.to(dtype).eval()


def random_poses(count: int, seed: int = 0, scenes: int = 1) -> Tensor:
    """[scenes, count, 4, 4] rigid, float64, centres within a few units."""
    generator = torch.Generator().manual_seed(seed)
    raw = torch.randn(scenes, count, 3, 3, generator=generator, dtype=torch.float64)
    rotation, _ = torch.linalg.qr(raw)
    rotation = rotation * torch.linalg.det(rotation)[..., None, None]
    poses = torch.eye(4, dtype=torch.float64).repeat(scenes, count, 1, 1)
    poses[..., :3, :3] = rotation
    poses[..., :3, 3] = torch.randn(scenes, count, 3, generator=generator, dtype=torch.float64)
    return poses


class Scene(NamedTuple):
    tokens: Tensor
    t: Tensor
    views: Views
    features: Tensor | None

    def run(self, model: Kaleido) -> Tensor:
        with torch.no_grad():
            return model(*self)

    @property
    def clean(self) -> Tensor:
        return self.tokens[:, : self.views.references]

    @property
    def noised(self) -> Tensor:
        return self.tokens[:, self.views.references :]

    def with_views(self, **changes: Any) -> Scene:
        return self._replace(views=self.views._replace(**changes))

    def select(self, rows: list[int]) -> Scene:
        """Other views, or the same in another order; as many references."""
        views, r = self.views, self.views.references
        times = None if views.times is None else views.times[:, rows]
        moved = views._replace(c2w=views.c2w[:, rows], intrinsics=views.intrinsics[:, rows], times=times)
        features = None if self.features is None else self.features[:, rows[:r]]
        return Scene(self.tokens[:, rows], self.t, moved, features)


def build_scene(config: ModelConfig, dtype: torch.dtype = torch.float64, scenes: int = 1, seed: int = 1) -> Scene:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    intrinsics = torch.tensor([[40.0, 0, 17], [0, 44.0, 15], [0, 0, 1]], dtype=dtype).repeat(scenes, VIEWS, 1, 1)
    intrinsics[:, :, 0, 0] += torch.arange(VIEWS)
    times = torch.arange(VIEWS, dtype=dtype).expand(scenes, VIEWS) if config.time_channels else None
    views = Views(random_poses(VIEWS, seed, scenes).to(dtype), intrinsics, REFERENCES, SIZE, SIZE, times)
    features = draw(scenes, REFERENCES, ROWS**2, config.feature_channels) if config.feature_channels else None
    level = torch.rand(scenes, generator=generator, dtype=torch.float64).to(dtype)
    return Scene(draw(scenes, VIEWS, ROWS**2, config.channels), level, views, features)


def build_views(references: int, targets: int, size: int, device: str = "cpu") -> Views:
    """One scene whose cameras are all at the origin: where only shapes and counts matter."""
    count = references + targets
    k = torch.tensor([[40.0, 0, 17], [0, 44, 15], [0, 0, 1]], device=device).expand(1, count, 3, 3)
    return Views(torch.eye(4, device=device).expand(1, count, 4, 4), k, references, size, size)


def from_velocity(velocity: Tensor, noisy: Tensor, t: float, prediction: str) -> Tensor:
    """What a network would predict at (x_t, t) whose velocity is this: the inverse of `flow.to_velocity`."""
    if prediction == "velocity":
        return velocity
    return noisy - t * velocity if prediction == "clean" else noisy + (1 - t) * velocity
