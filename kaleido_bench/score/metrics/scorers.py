"""From a convention and a list of metric names to functions that score pairs of images."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from kaleido_bench.conventions import (
    FOREGROUND_METRICS,
    PSNR_METRICS,
    Convention,
    LpipsRecipe,
    fill_unset,
    load_convention,
)
from kaleido_bench.errors import BenchError
from kaleido_bench.protocol import Protocol
from kaleido_bench.score.metrics.lpips import Lpips, check_lpips_recipe
from kaleido_bench.score.metrics.psnr import check_psnr_recipe, score_psnr
from kaleido_bench.score.metrics.quantise import prepare_images
from kaleido_bench.score.metrics.refusals import require_implemented
from kaleido_bench.score.metrics.ssim import check_ssim_recipe, score_ssim
from kaleido_bench.score.metrics.weights import WeightsFile, WeightsMissing, find_weights

Names = Sequence[str | None]

ScorePairs = Callable[[Tensor, Tensor, Tensor | None, Names | None], Tensor]
"""(predictions, truths, masks) as `prepare_images` leaves them, and the truths' names, to [pair]. Images are float32
[pair, 3, height, width]; masks are bool [pair, height, width], or None where no metric and no rule looks at them."""

Networks = dict[LpipsRecipe, Lpips]
"""Networks by recipe: one of each for all conventions that are scored together."""


class Scorer(NamedTuple):
    """One metric of a convention, ready to score.

    Args:
        weights: None where it has none to learn from.
        forget: drops what is kept of truths of these names.
    """

    metric: str
    weights: WeightsFile | None
    score: ScorePairs
    forget: Callable[[Sequence[str]], None] | None = None


class Scorers(NamedTuple):
    """What can be scored, and the optional metrics that cannot, with the weights they lack.

    Args:
        convention: with nothing unset.
    """

    convention: Convention
    ready: tuple[Scorer, ...]
    missing: dict[str, WeightsMissing]

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics that are ready."""
        return tuple(scorer.metric for scorer in self.ready)

    def score(
        self, predictions: Tensor, truths: Tensor, masks: Tensor | None = None, names: Names | None = None
    ) -> dict[str, Tensor]:
        """Every metric of each pair: [pair] by the metric's name.

        Args:
            predictions, truths: float32 [pair, 3, height, width], as they come; clamping and 8 bits are done here.
            masks: bool [pair, height, width], true inside, as `stack_masks` gives them; None where nothing looks at
                them.
            names: of the truths that will meet other predictions, so that a network's features of them are kept until
                `forget` is called.
        """
        if self.convention.mask == "bbox-crop" and masks is not None and len(masks) > 1:
            return self._score_one_by_one(predictions, truths, masks, names)
        images = prepare_images(predictions, truths, self.convention, masks)
        return {scorer.metric: scorer.score(*images, names) for scorer in self.ready}

    def forget(self, names: Sequence[str]) -> None:
        """Drop what is kept of truths that no further prediction will be compared with."""
        for scorer in self.ready:
            if scorer.forget is not None:
                scorer.forget(names)

    def _score_one_by_one(
        self, predictions: Tensor, truths: Tensor, masks: Tensor, names: Names | None
    ) -> dict[str, Tensor]:
        """Pairs whose images are cut to sizes of their own."""
        places = [slice(place, place + 1) for place in range(len(masks))]
        found = [
            self.score(predictions[place], truths[place], masks[place], names and names[place]) for place in places
        ]
        return {metric: torch.cat([values[metric] for values in found]) for metric in self.metrics}


def build_scorers(
    convention: Convention,
    required: Sequence[str],
    optional: Sequence[str],
    device: torch.device | str,
    networks: Networks | None = None,
) -> Scorers:
    """Build the metrics by name. What the convention leaves unset is scored as `fill_unset` says.

    Args:
        networks: what is there already, and where new ones are put.
    Raises:
        BenchError: the convention does not define a metric or asks for what is not implemented, or the weights of a
            required metric are not there.
    """
    convention = fill_unset(convention)
    check_convention(convention)
    networks = {} if networks is None else networks
    ready: list[Scorer] = []
    missing: dict[str, WeightsMissing] = {}
    for metric in (*required, *optional):
        built = _build_scorer(convention, metric, device, networks)
        if isinstance(built, Scorer):
            ready.append(built)
        elif metric in required:
            raise built.error()
        else:
            missing[metric] = built
    return Scorers(convention, tuple(ready), missing)


class Asked(NamedTuple):
    """The metrics to score: of those a protocol asks for, the ones that the convention defines."""

    required: tuple[str, ...]
    optional: tuple[str, ...]


def defined_metrics(protocol: Protocol, convention: Convention) -> Asked:
    """What of a protocol's metrics can be asked of a convention, which need not be the protocol's own."""
    known = convention.metrics
    return Asked(
        tuple(metric for metric in protocol.metrics if metric in known),
        tuple(metric for metric in protocol.optional_metrics if metric in known),
    )


def check_scorable(protocol: Protocol) -> None:
    """Refuse a protocol that cannot be scored here under its own convention, before anything is predicted for it.

    Raises:
        BenchError: as `build_scorers`, such as for the weights of a required metric that are not there.
    """
    convention = load_convention(protocol.convention)
    build_scorers(convention, defined_metrics(protocol, convention).required, (), "cpu")


def check_convention(convention: Convention) -> None:
    """Refuse a convention that asks for what this version cannot do."""
    check_psnr_recipe(convention.psnr)
    check_ssim_recipe(convention.ssim)
    for recipe in convention.lpips:
        check_lpips_recipe(recipe)


def _build_scorer(
    convention: Convention, metric: str, device: torch.device | str, networks: Networks
) -> Scorer | WeightsMissing:
    if metric in PSNR_METRICS:
        return Scorer(metric, None, _build_psnr(convention, inside=_counts_inside(convention, metric)))
    if metric in ("ssim", "ssim-fg"):
        return Scorer(metric, None, _build_ssim(convention, inside=_counts_inside(convention, metric)))
    # A network sees all of an image: there is no LPIPS of the pixels inside.
    require_implemented("mask", convention.mask, ("none", "zero-both", "bbox-crop"))
    recipe = _find_recipe(convention, metric)
    weights = find_weights(recipe.trunk.name)
    if isinstance(weights, WeightsMissing):
        return weights
    if recipe not in networks:
        networks[recipe] = Lpips(recipe, weights, device)
    return _build_lpips(convention, metric, weights, networks[recipe])


def _build_lpips(convention: Convention, metric: str, weights: WeightsFile, network: Lpips) -> Scorer:
    # What a convention does to a truth: networks are shared, features of another image are not. Saved truths are 8-bit
    # already, so that quantising them again is nothing.
    rules = (convention.crop_border, convention.mask, convention.background, convention.without_mask)
    prefix = f"{rules} {convention.mask_source} "

    def name(plain: str | None) -> str | None:
        return None if plain is None else prefix + plain

    def score(predictions: Tensor, truths: Tensor, masks: Tensor | None, names: Names | None) -> Tensor:
        return network.distance(predictions, truths, names and [name(each) for each in names])

    def forget(names: Sequence[str]) -> None:
        network.forget(prefix + each for each in names)

    return Scorer(metric, weights, score, forget)


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


def _counts_inside(convention: Convention, metric: str) -> bool:
    return metric in FOREGROUND_METRICS or convention.mask == "inside"


def _build_psnr(convention: Convention, *, inside: bool) -> ScorePairs:
    recipe, cap = convention.psnr, convention.view_psnr_cap or math.inf

    def score(predictions: Tensor, truths: Tensor, masks: Tensor | None, names: Names | None) -> Tensor:
        return score_psnr(predictions, truths, recipe, _require(masks) if inside else None).clamp(max=cap)

    return score


def _build_ssim(convention: Convention, *, inside: bool) -> ScorePairs:
    recipe = convention.ssim
    return lambda predictions, truths, masks, names: score_ssim(
        predictions, truths, recipe, _require(masks) if inside else None
    )


def _require(masks: Tensor | None) -> Tensor:
    """A metric that counts what is inside is no metric of the whole image where masks were forgotten."""
    if masks is None:
        raise ValueError("a foreground metric without masks: give Scorers.score the masks of its pairs")
    return masks
