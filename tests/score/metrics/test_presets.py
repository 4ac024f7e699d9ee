"""Every shipped convention on one fixed image set: golden values, and the size of the quirk that it is known for.

The truths are renders that ship with the package; the predictions are floats, not 8-bit images, and some lie outside
[0, 1], so that clamping and quantisation show. No VGG16 weights are at hand: its trunk is random here, and the golden
LPIPS-vgg says only that nothing moved.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from kaleido_bench.conventions import (
    FOREGROUND_METRICS,
    Convention,
    fill_unset,
    find_conventions,
    list_caveats,
    load_convention,
)
from kaleido_bench.data.images import ImagePreparation, decode_image
from kaleido_bench.data.readers import build_reader
from kaleido_bench.data.scenes import load_view
from kaleido_bench.score.metrics.lpips import TRUNKS, Conv
from kaleido_bench.score.metrics.oracles import import_repaired
from kaleido_bench.score.metrics.scorers import build_scorers
from kaleido_bench.score.results.statistics import pool_psnr

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "conventions.json"
PRESETS = tuple(find_conventions())
NAMED = (
    *("kbench-v1", "nerfbaselines", "3dgs", "gsplat-alex", "gsplat-vgg", "nerfacto", "splatfacto", "multinerf"),
    *("pixelsplat-offline", "mvsplat", "lvsm", "lagernvs", "eschernet", "seva", "nvs-bench"),
)
"""The conventions everybody asks for. Others may join them."""
TOLERANCE = {"psnr": 1e-5, "psnr-fg": 1e-5, "ssim": 1e-6, "ssim-fg": 1e-6, "lpips-alex": 2e-5, "lpips-vgg": 2e-6}


class Images(NamedTuple):
    """float32 [pair, 3, 128, 128]."""

    predictions: torch.Tensor
    truths: torch.Tensor


@pytest.fixture(scope="module")
def images() -> Images:
    """Four renders, each blurred, shifted, noisy, and brightened beyond white."""
    rng = np.random.default_rng(20)
    predictions: list[np.ndarray] = []
    truths: list[np.ndarray] = []
    for world in ("world-00", "world-01", "world-03", "world-05"):
        path = Path(str(files("kaleido_bench"))) / "embedded" / "scenes" / "quickstart" / world / "images" / "04.png"
        truth = decode_image(path.read_bytes(), path)[..., :3].astype(np.float32) / np.float32(255)
        blurred = sum(np.roll(truth, shift, axis) for axis in (0, 1) for shift in (-1, 0, 1)) / np.float32(6)
        noise = rng.integers(-3000, 3001, truth.shape).astype(np.float32) / np.float32(50_000)
        predictions += [blurred, np.roll(truth, (1, 2), (0, 1)), truth + noise, truth * np.float32(1.1) + noise / 30]
        truths += [truth] * 4
    return Images(
        *(torch.from_numpy(np.stack(each)).permute(0, 3, 1, 2).contiguous() for each in (predictions, truths))
    )


@pytest.fixture(scope="module")
def weights(weights_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """KBENCH_WEIGHTS with the true AlexNet trunk and a random VGG16, of He's variance so that its features live."""
    folder = tmp_path_factory.mktemp("weights")
    (folder / "alexnet_features.safetensors").symlink_to(weights_dir / "lpips" / "alexnet_features.safetensors")
    rng, state, inputs = np.random.default_rng(16), dict[str, torch.Tensor](), 3
    widths = iter((64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512))
    for layer in TRUNKS["vgg"].layers:
        if isinstance(layer, Conv):
            outputs = next(widths)
            limit = (6 / (9 * inputs)) ** 0.5
            kernel = rng.uniform(-limit, limit, (outputs, inputs, 3, 3)).astype(np.float32)
            state[f"features.{layer.place}.weight"] = torch.from_numpy(kernel)
            state[f"features.{layer.place}.bias"] = torch.zeros(outputs)
            inputs = outputs
    save_file(state, folder / "vgg16_features.safetensors")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KBENCH_WEIGHTS", str(folder))
        yield folder


def score(
    convention: Convention, images: Images, *metrics: str, mask: torch.Tensor | None = None
) -> dict[str, torch.Tensor]:
    """Each pair under each metric, with one mask for all or without any; four at a time, which fill a block of LPIPS
    and give the bytes of each alone (test_stream.py)."""
    full = [metric for metric in convention.metrics if mask is not None or metric not in FOREGROUND_METRICS]
    scorers = build_scorers(convention, metrics or full, (), "cpu")
    blocks = [
        scorers.score(x, y, None if mask is None else mask.expand(len(x), -1, -1))
        for x, y in zip(*(each.split(4) for each in images), strict=True)
    ]
    return {name: torch.cat([block[name] for block in blocks]).double() for name in blocks[0]}


def mean(convention: Convention, images: Images, metric: str, mask: torch.Tensor | None = None) -> float:
    return score(convention, images, metric, mask=mask)[metric].mean().item()


def disc(coverage: float, size: int = 128) -> torch.Tensor:
    """A mask [size, size]: a disc off the centre that covers so much of the image."""
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    return (x - 0.45 * size) ** 2 + (y - 0.55 * size) ** 2 <= coverage * size**2 / torch.pi


def change(convention: Convention, group: str | None = None, **fields: object) -> Convention:
    """A filled copy with some fields changed, those of `psnr` or `ssim` where a group is named."""
    filled = fill_unset(convention)
    if group:
        return filled.model_copy(update={group: getattr(filled, group).model_copy(update=fields)})
    return filled.model_copy(update=fields)


def feed(convention: Convention, low: float, high: float, **fields: object) -> Convention:
    """A copy whose LPIPS is fed another range."""
    recipes = [recipe.model_copy(update={"input_range": (low, high), **fields}) for recipe in convention.lpips]
    return convention.model_copy(update={"lpips": tuple(recipes)})


def nearly_perfect(images: Images, decibels: float) -> Images:
    """The truths with a uniform error that makes this PSNR, inside [0, 1]."""
    noise = np.random.default_rng(5).uniform(-1, 1, images.truths.shape) * 3**0.5 * 10 ** (-decibels / 20)
    truths = images.truths * 0.9 + 0.05
    truths = (truths * 255).round() / 255
    return Images(truths + torch.from_numpy(noise.astype(np.float32)), truths)


@pytest.fixture(scope="module")
def few(images: Images) -> Images:
    """One pair of each distortion, for the slow VGG16."""
    return Images(*(each[::5] for each in images))


# Golden values


@pytest.mark.parametrize("name", PRESETS)
def test_golden(name: str, images: Images, weights: Path) -> None:
    """KBENCH_WRITE_GOLDEN=1 writes the values anew; read the difference before it is committed."""
    convention = load_convention(name)
    values = score(convention, images, mask=disc(0.25))
    found: dict[str, Any] = {"hash": convention.hash}
    found |= {metric: round(value.mean().item(), 6) for metric, value in values.items()}
    if os.environ.get("KBENCH_WRITE_GOLDEN") == "1":
        golden = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
        GOLDEN.write_text(json.dumps({**golden, name: found}, indent=1, sort_keys=True) + "\n")
    expected = json.loads(GOLDEN.read_text())[name]
    assert found.pop("hash") == expected.pop("hash"), "a published record changed: give it another name"
    assert found.keys() == expected.keys()
    for metric, value in found.items():
        # bfloat16 has 8 bits, and which way they round is the processor's choice.
        tolerance = 2e-4 if name == "lvsm" and metric == "lpips-vgg" else TOLERANCE[metric]
        assert value == pytest.approx(expected[metric], abs=tolerance), metric


def test_no_two_presets_are_the_same_record() -> None:
    hashes = [load_convention(name).model_copy(update={"name": "same"}).hash for name in PRESETS]
    assert len(set(hashes)) == len(hashes) and set(NAMED) <= set(PRESETS)


@pytest.mark.parametrize("name", [name for name in PRESETS if name != "kbench-v1"])
def test_every_preset_has_a_source_and_a_quirk_and_says_what_is_unset(name: str) -> None:
    convention = load_convention(name)
    assert convention.source and convention.quirk
    caveats = " ".join(list_caveats(convention))
    assert all(f"{field} is unset, scored as kbench-v1 does" in caveats for field in convention.unset_fields)


# The code bases' own calls


def test_eschernet_is_opencv_and_scikit_image_defaults(images: Images) -> None:
    cv2, metrics = pytest.importorskip("cv2"), pytest.importorskip("skimage.metrics")
    convention = load_convention("eschernet")
    values = score(convention, images, "psnr", "ssim")
    for place, pair in enumerate(zip(*images, strict=True)):
        x, y = ((image.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy() for image in pair)
        assert values["psnr"][place].item() == pytest.approx(cv2.PSNR(y, x), abs=5e-6)
        expected = metrics.structural_similarity(x, y, channel_axis=2)
        assert values["ssim"][place].item() == pytest.approx(expected, abs=5e-6)
        perfect = score(
            convention, Images(*(each[place : place + 1] for each in (images.truths, images.truths))), "psnr"
        )
        assert perfect["psnr"].item() == pytest.approx(cv2.PSNR(y, y), abs=1e-9)


def test_pixelsplat_and_mvsplat_are_scikit_image_with_sample_covariance(images: Images) -> None:
    metrics = pytest.importorskip("skimage.metrics")
    clamped = Images(images.predictions.clamp(0, 1), images.truths)
    found = score(load_convention("mvsplat"), clamped, "psnr", "ssim")
    for place, (x, y) in enumerate(zip(*clamped, strict=True)):
        expected = metrics.structural_similarity(
            y.double().numpy(), x.double().numpy(), win_size=11, gaussian_weights=True, channel_axis=0, data_range=1.0
        )
        assert found["ssim"][place].item() == pytest.approx(expected, abs=5e-6)
        assert found["psnr"][place].item() == pytest.approx(
            -10 * ((x - y).double() ** 2).mean().log10().item(), abs=5e-6
        )


@pytest.mark.parametrize("name", ["gsplat-alex", "gsplat-vgg"])
def test_gsplat_counts_windows_over_the_border(name: str, images: Images) -> None:
    """Its torchmetrics is pinned to one that reflects; what an older install printed is this far away."""
    convention = load_convention(name)
    assert convention.ssim.border == "reflect"
    gap = mean(convention, images, "ssim") - mean(change(convention, "ssim", border="valid"), images, "ssim")
    assert 1e-3 < abs(gap) < 0.05


@pytest.mark.parametrize(
    ("name", "data_range"), [("nerfacto", None), ("nvs-bench", None), ("gsplat-alex", 1.0), ("seva", 1.0)]
)
def test_the_torchmetrics_presets_are_torchmetrics_where_it_pads(
    name: str, data_range: float | None, images: Images
) -> None:
    """torchmetrics 1.4.2 and later, whose border is `reflect`, with a data range for SSIM or without one."""
    functional = import_repaired("torchmetrics.functional.image")
    convention = change(load_convention(name), quantise="none")
    values = score(change(convention, "ssim", border="reflect"), images, "psnr", "ssim")
    for place in range(0, len(images.truths), 3):
        x, y = images.predictions[place : place + 1].clamp(0, 1).double(), images.truths[place : place + 1].double()
        expected = functional.structural_similarity_index_measure(x, y, data_range=data_range).item()
        assert values["ssim"][place].item() == pytest.approx(expected, abs=5e-6)
        expected = functional.peak_signal_noise_ratio(x, y, data_range=1.0).item()
        assert values["psnr"][place].item() == pytest.approx(expected, abs=5e-6)


# What each is known for: its sign and its size


@pytest.mark.parametrize("name", ["nerfbaselines", "pixelsplat-offline"])
@pytest.mark.parametrize(("decibels", "low", "high"), [(31, -0.06, -0.01), (46, -1.2, -0.4)])
def test_truncation_costs_more_the_better_the_image(
    name: str, decibels: float, low: float, high: float, images: Images
) -> None:
    """About -0.03 dB at 31 dB and -0.75 at 46 dB, against rounding."""
    convention, pairs = load_convention(name), nearly_perfect(images, decibels)
    gap = mean(convention, pairs, "psnr") - mean(change(convention, quantise="round8"), pairs, "psnr")
    assert low < gap < high


def test_mvsplat_is_above_pixelsplat_offline_by_the_truncation(images: Images) -> None:
    pairs = nearly_perfect(images, 46)
    floats, offline = load_convention("mvsplat"), load_convention("pixelsplat-offline")
    assert 0.4 < mean(floats, pairs, "psnr") - mean(offline, pairs, "psnr") < 1.4


@pytest.mark.parametrize("name", ["pixelsplat-offline", "mvsplat", "lvsm"])
def test_sample_covariance_is_a_little_below_the_biased_one(name: str, images: Images) -> None:
    convention = load_convention(name)
    gap = mean(convention, images, "ssim") - mean(change(convention, "ssim", covariance="biased"), images, "ssim")
    assert -2e-3 < gap < -1e-4


@pytest.mark.parametrize("name", ["3dgs", "lagernvs"])
def test_zero_padding_is_above_valid(name: str, images: Images) -> None:
    """About +0.01 to +0.02 at 128 px; these renders have a plain border, which makes it less."""
    convention = load_convention(name)
    assert (
        1e-3
        < mean(convention, images, "ssim") - mean(change(convention, "ssim", border="valid"), images, "ssim")
        < 0.05
    )


@pytest.mark.parametrize("name", ["3dgs", "gsplat-vgg"])
def test_lpips_fed_the_wrong_range_is_smaller(name: str, few: Images, weights: Path) -> None:
    """Half the contrast, half the distance or so: on AlexNet's true weights, and on the preset's own trunk."""
    convention = load_convention(name)
    assert convention.lpips[0].input_range == (0.0, 1.0)
    ratio = mean(convention, few, "lpips-vgg") / mean(feed(convention, -1.0, 1.0), few, "lpips-vgg")
    assert ratio < 0.9
    true = load_convention("kbench-v1")
    ratio = mean(feed(true, 0.0, 1.0), few, "lpips-alex") / mean(true, few, "lpips-alex")
    assert 0.3 < ratio < 0.9


def test_gsplat_vgg_is_3dgs_but_for_the_place_of_epsilon(few: Images, weights: Path) -> None:
    """It copies the bug to be comparable, and is, where both quantise alike."""
    ours = change(load_convention("gsplat-vgg"), quantise="round8")
    assert mean(ours, few, "lpips-vgg") == pytest.approx(mean(load_convention("3dgs"), few, "lpips-vgg"), rel=1e-3)


@pytest.mark.parametrize("name", ["nerfacto", "seva", "nvs-bench"])
def test_the_border_that_torchmetrics_moved_is_worth_something(name: str, images: Images) -> None:
    """The field is unset, and this is what hangs on it: valid up to 1.4.1 against reflect since."""
    convention = load_convention(name)
    assert "ssim.border" in convention.unset_fields
    valid, reflect = (change(convention, "ssim", border=border) for border in ("valid", "reflect"))
    assert 1e-3 < abs(mean(valid, images, "ssim") - mean(reflect, images, "ssim")) < 0.05


@pytest.mark.parametrize("name", ["nerfacto", "nvs-bench"])
def test_the_range_of_a_pair_costs_ssim_where_contrast_is_low(name: str, images: Images) -> None:
    """With a quarter of the contrast C1 and C2 are a sixteenth; splatfacto's fixed range forgives more."""
    grey = Images(*(each.clamp(0, 1) * 0.25 + 0.4 for each in images))
    ours, fixed = load_convention(name), load_convention("splatfacto")
    assert -0.3 < mean(ours, grey, "ssim") - mean(fixed, grey, "ssim") < -0.01


def test_multinerf_rounds_the_prediction_and_leaves_the_truth() -> None:
    """A perfect prediction of a truth that is not 8-bit scores 10 log10(12 * 255^2) = 58.9 dB. There is no LPIPS."""
    truth = torch.from_numpy(np.random.default_rng(1).uniform(0, 1, (1, 3, 256, 256)).astype(np.float32))
    convention = load_convention("multinerf")
    assert set(convention.metrics) == {"psnr", "ssim", *FOREGROUND_METRICS}
    assert mean(convention, Images(truth, truth), "psnr") == pytest.approx(58.92, abs=0.03)
    assert mean(change(convention, quantise_of="both"), Images(truth, truth), "psnr") == float("inf")


def test_lagernvs_pays_for_what_it_does_not_clamp(images: Images) -> None:
    """A quarter of these predictions is brightened by 10 % beyond white, which the model's own sigmoid never is."""
    convention = load_convention("lagernvs")
    assert -5 < mean(convention, images, "psnr") - mean(change(convention, clamp=True), images, "psnr") < -0.5


@pytest.mark.parametrize("name", ["lvsm", "lagernvs"])
def test_a_prediction_in_bfloat16_is_capped_near_62_decibels(name: str, images: Images) -> None:
    """A perfect prediction leaves the model with 8 bits of mantissa. Uniform values in [0, 1] then have an error of
    2^-16 / 12 in the upper half, an eighth of that in the quarter below, and so on: 4/7 of it, 61.39 dB."""
    convention = load_convention(name)
    truth = torch.from_numpy(np.random.default_rng(2).uniform(0, 1, (1, 3, 256, 256)).astype(np.float32))
    assert mean(convention, Images(truth, truth), "psnr") == pytest.approx(61.39, abs=0.02)
    assert mean(change(convention, dtype="float32"), Images(truth, truth), "psnr") == float("inf")
    pairs = nearly_perfect(images, 46)
    gap = mean(convention, pairs, "psnr") - mean(change(convention, dtype="float32"), pairs, "psnr")
    assert -0.3 < gap < -0.02


def test_nerfbaselines_multiplies_both_images_by_a_mask(images: Images) -> None:
    """10 log10(1 / coverage) dB over the PSNR of what is inside, and nothing without a mask."""
    convention = load_convention("nerfbaselines")
    for coverage in (1 / 4, 1 / 16):
        mask = disc(coverage)
        values = score(convention, images, "psnr", "psnr-fg", mask=mask)
        expected = 10 * np.log10(mask.numel() / mask.sum().item())
        assert (values["psnr"] - values["psnr-fg"]).tolist() == pytest.approx([expected] * len(images.truths))
        assert mean(convention, images, "ssim", mask) > mean(convention, images, "ssim") + 0.05
    whole = change(convention, mask="none")
    assert mean(convention, images, "psnr") == mean(whole, images, "psnr")
    assert "nerfbaselines: views without a mask are scored whole" in list_caveats(convention)


def expose(images: Images, gain: float, offset: float) -> Images:
    """The truths, blurred a little, under another exposure."""
    blurred = (images.truths + images.truths.roll(1, -1) + images.truths.roll(1, -2)) / 3
    return Images((gain * blurred + offset).clamp(0, 1), images.truths)


@pytest.mark.parametrize("name", ["gsplat-alex-cc", "multinerf-cc"])
def test_a_wrong_exposure_costs_nothing_after_colour_correction(name: str, images: Images) -> None:
    corrected, plain = load_convention(name), load_convention(name.removesuffix("-cc"))
    assert change(corrected, colour_correction="none", name=plain.name).hash == plain.hash
    pairs = expose(images, 0.8, 0.05)
    assert mean(corrected, pairs, "psnr") - mean(plain, pairs, "psnr") > 4
    right = mean(corrected, expose(images, 1.0, 0.0), "psnr")
    assert mean(corrected, pairs, "psnr") == pytest.approx(right, abs=0.2)


def test_colour_correction_can_cost(images: Images) -> None:
    """gsplat's line is fitted from the truth to the prediction; inverted, it amplifies what the truth does not explain.
    multinerf's polynomial leaves saturated pixels out of its fit and moves them all the same: a white background."""
    mirrored = Images(images.truths[::4].flip(-1), images.truths[::4])
    gsplat, multinerf = (
        score(load_convention(f"{name}-cc"), mirrored, "psnr")["psnr"]
        - score(load_convention(name), mirrored, "psnr")["psnr"]
        for name in ("gsplat-alex", "multinerf")
    )
    assert (gsplat < -1).all()
    white = (mirrored.truths == 1).float().mean(dim=(1, 2, 3)) > 0.2
    assert white.any() and not white.all()
    assert (multinerf[white] < -5).all() and (multinerf[~white] > 1).all()


def test_lvsm_lpips_in_bfloat16_moves_the_third_digit(few: Images, weights: Path) -> None:
    convention = load_convention("lvsm")
    full = feed(convention, -1.0, 1.0, dtype="float32")
    gap = (score(convention, few, "lpips-vgg")["lpips-vgg"] - score(full, few, "lpips-vgg")["lpips-vgg"]).abs()
    assert 1e-6 < gap.max().item() < 1e-2


def test_eschernets_binary_alpha_leaves_the_edges_uncomposited(data_dir: Path) -> None:
    """What its record says of the data's preparation: pixels of alpha 0 are white, all others as stored. Only edges
    differ from a composited truth, all of them darker, and a perfect prediction of one scores some 30 dB on the other.
    """
    scene = build_reader("transforms").load_scene(data_dir / "scenes", "nerf_synthetic_lego")
    fields = {"size": None, "fit": "none", "filter": "lanczos", "antialias": True, "background": "white"}
    binary, composited = (
        load_view(scene, next(iter(scene.views)), ImagePreparation.model_validate({**fields, "alpha": alpha})).image
        for alpha in ("binary", "composite")
    )
    moved = (binary != composited).any(axis=-1)
    assert 0 < moved.mean() < 0.1 and (binary <= composited).all()
    x, y = (torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float() / 255 for image in (binary, composited))
    assert 25 < mean(load_convention("eschernet"), Images(x, y), "psnr") < 40


def test_eschernet_uniform_window_is_above_the_gaussian(images: Images) -> None:
    convention = load_convention("eschernet")
    gaussian = change(convention, "ssim", window="gaussian", window_size=11, sigma=1.5)
    assert 2e-3 < mean(convention, images, "ssim") - mean(gaussian, images, "ssim") < 0.06


def test_what_seva_does_not_say_is_worth_two_decibels(images: Images) -> None:
    convention = load_convention("seva")
    assert "psnr.aggregation" in convention.unset_fields
    values = score(convention, images, "psnr")["psnr"].tolist()
    assert -8 < pool_psnr(values) - np.mean(values) < -1
