"""Structural similarity (Wang, Bovik, Sheikh, Simoncelli 2004, https://doi.org/10.1109/TIP.2003.819861).

One function with four knobs, in which the implementations of the field differ: window, border, covariance, data range.

It works on the sum s = x + y and the difference d = x - y instead of x and y. With m and v the windowed mean and
variance, 2 m_x m_y = (m_s^2 - m_d^2) / 2 and m_x^2 + m_y^2 = (m_s^2 + m_d^2) / 2, and likewise for the covariance and
the two variances. That takes four blurred maps where the definition takes five. The blur is separable and runs as one
shifted multiply-add per tap and axis, over strips that stay in the processor's cache: on one core and 256 px that took
5 ms a pair in float64, where a product with banded matrices took 22 ms and scikit-image 18 ms. float64 costs a factor
of two and leaves rounding no say in the digits reported.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from kaleido_bench.conventions import SsimRecipe
from kaleido_bench.errors import BenchError
from kaleido_bench.score.channels import pair_range, select_channels
from kaleido_bench.score.precision import widest_float
from kaleido_bench.score.refusals import require_implemented

# Elements of the four maps of one strip. On a CPU they should fit the second-level cache (2 MiB in float64); a GPU is
# better off with many images at once.
_STRIP_ELEMENTS_CPU = 1 << 18
_STRIP_ELEMENTS_GPU = 1 << 26

_PADDING_MODES = {"reflect": "reflect", "zero": "constant"}


class _Terms(NamedTuple):
    """What one strip needs: the window along one axis, twice C1 and C2 of the paper, the factor of the covariance."""

    taps: tuple[float, ...]
    two_c1: float
    two_c2: float
    covariance_factor: float


def score_ssim(
    predictions: Float[Tensor, "*pair 3 height width"],
    truths: Float[Tensor, "*pair 3 height width"],
    recipe: SsimRecipe,
) -> Float[Tensor, " *pair"]:
    """Mean SSIM of each pair, over the channels and the windows that the border rule counts; 1 is identical.

    `clip_variance` needs no code: variances in float64 are never below -1e-15, so that clipping them moves nothing.

    Args:
        predictions, truths: values in [0, 1].
    Returns:
        float64 wherever the device has it. With the data range `pair`, NaN where both images are flat.
    Raises:
        BenchError: the recipe leaves unset what it takes, or the window does not fit into the image.
    """
    border = check_ssim_recipe(recipe)
    _check_size(predictions.shape[-2:], recipe)
    x, y = (select_channels(images, recipe.channels) for images in (predictions, truths))
    if recipe.data_range == "pair":
        # SSIM(x, y) over a range L is SSIM(x / L, y / L) over 1.
        scale = pair_range(x, y)[..., None, None, None]
        x, y = x / scale, y / scale
    x, y = _pad(x, border, recipe.window_size), _pad(y, border, recipe.window_size)
    budget = _STRIP_ELEMENTS_CPU if x.device.type == "cpu" else _STRIP_ELEMENTS_GPU
    pairs = max(1, budget // (4 * x[0].numel()))
    terms = _build_terms(recipe)
    blocks = [slice(start, start + pairs) for start in range(0, len(x), pairs)]
    values = [_mean_ssim(x[block], y[block], terms, budget) for block in blocks]
    return torch.cat(values).reshape(predictions.shape[:-3])


def build_window(recipe: SsimRecipe) -> tuple[float, ...]:
    """The window along one axis; it sums to 1."""
    if recipe.sigma is None:
        return (1.0 / recipe.window_size,) * recipe.window_size
    offsets = [place - (recipe.window_size - 1) / 2 for place in range(recipe.window_size)]
    weights = [math.exp(-(offset**2) / (2 * recipe.sigma**2)) for offset in offsets]
    total = math.fsum(weights)
    return tuple(weight / total for weight in weights)


def check_ssim_recipe(recipe: SsimRecipe) -> str:
    """Raise BenchError where the recipe leaves unset what `score_ssim` takes; gives the border."""
    if recipe.data_range is None:
        require_implemented("ssim.data_range", recipe.data_range, ("a number", "pair"))
    return require_implemented("ssim.border", recipe.border, ("valid", *_PADDING_MODES))


def _build_terms(recipe: SsimRecipe) -> _Terms:
    # The halves in the identities above cancel between numerator and denominator when C1 and C2 are doubled.
    points = recipe.window_size**2
    data_range = recipe.data_range if isinstance(recipe.data_range, float) else 1.0
    return _Terms(
        taps=build_window(recipe),
        two_c1=2 * (recipe.k1 * data_range) ** 2,
        two_c2=2 * (recipe.k2 * data_range) ** 2,
        covariance_factor=points / (points - 1) if recipe.covariance == "sample" else 1.0,
    )


def _check_size(size: Sequence[int], recipe: SsimRecipe) -> None:
    # A reflected border needs one pixel more than it is wide.
    smallest = recipe.window_size // 2 + 1 if recipe.border == "reflect" else 1
    smallest = recipe.window_size if recipe.border == "valid" else smallest
    if min(size) < smallest:
        raise BenchError(
            "ssim",
            f"images of {size[1]}x{size[0]} px",
            expected=f"at least {smallest} px a side for a window of {recipe.window_size} with border {recipe.border}",
            fix="Prepare the images larger, or score without SSIM.",
        )


def _pad(images: Tensor, border: str, window_size: int) -> Tensor:
    images = images.reshape(-1, *images.shape[-3:])
    if border == "valid":
        return images
    return F.pad(images, (window_size // 2,) * 4, mode=_PADDING_MODES[border])


def _mean_ssim(x: Tensor, y: Tensor, terms: _Terms, budget: int) -> Float[Tensor, " pair"]:
    """The mean over the valid windows of a block of pairs, strip by strip."""
    pairs, channels, height, width = x.shape
    reach = len(terms.taps) - 1
    rows = max(1, budget // (4 * pairs * channels * width) - reach)
    total = torch.zeros(pairs, dtype=widest_float(x.device), device=x.device)
    for top in range(0, height - reach, rows):
        strip = slice(top, min(top + rows, height - reach) + reach)
        total += _strip_sum(x[..., strip, :], y[..., strip, :], terms)
    return total / (channels * (height - reach) * (width - reach))


def _strip_sum(x: Tensor, y: Tensor, terms: _Terms) -> Float[Tensor, " pair"]:
    """The sum of the SSIM map over the valid windows of a strip."""
    maps = torch.empty((4, *x.shape), dtype=widest_float(x.device), device=x.device)
    torch.add(x, y, out=maps[0])
    torch.sub(x, y, out=maps[1])
    torch.mul(maps[:2], maps[:2], out=maps[2:])
    blurred = _blur(_blur(maps, terms.taps, dim=-2), terms.taps, dim=-1)
    mean_s2, mean_d2 = blurred[:2].square_()
    variance_s, variance_d = blurred[2:].sub_(blurred[:2]).mul_(terms.covariance_factor)
    numerator = (mean_s2 - mean_d2).add_(terms.two_c1) * (variance_s - variance_d).add_(terms.two_c2)
    denominator = (mean_s2 + mean_d2).add_(terms.two_c1) * (variance_s + variance_d).add_(terms.two_c2)
    return (numerator / denominator).sum(dim=(1, 2, 3))


def _blur(maps: Tensor, taps: Sequence[float], dim: int) -> Tensor:
    """Correlate along one axis with the window, valid part only."""
    length = maps.shape[dim] - len(taps) + 1
    blurred = maps.narrow(dim, 0, length) * taps[0]
    for offset, tap in enumerate(taps[1:], start=1):
        blurred.add_(maps.narrow(dim, offset, length), alpha=tap)
    return blurred
