"""From noise to target views: Euler steps along the velocity. One step from pure noise is the posterior mean, which
maximises PSNR.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from reference_model.flow import noise_schedule, velocity_from_clean
from reference_model.model import Kaleido, Views

Denoiser = Callable[[Float[Tensor, "b target n pixels"], Float[Tensor, " b"]], Float[Tensor, "b target n pixels"]]


def integrate_euler(
    denoise: Denoiser, noise: Float[Tensor, "b target n pixels"], levels: list[float]
) -> Float[Tensor, "b target n pixels"]:
    """Follow the path through `levels` (falling, from 1 to 0). `denoise(x_t, t)` predicts the clean tokens."""
    x = noise
    for t, following in pairwise(levels):
        clean = denoise(x, torch.full((x.shape[0],), t, device=x.device))
        if following == 0:  # the last step of the line ends at the prediction itself
            return clean
        x = x + (following - t) * velocity_from_clean(x, clean, t)
    return x


def build_levels(steps: int, logit_mean: float) -> list[float]:
    """The sampling grid with the same bias as training: a = e^mean."""
    return noise_schedule(steps, shift=math.exp(logit_mean))


def sample_targets(
    model: Kaleido,
    clean: Float[Tensor, "b reference n pixels"],
    views: Views,
    noise: Float[Tensor, "b target n pixels"],
    levels: list[float],
) -> Float[Tensor, "b target n pixels"]:
    """Target tokens in [-1, 1] from clean reference tokens and noise; `views` are the cameras of both."""
    return integrate_euler(lambda x, t: model(torch.cat([clean, x], dim=1), t, views), noise, levels)
