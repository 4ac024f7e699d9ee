"""Clamping and 8 bits, against numpy's own casts and Pillow's."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kaleido_bench.conventions import Convention, load_convention
from kaleido_bench.errors import BenchError
from kaleido_bench.score.metrics.quantise import prepare_images
from kaleido_bench.score.metrics.scorers import build_scorers

V1 = load_convention("kbench-v1")


def change(**fields: object) -> Convention:
    return V1.model_copy(update=fields)


@pytest.fixture(scope="module")
def floats() -> torch.Tensor:
    """float32 in [-0.1, 1.1], and among them every k / 255 and its neighbours."""
    steps = np.arange(256, dtype=np.float32) / np.float32(255)
    near = [np.nextafter(steps, np.float32(side)) for side in (-1, 2)]
    noise = np.random.default_rng(0).uniform(-0.1, 1.1, 3 * 40 * 40 - 3 * 256).astype(np.float32)
    return torch.from_numpy(np.concatenate([steps, *near, noise]).reshape(1, 3, 40, 40))


def test_floor8_is_numpys_cast(floats: torch.Tensor) -> None:
    """`(x * 255).astype(np.uint8)`, the line that truncates in so many code bases."""
    found, *_ = prepare_images(floats, floats, change(quantise="floor8"))
    expected = (floats.numpy().clip(0, 1) * np.float32(255)).astype(np.uint8)
    assert torch.equal(found, torch.from_numpy(expected).float() / 255)


def test_round8_is_the_nearest(floats: torch.Tensor) -> None:
    found, *_ = prepare_images(floats, floats, V1)
    expected = np.rint(floats.numpy().clip(0, 1).astype(np.float64) * 255)
    assert np.abs(found.numpy() * 255 - expected).max() < 1e-4


def test_none_only_clamps_and_without_a_clamp_leaves_all(floats: torch.Tensor) -> None:
    found, truth, _ = prepare_images(floats, floats, change(quantise="none"))
    assert torch.equal(found, floats.clamp(0, 1)) and truth is floats
    assert prepare_images(floats, floats, change(quantise="none", clamp=False)).predictions is floats


def test_the_truth_goes_with_the_prediction_only_where_the_convention_says_so(floats: torch.Tensor) -> None:
    assert prepare_images(floats, floats, change(quantise="floor8")).truths is floats
    both = prepare_images(floats, floats, change(quantise="floor8", quantise_of="both"))
    assert torch.equal(both.truths, both.predictions)


@pytest.mark.parametrize("clamp", [True, False])
@pytest.mark.parametrize("rule", ["none", "round8", "floor8"])
def test_a_saved_prediction_is_left_as_it_is(rule: str, clamp: bool) -> None:
    """Every 8-bit value in float32, as scoring reads it from a PNG, bit by bit: no rule moves a saved prediction."""
    saved = torch.arange(256, dtype=torch.uint8).to(torch.float32).div_(255).reshape(1, 1, 16, 16).expand(1, 3, 16, 16)
    prepared = prepare_images(saved, saved, change(quantise=rule, clamp=clamp, quantise_of="both"))
    assert torch.equal(prepared.predictions, saved) and torch.equal(prepared.truths, saved)


def test_the_border_is_cut_off_both(floats: torch.Tensor) -> None:
    x, y, _ = prepare_images(floats, floats.flip(-1), change(quantise="none", clamp=False, crop_border=3))
    assert torch.equal(x, floats[..., 3:-3, 3:-3]) and torch.equal(y, floats.flip(-1)[..., 3:-3, 3:-3])
    with pytest.raises(BenchError, match="crop_border: 20 px a side of images of 40x40 px"):
        prepare_images(floats, floats, change(crop_border=20))


def test_every_metric_is_that_of_the_cut_images(floats: torch.Tensor) -> None:
    truth = floats.roll(5, -1).clamp(0, 1)
    cut = build_scorers(change(crop_border=4), ["psnr", "ssim"], (), "cpu").score(floats, truth)
    whole = build_scorers(V1, ["psnr", "ssim"], (), "cpu").score(*(i[..., 4:-4, 4:-4] for i in (floats, truth)))
    assert {name: value.item() for name, value in cut.items()} == {name: value.item() for name, value in whole.items()}


@pytest.mark.parametrize("field", ["clamp", "quantise"])
def test_what_is_unset_is_refused(floats: torch.Tensor, field: str) -> None:
    with pytest.raises(BenchError, match=f"{field}: None, which this version cannot score"):
        prepare_images(floats, floats, change(**{field: None}))
