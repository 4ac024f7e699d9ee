"""Peak signal-to-noise ratio."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from kaleido_bench.conventions import PsnrRecipe
from kaleido_bench.score.channels import pair_range, select_channels
from kaleido_bench.score.precision import widest_float
from kaleido_bench.score.refusals import require_implemented


def score_psnr(
    predictions: Float[Tensor, "*pair 3 height width"],
    truths: Float[Tensor, "*pair 3 height width"],
    recipe: PsnrRecipe,
) -> Float[Tensor, " *pair"]:
    """PSNR of each pair in dB, 10 log10(range^2 / MSE). Infinite where the two images are identical.

    Per channel it is infinite where one channel is identical in both.

    Args:
        predictions, truths: values in [0, 1].
    Returns:
        float64 wherever the device has it. Infinities are left to the convention's own policy.
    Raises:
        BenchError: the recipe asks for something that is not implemented.
    """
    aggregate = _AGGREGATIONS[check_psnr_recipe(recipe)]
    dtype = widest_float(predictions.device)
    x, y = (select_channels(images, recipe.channels).to(dtype) for images in (predictions, truths))
    peak = 20.0 * (math.log10(recipe.data_range) if recipe.data_range != "pair" else torch.log10(pair_range(x, y)))
    return aggregate((x - y).square_().mean(dim=(-2, -1))) + peak


def _per_image(channel_errors: Float[Tensor, "*pair channel"]) -> Float[Tensor, " *pair"]:
    return -10.0 * torch.log10(channel_errors.mean(dim=-1))


def _per_channel(channel_errors: Float[Tensor, "*pair channel"]) -> Float[Tensor, " *pair"]:
    return -10.0 * torch.log10(channel_errors).mean(dim=-1)


# A view of a pool has its own PSNR like any other; the pooling is in the reduction (statistics.py).
_AGGREGATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "per-image": _per_image,
    "per-channel": _per_channel,
    "pooled": _per_image,
}


def check_psnr_recipe(recipe: PsnrRecipe) -> str:
    """Raise BenchError where the recipe asks for something that `score_psnr` cannot do; gives the aggregation."""
    return require_implemented("psnr.aggregation", recipe.aggregation, tuple(_AGGREGATIONS))
