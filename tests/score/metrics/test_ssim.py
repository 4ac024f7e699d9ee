"""SSIM against scikit-image and torchmetrics on real photographs, knob by knob, and what holds by definition.

Everything holds for both ways of averaging: OpenCV's in float32, which a processor uses, and the plain twin in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import pytest
import torch

from kaleido_bench.conventions import SsimRecipe, load_convention
from kaleido_bench.errors import BenchError
from kaleido_bench.score.metrics.oracles import import_repaired
from kaleido_bench.score.metrics.ssim import build_window
from kaleido_bench.score.metrics.ssim import score_ssim as score_fast
from kaleido_bench.score.metrics.ssim_opencv import round_window
from kaleido_bench.score.metrics.ssim_torch import average_ssim
from tests.oracles.freeze_ssim import make_pairs

RECIPE = load_convention("kbench-v1").ssim

score_plain = partial(score_fast, average=average_ssim)


class Way(NamedTuple):
    """A way to compute SSIM, and how far it may be from anybody's float64."""

    score: Callable[..., torch.Tensor]
    tolerance: float


WAYS = {"opencv": Way(score_fast, 1e-6), "plain": Way(score_plain, 1e-7)}


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> Way:
    return WAYS[request.param]


# scikit-image's mean leaves out (window - 1) // 2 pixels at each border, where its filter reflects: that is "valid".
SKIMAGE = {
    "gaussian 11/1.5, biased": (
        {},
        {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False},
    ),
    "gaussian 11/1.5, sample covariance": (
        {"covariance": "sample"},
        {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": True},
    ),
    "uniform 7, sample covariance": (
        {"window": "uniform", "window_size": 7, "sigma": None, "covariance": "sample"},
        {},
    ),
    "uniform 7, sample covariance, data range 2": (
        {"window": "uniform", "window_size": 7, "sigma": None, "covariance": "sample", "data_range": 2.0},
        {"data_range": 2.0},
    ),
}


def change(recipe: SsimRecipe, **fields: object) -> SsimRecipe:
    return SsimRecipe.model_validate({**recipe.model_dump(), **fields})


@pytest.mark.parametrize("name", SKIMAGE)
def test_equals_scikit_image(real_pairs, name: str, way: Way) -> None:
    metrics = pytest.importorskip("skimage.metrics")
    ours, theirs = SKIMAGE[name]
    for pair in real_pairs:
        prediction, truth = (image.astype(np.float64) / 255 for image in (pair.prediction, pair.truth))
        expected = metrics.structural_similarity(truth, prediction, **{"channel_axis": -1, "data_range": 1.0, **theirs})
        found = way.score(*pair.tensors(), change(RECIPE, **ours)).item()
        assert found == pytest.approx(expected, abs=way.tolerance), pair.name


def test_valid_mean_is_the_full_map_cropped_by_five(real_pairs, way: Way) -> None:
    """The same against scikit-image's map, cropped here, so that nothing rests on how it takes its own mean."""
    metrics = pytest.importorskip("skimage.metrics")
    for pair in real_pairs[::4]:
        prediction, truth = (image.astype(np.float64) / 255 for image in (pair.prediction, pair.truth))
        _, full = metrics.structural_similarity(
            truth,
            prediction,
            channel_axis=-1,
            data_range=1.0,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            full=True,
        )
        expected = full[5:-5, 5:-5].mean()
        assert way.score(*pair.tensors(), RECIPE).item() == pytest.approx(expected, abs=way.tolerance), pair.name


def test_reflected_border_equals_torchmetrics(real_pairs, way: Way) -> None:
    """torchmetrics since 1.4.2 keeps the reflected border in its mean. It is fed float64: its float32 is up to 1.1e-5
    away from its own float64 on these pairs."""
    functional = import_repaired("torchmetrics.functional.image")
    recipe = change(RECIPE, border="reflect")
    for pair in real_pairs[::4]:
        prediction, truth = (image.double() for image in pair.tensors())
        theirs = functional.structural_similarity_index_measure(
            prediction, truth, gaussian_kernel=True, sigma=1.5, kernel_size=11, data_range=1.0, k1=0.01, k2=0.03
        )
        assert way.score(prediction, truth, recipe).item() == pytest.approx(theirs.item(), abs=way.tolerance), pair.name


def test_zero_border_equals_the_definition_by_convolution(way: Way) -> None:
    """As 3DGS has it: five maps, each convolved with a two-dimensional window over an image padded with zeros."""
    generator = torch.Generator().manual_seed(0)
    x, y = torch.rand(2, 1, 3, 20, 17, dtype=torch.float64, generator=generator)
    line = torch.tensor(build_window(RECIPE), dtype=torch.float64)
    window = (line[:, None] * line[None, :]).expand(3, 1, 11, 11)

    def blur(image: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.conv2d(image, window, padding=5, groups=3)

    mean_x, mean_y = blur(x), blur(y)
    var_x, var_y, cov = blur(x * x) - mean_x**2, blur(y * y) - mean_y**2, blur(x * y) - mean_x * mean_y
    numerator = (2 * mean_x * mean_y + 1e-4) * (2 * cov + 9e-4)
    expected = (numerator / ((mean_x**2 + mean_y**2 + 1e-4) * (var_x + var_y + 9e-4))).mean()
    assert way.score(x, y, change(RECIPE, border="zero")).item() == pytest.approx(expected.item(), abs=way.tolerance)


def test_of_identical_images_is_exactly_one(real_pairs, way: Way) -> None:
    for pair in real_pairs[::5]:
        truth = pair.tensors()[1]
        assert way.score(truth, truth, RECIPE).item() == pytest.approx(1.0, abs=1e-15)


def test_of_two_constant_images_is_the_luminance_term(way: Way) -> None:
    """Without variance, SSIM is (2ab + C1) / (a^2 + b^2 + C1). On bright flat images float32 loses it."""
    a, b = 0.95, 0.9
    x, y = torch.full((1, 3, 40, 33), a, dtype=torch.float64), torch.full((1, 3, 40, 33), b, dtype=torch.float64)
    expected = (2 * a * b + 1e-4) / (a * a + b * b + 1e-4)
    assert way.score(x, y, RECIPE).item() == pytest.approx(expected, abs=way.tolerance)


def test_falls_with_every_pixel_of_shift(real_pairs, way: Way) -> None:
    truth = real_pairs[0].tensors()[1]
    values = [way.score(truth.roll(shift, dims=-1), truth, RECIPE).item() for shift in range(5)]
    assert values == sorted(values, reverse=True)
    assert values[0] - values[4] > 0.05


def test_is_symmetric_and_does_not_depend_on_the_batch(real_pairs, way: Way) -> None:
    """Several images at once, in blocks and strips, give the bytes of one image alone."""
    square = [pair.tensors() for pair in real_pairs if pair.truth.shape[:2] == (128, 128)]
    x, y = torch.cat([pair[0] for pair in square]), torch.cat([pair[1] for pair in square])
    alone = [way.score(*pair, RECIPE).item() for pair in square]
    assert way.score(x, y, RECIPE).tolist() == alone
    assert way.score(y, x, RECIPE).tolist() == pytest.approx(alone, abs=way.tolerance / 10)
    assert way.score(x[None], y[None], RECIPE).shape == (1, len(square))


def test_strips_do_not_change_the_value(way: Way) -> None:
    """An image of many strips equals the mean over its windows, counted in two halves that share no strip border."""
    x, y = torch.rand(2, 1, 3, 700, 90, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    rows = 333
    top = way.score(x[..., : rows + 10, :], y[..., : rows + 10, :], RECIPE).item()
    bottom = way.score(x[..., rows:, :], y[..., rows:, :], RECIPE).item()
    expected = (top * rows + bottom * (690 - rows)) / 690
    assert way.score(x, y, RECIPE).item() == pytest.approx(expected, abs=way.tolerance / 10)


@pytest.mark.parametrize(("border", "size"), [("valid", (10, 64)), ("reflect", (64, 5))])
def test_refuses_images_smaller_than_the_window(border: str, size: tuple[int, int]) -> None:
    image = torch.rand(1, 3, *size)
    with pytest.raises(BenchError, match=rf"ssim: images of {size[1]}x{size[0]} px; expected at least"):
        score_fast(image, image, change(RECIPE, border=border))


@pytest.mark.parametrize("channels", ["gray", "luma"])
def test_of_a_grey_image_equals_scikit_image(real_pairs, channels: str, way: Way) -> None:
    metrics, color = pytest.importorskip("skimage.metrics"), pytest.importorskip("skimage.color")
    convert = color.rgb2gray if channels == "gray" else lambda image: color.rgb2ycbcr(image)[..., 0] / 255
    for pair in real_pairs[::2]:
        prediction, truth = (convert(image.astype(np.float64) / 255) for image in (pair.prediction, pair.truth))
        expected = metrics.structural_similarity(
            truth, prediction, data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
        found = way.score(*pair.tensors(), change(RECIPE, channels=channels)).item()
        assert found == pytest.approx(expected, abs=5e-6), pair.name


def test_the_range_of_a_pair_equals_torchmetrics_without_one(real_pairs) -> None:
    """torchmetrics with data_range=None takes the range of what it is given, here one pair at a time; ours at once."""
    functional = import_repaired("torchmetrics.functional.image")
    together = [pair.tensors() for pair in real_pairs if pair.truth.shape == (128, 128, 3)]
    x, y = (torch.cat(images).double() * 0.6 + 0.1 for images in zip(*together, strict=True))
    found = score_fast(x, y, change(RECIPE, border="reflect", data_range="pair"))
    theirs = [
        functional.structural_similarity_index_measure(a[None], b[None]).item() for a, b in zip(x, y, strict=True)
    ]
    assert found.tolist() == pytest.approx(theirs, abs=5e-6)
    fixed = score_fast(x, y, change(RECIPE, border="reflect"))
    # A smaller range takes smaller constants, which forgive less.
    assert (found < fixed).all()


def test_scaling_both_images_and_the_range_changes_nothing(real_pairs, way: Way) -> None:
    x, y = (image.double() for image in real_pairs[1].tensors())
    whole = way.score(x, y, RECIPE).item()
    scaled = way.score(x * 255, y * 255, change(RECIPE, data_range=255.0)).item()
    assert scaled == pytest.approx(whole, abs=way.tolerance)


@pytest.mark.parametrize(("field", "expected"), [("border", "'valid' or"), ("data_range", "'a number' or 'pair'")])
def test_what_is_unset_is_refused(field: str, expected: str) -> None:
    image = torch.zeros(1, 3, 16, 16)
    with pytest.raises(BenchError, match=rf"ssim.{field}: None.*{expected}"):
        score_fast(image, image, change(RECIPE, **{field: None}))


KNOBS = {
    "kbench-v1": {},
    "reflect": {"border": "reflect"},
    "zero": {"border": "zero"},
    "sample": {"covariance": "sample"},
    "uniform 7": {"window": "uniform", "window_size": 7, "sigma": None},
    "grey": {"channels": "gray"},
    "range 255": {"data_range": 255.0},
    "range .1": {"data_range": 0.1},
    "range of the pair": {"data_range": "pair"},
}


@pytest.mark.parametrize("name", KNOBS)
def test_the_two_ways_agree_with_and_without_masks(real_pairs, name: str) -> None:
    """On photographs, and on renders with a flat bright background, where float32 is at its worst."""
    renders = [(pair.prediction.float(), pair.truth.float()) for pair in make_pairs()]
    recipe = change(RECIPE, **KNOBS[name])
    for x, y in [*(pair.tensors() for pair in real_pairs[::4]), *renders]:
        masks = torch.zeros(1, *x.shape[-2:], dtype=torch.bool)
        masks[:, 20:60, 30:70] = True
        for kept in (None, masks):
            plain = score_plain(x.double(), y.double(), recipe, kept).item()
            assert score_fast(x, y, recipe, kept).item() == pytest.approx(plain, abs=1e-6)


def test_the_layout_in_memory_changes_no_byte(real_pairs) -> None:
    x, y = real_pairs[1].tensors()
    last = [image.contiguous(memory_format=torch.channels_last) for image in (x, y)]
    assert score_fast(*last, RECIPE).item() == score_fast(x.contiguous(), y.contiguous(), RECIPE).item()


@pytest.mark.parametrize("name", ["kbench-v1", "uniform 7"])
def test_the_rounded_window_sums_to_one(name: str) -> None:
    taps = build_window(change(RECIPE, **KNOBS[name]))
    rounded = round_window(taps)
    assert rounded.astype(np.float64).sum() == 1.0
    assert rounded.tolist() == rounded[::-1].tolist()
    assert rounded == pytest.approx(np.array(taps), abs=2e-7)
