"""Results to draw tables of, written by hand: no number in them was measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from kaleido_bench.score.results.records import (
    ConventionReference,
    Counts,
    MeanRecord,
    MetricRecord,
    ModelCard,
    OracleScale,
    ProtocolReference,
    Result,
    ScaleSweep,
)

METRICS = (("psnr", True, False), ("ssim", True, False), ("lpips-alex", False, False), ("lpips-vgg", False, True))

MakeResult = Callable[..., Result]


def make_result(
    model: str,
    values: Mapping[str, Sequence[float]],
    *,
    labels: Sequence[str] = ("1", "3", "6"),
    protocol: str = "real/scenes-few",
    protocol_hash: str = "3f2a91c0d1e2",
    title: str = "Few-view scenes: 1, 3 & 6 references",
    targets: str = "strict-novel",
    leaked: int = 0,
    strict_gap: float = 0.0,
    found: int | None = None,
    partial: Sequence[str] = (),
    **fields: Any,
) -> Result:
    """A result whose means are `values`, metric -> one value a label. A metric without values lacks its weights.

    Args:
        leaked: targets that are references too; `strict_gap` is what leaving them out costs.
        found: target views found of 288, and no means, for an incomplete result.
    """
    means = [
        MeanRecord(references=label, metric=metric, targets=kind, mean=value - gap, views=96, scenes=8)
        for metric, column in values.items()
        for label, value in zip(labels, column, strict=False)
        for kind, gap in (("as-published", 0.0), ("strict-novel", strict_gap))
    ]
    defaults: dict[str, Any] = {
        "schema_version": 1,
        "protocol": ProtocolReference(
            name=protocol,
            version=1,
            hash=protocol_hash.ljust(64, "0"),
            title=title,
            targets=targets,  # type: ignore[arg-type]
            reference_labels=tuple(labels),
            scenes=8,
            cases=24,
            target_views=288,
            leaked_targets=leaked,
        ),
        "convention": ConventionReference(name="kbench-v1", hash="b433d0d7e4f0".ljust(64, "0")),
        "model": ModelCard(
            model=model,
            name=model.split("@")[0],
            variant=None,
            fingerprint="f",
            weights_sha256=None,
            settings={},
            training_data=None,
        ),
        "samples": 1,
        "metrics": tuple(
            MetricRecord(
                name=name,
                higher_is_better=higher,
                optional=optional,
                status="scored" if name in values or found is not None else "weights missing",
                weights=None,
            )
            for name, higher, optional in METRICS
        ),
        "counts": Counts(
            items_in_protocol=24,
            items_expected=24,
            items_found=24,
            views_in_protocol=288,
            views_expected=288,
            views_found=288 if found is None else found,
        ),
        "complete": found is None,
        "partial": bool(partial),
        "partial_reasons": tuple(partial),
        "missing_items": (),
        "means": tuple(means) if found is None else (),
        "scenes": (),
        "scale_sweep": None,
        "psnr_cap": 100.0,
        "psnr_views_at_cap": 0,
        "scorer_version": 1,
        "digits": 6,
        "predictions_sha256": "0" * 64,
        "truths_sha256": "0" * 64,
    }
    return Result(**{**defaults, **fields})


@pytest.fixture
def result() -> MakeResult:
    return make_result


@pytest.fixture
def three_models() -> list[Result]:
    """What a first run prints: two baselines and a model, without VGG weights."""
    return [
        make_result(
            "nearest",
            {"psnr": (11.132, 12.005, 13.9949), "ssim": (0.211, 0.2502, 0.3), "lpips-alex": (0.5123, 0.4444, 0.39)},
        ),
        make_result(
            "mean",
            {"psnr": (11.134, 13.511, 13.9951), "ssim": (0.311, 0.3502, 0.3), "lpips-alex": (0.7123, 0.6444, 0.59)},
        ),
        make_result(
            "kaleido@tiny",
            {"psnr": (16.8, 17.77, 18.04), "ssim": (0.5113, 0.5502, 0.62), "lpips-alex": (0.4123, 0.3444, 0.29)},
        ),
    ]


@pytest.fixture
def every_case(three_models: list[Result]) -> list[Result]:
    """All that a table may have to say: ties, something missing, a part, an oracle, several samples, two protocols."""
    sweep = ScaleSweep(
        rule="best mean PSNR per case and sample, chosen with the ground truth",
        scales=(0.5, 1.0, 2.0),
        chosen=(OracleScale(case="a-r1", sample=0, scale=0.5),),
    )
    tied = {"psnr": (16.8004, 17.0, 18.0), "ssim": (0.1, -0.00002, -0.25), "lpips-alex": (0.5, 0.5, 0.5)}
    full = {"psnr": (20.0,), "ssim": (0.7,), "lpips-alex": (0.2,), "lpips-vgg": (0.3,)}
    return [
        *three_models,
        make_result("saved@50%_off", {}, found=281),
        make_result("all_metrics", full, partial=("--references 1",)),
        make_result("tied", tied, samples=4, psnr_views_at_cap=3),
        make_result(
            "oracle",
            {"psnr": (21.0,), "ssim": (0.7,), "lpips-alex": (0.2,)},
            labels=("all",),
            protocol="real/scenes-many",
            protocol_hash="77aa00bb11cc",
            title="Many-view scenes",
            targets="as-published",
            leaked=12,
            strict_gap=0.5,
            scale_sweep=sweep,
        ),
    ]
