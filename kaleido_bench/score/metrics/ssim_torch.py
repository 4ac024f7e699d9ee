"""The SSIM of `ssim.py` in plain torch: the path of every device but a processor, and the oracle of OpenCV's.

It works on the sum s = x + y and the difference d = x - y instead of x and y. With m and v the windowed mean and
variance, 2 m_x m_y = (m_s^2 - m_d^2) / 2 and m_x^2 + m_y^2 = (m_s^2 + m_d^2) / 2, and likewise for the covariance and
the two variances. That takes four blurred maps where the definition takes five. The blur is separable and runs as one
shifted multiply-add per tap and axis. float64 leaves rounding no say in the digits reported.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from kaleido_bench.score.metrics.precision import widest_float

# Elements of the four maps of one strip. On a CPU they should fit the second-level cache (2 MiB in float64); a GPU is
# better off with many images at once.
_STRIP_ELEMENTS_CPU = 1 << 18
_STRIP_ELEMENTS_GPU = 1 << 26


class Terms(NamedTuple):
    """The window along one axis, twice C1 and C2 of the paper, the factor of the covariance."""

    taps: tuple[float, ...]
    two_c1: float
    two_c2: float
    covariance_factor: float


def average_ssim(
    x: Float[Tensor, "pair channel height width"],
    y: Float[Tensor, "pair channel height width"],
    terms: Terms,
    weights: Float[Tensor, "pair 1 windows_down windows_across"] | None = None,
) -> Float[Tensor, " pair"]:
    """The mean SSIM over the valid windows of each pair, weighted where there are weights.

    float64 wherever the device has it.
    """
    budget = _STRIP_ELEMENTS_CPU if x.device.type == "cpu" else _STRIP_ELEMENTS_GPU
    pairs = max(1, budget // (4 * x[0].numel()))
    blocks = [slice(start, start + pairs) for start in range(0, len(x), pairs)]
    return torch.cat(
        [_mean_ssim(x[block], y[block], terms, budget, None if weights is None else weights[block]) for block in blocks]
    )


def _mean_ssim(
    x: Tensor, y: Tensor, terms: Terms, budget: int, weights: Tensor | None = None
) -> Float[Tensor, " pair"]:
    """The mean over the valid windows of a block of pairs, strip by strip; weighted where there are weights."""
    pairs, channels, height, width = x.shape
    reach = len(terms.taps) - 1
    rows = max(1, budget // (4 * pairs * channels * width) - reach)
    total = torch.zeros(pairs, dtype=widest_float(x.device), device=x.device)
    for top in range(0, height - reach, rows):
        bottom = min(top + rows, height - reach)
        strip = slice(top, bottom + reach)
        values = _strip_map(x[..., strip, :], y[..., strip, :], terms)
        total += (values if weights is None else values * weights[..., top:bottom, :]).sum(dim=(1, 2, 3))
    counted = (height - reach) * (width - reach) if weights is None else weights.sum(dim=(1, 2, 3))
    return total / (channels * counted)


def _strip_map(x: Tensor, y: Tensor, terms: Terms) -> Float[Tensor, "pair channel height width"]:
    """The SSIM map over the valid windows of a strip."""
    maps = torch.empty((4, *x.shape), dtype=widest_float(x.device), device=x.device)
    torch.add(x, y, out=maps[0])
    torch.sub(x, y, out=maps[1])
    torch.mul(maps[:2], maps[:2], out=maps[2:])
    blurred = _blur(_blur(maps, terms.taps, dim=-2), terms.taps, dim=-1)
    mean_s2, mean_d2 = blurred[:2].square_()
    variance_s, variance_d = blurred[2:].sub_(blurred[:2]).mul_(terms.covariance_factor)
    numerator = (mean_s2 - mean_d2).add_(terms.two_c1) * (variance_s - variance_d).add_(terms.two_c2)
    denominator = (mean_s2 + mean_d2).add_(terms.two_c1) * (variance_s + variance_d).add_(terms.two_c2)
    return numerator / denominator


def _blur(maps: Tensor, taps: Sequence[float], dim: int) -> Tensor:
    """Correlate along one axis with the window, valid part only."""
    length = maps.shape[dim] - len(taps) + 1
    blurred = maps.narrow(dim, 0, length) * taps[0]
    for offset, tap in enumerate(taps[1:], start=1):
        blurred.add_(maps.narrow(dim, offset, length), alpha=tap)
    return blurred
