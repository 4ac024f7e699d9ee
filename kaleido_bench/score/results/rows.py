"""Rows: one number, of one view under one metric. How they are kept while a run is scored, and where they end up."""

from __future__ import annotations

import importlib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from kaleido_bench.atomic import update_bytes_atomic, write_bytes_atomic
from kaleido_bench.errors import BenchError
from kaleido_bench.items import WorkItem
from kaleido_bench.records import canonical_json, sha256_hex

DIGITS = 6
"""Decimals of every value (of dB for PSNR): finer than any table, coarser than the rounding of a float32 network."""

SCORER_VERSION = 2
"""Raised whenever a change of code moves a value; rows of another version are scored again."""


_MADE = b"kaleido_bench.made"


class Row(NamedTuple):
    """One number.

    Args:
        references: how many views the adapter was given.
        scale: of the cameras under an oracle sweep, None without one.
        target_is_reference: the adapter was given this very view.
    """

    case: str
    scene: str
    references: int
    view: str
    sample: int
    scale: float | None
    metric: str
    value: float
    target_is_reference: bool


class Part(NamedTuple):
    """The rows of one work item, and the key of everything they were computed from."""

    key: str
    rows: tuple[Row, ...]


class Made(NamedTuple):
    """What rows were made with, beside predictions and ground truth. A file of rows carries it.

    Args:
        scorer_version: of the code that scored.
        weights: metric -> sha256 of its weights, for the metrics that have them.
        masks_sha256: over scene -> view -> sha256 of its mask file; None where no metric looked at one.
    """

    scorer_version: int
    weights: dict[str, str]
    masks_sha256: str | None


class Scores(NamedTuple):
    """What scoring gave.

    Args:
        rows: of the selected work items, sorted.
        selected: the work items that this call was to score.
        missing: those of them without a prediction, by name.
        scored, reused: how many items were scored now, and how many were found scored.
        weights: metric -> sha256 of its weights, for the metrics that have them.
        masks_missing: optional metric -> a target view without the mask it needs; it has no rows.
        weights_missing: optional metric -> name of the weights it lacks; it has no rows.
        predictions: item -> view -> sha256 of its PNG, for the items that were found.
        truths: scene -> view -> sha256 of the image file, for the targets of the items that were found.
        masks: scene -> view -> sha256 of the mask file, for those of them that have one, where a metric looks at masks.
    """

    rows: list[Row]
    selected: tuple[WorkItem, ...]
    missing: tuple[str, ...]
    scored: int
    reused: int
    weights: dict[str, str]
    weights_missing: dict[str, str]
    predictions: dict[str, dict[str, str]]
    truths: dict[str, dict[str, str]]
    masks: dict[str, dict[str, str]]
    masks_missing: dict[str, str]

    @property
    def made(self) -> Made:
        """What the rows were made with."""
        masks = sha256_hex(canonical_json(self.masks)) if self.masks else None
        return Made(SCORER_VERSION, self.weights, masks)


def sort_rows(rows: Sequence[Row]) -> list[Row]:
    """Rows by case, sample, scale, view and metric: the order in every file."""
    return sorted(rows, key=lambda row: (row.case, row.sample, row.scale or 0.0, row.view, row.metric))


def write_part(path: Path, part: Part) -> None:
    """Write the rows of one work item, atomically."""
    write_bytes_atomic(path, json.dumps({"key": part.key, "rows": part.rows}).encode())


def read_part(path: Path) -> Part | None:
    """Read the rows of one work item; None where there are none, or none that can be read: they are made again."""
    try:
        found = json.loads(path.read_bytes())
        return Part(found["key"], tuple(Row(*row) for row in found["rows"]))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def write_rows(path: Path, rows: Sequence[Row], made: Made) -> None:
    """Write rows as Parquet, and what they were made with as its metadata, atomically, unless the same are there.

    The same rows give the same bytes under one version of pyarrow.
    """
    pa, pq = _import_arrow()
    schema = _build_schema(pa).with_metadata({_MADE: canonical_json(made._asdict())})
    columns = [pa.array([row[place] for row in rows], field.type) for place, field in enumerate(schema)]
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_arrays(columns, schema=schema), buffer, compression="zstd")
    update_bytes_atomic(path, buffer.getvalue())


def read_rows(path: Path) -> list[Row]:
    """Read a file of rows.

    Raises:
        BenchError: it is not there, or is something else.
    """
    pa, pq = _import_arrow()
    try:
        table = pq.read_table(path)
    except FileNotFoundError:
        raise _not_rows(path, "no such file") from None
    except (pa.ArrowException, OSError):
        raise _not_rows(path, "not a Parquet file") from None
    if table.schema.names != list(Row._fields):
        raise _not_rows(path, f"the columns {', '.join(table.schema.names)}")
    return [Row(*values) for values in zip(*(column.to_pylist() for column in table.columns), strict=True)]


def read_made(path: Path) -> Made | None:
    """What the rows of a file that `read_rows` reads were made with; None where it was written before that was kept."""
    _, pq = _import_arrow()
    metadata: Mapping[bytes, bytes] = pq.read_schema(path).metadata or {}
    found = metadata.get(_MADE)
    return None if found is None else Made(**json.loads(found))


def _not_rows(path: Path, found: str) -> BenchError:
    fix = "Make it again from the predictions: `kbench score`."
    return BenchError(path, found, expected=f"the columns {', '.join(Row._fields)}", fix=fix)


def _import_arrow() -> tuple[Any, Any]:
    """pyarrow and its Parquet module. They have no types, and are too slow to import for a command that only lists."""
    return importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")


def _build_schema(pa: Any) -> Any:
    types = {
        "case": pa.string(),
        "scene": pa.string(),
        "references": pa.int32(),
        "view": pa.string(),
        "sample": pa.int32(),
        "scale": pa.float64(),
        "metric": pa.string(),
        "value": pa.float64(),
        "target_is_reference": pa.bool_(),
    }
    return pa.schema([(name, types[name]) for name in Row._fields])
