"""What a run's predictions took: `efficiency.json`, from the case.json of each prediction.

It lies beside the result and is no part of it, since two honest runs of one method differ in it. Nothing here is kept
in memory while predicting: the seconds of each prediction are on the disk with it, so a run that was killed and
finished later counts all of them.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import Field

from kaleido_bench.atomic import update_bytes_atomic
from kaleido_bench.errors import BenchError
from kaleido_bench.items import plan_items
from kaleido_bench.predictions import MemoryKind, PredictionRecord, Run, load_prediction_record, load_run_protocol
from kaleido_bench.protocol import LoadedProtocol, ProtocolName
from kaleido_bench.records import Record, Sha256, canonical_json, load_json_record

DIGITS = 6
"""Decimals of seconds."""


class Measurement(Record):
    """All predictions that one kind of device made."""

    device: str | None = Field(description="with its name; null in runs before it was recorded")
    precision: str | None = Field(description="of torch; several, joined by ;, where sessions differed")
    items: int = Field(description="predictions: calls of predict")
    views: int = Field(description="target views in them")
    fewest_views: int = Field(description="asked for in one call: the batch a method may use")
    most_views: int
    median_seconds: float = Field(description="per target view of a call, predict alone; median over the calls")
    mean_seconds: float = Field(description="of all calls by all views: the first call's warming up counts")
    fit_seconds: float | None = Field(description="median over the calls; null for a method that is not fitted")
    peak_memory: int | None = Field(description="bytes, the highest of all calls; null where not measured")
    memory_kind: MemoryKind | None


class Efficiency(Record):
    """`efficiency.json`."""

    schema_version: Literal[1] = 1
    protocol: ProtocolName
    protocol_hash: Sha256
    model: str
    fingerprint: str
    parameters: int | None = Field(description="learned numbers; 0 is none, null is unknown")
    function_evaluations: int | None = Field(description="passes through its network for one answer; null is unknown")
    measurements: tuple[Measurement, ...]


class _Setting(NamedTuple):
    device: str | None
    memory_kind: MemoryKind | None


def build_efficiency(run: Run, loaded: LoadedProtocol) -> Efficiency:
    """What the predictions that are there took, by device. Reads each case.json, and no image.

    Raises:
        BenchError: a case.json that is none.
    """
    samples = max([loaded.protocol.samples, *(session.deviations.samples or 1 for session in run.record.sessions)])
    items = plan_items(loaded, samples, deterministic=run.record.adapter.deterministic)
    groups: dict[_Setting, list[PredictionRecord]] = {}
    for item in items:
        if run.item_folder(item).is_dir():
            record = load_prediction_record(run, item)
            setting = _Setting(_drop_index(record.device), record.memory_kind)
            groups.setdefault(setting, []).append(record)
    return Efficiency(
        protocol=run.record.protocol,
        protocol_hash=run.record.protocol_hash,
        model=run.record.model,
        fingerprint=run.record.fingerprint,
        parameters=run.record.adapter.parameters,
        function_evaluations=run.record.adapter.function_evaluations,
        measurements=tuple(_measure(setting, found) for setting, found in groups.items()),
    )


def write_efficiency(run: Run, efficiency: Efficiency) -> None:
    """Write it into its run, atomically, unless the same is there."""
    update_bytes_atomic(run.efficiency, canonical_json(efficiency.model_dump(mode="json")))


def load_efficiency(path: Path) -> Efficiency:
    """Read it. Raises BenchError when it is not there, or is something else."""
    return load_json_record(path, Efficiency, what="what a run took", fix="Make it again with `kbench run`.")


def load_run_efficiency(run: Run) -> Efficiency:
    """What a run took: from its predictions where they are here, else what efficiency.json kept of them.

    A file that a killed call left behind would be of fewer predictions than there are.

    Raises:
        BenchError: one of them cannot be read, or efficiency.json is of another run.
    """
    if not run.efficiency.is_file() or any(run.predictions.glob("*/case.json")):
        return build_efficiency(run, load_run_protocol(run))
    found = load_efficiency(run.efficiency)
    if (found.protocol_hash, found.fingerprint) != (run.record.protocol_hash, run.record.fingerprint):
        raise BenchError(
            run.efficiency,
            f"of {found.protocol} {found.model} ({found.fingerprint[:12]})",
            expected=f"of this run ({run.record.fingerprint[:12]})",
            fix="Remove it: without its predictions nothing is known of what they took.",
        )
    return found


def _measure(setting: _Setting, records: Sequence[PredictionRecord]) -> Measurement:
    views = [len(record.sha256) for record in records]
    seconds = [max(record.seconds - record.fit_seconds, 0.0) for record in records]
    fits = [record.fit_seconds for record in records if record.fit_seconds]
    precisions = sorted({record.precision for record in records if record.precision not in (None, "no torch")})
    peaks = [record.peak_memory for record in records if record.peak_memory is not None]
    return Measurement(
        device=setting.device,
        precision="; ".join(precisions) or None,
        items=len(records),
        views=sum(views),
        fewest_views=min(views),
        most_views=max(views),
        median_seconds=round(
            statistics.median(each / count for each, count in zip(seconds, views, strict=True)), DIGITS
        ),
        mean_seconds=round(sum(seconds) / sum(views), DIGITS),
        fit_seconds=round(statistics.median(fits), DIGITS) if fits else None,
        peak_memory=max(peaks, default=None),
        memory_kind=setting.memory_kind,
    )


def _drop_index(device: str | None) -> str | None:
    """`cuda:1 (NVIDIA H100)` as `cuda (NVIDIA H100)`: two GPUs of one kind are one device to a reader."""
    return None if device is None else re.sub(r"^(\w+):\d+", r"\1", device)
