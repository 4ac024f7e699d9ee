"""How much of a gap between two numbers is convention, and which step of the recipe makes most of it.

The saved predictions are scored under both conventions, and under the first one with a single step replaced by the
second one's, for every step in which they differ. A step is one field, or the few that mean nothing apart (a uniform
window has another size and no sigma). The steps need not add up to the gap: they act on each other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from kaleido_bench.conventions import FOREGROUND_METRICS, PSNR_METRICS, Convention, fill_unset, list_caveats
from kaleido_bench.items import select_items
from kaleido_bench.predictions import Run
from kaleido_bench.protocol import LoadedProtocol, ScaleSweepCameras
from kaleido_bench.score.metrics.scorers import Networks, build_scorers
from kaleido_bench.score.results.building import build_reducing
from kaleido_bench.score.results.rows import Row
from kaleido_bench.score.results.statistics import choose_scales, keep_chosen, reduce_rows
from kaleido_bench.score.scoring import Report, rescore_run
from kaleido_bench.score.truth import TruthReader, check_masks

# A step's name, and the fields that it moves. Every field of a convention but its name and words is in one of these.
_IMAGES = {
    "dtype": ("dtype",),
    "clamp": ("clamp",),
    "quantise": ("quantise", "quantise_of"),
    "colour_correction": ("colour_correction",),
    "crop_border": ("crop_border",),
    "mask": ("mask", "background", "mask_source", "without_mask"),
}
_PSNR = {"aggregation": ("aggregation",), "channels": ("channels",), "data_range": ("data_range",)}
_SSIM = {
    "window": ("window", "window_size", "sigma"),
    **{name: (name,) for name in ("border", "covariance", "clip_variance", "k1", "k2", "data_range", "channels")},
}
_LPIPS = {
    "net": ("net", "trunk"),
    "version": ("version", "heads"),
    "input_range": ("input_range",),
    "dtype": ("dtype",),
    "epsilon": ("epsilon", "epsilon_place"),
}


class Step(NamedTuple):
    """One step of the recipe, taken alone.

    Args:
        name: of its field, or of the first of its fields.
        first, second: its values in the two conventions.
        mean: under the first convention with this step as in the second.
        change: how far that moves the mean; None where both are infinite.
    """

    name: str
    first: dict[str, Any]
    second: dict[str, Any]
    mean: float
    change: float | None


class Difference(NamedTuple):
    """One metric at one place of the reference axis.

    Args:
        first, second: the means under the two conventions.
        gap: second - first; None where both are infinite.
        steps: where the conventions differ, the one that moves most first.
    """

    metric: str
    references: str
    first: float
    second: float
    gap: float | None
    steps: tuple[Step, ...]


class Comparison(NamedTuple):
    """Two conventions on one run. `notes` is what must be said beside it."""

    differences: tuple[Difference, ...]
    notes: tuple[str, ...]


FIRST, SECOND = "", "second"

# What is averaged over what comes after the value of a view.
_SAME_VIEWS = ("reduction",)
# These leave a saved view as it is, which is 8-bit already (quantise.py), unless something came before them.
_SAME_BYTES = ("clamp", "quantise")


class _Variant(NamedTuple):
    """A convention to score one metric under; `step` is the one that was replaced, or `FIRST` or `SECOND`."""

    metric: str
    step: str
    convention: Convention

    @property
    def key(self) -> tuple[str, str]:
        return self.metric, self.step


class _Choice(NamedTuple):
    """The metrics that two conventions can be compared by, and a line on each of the others."""

    metrics: tuple[str, ...]
    left_out: tuple[str, ...]


Rows = dict[tuple[str, str], list[Row]]


def compare_conventions(
    run: Run,
    loaded: LoadedProtocol,
    first: Convention,
    second: Convention,
    *,
    data_dir: Path | None,
    device: torch.device | str = "cpu",
    report: Report | None = None,
) -> Comparison:
    """Score a run under two conventions and under every single step between them. Nothing is written.

    The metrics are those of the protocol that both conventions define and whose weights are here; the targets are those
    that the protocol counts.

    Raises:
        BenchError, IncompleteError: as `rescore_run`.
    """
    choice = _choose_metrics(run, loaded, first, second, data_dir, device)
    variants = [variant for metric in choice.metrics for variant in _plan_variants(metric, first, second)]
    rows = _score_variants(run, loaded, variants, data_dir=data_dir, device=device, report=report)
    means = {variant.key: _reduce(loaded, variant, rows[variant.key]) for variant in variants}
    differences = [
        difference
        for metric in choice.metrics
        for difference in _build_differences(metric, means, fill_unset(first), fill_unset(second))
    ]
    notes = dict.fromkeys([*choice.left_out, *list_caveats(first), *list_caveats(second)])
    return Comparison(tuple(differences), tuple(notes))


def _choose_metrics(
    run: Run,
    loaded: LoadedProtocol,
    first: Convention,
    second: Convention,
    data_dir: Path | None,
    device: torch.device | str,
) -> _Choice:
    asked, both = (*loaded.protocol.metrics, *loaded.protocol.optional_metrics), (first, second)
    shared = [metric for metric in asked if all(metric in each.metrics for each in both)]
    items = select_items(loaded, run.record.deviations, deterministic=run.record.adapter.deterministic)
    truth, cases = TruthReader(loaded, data_dir), [item.case for item in items]
    maskless = {metric for each in both for metric in check_masks(truth, cases, fill_unset(each), (), shared).without}
    shared = [metric for metric in shared if metric not in maskless]
    missing = {metric for each in both for metric in build_scorers(each, (), shared, device).missing}
    undefined = [
        f"{metric} is not defined by {each.name}" for metric in asked for each in both if metric not in each.metrics
    ]
    return _Choice(
        metrics=tuple(metric for metric in shared if metric not in missing),
        left_out=(
            *undefined,
            *(f"{metric}: weights missing" for metric in asked if metric in missing),
            *(f"{metric}: no masks" for metric in asked if metric in maskless),
        ),
    )


def _score_variants(
    run: Run,
    loaded: LoadedProtocol,
    variants: Sequence[_Variant],
    *,
    data_dir: Path | None,
    device: torch.device | str,
    report: Report | None,
) -> Rows:
    """The rows that count of each variant: the first convention's where a step moves no view."""
    scored = [variant for variant in variants if not _leaves_views(variant)]
    networks: Networks = {}
    scorers = [build_scorers(variant.convention, [variant.metric], (), device, networks) for variant in scored]
    found = rescore_run(run, loaded, scorers, data_dir=data_dir, device=device, report=report)
    rows = _keep_best_scales(loaded, {variant.key: each for variant, each in zip(scored, found, strict=True)})
    return {variant.key: rows.get(variant.key, rows[variant.metric, FIRST]) for variant in variants}


def list_steps(metric: str, first: Convention, second: Convention) -> list[str]:
    """The steps that enter a metric and in which two conventions with nothing unset differ."""
    steps = [*_IMAGES, "infinite_psnr", "reduction"] if metric in PSNR_METRICS else [*_IMAGES, "reduction"]
    group, fields = _find_group(metric)
    steps[len(_IMAGES) : len(_IMAGES)] = [f"{group}.{name}" for name in fields]
    return [step for step in steps if read_step(first, metric, step) != read_step(second, metric, step)]


def read_step(convention: Convention, metric: str, step: str) -> dict[str, Any]:
    """The fields of one step, with their values in plain types."""
    group, _, name = step.rpartition(".")
    record = _find_record(convention, metric) if group else convention.model_dump(mode="json")
    fields = _find_group(metric)[1][name] if group else _IMAGES.get(name, (name,))
    return {field: record[field] for field in fields}


def switch_step(first: Convention, second: Convention, metric: str, step: str) -> Convention:
    """The first convention with one step as in the second."""
    fields = first.model_dump(mode="json")
    moved = read_step(second, metric, step)
    group, _, _ = step.rpartition(".")
    if not group:
        fields |= moved
    elif group in ("psnr", "ssim"):
        fields[group] |= moved
    else:
        fields["lpips"] = [recipe | moved if recipe["metric"] == metric else recipe for recipe in fields["lpips"]]
    # Through JSON, whose lists are a record's tuples.
    return Convention.model_validate(fields)


def _find_group(metric: str) -> tuple[str, Mapping[str, tuple[str, ...]]]:
    full = metric.removesuffix("-fg") if metric in FOREGROUND_METRICS else metric
    return {"psnr": ("psnr", _PSNR), "ssim": ("ssim", _SSIM)}.get(full, (metric, _LPIPS))


def _find_record(convention: Convention, metric: str) -> dict[str, Any]:
    fields = convention.model_dump(mode="json")
    group, _ = _find_group(metric)
    if group in ("psnr", "ssim"):
        return fields[group]
    return next(recipe for recipe in fields["lpips"] if recipe["metric"] == metric)


def _leaves_views(variant: _Variant) -> bool:
    """Whether the step moves no view of a run, so that the first convention's values are its too."""
    untouched = variant.convention.dtype == "float32" and variant.convention.colour_correction == "none"
    return variant.step in _SAME_VIEWS or (variant.step in _SAME_BYTES and untouched)


def _plan_variants(metric: str, first: Convention, second: Convention) -> list[_Variant]:
    first, second = fill_unset(first), fill_unset(second)
    ends = [_Variant(metric, FIRST, first), _Variant(metric, SECOND, second)]
    steps = list_steps(metric, first, second)
    return ends + [_Variant(metric, step, switch_step(first, second, metric, step)) for step in steps]


def _keep_best_scales(loaded: LoadedProtocol, rows: Rows) -> Rows:
    """The rows that count under an oracle sweep: the scales that are best by the first convention's PSNR, for all."""
    cameras = loaded.protocol.cameras
    if not isinstance(cameras, ScaleSweepCameras):
        return rows
    chosen = choose_scales(rows.get(("psnr", FIRST), []), cameras.scales)
    return {key: keep_chosen(found, chosen) for key, found in rows.items()}


def _reduce(loaded: LoadedProtocol, variant: _Variant, rows: Sequence[Row]) -> dict[str, float]:
    """The mean at each place of the reference axis, over the targets that the protocol counts."""
    means = reduce_rows(rows, [variant.metric], build_reducing(loaded, variant.convention))
    return {mean.references: mean.mean for mean in means.protocol if mean.targets == loaded.protocol.targets}


def _build_differences(
    metric: str, means: Mapping[tuple[str, str], dict[str, float]], first: Convention, second: Convention
) -> list[Difference]:
    before, after = means[metric, FIRST], means[metric, SECOND]
    differences: list[Difference] = []
    for label in [label for label in before if label in after]:
        steps = [
            Step(
                step,
                read_step(first, metric, step),
                read_step(second, metric, step),
                means[metric, step][label],
                _subtract(means[metric, step][label], before[label]),
            )
            for step in list_steps(metric, first, second)
            if label in means[metric, step]
        ]
        steps.sort(key=lambda step: -abs(step.change or 0.0))
        gap = _subtract(after[label], before[label])
        differences.append(Difference(metric, label, before[label], after[label], gap, tuple(steps)))
    return differences


def _subtract(after: float, before: float) -> float | None:
    return None if math.isinf(after) and math.isinf(before) else after - before
