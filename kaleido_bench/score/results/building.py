"""Rows to a result: its means, and what it says of protocol, convention, model and extent. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from kaleido_bench.conventions import CapInfinite, Convention, ExcludeInfinite, fill_unset, list_caveats
from kaleido_bench.items import Deviations, WorkItem, plan_items
from kaleido_bench.predictions import RunRecord
from kaleido_bench.protocol import LoadedProtocol, ScaleSweepCameras
from kaleido_bench.records import canonical_json, sha256_hex
from kaleido_bench.score.results.records import (
    MISSING_LISTED,
    RESULT_VERSION,
    ConventionReference,
    Counts,
    MeanRecord,
    MetricRecord,
    MetricStatus,
    ModelCard,
    OracleScale,
    ProtocolReference,
    Result,
    SampleMeanRecord,
    ScaleSweep,
    SceneMeanRecord,
)
from kaleido_bench.score.results.rows import DIGITS, Row, Scores
from kaleido_bench.score.results.statistics import (
    PsnrRule,
    Reducing,
    choose_scales,
    keep_chosen,
    reduce_rows,
    reduce_samples,
)


def build_result(
    record: RunRecord, loaded: LoadedProtocol, convention: Convention, deviations: Deviations, scores: Scores
) -> Result:
    """Make the result of a run from its scores. Pure.

    Args:
        record: the run's run.json.
        deviations: what the scores were selected by.
    """
    deterministic = record.adapter.deterministic
    planned = plan_items(loaded, deterministic=deterministic)
    complete = not scores.missing
    metrics = _describe_metrics(loaded, convention, scores)
    reduced = reduce_scores(scores.rows, loaded, convention, metrics, complete=complete)
    partial = {item.key for item in scores.selected} != {item.key for item in planned}
    return Result(
        schema_version=RESULT_VERSION,
        protocol=describe_protocol(loaded),
        convention=ConventionReference(name=convention.name, hash=convention.hash),
        model=describe_model(record),
        samples=1 if deterministic else deviations.samples or loaded.protocol.samples,
        metrics=metrics,
        counts=_count(planned, scores),
        complete=complete,
        partial=partial,
        partial_reasons=_explain_partial(deviations) if partial else (),
        missing_items=scores.missing[:MISSING_LISTED],
        means=reduced.means,
        scenes=reduced.scenes,
        scale_sweep=reduced.scale_sweep,
        psnr_cap=fill_unset(convention).view_psnr_cap,
        psnr_views_at_cap=reduced.psnr_views_at_cap,
        scorer_version=scores.made.scorer_version,
        digits=DIGITS,
        predictions_sha256=sha256_hex(canonical_json(scores.predictions)),
        truths_sha256=sha256_hex(canonical_json(scores.truths)),
        masks_sha256=scores.made.masks_sha256,
        psnr_views_excluded=reduced.psnr_views_excluded,
        notes=list_notes(record, loaded, convention),
        deterministic=deterministic and loaded.protocol.samples > 1,
        sample_means=reduced.sample_means,
    )


class Reduced(NamedTuple):
    """The part of a result that follows from its rows alone."""

    means: tuple[MeanRecord, ...]
    scenes: tuple[SceneMeanRecord, ...]
    sample_means: tuple[SampleMeanRecord, ...]
    scale_sweep: ScaleSweep | None
    psnr_views_at_cap: int
    psnr_views_excluded: int


def reduce_scores(
    rows: Sequence[Row],
    loaded: LoadedProtocol,
    convention: Convention,
    metrics: Sequence[MetricRecord],
    *,
    complete: bool,
) -> Reduced:
    """Rows to means. Pure. What is not complete has none."""
    filled = fill_unset(convention)
    how, cap = build_reducing(loaded, filled), filled.view_psnr_cap
    counted, sweep = _apply_sweep(loaded, rows)
    psnr = [row.value for row in counted if row.metric == "psnr"]
    chosen = counted if complete else counted[:0]
    scored = {metric.name: metric.higher_is_better for metric in metrics if metric.status == "scored"}
    means = reduce_rows(chosen, list(scored), how)
    samples = reduce_samples(chosen, scored, how)
    return Reduced(
        means=tuple(MeanRecord(**mean._asdict()) for mean in means.protocol),
        scenes=tuple(SceneMeanRecord(**mean._asdict()) for mean in means.scenes),
        sample_means=tuple(SampleMeanRecord(**mean._asdict()) for mean in samples),
        scale_sweep=sweep if complete else None,
        psnr_views_at_cap=sum(cap is not None and value >= cap for value in psnr),
        psnr_views_excluded=psnr.count(math.inf) if how.psnr.exclude_infinite and not how.psnr.pooled else 0,
    )


def build_reducing(loaded: LoadedProtocol, convention: Convention) -> Reducing:
    """How the rows of a protocol are reduced under a convention with nothing unset."""
    label_of = {case.id: loaded.reference_label(case) for case in loaded.cases}
    return describe_reducing(label_of, loaded.reference_labels, convention)


def describe_reducing(label_of: Mapping[str, str], labels: Sequence[str], convention: Convention) -> Reducing:
    """The same of cases that are named here, each with its place on the reference axis."""
    policy = convention.infinite_psnr
    return Reducing(
        label_of=label_of,
        labels=labels,
        reduction=convention.reduction or "view>scene>protocol",
        psnr=PsnrRule(
            pooled=convention.psnr.aggregation == "pooled",
            cap=policy.decibels if isinstance(policy, CapInfinite) else math.inf,
            exclude_infinite=isinstance(policy, ExcludeInfinite),
        ),
    )


def keep_counted(loaded: LoadedProtocol, rows: Sequence[Row]) -> Sequence[Row]:
    """The rows that count: all, but under an oracle sweep only those at the scale chosen for their case."""
    return _apply_sweep(loaded, rows)[0]


def _apply_sweep(loaded: LoadedProtocol, rows: Sequence[Row]) -> tuple[Sequence[Row], ScaleSweep | None]:
    """The rows that count, and the record of an oracle sweep where the protocol has one."""
    cameras = loaded.protocol.cameras
    if not isinstance(cameras, ScaleSweepCameras):
        return rows, None
    chosen = choose_scales(rows, cameras.scales)
    sweep = ScaleSweep(
        rule="best mean PSNR per case and sample, chosen with the ground truth",
        scales=cameras.scales,
        chosen=tuple(OracleScale(**choice._asdict()) for choice in chosen),
    )
    return keep_chosen(rows, chosen), sweep


def describe_protocol(loaded: LoadedProtocol) -> ProtocolReference:
    """The question, as a result says it."""
    protocol = loaded.protocol
    return ProtocolReference(
        name=protocol.name,
        version=protocol.version,
        hash=loaded.hash,
        title=protocol.title,
        targets=protocol.targets,
        reference_labels=loaded.reference_labels,
        scenes=len({case.scene for case in loaded.cases}),
        cases=len(loaded.cases),
        target_views=sum(len(case.targets) for case in loaded.cases),
        leaked_targets=sum(len(set(case.targets) & set(case.references)) for case in loaded.cases),
    )


def describe_model(record: RunRecord) -> ModelCard:
    """Who answered, as a result says it. What a method costs is in efficiency.json."""
    card = {key: getattr(record.adapter, key) for key in ModelCard.model_fields if key not in ("model", "fingerprint")}
    return ModelCard(model=record.model, fingerprint=record.fingerprint, **card)


def _describe_metrics(loaded: LoadedProtocol, convention: Convention, scores: Scores) -> tuple[MetricRecord, ...]:
    optional = loaded.protocol.optional_metrics
    return tuple(
        MetricRecord(
            name=name,
            higher_is_better=convention.metrics[name].higher_is_better,
            optional=name in optional,
            status=_find_status(name, scores),
            weights=scores.weights_missing.get(name) or scores.weights.get(name),
        )
        for name in (*loaded.protocol.metrics, *optional)
        if name in convention.metrics
    )


def _find_status(metric: str, scores: Scores) -> MetricStatus:
    if metric in scores.weights_missing:
        return "weights missing"
    return "no masks" if metric in scores.masks_missing else "scored"


def list_notes(record: RunRecord, loaded: LoadedProtocol, convention: Convention) -> tuple[str, ...]:
    """What is said beside every number of a run; see `write_notes`."""
    return write_notes(record.model, record.adapter.training_data, loaded, convention)


def write_notes(
    model: str, training_data: Sequence[str] | None, loaded: LoadedProtocol, convention: Convention
) -> tuple[str, ...]:
    """What the convention leaves unset, what it does not define, and that the model has seen the data set."""
    asked = (*loaded.protocol.metrics, *loaded.protocol.optional_metrics)
    undefined = [f"{convention.name}: {name} is not defined by it" for name in asked if name not in convention.metrics]
    data_set = loaded.protocol.dataset.name
    seen = data_set in (training_data or ())
    trained = [f"{model}: trained on {data_set}, this protocol's data set: not zero-shot"] if seen else []
    return (*list_caveats(convention), *undefined, *trained)


def _count(planned: Sequence[WorkItem], scores: Scores) -> Counts:
    found = [item for item in scores.selected if item.key in scores.predictions]

    def count_views(items: Iterable[WorkItem]) -> int:
        return sum(len(item.case.targets) for item in items)

    return Counts(
        items_in_protocol=len(planned),
        items_expected=len(scores.selected),
        items_found=len(found),
        views_in_protocol=count_views(planned),
        views_expected=count_views(scores.selected),
        views_found=count_views(found),
    )


def _explain_partial(deviations: Deviations) -> tuple[str, ...]:
    """Why a result is partial, in the words of the command line."""
    reasons: list[str] = []
    if deviations.limit is not None:
        reasons.append(f"--limit {deviations.limit}")
    if deviations.scenes is not None:
        reasons.append(f"--scenes {','.join(deviations.scenes)}")
    if deviations.reference_counts is not None:
        reasons.append(f"--references {','.join(map(str, deviations.reference_counts))}")
    if deviations.samples is not None:
        reasons.append(f"--samples {deviations.samples}")
    return tuple(reasons)
