"""Colour correction against independent least squares, and what must hold of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kaleido_bench.conventions import load_convention
from kaleido_bench.score.metrics.colour import correct_affine, correct_quadratic
from kaleido_bench.score.metrics.quantise import prepare_images
from tests.score.conftest import Pair

EPS = 0.5 / 255


@pytest.fixture(scope="module")
def pairs(real_pairs: list[Pair]) -> list[Pair]:
    """The darkened and the noisy ones, small."""
    return [pair for pair in real_pairs if "(128, 128)" in pair.name and pair.name.split()[-1] in ("darken", "noise")]


def pixels(image: np.ndarray) -> np.ndarray:
    return image.reshape(-1, 3).astype(np.float64) / 255


def colours(found: torch.Tensor) -> np.ndarray:
    return found[0].permute(1, 2, 0).reshape(-1, 3).double().numpy()


def test_affine_is_the_inverse_of_the_line_from_truth_to_prediction(pairs: list[Pair]) -> None:
    for pair in pairs:
        x, y = pixels(pair.prediction), pixels(pair.truth)
        found = colours(correct_affine(*pair.tensors()))
        for c in range(3):
            slope, offset = np.polyfit(y[:, c], x[:, c], 1)
            expected = ((x[:, c] - offset) / slope).clip(0, 1)
            assert np.abs(found[:, c] - expected).max() < 1e-5, pair.name


def expand(x: np.ndarray) -> np.ndarray:
    r, g, b = x.T
    return np.stack([r * r, r * g, r * b, g * g, g * b, b * b, r, g, b, np.ones_like(r)], axis=1)


def fit_quadratic(x: np.ndarray, y: np.ndarray, rounds: int = 5) -> np.ndarray:
    """The rule in words: rows that are saturated are taken out, not weighted with zero; numpy solves by SVD."""
    usable = [(x[:, c] >= EPS) & (x[:, c] <= 1 - EPS) & (y[:, c] >= EPS) & (y[:, c] <= 1 - EPS) for c in range(3)]
    for _ in range(rounds):
        terms, columns = expand(x), []
        for c in range(3):
            rows = usable[c] & (x[:, c] >= EPS) & (x[:, c] <= 1 - EPS)
            columns.append(terms @ np.linalg.lstsq(terms[rows], y[rows, c], rcond=None)[0])
        x = np.stack(columns, axis=1).clip(0, 1)
    return x


def test_quadratic_is_least_squares_without_saturated_pixels(pairs: list[Pair]) -> None:
    saturated = 0
    for pair in pairs:
        expected = fit_quadratic(pixels(pair.prediction), pixels(pair.truth))
        assert np.abs(colours(correct_quadratic(*pair.tensors())) - expected).max() < 1e-5, pair.name
        saturated += int((pair.truth == 255).sum())
    assert saturated > 100, "the rule for saturated pixels is not exercised"


@pytest.mark.parametrize("correct", [correct_affine, correct_quadratic])
def test_an_exposure_is_undone(correct, pairs: list[Pair]) -> None:
    """A prediction that is the truth under another gain and offset, nowhere saturated, comes back as the truth."""
    truth = 0.1 + 0.8 * pairs[0].tensors()[1]
    assert (correct(0.7 * truth + 0.1, truth) - truth).abs().max() < 2e-6


@pytest.mark.parametrize("correct", [correct_affine, correct_quadratic])
def test_flat_images_and_batches(correct, pairs: list[Pair]) -> None:
    """Nothing to fit is no NaN, and a pair does not depend on its neighbours."""
    x, y = (torch.cat(each) for each in zip(*(pair.tensors() for pair in pairs[:2]), strict=True))
    flat = torch.full_like(x[:1], 0.4)
    assert torch.isfinite(correct(flat, flat)).all() and torch.isfinite(correct(x[:1], flat)).all()
    assert torch.isfinite(correct(torch.zeros_like(flat), torch.ones_like(flat))).all()
    assert torch.equal(correct(x, y), torch.cat([correct(x[[k]], y[[k]]) for k in range(len(x))]))


def test_the_colours_are_corrected_before_they_are_rounded(pairs: list[Pair]) -> None:
    """As multinerf does it: what is scored is 8-bit."""
    prepared = prepare_images(*pairs[0].tensors(), load_convention("multinerf-cc"))
    steps = prepared.predictions * 255
    assert (steps - steps.round()).abs().max() < 1e-4
    assert (prepared.predictions - pairs[0].tensors()[0]).abs().max() > 0.01
