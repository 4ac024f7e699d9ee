"""Predictions x ground truth -> one row per view and metric. Resumable, and the same bytes whatever happened before.

A work item's rows depend on that item alone: its predictions, its ground truth, the convention, the weights. They are
written as soon as they are known (`scores/<convention>/<item>.json`, with the key of all they were computed from) and
joined at the end. The images of an item meet the metrics in blocks whose sizes depend on nothing but the kind of
device, so that interruptions and the choice of items leave no trace in a value.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from kaleido_bench.atomic import remove_leftovers
from kaleido_bench.cases import Case
from kaleido_bench.conventions import PSNR_METRICS, Convention, fill_unset
from kaleido_bench.errors import BenchError, IncompleteError
from kaleido_bench.items import Deviations, WorkItem, select_items
from kaleido_bench.predictions import Run, check_prediction, load_prediction, load_prediction_record, unexpected_items
from kaleido_bench.protocol import LoadedProtocol
from kaleido_bench.records import canonical_json, sha256_hex
from kaleido_bench.score.masks import Mask, needs_masks, stack_masks
from kaleido_bench.score.metrics import Scorers, build_scorers, defined_metrics
from kaleido_bench.score.rows import (
    DIGITS,
    SCORER_VERSION,
    Part,
    Row,
    Scores,
    read_part,
    sort_rows,
    write_part,
    write_rows,
)
from kaleido_bench.score.truth import TruthReader, check_masks

# Pairs that meet a metric at once. On a CPU more than one gains nothing and leaves the cache.
_BLOCK_CPU, _BLOCK_GPU = 1, 8

Report = Callable[[int, int], None]
"""Called with the number of views scored so far and the number to score in this call."""


class _Found(NamedTuple):
    """A prediction that is there and right, and what its rows depend on."""

    item: WorkItem
    size: tuple[int, int]
    predictions: dict[str, str]
    truths: dict[str, str]
    masks: dict[str, str]
    key: str


def score_run(
    run: Run,
    loaded: LoadedProtocol,
    *,
    data_dir: Path | None,
    convention: Convention,
    device: torch.device | str = "cpu",
    deviations: Deviations | None = None,
    report: Report | None = None,
) -> Scores:
    """Score the predictions of a run, and write `scores/<convention>.parquet`.

    Every prediction is checked before the first one is scored. Items without a prediction are counted, not scored.

    Args:
        data_dir: where the ground truth is; None is enough for data that ships with the package.
        deviations: which items to score; None is those that the run's last session predicted.
        report: told the progress.
    Raises:
        BenchError: a prediction is there but not right (a view missing, extra, altered or of the wrong size; a folder
            that answers nothing the protocol asks); the ground truth is not there or not what was frozen; the
            convention asks for what is not implemented; the weights of a required metric are missing, or the masks.
    """
    truth = TruthReader(loaded, data_dir)
    chosen = run.record.deviations if deviations is None else deviations
    selected = tuple(select_items(loaded, chosen, deterministic=run.record.adapter.deterministic))
    asked = defined_metrics(loaded.protocol, convention)
    asked = check_masks(truth, [item.case for item in selected], fill_unset(convention), *asked)
    scorers = build_scorers(convention, asked.required, asked.optional, device)
    masked = needs_masks(scorers.convention, scorers.metrics)
    _refuse_unexpected(run, loaded)
    setting = _describe_setting(loaded, convention, scorers, torch.device(device))
    found = [each for item in selected if (each := _find(run, item, truth, setting, masked=masked))]

    parts = run.path / "scores" / convention.name
    parts.mkdir(parents=True, exist_ok=True)
    remove_leftovers(parts)
    known = {each.item.key: part for each in found if (part := _read_known(parts, each))}
    todo = [each for each in found if each.item.key not in known]
    known |= _score_items(
        todo, parts, lambda each: _score_item(run, each, truth, scorers, torch.device(device)), report
    )
    rows = sort_rows([row for part in known.values() for row in part.rows])
    write_rows(run.scores(convention.name), rows)
    return Scores(
        rows=rows,
        selected=selected,
        missing=tuple(item.key for item in selected if item.key not in known),
        scored=len(todo),
        reused=len(found) - len(todo),
        weights={scorer.metric: scorer.weights.sha256 for scorer in scorers.ready if scorer.weights},
        weights_missing={metric: missing.name for metric, missing in scorers.missing.items()},
        predictions={each.item.key: each.predictions for each in found},
        truths=_merge_hashes((each.item.case, each.truths) for each in found),
        masks=_merge_hashes((each.item.case, each.masks) for each in found),
        masks_missing=asked.without,
    )


def _score_items(
    todo: Sequence[_Found], parts: Path, score: Callable[[_Found], Iterator[Row]], report: Report | None
) -> dict[str, Part]:
    """Score items one by one, each on the disk before the next begins. Gives their rows by item."""
    scored: dict[str, Part] = {}
    total, done = sum(len(each.item.case.targets) for each in todo), 0
    for each in todo:
        part = Part(each.key, tuple(score(each)))
        write_part(_part_path(parts, each.item), part)
        scored[each.item.key] = part
        done += len(each.item.case.targets)
        if report is not None:
            report(done, total)
    return scored


def rescore_run(
    run: Run,
    loaded: LoadedProtocol,
    scorers: Sequence[Scorers],
    *,
    data_dir: Path | None,
    device: torch.device | str = "cpu",
    report: Report | None = None,
) -> list[list[Row]]:
    """Score what the run's last session predicted in several ways at once, in memory: nothing is written.

    Every pair of images is read once. Every prediction is checked before the first one is scored.

    Returns:
        The rows of each of `scorers`.
    Raises:
        BenchError: as `score_run`.
        IncompleteError: a prediction is not there.
    """
    truth, where = TruthReader(loaded, data_dir), torch.device(device)
    _refuse_unexpected(run, loaded)
    selected = select_items(loaded, run.record.deviations, deterministic=run.record.adapter.deterministic)
    found = [each for item in selected if (each := _find(run, item, truth, {}, masked=False))]
    if len(found) < len(selected):
        raise IncompleteError(
            f"{run.path}: {len(found)} of {len(selected)} predictions are there. Finish it with `kbench run`."
        )
    rows: list[list[Row]] = [[] for _ in scorers]
    for done, each in enumerate(found, start=1):
        for block in _read_blocks(run, each, truth, where):
            for place, scorer in enumerate(scorers):
                rows[place] += _score_block(each.item, block, scorer)
        if report is not None:
            report(done, len(found))
    return rows


def _refuse_unexpected(run: Run, loaded: LoadedProtocol) -> None:
    """Refuse a folder of predictions that nobody asked for: it may be what a missing one was misnamed to."""
    counts = [session.deviations.samples or 1 for session in run.record.sessions]
    unexpected = unexpected_items(run, loaded, max([loaded.protocol.samples, *counts]))
    if unexpected:
        raise BenchError(
            run.predictions / unexpected[0],
            "a prediction that the protocol does not ask for",
            expected=f"one of its {len(loaded.cases)} cases, like {loaded.cases[0].id}",
            fix="Rename it or take it out of the folder.",
        )


def _find(run: Run, item: WorkItem, truth: TruthReader, setting: dict[str, object], *, masked: bool) -> _Found | None:
    """Check one prediction, byte by byte; None where it has not been made."""
    size = truth.image_size(item.case)
    state = check_prediction(run, item, size)
    if not state.present:
        return None
    if state.problems:
        load_prediction(run, item, size)  # raises, and says what is wrong
    predictions, truths = load_prediction_record(run, item).sha256, truth.hashes(item.case)
    masks = truth.mask_hashes(item.case) if masked else {}
    depends = {**setting, "item": item.key, "predictions": predictions, "truths": truths}
    # Only where there are some, so that what was scored without masks keeps its key.
    depends |= {"masks": masks} if masks else {}
    return _Found(item, size, predictions, truths, masks, sha256_hex(canonical_json(depends)))


def _describe_setting(
    loaded: LoadedProtocol, convention: Convention, scorers: Scorers, device: torch.device
) -> dict[str, object]:
    """What the rows of every item depend on, beside the item. Another kind of device rounds differently."""
    return {
        "scorer": SCORER_VERSION,
        "protocol": loaded.hash,
        "convention": convention.hash,
        "metrics": {scorer.metric: scorer.weights.sha256 if scorer.weights else None for scorer in scorers.ready},
        "device": device.type,
    }


def _part_path(parts: Path, item: WorkItem) -> Path:
    return parts / f"{item.key}.json"


def _read_known(parts: Path, found: _Found) -> Part | None:
    """The rows of an item, if they were computed from exactly what is there now."""
    part = read_part(_part_path(parts, found.item))
    return part if part is not None and part.key == found.key else None


def _score_item(run: Run, found: _Found, truth: TruthReader, scorers: Scorers, device: torch.device) -> Iterator[Row]:
    """Score the views of one work item, block by block."""
    for block in _read_blocks(run, found, truth, device):
        yield from _score_block(found.item, block, scorers)


class _Block(NamedTuple):
    """Some views of a work item, float32 [view, 3, height, width] in [0, 1] on the device."""

    views: tuple[str, ...]
    predictions: Tensor
    truths: Tensor
    masks: tuple[Mask | None, ...]


def _read_blocks(run: Run, found: _Found, truth: TruthReader, device: torch.device) -> Iterator[_Block]:
    case = found.item.case
    predictions = load_prediction(run, found.item, found.size)
    size = _BLOCK_CPU if device.type == "cpu" else _BLOCK_GPU
    for start in range(0, len(case.targets), size):
        views = case.targets[start : start + size]
        truths = truth.load(case, views)
        pair = (_to_tensor(images, device) for images in (predictions[start : start + size], truths.images))
        yield _Block(views, *pair, truths.masks)


def _score_block(item: WorkItem, block: _Block, scorers: Scorers) -> Iterator[Row]:
    names = [f"{item.case.scene}, view {view}" for view in block.views]
    size = (block.truths.shape[-1], block.truths.shape[-2])
    stacked = stack_masks(block.masks, names, size, scorers.convention, scorers.metrics)
    masks = None if stacked is None else torch.from_numpy(stacked).to(block.truths.device)
    for metric, values in scorers.score(block.predictions, block.truths, masks).items():
        for view, value in zip(block.views, _read_values(values), strict=True):
            yield _build_row(item, view, metric, value, scorers.convention)


def _to_tensor(images: UInt8[np.ndarray, "view height width 3"], device: torch.device) -> Float[Tensor, "view 3 h w"]:
    tensor = torch.from_numpy(images)  # pyright: ignore[reportUnknownMemberType]
    return tensor.to(device).permute(0, 3, 1, 2).to(torch.float32).div_(255)


def _read_values(values: Tensor) -> list[float]:
    return [float(value) for value in values.cpu().numpy().astype(np.float64)]


def _build_row(item: WorkItem, view: str, metric: str, value: float, convention: Convention) -> Row:
    # Identical images: what they do to a mean is the convention's policy.
    perfect = metric in PSNR_METRICS and value == math.inf and convention.view_psnr_cap is None
    if not (math.isfinite(value) or perfect):
        raise IncompleteError(f"{item.key}, view {view}: {metric} is {value}; no result is made of it")
    case = item.case
    leaked = view in case.references
    value = round(value, DIGITS)
    return Row(case.id, case.scene, len(case.references), view, item.sample, item.scale, metric, value, leaked)


def _merge_hashes(found: Iterable[tuple[Case, dict[str, str]]]) -> dict[str, dict[str, str]]:
    """Scene -> view -> hash, of the scenes that have any."""
    merged: dict[str, dict[str, str]] = {}
    for case, hashes in found:
        if hashes:
            merged.setdefault(case.scene, {}).update(hashes)
    return merged
