"""From a convention and a list of metric names to functions that score pairs of images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from kaleido_bench.conventions import CapInfinite, Convention, LpipsRecipe
from kaleido_bench.errors import BenchError
from kaleido_bench.score.lpips import Lpips, check_lpips_recipe
from kaleido_bench.score.psnr import check_psnr_recipe, score_psnr
from kaleido_bench.score.refusals import require_implemented
from kaleido_bench.score.ssim import check_ssim_recipe, score_ssim
from kaleido_bench.score.weights import WeightsFile, WeightsMissing, find_weights

ScorePairs = Callable[[Tensor, Tensor], Tensor]
"""(predictions, truths), float32 [pair, 3, height, width] in [0, 1], to [pair]."""


class Scorer(NamedTuple):
    """One metric of a convention, ready to score. `weights` is None where it has none to learn from."""

    metric: str
    weights: WeightsFile | None
    score: ScorePairs


class Scorers(NamedTuple):
    """What can be scored, and the optional metrics that cannot, with the weights they lack."""

    ready: tuple[Scorer, ...]
    missing: dict[str, WeightsMissing]


def build_scorers(
    convention: Convention, required: Sequence[str], optional: Sequence[str], device: torch.device | str
) -> Scorers:
    """Build the metrics by name.

    Raises:
        BenchError: the convention does not define a metric or asks for what is not implemented, or the weights of a
            required metric are not there.
    """
    check_convention(convention)
    ready: list[Scorer] = []
    missing: dict[str, WeightsMissing] = {}
    for metric in (*required, *optional):
        built = _build_scorer(convention, metric, device)
        if isinstance(built, Scorer):
            ready.append(built)
        elif metric in required:
            raise built.error()
        else:
            missing[metric] = built
    return Scorers(tuple(ready), missing)


def check_convention(convention: Convention) -> None:
    """Refuse a convention that asks for what this version cannot do.

    Predictions are 8-bit images: clamping them, and bringing them to 8 bits by either rule, changes nothing. Scoring
    them unquantised is what cannot be done.
    """
    require_implemented("quantise", convention.quantise, ("round8", "floor8"))
    require_implemented("colour_correction", convention.colour_correction, ("none",))
    require_implemented("crop_border", convention.crop_border, (0,))
    require_implemented("mask", convention.mask, ("none",))
    require_implemented("infinite_psnr.policy", convention.infinite_psnr.policy, ("cap",))
    check_psnr_recipe(convention.psnr)
    check_ssim_recipe(convention.ssim)
    for recipe in convention.lpips:
        check_lpips_recipe(recipe)


def _build_scorer(convention: Convention, metric: str, device: torch.device | str) -> Scorer | WeightsMissing:
    if metric == "psnr":
        return Scorer(metric, None, partial(_score_capped_psnr, convention=convention))
    if metric == "ssim":
        return Scorer(metric, None, partial(score_ssim, recipe=convention.ssim))
    recipe = _find_recipe(convention, metric)
    weights = find_weights(recipe.trunk.name)
    if isinstance(weights, WeightsMissing):
        return weights
    return Scorer(metric, weights, Lpips(recipe, weights, device).distance)


def _find_recipe(convention: Convention, metric: str) -> LpipsRecipe:
    for recipe in convention.lpips:
        if recipe.metric == metric:
            return recipe
    raise BenchError(
        f"convention {convention.name}",
        f"no metric '{metric}'",
        expected=f"one of {', '.join(convention.metrics)}",
        fix="Score with a convention that defines it; see `kbench list conventions`.",
    )


def _score_capped_psnr(predictions: Tensor, truths: Tensor, convention: Convention) -> Tensor:
    decibels = score_psnr(predictions, truths, convention.psnr)
    policy = convention.infinite_psnr
    return decibels.clamp(max=policy.decibels) if isinstance(policy, CapInfinite) else decibels
