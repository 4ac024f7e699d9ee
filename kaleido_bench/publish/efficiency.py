"""What predicting took, as rows of words beside a table of metrics. Never ranked: devices differ."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from kaleido_bench.score.results.efficiency import Efficiency, Measurement
from kaleido_bench.score.results.records import Result

HEADINGS = ("model", "s/view", "mean s/view", "fit s", "peak MiB", "NFE", "parameters", "device")
"""Of the cells of `write_cells`."""

UNKNOWN = "–"


class EfficiencyRow(NamedTuple):
    """A model on one kind of device, or without any measurement (None) where its predictions are not here."""

    model: str
    parameters: int | None
    function_evaluations: int | None
    measurement: Measurement | None


def build_efficiency_rows(results: Sequence[Result], efficiencies: Sequence[Efficiency]) -> list[EfficiencyRow]:
    """The rows of those results that an efficiency belongs to, by protocol, model and fingerprint."""
    known = {(each.protocol_hash, each.model, each.fingerprint): each for each in efficiencies}
    rows: list[EfficiencyRow] = []
    for result in results:
        found = known.get((result.protocol.hash, result.model.model, result.model.fingerprint))
        if found is not None:
            measurements: Sequence[Measurement | None] = found.measurements or (None,)
            rows += [
                EfficiencyRow(found.model, found.parameters, found.function_evaluations, each) for each in measurements
            ]
    return rows


def write_cells(row: EfficiencyRow) -> tuple[str, ...]:
    """One row in words, under `HEADINGS`."""
    measured = row.measurement
    common = (_write_count(row.function_evaluations), _write_parameters(row.parameters))
    if measured is None:
        return (row.model, *[UNKNOWN] * 4, *common, UNKNOWN)
    memory = UNKNOWN
    if measured.peak_memory is not None:
        memory = f"{measured.peak_memory / 2**20:.0f}{'' if measured.memory_kind == 'device' else ' +'}"
    return (
        row.model,
        write_seconds(measured.median_seconds),
        write_seconds(measured.mean_seconds),
        UNKNOWN if measured.fit_seconds is None else write_seconds(measured.fit_seconds),
        memory,
        *common,
        measured.device or "not recorded",
    )


def write_notes(rows: Sequence[EfficiencyRow]) -> list[str]:
    """What a reader must know before comparing two of these numbers."""
    measured = [row.measurement for row in rows if row.measurement is not None]
    notes: list[str] = []
    if measured:
        fewest, most = min(each.fewest_views for each in measured), max(each.most_views for each in measured)
        batch = f"{fewest}" if fewest == most else f"{fewest} to {most}"
        notes.append(
            f"s/view: seconds of predict alone by its {batch} target views a call, median over the calls; "
            "mean s/view: of all calls by all views, the first one's warming up included"
        )
    devices = list(dict.fromkeys(each.device or "not recorded" for each in measured))
    if len(devices) > 1:
        notes.append(f"devices differ ({'; '.join(devices)}): seconds and memory are not comparable between them")
    precisions = list(dict.fromkeys(each.precision for each in measured if each.precision))
    if precisions:
        notes.append(f"precision: {'; '.join(map(str, precisions))}")
    if any(each.memory_kind == "host growth" for each in measured):
        notes.append("peak MiB +: how far the process grew while predicting, without weights that were loaded before")
    if any(each.memory_kind == "device" for each in measured):
        notes.append("peak MiB: all that torch held on the device, weights included")
    if any(row.function_evaluations is not None for row in rows):
        notes.append("NFE: evaluations of the network for one answer, sampling steps times passes a step")
    return notes


def write_seconds(seconds: float) -> str:
    """Three digits, and never more precise than a microsecond: 12.3, 0.0456, 0.000012."""
    if seconds >= 100:
        return f"{seconds:.0f}"
    for digits in (1, 2, 3, 4, 5):
        if seconds >= 10.0 ** (2 - digits):
            return f"{seconds:.{digits}f}"
    return f"{seconds:.6f}"


def _write_count(number: int | None) -> str:
    return UNKNOWN if number is None else str(number)


def _write_parameters(number: int | None) -> str:
    """`0`, `812`, `14.2 k`, `3.3 M`, `1.1 G`."""
    if number is None or number < 1000:
        return _write_count(number)
    size, unit = next((size, unit) for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")) if number >= size)
    return f"{number / size:.1f} {unit}"
