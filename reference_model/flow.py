"""The rectified path, said once: t = 0 is data, t = 1 is noise, x_t = (1 - t) x_0 + t eps, velocity v = eps - x_0.

log SNR(t) = 2 ln((1 - t) / t) = -2 logit(t). A network predicts x_0, v or eps (FlowConfig.prediction); each says the
others at its (x_t, t), and `to_clean` and `to_velocity` are the one place where that is done. Pure functions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist

import torch
from jaxtyping import Float
from torch import Tensor

from reference_model.config import FlowConfig


def level_mean(config: FlowConfig, tokens: int, targets: int) -> float:
    """The bias of the levels: the configured mean plus ln a, where a grows with what is generated (FlowConfig.shift).

    Shifting levels by a, t' = a t / (1 + (a - 1) t), moves log SNR by -2 ln a, as adding ln a to the mean does.

    Args:
        tokens: of a view.
        targets: generated together.
    """
    a = 1.0
    if config.shift != "fixed":
        a *= math.sqrt(tokens / config.base_tokens)  # SD3 (arXiv 2403.03206): more pixels hide the same noise
    if config.shift == "resolution-views":
        a *= math.sqrt(targets)
    return config.logit_mean + math.log(a)


def sample_noise_levels(
    count: int, config: FlowConfig, generator: torch.Generator, tokens: int = 0, targets: int = 1
) -> Float[Tensor, " b"]:
    """Levels for training: t = sigmoid(mean + std z), so log SNR ~ N(-2 mean, (2 std)^2), or a uniform t shifted by
    e^mean; mean > 0 is biased towards noise; max_t for the share `pure_noise`. `tokens` and `targets` as in
    `level_mean`; 0 tokens: as many as the base.
    """
    mean = level_mean(config, tokens or config.base_tokens, targets)
    if config.levels == "uniform":
        u = torch.rand(count, generator=generator, device=generator.device)
        t = math.exp(mean) * u / (1 + (math.exp(mean) - 1) * u)
    else:
        t = torch.sigmoid(mean + config.logit_std * torch.randn(count, generator=generator, device=generator.device))
    if config.pure_noise:
        pure = torch.rand(count, generator=generator, device=generator.device) < config.pure_noise
        t = t.masked_fill(pure, config.max_t)
    return t.clamp(max=config.max_t)


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


def to_clean(predicted: Tensor, noisy: Tensor, t: float, prediction: str) -> Tensor:
    """x_0 from what the network predicts at (x_t, t). Raises ValueError for a noise-prediction at t = 1."""
    if prediction == "clean":
        return predicted
    if prediction == "velocity":
        return noisy - t * predicted
    if t >= 1:
        raise ValueError(f"noise-prediction says nothing at t = {t}: start below 1 (FlowConfig.max_t)")
    return (noisy - t * predicted) / (1 - t)


def to_velocity(predicted: Tensor, noisy: Tensor, t: float, prediction: str) -> Tensor:
    """v from what the network predicts at (x_t, t)."""
    if prediction == "velocity":
        return predicted
    return velocity_from_clean(noisy, to_clean(predicted, noisy, t, prediction), t)


def flow_loss(
    predicted: Tensor, clean: Tensor, noise: Tensor, t: Float[Tensor, " b"], config: FlowConfig
) -> Float[Tensor, ""]:
    """Mean squared error of the velocity that the prediction implies, whatever it is a prediction of.

    An error e of x_0 is an error e / t of the velocity (t at least min_t), one of eps is e / (1 - t).
    """
    truth = {"clean": clean, "velocity": noise - clean, "noise": noise}[config.prediction]
    error = (predicted.float() - truth.float()).square().flatten(1).mean(1)
    if config.prediction == "velocity":
        return error.mean()
    scale = t.clamp(min=config.min_t) if config.prediction == "clean" else (1 - t).clamp(min=1 - config.max_t)
    return (error / scale.square()).mean()


def noise_schedule(steps: int, shift: float, highest: float = 1.0) -> list[float]:
    """steps + 1 levels from `highest` to 0, t' = a t / (1 + (a - 1) t) of an even grid: a > 1 spends more steps near
    noise.

    Raises ValueError for steps < 1.
    """
    if steps < 1:
        raise ValueError(f"{steps} steps: at least 1 is needed")
    start = highest / (shift - (shift - 1) * highest) if highest < 1 else 1.0  # what is shifted to `highest`
    even = [start * (1 - i / steps) for i in range(steps + 1)]
    return [shift * t / (1 + (shift - 1) * t) for t in even]


def shifted_levels(steps: int, mean: float, config: FlowConfig) -> list[float]:
    """An even grid, shifted by a = e^mean."""
    return noise_schedule(steps, math.exp(mean), config.max_t)


def quantile_levels(steps: int, mean: float, config: FlowConfig) -> list[float]:
    """Quantiles of the levels that training drew, for few steps: each step stands for as much of the training. Of
    uniform levels these are the shifted grid.
    """
    if config.levels == "uniform":
        return shifted_levels(steps, mean, config)
    drawn = NormalDist(mean, config.logit_std)  # of logit t
    share = drawn.cdf(math.log(config.max_t / (1 - config.max_t))) if config.max_t < 1 else 1.0
    inner = (drawn.inv_cdf(share * (1 - i / steps)) for i in range(1, steps))
    return [config.max_t, *(1 / (1 + math.exp(-x)) for x in inner), 0.0]


Schedule = Callable[[int, float, FlowConfig], list[float]]
SCHEDULES: dict[str, Schedule] = {"shifted": shifted_levels, "quantiles": quantile_levels}


def build_levels(
    steps: int, config: FlowConfig, tokens: int = 0, targets: int = 1, schedule: str = "shifted"
) -> list[float]:
    """The sampling grid: steps + 1 falling levels from max_t to 0, with the bias that training had for as many tokens
    and targets (or `sampling_mean`, where the configuration asks for another).

    Raises ValueError for steps < 1 or an unknown schedule.
    """
    if steps < 1 or schedule not in SCHEDULES:
        raise ValueError(f"{steps} steps of schedule {schedule!r}: at least 1 is needed, of {', '.join(SCHEDULES)}")
    mean = level_mean(config, tokens or config.base_tokens, targets)
    if config.sampling_mean is not None:
        mean = config.sampling_mean
    return SCHEDULES[schedule](steps, mean, config)
