"""The result: what a protocol, a convention and a run's predictions amount to. The file everything else is made from.

It holds nothing that differs between two honest runs (no clock, no host, no path): after a kill and a rerun it is the
same file, byte for byte. A result with anything missing says what, and has no mean.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, cast

from pydantic import BeforeValidator, Field, JsonValue, PlainSerializer

from kaleido_bench.atomic import update_bytes_atomic
from kaleido_bench.errors import BenchError
from kaleido_bench.predictions import Run
from kaleido_bench.records import Record, Sha256, parse_json_record, read_bytes
from kaleido_bench.score.results.statistics import (
    Targets,
)

RESULT_VERSION = 1

LATER_FIELDS: Mapping[str, object] = {
    "psnr_views_excluded": 0,
    "notes": [],
    "masks_sha256": None,
    "deterministic": False,
    "sample_means": [],
}
"""Fields that came later. At these values they say nothing and are not written: older results keep their bytes."""

MISSING_LISTED = 20
"""So many missing predictions are named in a result; the counts say how many there are."""


class ProtocolReference(Record):
    """The question. `reference_labels` is the axis of its tables; a leaked target is also a reference of its case."""

    name: str
    version: int
    hash: Sha256
    title: str
    targets: Targets
    reference_labels: tuple[str, ...]
    scenes: int
    cases: int
    target_views: int
    leaked_targets: int


class ConventionReference(Record):
    """How predictions became numbers."""

    name: str
    hash: Sha256


class ModelCard(Record):
    """Who answered. `model` is the name on the command line; `training_data` is null where it is unknown."""

    model: str
    name: str
    variant: str | None
    fingerprint: str
    weights_sha256: str | None
    settings: dict[str, JsonValue]
    training_data: tuple[str, ...] | None


MetricStatus = Literal["scored", "weights missing", "no masks"]


class MetricRecord(Record):
    """One metric of the protocol, and whether it could be scored."""

    name: str
    higher_is_better: bool
    optional: bool
    status: MetricStatus
    weights: str | None = Field(
        description="sha256 of the weights used; the name of those it lacks; null without weights"
    )


class Counts(Record):
    """Whole protocol, what this result set out to answer, and what was found. A view counts once a sample and scale."""

    items_in_protocol: int
    items_expected: int
    items_found: int
    views_in_protocol: int
    views_expected: int
    views_found: int


class OracleScale(Record):
    """The scale that was best for a case and sample by the ground truth."""

    case: str
    sample: int
    scale: float


class ScaleSweep(Record):
    """An oracle sweep over the scale of the cameras: every number beside it counts the best scale of each case."""

    rule: Literal["best mean PSNR per case and sample, chosen with the ground truth"]
    scales: tuple[float, ...]
    chosen: tuple[OracleScale, ...]


def _read_infinity(value: object) -> object:
    return math.inf if value == "inf" else value


MeanValue = Annotated[
    float,
    Field(allow_inf_nan=True),
    BeforeValidator(_read_infinity),
    PlainSerializer(lambda value: "inf" if value == math.inf else value, return_type=float | str, when_used="json"),
]
"""A mean. JSON has no infinity: a mean that identical images made infinite, as some conventions let them, is "inf"."""


class MeanRecord(Record):
    """A mean over the scenes of the protocol."""

    references: str
    metric: str
    targets: Targets
    mean: MeanValue
    views: int
    scenes: int


class SceneMeanRecord(Record):
    """A mean over the views of one scene."""

    scene: str
    references: str
    metric: str
    targets: Targets
    mean: MeanValue
    views: int


class SampleMeanRecord(Record):
    """Best of the samples of each view, by the ground truth, and their spread; see `statistics.SampleMean`."""

    references: str
    metric: str
    targets: Targets
    best: MeanValue
    spread: float | None
    samples: int
    views: int
    scenes: int


class Result(Record):
    """`result.json`."""

    schema_version: Annotated[int, Field(ge=RESULT_VERSION, le=RESULT_VERSION)]
    protocol: ProtocolReference
    convention: ConventionReference
    model: ModelCard
    samples: int
    metrics: tuple[MetricRecord, ...]
    counts: Counts
    complete: bool = Field(description="everything that was expected is there; without it there is no mean")
    partial: bool = Field(description="less was expected than the protocol asks; never on a leaderboard")
    partial_reasons: tuple[str, ...]
    missing_items: tuple[str, ...] = Field(description=f"the first {MISSING_LISTED} predictions that are not there")
    means: tuple[MeanRecord, ...] = Field(description="metric x references x targets; no mean over the reference axis")
    scenes: tuple[SceneMeanRecord, ...]
    scale_sweep: ScaleSweep | None
    psnr_cap: float | None = Field(description="dB; null where the convention has none for a view")
    psnr_views_at_cap: int
    scorer_version: int = Field(description="of the code that scored")
    digits: int = Field(description="decimals that each view's value was rounded to before any mean")
    predictions_sha256: Sha256 = Field(description="over item -> view -> sha256 of its PNG, in canonical JSON")
    truths_sha256: Sha256 = Field(description="over scene -> view -> sha256 of its image file, in canonical JSON")
    masks_sha256: Sha256 | None = Field(
        default=None, description="over scene -> view -> sha256 of its mask file; null where no metric looked at one"
    )
    psnr_views_excluded: int = Field(default=0, description="views whose PSNR is infinite and left its mean")
    notes: tuple[str, ...] = Field(
        default=(),
        description="what the convention leaves unset or does not define; that the model was trained on the data set",
    )
    deterministic: bool = Field(
        default=False, description="the protocol asks for several samples, and one counts since all are alike"
    )
    sample_means: tuple[SampleMeanRecord, ...] = Field(
        default=(), description="of several samples: best of each view (an oracle), and standard deviation of each view"
    )


def result_path(run: Run, convention: str) -> Path:
    """Where a run's result is: `result.json`, or `scores/<convention>.json` under another than its protocol's."""
    return run.result if convention == run.record.convention else run.scores(convention).with_suffix(".json")


def score_command(run: Run, convention: str) -> str:
    """The command that makes that result."""
    option = "" if convention == run.record.convention else f" --convention {convention}"
    return f"kbench score {run.path}{option}"


def write_result(run: Run, result: Result) -> bool:
    """Write a result into its run, atomically, unless the same is there. Gives whether it wrote."""
    return update_bytes_atomic(result_path(run, result.convention.name), render_result(result))


def render_result(result: Result) -> bytes:
    """A result as JSON: a field a line, and one line for each entry of a list of records."""
    fields = result.model_dump(mode="json")
    fields = {key: value for key, value in fields.items() if key not in LATER_FIELDS or value != LATER_FIELDS[key]}
    return (
        "{\n" + ",\n".join(f"{_compact(key)}: {_render(value)}" for key, value in fields.items()) + "\n}\n"
    ).encode()


def load_result(path: Path) -> Result:
    """Read a result.

    Raises:
        BenchError: it is not there, was written by another version, or is something else.
    """
    data = read_bytes(path, what="a result", fix="Make it with `kbench run`, or name another run.")
    found = _peek_version(data)
    if isinstance(found, int) and found != RESULT_VERSION:
        raise BenchError(
            path,
            f"schema version {found}",
            expected=f"schema version {RESULT_VERSION}",
            fix="Upgrade kaleido-bench, or score the run again with this version: `kbench score`.",
        )
    return parse_json_record(data, Result, where=str(path), broken="Make it again: `kbench score`.")


def _peek_version(data: bytes) -> object:
    try:
        plain = json.loads(data)
    except ValueError:
        return None
    return cast("dict[str, object]", plain).get("schema_version") if isinstance(plain, dict) else None


def _render(value: JsonValue) -> str:
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return "[\n  " + ",\n  ".join(_compact(entry) for entry in value) + "\n]"
    return _compact(value)


def _compact(value: JsonValue) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
