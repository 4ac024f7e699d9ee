"""The SSIM of `ssim.py` on a processor: the same four blurred maps, in float32, with OpenCV's separable filter.

float32 has 24 bits, and a variance taken as E[s^2] - E[s]^2 loses those of the mean. So each strip is shifted by its
own mean first (a variance does not feel that, and the mean is shifted back), and the window is rounded such that it
still sums to 1. On real photographs and on renders with a flat white background that leaves less than 2e-7 to the
float64 twin (`ssim_torch.py`), and 5e-7 with a uniform window; without the two it was 3e-6. The mean over all windows
is meant: the errors of single ones are larger, so that masks are left to the twin.

A pair depends on nothing but itself and the height of a strip, which follows from its size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import cv2
import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from kaleido_bench.score.metrics.ssim_torch import Terms

# Eight maps of one strip should stay near the core: 2^17 float32 each are 4 MiB in all.
_STRIP_ELEMENTS = 1 << 17
_SMALLEST_STRIP = 32

# Below 0.5 a float32 is a multiple of 2^-25 or finer, so that taps on this grid are exact and so is their sum.
_GRID = 2.0**25

Plane = Float32[np.ndarray, "height row"]
"""An image as rows of width x channels numbers: NumPy is slow where its innermost axis has three."""


class _Window(NamedTuple):
    """The window along one axis, and the channels of the images it moves over."""

    taps: Float32[np.ndarray, " tap"]
    channels: int

    def blur(self, source: Plane, target: Plane) -> None:
        shape = (len(source), source.shape[1] // self.channels, self.channels)
        # OpenCV knows no axis of one channel. What its border rule makes of the border is not looked at.
        shape = shape if self.channels > 1 else shape[:2]
        source, target = source.reshape(shape), target.reshape(shape)
        cv2.sepFilter2D(source, -1, self.taps, self.taps, dst=target, borderType=cv2.BORDER_REPLICATE)

    def mean(self, plane: Plane) -> Float32[np.ndarray, " row"]:
        """The mean of each channel, as one row."""
        means = cv2.mean(plane.reshape(len(plane), -1, self.channels))[: self.channels]
        return np.tile(np.array(means, np.float32), plane.shape[1] // self.channels)

    def rows(self, plane: Plane) -> Plane:
        """The rows on which windows that lie wholly in the plane have their centres. Contiguous, therefore fast."""
        margin = len(self.taps) // 2
        return plane[margin : len(plane) - margin]

    def columns(self, plane: Plane) -> Plane:
        """The columns of those centres."""
        margin = self.channels * (len(self.taps) // 2)
        return plane[:, margin : plane.shape[1] - margin]


def average_ssim(
    x: Float[Tensor, "pair channel height width"],
    y: Float[Tensor, "pair channel height width"],
    terms: Terms,
    weights: Float[Tensor, "pair 1 windows_down windows_across"] | None = None,
) -> Float[Tensor, " pair"]:
    """The mean SSIM over the valid windows of each pair, weighted where there are weights.

    Gives float64; the maps are float32, which in the mean over few windows shows: 3e-6 at worst.
    """
    window = _Window(round_window(terms.taps), x.shape[1])
    counts = [None] * len(x) if weights is None else [each[0].numpy() for each in weights]
    values = _map_on_threads(
        lambda place: _average_pair(_to_plane(x[place]), _to_plane(y[place]), counts[place], terms, window), len(x)
    )
    return torch.tensor(values, dtype=torch.float64)


def round_window(taps: Sequence[float]) -> Float32[np.ndarray, " tap"]:
    """The taps in float32, on a grid where they sum to what they sum to in float64, to 2^-25."""
    exact = np.array(taps, dtype=np.float64)
    rounded = np.rint(exact * _GRID) / _GRID
    # The largest tap takes up what rounding left over.
    middle = len(taps) // 2
    rounded[middle] += np.rint((exact.sum() - rounded.sum()) * _GRID) / _GRID
    return rounded.astype(np.float32)


def _to_plane(image: Float[Tensor, "channel height width"]) -> Plane:
    rows = np.ascontiguousarray(image.permute(1, 2, 0).numpy(), dtype=np.float32)
    return rows.reshape(len(rows), -1)


def _average_pair(
    x: Plane,
    y: Plane,
    weights: Float[np.ndarray, "windows_down windows_across"] | None,
    terms: Terms,
    window: _Window,
) -> float:
    height, row = x.shape
    reach = len(window.taps) - 1
    rows = max(_SMALLEST_STRIP, _STRIP_ELEMENTS // row - reach)

    def add(top: int) -> float:
        bottom = min(top + rows, height - reach)
        strip = slice(top, bottom + reach)
        values = window.columns(_map_strip(x[strip], y[strip], terms, window))
        if weights is not None:
            values *= np.repeat(weights[top:bottom].astype(np.float32), window.channels, axis=1)
        return float(values.sum(dtype=np.float64))

    total = sum(add(top) for top in range(0, height - reach, rows))
    windows = (height - reach) * (row // window.channels - reach) if weights is None else float(weights.sum())
    return total / (window.channels * windows)


def _map_on_threads(function: Callable[[int], float], count: int) -> list[float]:
    """On as many threads as torch would use. Within a pair it would not pay: its strips are too short."""
    threads = min(torch.get_num_threads(), count)
    if threads <= 1:
        return [function(place) for place in range(count)]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(function, range(count)))


def _map_strip(x: Plane, y: Plane, terms: Terms, window: _Window) -> Plane:
    """SSIM on the rows of a strip's windows. At the ends of a row, where no window is whole, it means nothing."""
    buffers: Float32[np.ndarray, "8 height row"] = np.empty((8, *x.shape), np.float32)
    sums, differences, squared_sums, squared_differences, *blurred = buffers
    np.add(x, y, out=sums)
    np.subtract(x, y, out=differences)
    shifts = [window.mean(sums), window.mean(differences)]
    for plane, shift, squares in zip((sums, differences), shifts, (squared_sums, squared_differences), strict=True):
        plane -= shift
        np.multiply(plane, plane, out=squares)
    for source, target in zip((sums, differences, squared_sums, squared_differences), blurred, strict=True):
        window.blur(source, target)
    # The first two buffers are free again.
    mean_s, mean_d, squares_s, squares_d, mean_s2, mean_d2 = map(window.rows, (*blurred, sums, differences))
    _centre(mean_s, squares_s, shifts[0], mean_s2, terms)
    _centre(mean_d, squares_d, shifts[1], mean_d2, terms)
    return _compare(mean_s2, mean_d2, squares_s, squares_d, terms, spare=(mean_s, mean_d))


def _centre(mean: Plane, squares: Plane, shift: Float32[np.ndarray, " row"], square: Plane, terms: Terms) -> None:
    """The means of the squares become the variance; `square` the square of the mean, with the shift undone."""
    np.multiply(mean, mean, out=square)
    squares -= square
    if terms.covariance_factor != 1:
        squares *= np.float32(terms.covariance_factor)
    mean += shift
    np.multiply(mean, mean, out=square)


def _compare(
    mean_s2: Plane, mean_d2: Plane, variance_s: Plane, variance_d: Plane, terms: Terms, spare: tuple[Plane, Plane]
) -> Plane:
    """The formula of `ssim_torch`, in place: (s^2 - d^2 + C1) (v_s - v_d + C2) over the same with plus signs."""
    two_c1, two_c2 = np.float32(terms.two_c1), np.float32(terms.two_c2)
    numerator, factor = spare
    np.subtract(mean_s2, mean_d2, out=numerator)
    np.subtract(variance_s, variance_d, out=factor)
    mean_s2 += mean_d2
    variance_s += variance_d
    for sums, constant in ((numerator, two_c1), (factor, two_c2), (mean_s2, two_c1), (variance_s, two_c2)):
        sums += constant
    numerator *= factor
    mean_s2 *= variance_s
    numerator /= mean_s2
    return numerator
