"""Whether a result says what its rows say. A table of numbers that somebody typed is worth nothing.

The rows lie beside the result (`scores/<convention>.parquet`) and say which code, weights and masks made them, so its
means are made again from them, which takes milliseconds. What it says of protocol, convention and model is
compared with run.json, and what it was made from with the manifests of the predictions and with the hashes that the
protocol froze. This finds a result that was edited, or that is left from other scores or predictions. It is no
signature: rows can be forged too, and are found out by scoring the predictions again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import JsonValue

from kaleido_bench.conventions import fill_unset, load_convention
from kaleido_bench.errors import BenchError
from kaleido_bench.items import plan_items
from kaleido_bench.predictions import Run, load_prediction_record, load_run_protocol
from kaleido_bench.protocol import LoadedProtocol
from kaleido_bench.records import canonical_json, sha256_hex
from kaleido_bench.score.results.agreement import Difference, compare, find_metric_differences
from kaleido_bench.score.results.building import describe_model, describe_protocol, list_notes, reduce_scores
from kaleido_bench.score.results.records import Result, load_result, result_path
from kaleido_bench.score.results.rows import Made, Row, read_made, read_rows


def load_checked_result(run: Run, convention: str) -> Result:
    """The result of a run under a convention, if its run bears it out.

    Raises:
        BenchError: there is none, its rows are not there, or it says something else than they and run.json do.
    """
    path = result_path(run, convention)
    result = load_result(path)
    rows = _read_rows(run, convention, path)
    made = read_made(run.scores(convention))
    first = next(find_differences(run, result, rows, made), None)
    if first is not None:
        raise BenchError(
            path,
            f"{first.field} is {_show(first.found)}",
            expected=f"{_show(first.expected)}, as its run has it",
            fix=f"It was edited, or is of other scores: make it again with `kbench score {run.path}`.",
        )
    return result


def find_differences(run: Run, result: Result, rows: Sequence[Row], made: Made | None) -> Iterator[Difference]:
    """What a result says against its run, the most telling first. `made`: what its rows were made with, if known."""
    loaded = load_run_protocol(run)
    convention = load_convention(result.convention.name)
    plain = result.model_dump(mode="json")
    yield from compare("protocol", plain["protocol"], describe_protocol(loaded).model_dump(mode="json"))
    yield from compare("convention.hash", plain["convention"]["hash"], convention.hash)
    yield from compare("model", plain["model"], describe_model(run.record).model_dump(mode="json"))
    yield from compare("psnr_cap", result.psnr_cap, fill_unset(convention).view_psnr_cap)
    yield from compare("notes", plain["notes"], list(list_notes(run.record, loaded, convention)))
    yield from find_metric_differences(result, convention, loaded)
    reduced = reduce_scores(rows, loaded, convention, result.metrics, complete=result.complete)
    again = result.model_copy(update=reduced._asdict()).model_dump(mode="json")
    for name in reduced._fields:
        yield from compare(name, plain[name], again[name])
    yield from _find_extent(run, result, rows, loaded)
    yield from _find_sources(run, result, rows, loaded)
    if made is not None:
        yield from _find_making(result, made)


def _find_making(result: Result, made: Made) -> Iterator[Difference]:
    """What a result says of the code, weights and masks that its rows were made with."""
    yield from compare("scorer_version", result.scorer_version, made.scorer_version)
    yield from compare("masks_sha256", result.masks_sha256, made.masks_sha256)
    for metric in result.metrics:
        if metric.status == "scored":
            yield from compare(f"{metric.name}.weights", metric.weights, made.weights.get(metric.name))


def _find_extent(run: Run, result: Result, rows: Sequence[Row], loaded: LoadedProtocol) -> Iterator[Difference]:
    """What a result says of how much it is over."""
    if not rows:
        return
    planned = plan_items(loaded, deterministic=run.record.adapter.deterministic)
    items = {(row.case, row.sample, row.scale) for row in rows}
    views = {(row.case, row.sample, row.scale, row.view) for row in rows}
    whole = items == {(item.case.id, item.sample, item.scale) for item in planned}
    counts = result.counts
    scored = sorted(metric.name for metric in result.metrics if metric.status == "scored")
    yield from compare("metrics scored", ", ".join(scored), ", ".join(sorted({row.metric for row in rows})))
    yield from compare("counts.items_in_protocol", counts.items_in_protocol, len(planned))
    yield from compare("counts.items_found", counts.items_found, len(items))
    yield from compare("counts.views_found", counts.views_found, len(views))
    yield from compare("complete", result.complete, counts.items_found == counts.items_expected)
    if result.complete:
        yield from compare("partial", result.partial, not whole)
    if result.complete and not result.partial:
        yield from compare("samples", result.samples, len({row.sample for row in rows}))


def _find_sources(run: Run, result: Result, rows: Sequence[Row], loaded: LoadedProtocol) -> Iterator[Difference]:
    """What a result says it was made from, as far as that is known here: predictions may have been deleted since, and
    not every protocol froze its images."""
    scored = {(row.case, row.sample, row.scale) for row in rows}
    planned = plan_items(loaded, result.samples)
    items = [item for item in planned if (item.case.id, item.sample, item.scale) in scored]
    if all((run.item_folder(item) / "case.json").is_file() for item in items):
        predictions = {item.key: load_prediction_record(run, item).sha256 for item in items}
        yield from compare("predictions_sha256", result.predictions_sha256, sha256_hex(canonical_json(predictions)))
    targets = {(item.case.scene, view) for item in items for view in item.case.targets}
    truths: dict[str, dict[str, str | None]] = {}
    for scene, view in targets:
        truths.setdefault(scene, {})[view] = loaded.index.pin(scene, view).image
    if all(sha256 for found in truths.values() for sha256 in found.values()):
        yield from compare("truths_sha256", result.truths_sha256, sha256_hex(canonical_json(truths)))


def _read_rows(run: Run, convention: str, path: Path) -> list[Row]:
    rows = run.scores(convention)
    if not rows.is_file():
        raise BenchError(
            path,
            f"its rows are not there ({rows})",
            expected="the rows it was made from, beside it",
            fix=f"Make both again with `kbench score {run.path}`.",
        )
    return read_rows(rows)


def _show(value: JsonValue) -> str:
    if isinstance(value, list):
        return f"{len(value)} entries"
    return str(value)
