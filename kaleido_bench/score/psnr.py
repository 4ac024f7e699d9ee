"""Peak signal-to-noise ratio."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from kaleido_bench.conventions import PsnrRecipe
from kaleido_bench.score.precision import widest_float
from kaleido_bench.score.refusals import require_implemented


def score_psnr(
    predictions: Float[Tensor, "*pair 3 height width"],
    truths: Float[Tensor, "*pair 3 height width"],
    recipe: PsnrRecipe,
) -> Float[Tensor, " *pair"]:
    """PSNR of each pair in dB, 10 log10(range^2 / MSE). Infinite where the two images are identical.

    Args:
        predictions, truths: values in [0, 1].
    Returns:
        float64 wherever the device has it. Infinities are left to the convention's own policy.
    Raises:
        BenchError: the recipe asks for something that is not implemented.
    """
    check_psnr_recipe(recipe)
    dtype = widest_float(predictions.device)
    channel_errors = (predictions.to(dtype) - truths.to(dtype)).square_().mean(dim=(-2, -1))
    peak = 20.0 * math.log10(float(recipe.data_range))
    return _AGGREGATIONS[recipe.aggregation](channel_errors) + peak


def _per_image(channel_errors: Float[Tensor, "*pair 3"]) -> Float[Tensor, " *pair"]:
    return -10.0 * torch.log10(channel_errors.mean(dim=-1))


_AGGREGATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {"per-image": _per_image}


def check_psnr_recipe(recipe: PsnrRecipe) -> None:
    """Raise BenchError where the recipe asks for something that `score_psnr` cannot do."""
    require_implemented("psnr.aggregation", recipe.aggregation, tuple(_AGGREGATIONS))
    require_implemented("psnr.channels", recipe.channels, ("rgb",))
    if isinstance(recipe.data_range, str):
        require_implemented("psnr.data_range", recipe.data_range, ("a number",))
