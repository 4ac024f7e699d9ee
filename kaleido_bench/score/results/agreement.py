"""Whether a result agrees with its protocol, its convention and itself: all that the file alone can show.

A result on a leaderboard has left its rows and predictions behind. What can still be checked is that it answers today's
protocol under today's convention, that nothing of the protocol is left out, that the means over the protocol follow
from the means of its scenes, and that no number is one that its metric cannot have. Pure. `checking.py` holds a
result to its run as well, where there is one.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

from pydantic import JsonValue

from kaleido_bench.cases import Case
from kaleido_bench.conventions import FOREGROUND_METRICS, PSNR_METRICS, Convention, fill_unset
from kaleido_bench.items import plan_items
from kaleido_bench.protocol import LoadedProtocol, ScaleSweepCameras
from kaleido_bench.records import canonical_json, sha256_hex
from kaleido_bench.score.results.building import build_reducing, describe_protocol, write_notes
from kaleido_bench.score.results.records import MeanRecord, MetricRecord, Result, SceneMeanRecord
from kaleido_bench.score.results.rows import DIGITS, SCORER_VERSION
from kaleido_bench.score.results.statistics import Reducing, Targets, pool_psnr_of_scenes

TOLERANCE = 1e-9
"""Relative: sums are exact, and a pooled PSNR takes powers and logarithms that two machines may round apart."""


class Difference(NamedTuple):
    """A field, what the result says, and what it should say."""

    field: str
    found: JsonValue
    expected: JsonValue


def find_disagreements(result: Result, loaded: LoadedProtocol, convention: Convention) -> Iterator[Difference]:
    """What a result says against its protocol and convention, and against itself; the most telling first.

    Args:
        loaded: the protocol that it should be of.
        convention: the one that it should be scored under.
    """
    told = result.protocol.model_dump(mode="json", exclude={"title"})  # a title may be put better later
    asked = describe_protocol(loaded).model_dump(mode="json", exclude={"title"})
    other = [
        *compare("protocol.name", told["name"], asked["name"]),
        *compare("protocol.hash", told["hash"], asked["hash"]),
        *compare("convention.name", result.convention.name, convention.name),
        *compare("convention.hash", result.convention.hash, convention.hash),
    ]
    yield from other
    if other:
        return  # it answers another question: everything else would differ too
    yield from compare("protocol", told, asked)
    yield from _find_extent(result, loaded)
    yield from find_metric_differences(result, convention, loaded)
    yield from _find_lacking(result, convention, loaded)
    yield from _find_making(result, convention, loaded)
    yield from _find_means(result, loaded, convention)
    yield from _find_sweep(result, loaded)
    yield from _find_impossible(result, convention)


def compare(field: str, found: JsonValue, expected: JsonValue) -> Iterator[Difference]:
    """Two JSON values, to the leaf that differs."""
    if isinstance(found, dict) and isinstance(expected, dict):
        for key in sorted(found.keys() | expected.keys()):
            yield from compare(f"{field}.{key}", found.get(key), expected.get(key))
    elif isinstance(found, list) and isinstance(expected, list) and len(found) == len(expected):
        for place, (one, other) in enumerate(zip(found, expected, strict=True)):
            yield from compare(f"{field}[{place}]", one, other)
    elif isinstance(found, float) and isinstance(expected, int | float):
        if not math.isclose(found, expected, rel_tol=TOLERANCE, abs_tol=TOLERANCE):
            yield Difference(field, found, expected)
    elif found != expected:
        yield Difference(field, found, expected)


def find_metric_differences(result: Result, convention: Convention, loaded: LoadedProtocol) -> Iterator[Difference]:
    """What a result says of its metrics: which way they are better, and by which weights, where those are pinned."""
    pinned = {recipe.metric: recipe.trunk.sha256 for recipe in convention.lpips}
    for metric in result.metrics:
        defined = convention.metrics.get(metric.name)
        higher = None if defined is None else defined.higher_is_better
        yield from compare(f"{metric.name}.higher_is_better", metric.higher_is_better, higher)
        optional = metric.name in loaded.protocol.optional_metrics
        yield from compare(f"{metric.name}.optional", metric.optional, optional)
        if metric.status == "scored" and (sha256 := pinned.get(metric.name)) is not None:
            yield from compare(f"{metric.name}.weights", metric.weights, sha256)


def _find_extent(result: Result, loaded: LoadedProtocol) -> Iterator[Difference]:
    """Whether it is over the whole protocol."""
    yield from compare("complete", result.complete, True)
    yield from compare("partial", result.partial, False)
    yield from compare("partial_reasons", list(result.partial_reasons), [])
    yield from compare("missing_items", list(result.missing_items), [])
    asked = loaded.protocol.samples
    yield from compare("samples", result.samples, 1 if result.deterministic else asked)
    yield from compare("deterministic", result.deterministic, result.deterministic and asked > 1)
    planned = plan_items(loaded, deterministic=result.deterministic)
    items, views = len(planned), sum(len(item.case.targets) for item in planned)
    for field, found in result.counts.model_dump().items():
        yield from compare(f"counts.{field}", found, items if field.startswith("items") else views)


def _find_lacking(result: Result, convention: Convention, loaded: LoadedProtocol) -> Iterator[Difference]:
    """Whether every metric of the protocol is there, and every required one scored."""
    protocol = loaded.protocol
    asked: list[JsonValue] = [
        name for name in (*protocol.metrics, *protocol.optional_metrics) if name in convention.metrics
    ]
    yield from compare("metrics", [metric.name for metric in result.metrics], asked)
    learned = {recipe.metric for recipe in convention.lpips}
    for metric in result.metrics:
        if metric.name in protocol.metrics:
            yield from compare(f"{metric.name}.status", metric.status, "scored")
        if metric.status == "scored" and metric.name not in learned:
            yield from compare(f"{metric.name}.weights", metric.weights, None)


def _find_making(result: Result, convention: Convention, loaded: LoadedProtocol) -> Iterator[Difference]:
    """Whether it was made by this scorer, from the frozen files, and says what it has to say."""
    yield from compare("scorer_version", result.scorer_version, SCORER_VERSION)
    yield from compare("digits", result.digits, DIGITS)
    yield from compare("psnr_cap", result.psnr_cap, fill_unset(convention).view_psnr_cap)
    said = write_notes(result.model.model, result.model.training_data, loaded, convention)
    yield from compare("notes", list(result.notes), list(said))
    targets = {(case.scene, view) for case in loaded.cases for view in case.targets}
    images = {(scene, view): loaded.index.pin(scene, view).image for scene, view in targets}
    yield from _compare_files("truths_sha256", result.truths_sha256, images)
    if _looks_at_masks(result, convention):
        # Where a protocol froze masks it froze all: a view without one has its mask in its alpha channel.
        masks = {(scene, view): loaded.index.pin(scene, view).mask for scene, view in targets}
        frozen = {place: sha256 for place, sha256 in masks.items() if sha256 is not None}
        if frozen:
            yield from _compare_files("masks_sha256", result.masks_sha256, frozen)
    else:
        yield from compare("masks_sha256", result.masks_sha256, None)


def _looks_at_masks(result: Result, convention: Convention) -> bool:
    return convention.uses_masks or bool(FOREGROUND_METRICS & _list_scored(result).keys())


def _compare_files(field: str, found: str | None, pins: Mapping[tuple[str, str], str | None]) -> Iterator[Difference]:
    """A hash over scene -> view -> sha256, where the protocol froze every file."""
    files: dict[str, dict[str, str]] = {}
    for (scene, view), sha256 in pins.items():
        if sha256 is None:
            return
        files.setdefault(scene, {})[view] = sha256
    yield from compare(field, found, sha256_hex(canonical_json(files)))


def _list_scored(result: Result) -> dict[str, MetricRecord]:
    return {metric.name: metric for metric in result.metrics if metric.status == "scored"}


# Means


class _Place(NamedTuple):
    """Where a mean stands: its place on the reference axis, its metric, and which targets count."""

    references: str
    metric: str
    targets: Targets

    def __str__(self) -> str:
        return f"({self.references}, {self.metric}, {self.targets})"


def _find_means(result: Result, loaded: LoadedProtocol, convention: Convention) -> Iterator[Difference]:
    """Whether each mean that there should be is there, over the views it should be, and follows from its scenes."""
    how = build_reducing(loaded, fill_unset(convention))
    scored = list(_list_scored(result))
    means = {_Place(mean.references, mean.metric, mean.targets): mean for mean in result.means}
    scenes: dict[_Place, dict[str, SceneMeanRecord]] = {}
    for mean in result.scenes:
        scenes.setdefault(_Place(mean.references, mean.metric, mean.targets), {})[mean.scene] = mean
    views = _count_views(loaded, how)
    expected = [_Place(label, metric, kind) for label, kind in views for metric in scored]
    for place in sorted((means.keys() | scenes.keys()) - set(expected)):
        yield Difference(f"means{place}", "a number", "none: it is no scored metric of the protocol")
    for place in expected:
        if place not in means or place not in scenes:
            if not _may_be_empty(place.metric, how):
                yield Difference(f"means{place}", None, "a mean, and those of its scenes")
            continue
        found = scenes[place]
        yield from _find_views(place, means[place], found, views[place.references, place.targets], how)
        again = _reduce_scenes(place.metric, [found[name] for name in sorted(found)], how, result.samples)
        if again is not None:
            yield from compare(f"means{place}.mean", means[place].mean, again)
    if len(means) != len(result.means) or sum(map(len, scenes.values())) != len(result.scenes):
        yield Difference("means", "one of them twice", "each once")
    if not result.protocol.leaked_targets:
        yield from _find_apart(means)


def _count_views(loaded: LoadedProtocol, how: Reducing) -> dict[tuple[str, Targets], Counter[str]]:
    """(label, targets) -> scene -> target views that count; without those that have none."""
    counts: dict[tuple[str, Targets], Counter[str]] = {}
    kinds: tuple[Targets, ...] = ("as-published", "strict-novel")
    for label in how.labels:
        cases: Sequence[Case] = [case for case in loaded.cases if how.label_of[case.id] == label]
        for kind in kinds:
            counted: Counter[str] = Counter()
            for case in cases:
                shown: Collection[str] = () if kind == "as-published" else case.references
                counted[case.scene] += len(set(case.targets) - set(shown))
            if counted := +counted:
                counts[label, kind] = counted
    return counts


def _may_be_empty(metric: str, how: Reducing) -> bool:
    """Whether views may leave the mean of a metric: those with an infinite PSNR, under some conventions."""
    return metric in PSNR_METRICS and how.psnr.exclude_infinite


def _find_views(
    place: _Place, mean: MeanRecord, scenes: Mapping[str, SceneMeanRecord], expected: Mapping[str, int], how: Reducing
) -> Iterator[Difference]:
    found = {name: each.views for name, each in scenes.items()}
    if not _may_be_empty(place.metric, how):
        yield from compare(f"scenes{place}.views", dict(found), dict(expected))
    elif any(count > expected.get(name, 0) for name, count in found.items()):
        yield Difference(f"scenes{place}.views", dict(found), dict(expected))
    yield from compare(f"means{place}.views", mean.views, sum(found.values()))
    yield from compare(f"means{place}.scenes", mean.scenes, len(found))


def _reduce_scenes(metric: str, scenes: Sequence[SceneMeanRecord], how: Reducing, samples: int) -> float | None:
    """The mean over the protocol, again from its scenes; None where these do not hold enough for that."""
    values = [scene.mean for scene in scenes]
    if how.reduction == "view>scene>protocol":
        return math.fsum(values) / len(values)
    if samples > 1 and _may_be_empty(metric, how):
        return None  # how many samples of a view were left out is not stored
    weights = [scene.views for scene in scenes]
    if metric in PSNR_METRICS and how.psnr.pooled:
        # At the cap, or infinite, the error itself is not stored.
        return None if max(values) >= how.psnr.cap else min(pool_psnr_of_scenes(values, weights), how.psnr.cap)
    return math.fsum(value * weight for value, weight in zip(values, weights, strict=True)) / sum(weights)


def _find_apart(means: Mapping[_Place, MeanRecord]) -> Iterator[Difference]:
    """Without a leak, all targets are novel, and the two kinds of means are one."""
    for place, mean in means.items():
        twin = means.get(place._replace(targets="as-published"))
        if twin is not None:
            yield from compare(f"means{place}.mean", mean.mean, twin.mean)


# Numbers that cannot be


def _find_impossible(result: Result, convention: Convention) -> Iterator[Difference]:
    """Numbers that their metric cannot have, such as an SSIM above 1, and an oracle that is worse than the mean."""
    for each in (*result.means, *result.scenes):
        low, high = _find_range(each.metric, convention)
        if not low <= each.mean <= high:
            yield Difference(f"{_name(each)}.mean", each.mean, f"{low:g} to {high:g}")
    higher = {metric.name: metric.higher_is_better for metric in result.metrics}
    means = {_Place(mean.references, mean.metric, mean.targets): mean.mean for mean in result.means}
    for each in result.sample_means:
        place = _Place(each.references, each.metric, each.targets)
        mean = means.get(place, math.nan)
        better = each.best - mean if higher.get(each.metric, True) else mean - each.best
        if better < -TOLERANCE * max(1.0, abs(mean)):
            yield Difference(f"sample_means{place}.best", each.best, f"no worse than the mean, {mean}")
        if each.spread is not None and each.spread < 0:
            yield Difference(f"sample_means{place}.spread", each.spread, "0 or more")
    yield from compare("sample_means, whether there are any", bool(result.sample_means), result.samples > 1)


def _name(mean: MeanRecord | SceneMeanRecord) -> str:
    place = _Place(mean.references, mean.metric, mean.targets)
    return f"scenes[{mean.scene}]{place}" if isinstance(mean, SceneMeanRecord) else f"means{place}"


def _find_range(metric: str, convention: Convention) -> tuple[float, float]:
    """Where a mean can lie. The PSNR of images in [0, 1] is never below 0 dB, unless its peak is that of the pair; a
    distance of LPIPS is never negative.
    """
    if metric in PSNR_METRICS:
        cap = fill_unset(convention).view_psnr_cap
        return -math.inf if convention.psnr.data_range == "pair" else 0.0, math.inf if cap is None else cap
    return (-1.0, 1.0) if metric.startswith("ssim") else (0.0, math.inf)


def _find_sweep(result: Result, loaded: LoadedProtocol) -> Iterator[Difference]:
    """Whether an oracle sweep chose one of the protocol's scales for each case, where the protocol has one."""
    cameras = loaded.protocol.cameras
    if not isinstance(cameras, ScaleSweepCameras):
        yield from compare("scale_sweep", None if result.scale_sweep is None else "a sweep", None)
        return
    if result.scale_sweep is None:
        yield Difference("scale_sweep", None, "the scale chosen for each case")
        return
    yield from compare("scale_sweep.scales", list(result.scale_sweep.scales), list(cameras.scales))
    found = sorted((each.case, each.sample) for each in result.scale_sweep.chosen)
    asked = sorted((case.id, sample) for case in loaded.cases for sample in range(result.samples))
    if found != asked:
        yield Difference(
            "scale_sweep.chosen", f"{len(found)} choices", f"one for each of {len(asked)} cases and samples"
        )
    if strange := {each.scale for each in result.scale_sweep.chosen} - set(cameras.scales):
        yield Difference("scale_sweep.chosen", f"{sorted(strange)}", f"among {list(cameras.scales)}")
