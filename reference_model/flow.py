"""The rectified path, said once: t = 0 is data, t = 1 is noise, x_t = (1 - t) x_0 + t eps, velocity v = eps - x_0.

log SNR(t) = 2 ln((1 - t) / t) = -2 logit(t). Pure functions.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from reference_model.config import FlowConfig


def sample_noise_levels(count: int, config: FlowConfig, generator: torch.Generator) -> Float[Tensor, " b"]:
    """t = sigmoid(mean + std z), so log SNR ~ N(-2 mean, (2 std)^2); mean > 0 is biased towards noise."""
    z = torch.randn(count, generator=generator, device=generator.device)
    return torch.sigmoid(config.logit_mean + config.logit_std * z)


def per_scene(t: Float[Tensor, " b"], like: Tensor) -> Tensor:
    """One value per scene, shaped to broadcast over `like`."""
    return t.reshape(-1, *[1] * (like.ndim - 1)).to(like.dtype)


def mix(clean: Float[Tensor, "b *rest"], noise: Float[Tensor, "b *rest"], t: Float[Tensor, " b"]) -> Tensor:
    """x_t on the straight path."""
    t = per_scene(t, clean)
    return (1 - t) * clean + t * noise


def velocity_from_clean(noisy: Tensor, clean: Tensor, t: float) -> Tensor:
    """v = (x_t - x_0) / t. Raises ValueError at t = 0, where the path has ended."""
    if t <= 0:
        raise ValueError(f"no velocity at t = {t}: the path ends at t = 0")
    return (noisy - clean) / t


def velocity_loss(predicted: Tensor, clean: Tensor, t: Float[Tensor, " b"], min_t: float) -> Float[Tensor, ""]:
    """Mean squared error of the velocity that a clean prediction implies: ||x_0 - x_0'||^2 / t^2, with t at least
    min_t.
    """
    error = (predicted.float() - clean.float()).square().flatten(1).mean(1)
    return (error / t.clamp(min=min_t).square()).mean()


def noise_schedule(steps: int, shift: float) -> list[float]:
    """steps + 1 levels from 1 to 0, t' = a t / (1 + (a - 1) t) of an even grid: a > 1 spends more steps near noise.

    Shifting by a moves log SNR by -2 ln a, as adding ln a to the training mean does. Raises ValueError for steps < 1.
    """
    if steps < 1:
        raise ValueError(f"{steps} steps: at least 1 is needed")
    even = [1 - i / steps for i in range(steps + 1)]
    return [shift * t / (1 + (shift - 1) * t) for t in even]
