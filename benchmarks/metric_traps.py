"""What a convention is worth: the traps of PSNR, SSIM and LPIPS, measured on real scenes.

    python benchmarks/metric_traps.py --data DIR [--markdown docs/metric-traps.md] [--json FILE]

Every number is measured in this run: nothing is copied but the column "elsewhere", which holds what others measured, or
we on other images, of the same effect. Predictions are made on the fly: the photograph of the nearest camera
(`nearest`), or the truth blurred, shifted by a pixel and noisy (`degraded`), or the truth with noise that gives a
wanted PSNR.
"""

from __future__ import annotations

import argparse
import json
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from metric_traps_images import (
    VIEWS,
    Pair,
    add_noise,
    choose_views,
    compress,
    degrade,
    load_nearest,
    load_scenes,
    load_truths,
    prepare,
    soften,
    to_tensor,
)
from metric_traps_pages import Finding, Trap, describe, print_tables, render_markdown
from torch import Tensor

from kaleido_bench.conventions import Convention, LpipsRecipe, load_convention
from kaleido_bench.data.scenes import PreparedView, Scene, load_view
from kaleido_bench.score.metrics.psnr import score_psnr
from kaleido_bench.score.metrics.scorers import build_scorers
from kaleido_bench.score.metrics.ssim import score_ssim
from kaleido_bench.score.metrics.weights import WeightsMissing, find_weights
from kaleido_bench.score.results.statistics import pool_psnr

V1 = load_convention("kbench-v1")
SCENES = ("fox", "llff_fern", "llff_flower", "lund_door", "temple_ring", "strecha_fountain_p11")
MASKED = ("nerf_synthetic_lego", "dtu_scan24", "nerd_gold_cape")


def psnr(x: Tensor, y: Tensor, mask: Tensor | None = None) -> float:
    return score_psnr(x, y, V1.psnr, mask).item()


def ssim(x: Tensor, y: Tensor, mask: Tensor | None = None, **fields: object) -> float:
    return score_ssim(x, y, V1.ssim.model_copy(update=fields), mask).item()


def change(**fields: object) -> Convention:
    return V1.model_copy(update=fields)


def score(convention: Convention, pair: Pair, *metrics: str) -> dict[str, float]:
    found = build_scorers(convention, metrics, (), "cpu").score(pair.prediction, pair.truth, pair.mask)
    return {metric: value.item() for metric, value in found.items()}


def mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


UNIFORM = {"window": "uniform", "window_size": 7, "sigma": None}
SSIM_VARIANTS: tuple[tuple[str, dict[str, object], str], ...] = (
    ("Gaussian 11, valid, biased: Wang et al., torchmetrics to 1.4.1, kbench-v1", {}, "0.55575"),
    ("the same, sample covariance: pixelSplat, MVSplat, LVSM", {"covariance": "sample"}, "0.55504"),
    ("the same, border reflected: torchmetrics since 1.4.2", {"border": "reflect"}, "0.54835"),
    ("the same, border zero: 3DGS, LagerNVS", {"border": "zero"}, "0.56533"),
    ("uniform 7, sample covariance: EscherNet", {**UNIFORM, "covariance": "sample"}, "0.58475"),
    (
        "uniform 7, data range 2: papers that left it out",
        {**UNIFORM, "covariance": "sample", "data_range": 2.0},
        "0.72047",
    ),
)


def measure_ssim(truths: Sequence[PreparedView]) -> Trap:
    truth = truths[0]
    x, y = to_tensor(degrade(truth.image)), to_tensor(truth.image)
    findings = [Finding(name, ssim(x, y, **fields), 5, known) for name, fields, known in SSIM_VARIANTS]
    for channels in ("gray", "luma"):
        gap = ssim(x, y, channels=channels) - findings[0].value
        findings.append(Finding(f"of one channel ({channels}), minus the first", gap, 3, "+0.02 to +0.10"))
    return Trap(
        "SSIM of one pair, by implementation",
        f"One pair ({truth.image.shape[1]} px, degraded), eight numbers that papers call SSIM.",
        "the table of SSIM on one identical pair (b.2)",
        findings,
    )


def measure_border(scenes: Sequence[Scene], sizes: Sequence[int]) -> Trap:
    known = {(128, "valid"): "0.670", (128, "reflect"): "0.663", (128, "zero"): "0.691"}
    known |= {(512, "valid"): "0.586", (512, "reflect"): "0.584", (512, "zero"): "0.593"}
    findings: list[Finding] = []
    for size in sizes:
        images = [load_view(scene, choose_views(scene)[0], prepare(size)).image for scene in scenes]
        for border in ("valid", "reflect", "zero"):
            values = [ssim(to_tensor(degrade(image)), to_tensor(image), border=border) for image in images]
            findings.append(Finding(f"{size} px, {border}", mean(values), 4, known.get((size, border), "")))
    moral = "What a border does to SSIM grows as images shrink."
    return Trap(
        f"SSIM by border and size, mean of {len(scenes)} images",
        moral,
        "the means of six images by size (b.2)",
        findings,
    )


def measure_psnr(pairs: Sequence[Pair]) -> Trap:
    values = [psnr(pair.prediction, pair.truth) for pair in pairs]
    channels = V1.psnr.model_copy(update={"aggregation": "per-channel"})
    gaps = [
        score_psnr(pair.prediction, pair.truth, channels).item() - value
        for pair, value in zip(pairs, values, strict=True)
    ]
    return Trap(
        f"PSNR of {len(pairs)} views, in dB",
        "One name, two numbers: a stateful metric pools the errors of all views. Predictions are the nearest views.",
        "the mean of 18 views against the pooled one, and per-channel means (b.3)",
        [
            Finding("mean of the views' PSNR", mean(values), 2, "25.81"),
            Finding("PSNR of the pooled error", pool_psnr(values), 2, "23.48"),
            Finding("pooled minus mean", pool_psnr(values) - mean(values), 2, "-2.33"),
            Finding("mean over channels minus all channels, smallest", min(gaps), 3, "+0.07"),
            Finding("mean over channels minus all channels, largest", max(gaps), 3, "+0.22"),
        ],
    )


def measure_bits(truths: Sequence[PreparedView]) -> Trap:
    softened = [soften(to_tensor(view.image)) for view in truths]
    known = {31.0: "-0.03", 46.0: "-0.75", 50.6: "-1.9", 60.0: "-8.8"}
    findings: list[Finding] = []
    for decibels, loss in known.items():
        noisy = [Pair("", add_noise(truth, decibels), truth) for truth in softened]
        floats, floored, rounded = (
            mean([score(change(quantise=rule), pair, "psnr")["psnr"] for pair in noisy])
            for rule in ("none", "floor8", "round8")
        )
        findings += [
            Finding(f"floor8 minus floats, at {decibels:g} dB", floored - floats, 2, loss),
            Finding(f"round8 minus floats, at {decibels:g} dB{say_capped(rounded)}", rounded - floats, 2, ""),
        ]
    report = load_convention("lvsm").model_copy(update={"lpips": ()})
    exact = [score(report, Pair("", truth, truth), "psnr")["psnr"] for truth in softened]
    findings.append(Finding("a perfect prediction in bfloat16", mean(exact), 1, "61.9"))
    moral = "Truncation darkens by half a level: nothing at 25 dB, everything near the truth. In dB, predictions only."
    return Trap("8 bits: floor against round", moral, "truncation of the prediction, and bfloat16 (b.3)", findings)


def say_capped(decibels: float) -> str:
    return " (the truth again, capped at 100 dB)" if decibels >= 99.9 else ""


def measure_masks(pairs: Sequence[Pair]) -> Trap:
    findings: list[Finding] = []
    for scene in dict.fromkeys(pair.name.split("/")[0] for pair in pairs):
        mine = [pair for pair in pairs if pair.name.startswith(f"{scene}/") and pair.mask is not None]
        coverage = mean([pair.mask.double().mean().item() for pair in mine if pair.mask is not None])
        findings.append(Finding(f"{scene}: coverage in %", 100 * coverage, 1, ""))
        for rule, label in (
            ("none", "full image"),
            ("inside", "inside"),
            ("zero-both", "zero-both"),
            ("bbox-crop", "bbox-crop"),
        ):
            values = [score(change(mask=rule), pair, "psnr", "ssim") for pair in mine]
            findings += [
                Finding(f"{scene}: PSNR, {label}", mean([value["psnr"] for value in values]), 2, ""),
                Finding(f"{scene}: SSIM, {label}", mean([value["ssim"] for value in values]), 3, ""),
            ]
    findings += measure_sixteenth(pairs[-1])
    moral = (
        "Zeroing both images adds 10 log10(1 / coverage) dB to the PSNR inside, and counts every window outside as "
        "perfect. Predictions are the nearest views."
    )
    return Trap("Masks", moral, "masking by zeroing both images (finding 6)", findings)


def measure_sixteenth(pair: Pair) -> list[Finding]:
    """A square in the middle that covers 6.25 % of the image."""
    height, width = pair.truth.shape[-2:]
    mask = torch.zeros(1, height, width, dtype=torch.bool)
    mask[:, 3 * height // 8 : 5 * height // 8, 3 * width // 8 : 5 * width // 8] = True
    squared = pair._replace(mask=mask)
    inside, both = (score(change(mask=rule), squared, "psnr")["psnr"] for rule in ("inside", "zero-both"))
    return [
        Finding("6.25 % in the middle: PSNR, inside", inside, 2, "20.53"),
        Finding("6.25 % in the middle: PSNR, zero-both", both, 2, "32.57"),
        Finding("zero-both minus inside", both - inside, 2, "12.04"),
    ]


def measure_white(scene: Scene, sizes: Sequence[int]) -> Trap:
    """A degraded object on a background that is right, as every method that composites has it."""
    findings: list[Finding] = []
    for size in sizes:
        pairs: list[Pair] = []
        for view in (load_view(scene, name, prepare(size)) for name in choose_views(scene)):
            assert view.mask is not None, "this trap wants images with an alpha channel"
            prediction = np.where(view.mask[..., None], degrade(view.image), view.image)
            pairs.append(Pair("", to_tensor(prediction), to_tensor(view.image), torch.from_numpy(view.mask)[None]))
        coverage = mean([pair.mask.double().mean().item() for pair in pairs if pair.mask is not None])
        full = mean([psnr(pair.prediction, pair.truth) for pair in pairs])
        inside = mean([psnr(pair.prediction, pair.truth, pair.mask) for pair in pairs])
        findings += [
            Finding(f"{size} px: coverage in %", 100 * coverage, 1, "15"),
            Finding(f"{size} px: PSNR of the full image", full, 2, "29.7"),
            Finding(f"{size} px: PSNR inside the object", inside, 2, "21.5"),
            Finding(f"{size} px: full minus inside", full - inside, 2, "8.2"),
        ]
    moral = "A degraded object on white is scored on its background too, which every method gets right."
    return Trap(f"A white background ({scene.name}), in dB", moral, "white-background objects (finding 6)", findings)


FILTERS = (
    ("bicubic", True),
    ("bilinear", True),
    ("hamming", True),
    ("box", True),
    ("bilinear", False),
    ("nearest", False),
)


def measure_filters(scenes: Sequence[Scene], size: int) -> Trap:
    findings: list[Finding] = []
    for name, antialias in FILTERS:
        pairs = [
            tuple(
                to_tensor(load_view(scene, view, prepare(size, *how)).image)
                for how in ((name, antialias), ("lanczos",))
            )
            for scene in scenes
            for view in choose_views(scene)
        ]
        label = f"{name}{'' if antialias else ', points'}"
        known = ("33 to 48", "0.95 to 0.998") if antialias else ("", "")
        findings += [
            Finding(f"{label}: PSNR", mean([psnr(*pair) for pair in pairs]), 2, known[0]),
            Finding(f"{label}: SSIM", mean([ssim(*pair) for pair in pairs]), 4, known[1]),
        ]
    moral = f"The truth, reduced to {size} px with another filter, against Lanczos: no method can be better than this."
    return Trap("Resampling the ground truth", moral, "ground truth by another filter (finding 5)", findings)


def measure_jpeg(truths: Sequence[PreparedView]) -> Trap:
    findings: list[Finding] = []
    for quality, known in ((95, "37.8"), (90, "35.9"), (75, "33.1")):
        values = [psnr(to_tensor(compress(view.image, quality)), to_tensor(view.image)) for view in truths]
        findings.append(Finding(f"quality {quality}", mean(values), 2, known))
    moral = "The PSNR of a perfect method when the ground truth was stored as JPEG (Pillow, 4:2:0)."
    return Trap("JPEG ground truth, in dB", moral, "the ceilings of JPEG (b.3)", findings)


def measure_infinite(pairs: Sequence[Pair]) -> Trap:
    """One view of nine is a copy of its truth, as a leaked reference view is."""
    values = [psnr(pair.prediction, pair.truth) for pair in pairs[:8]]
    together = [*values, math.inf]
    return Trap(
        "One perfect view among nine, in dB",
        "Identical images have an infinite PSNR. No code base says what it does with one.",
        "the policy that none of the code bases states (b.3)",
        [
            Finding("the other eight", mean(values), 2, ""),
            Finding("report: the mean is infinite", math.fsum(together), 2, ""),
            Finding("exclude: as if it were not there", mean([v for v in together if math.isfinite(v)]), 2, ""),
            Finding("cap at 100 dB (kbench-v1)", mean([min(v, 100.0) for v in together]), 2, ""),
            Finding("cap at 361.2 dB (OpenCV, EscherNet)", mean([min(v, 361.202) for v in together]), 2, ""),
            Finding("pooled: the error of nine", pool_psnr(together), 2, ""),
        ],
    )


def measure_lpips(pairs: Sequence[Pair]) -> Trap | None:
    """LPIPS-alex fed [-1, 1] and [0, 1]; None where its weights are not here."""
    if isinstance(find_weights("alexnet_features"), WeightsMissing):
        return None

    def feed(low: float) -> float:
        recipe: LpipsRecipe = V1.lpips[0].model_copy(update={"input_range": (low, 1.0)})
        convention = change(lpips=(recipe,))
        return mean([score(convention, pair, "lpips-alex")["lpips-alex"] for pair in pairs])

    right, wrong = feed(-1.0), feed(0.0)
    return Trap(
        "LPIPS fed the wrong range",
        "The 3DGS family feeds [0, 1] to a net that expects [-1, 1]. Here AlexNet on the nearest views; elsewhere VGG, "
        "3DGS on Mip-NeRF 360.",
        "LPIPS fed [0, 1] (finding 4)",
        [
            Finding("LPIPS-alex, fed [-1, 1]", right, 4, "0.257 (vgg)"),
            Finding("LPIPS-alex, fed [0, 1]", wrong, 4, "0.214 (vgg)"),
            Finding("wrong over right", wrong / right, 3, "0.83 (vgg)"),
        ],
    )


def measure_all(data: Path, *, size: int, sizes: Sequence[int], scenes: Sequence[str]) -> list[Trap]:
    """Every trap, in the order of the page."""
    loaded = load_scenes(data, scenes)
    truths, nearest = load_truths(loaded, size), load_nearest(loaded, size)
    objects = load_nearest(load_scenes(data, MASKED), size)
    measures: list[Callable[[], Trap | None]] = [
        lambda: measure_ssim(truths),
        lambda: measure_border(loaded, sizes),
        lambda: measure_psnr(nearest),
        lambda: measure_bits(truths[::VIEWS]),
        lambda: measure_masks(objects),
        lambda: measure_white(load_scenes(data, MASKED[:1])[0], (size,)),
        lambda: measure_filters(loaded, size),
        lambda: measure_jpeg(truths),
        lambda: measure_infinite(nearest),
        lambda: measure_lpips(nearest[::VIEWS]),
    ]
    return [trap for measure in measures if (trap := measure()) is not None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("KBENCH_DATA"), help="the folder with scenes/")
    parser.add_argument("--size", type=int, default=256, help="pixels a side")
    parser.add_argument("--json", type=Path, help="write the numbers here too")
    parser.add_argument("--markdown", type=Path, help="write the page here")
    arguments = parser.parse_args()
    if arguments.data is None:
        parser.error("no data directory: set KBENCH_DATA or pass --data DIR")
    traps = measure_all(arguments.data, size=arguments.size, sizes=(128, 256, 512), scenes=SCENES)
    print_tables(traps)
    if arguments.json:
        arguments.json.write_text(json.dumps(describe(traps), indent=1, allow_nan=False) + "\n")
    if arguments.markdown:
        arguments.markdown.write_text(render_markdown(traps, arguments.size, SCENES, MASKED))


if __name__ == "__main__":
    main()
