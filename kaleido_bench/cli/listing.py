"""`kbench list`: what there is, one line each."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from kaleido_bench.cli.options import Data, Json, Out
from kaleido_bench.cli.printing import print_rows
from kaleido_bench.errors import BenchError, IncompleteError


class Kind(StrEnum):
    """What can be listed."""

    PROTOCOLS = "protocols"
    MODELS = "models"
    DATASETS = "datasets"
    CONVENTIONS = "conventions"
    RUNS = "runs"


def list_things(
    kind: Annotated[Kind, typer.Argument(help="What to list.", show_default=False)],
    data: Data = None,
    out: Out = Path("runs"),
    json: Json = False,
) -> None:
    """What there is, one line each. Protocols, models, datasets, conventions or runs."""
    rows = {
        Kind.PROTOCOLS: list_protocols,
        Kind.MODELS: list_models,
        Kind.DATASETS: lambda: list_datasets(data),
        Kind.CONVENTIONS: list_conventions,
        Kind.RUNS: lambda: list_runs(out),
    }[kind]()
    print_rows(rows, as_json=json, empty=f"no {kind}" + (f" below {out}" if kind is Kind.RUNS else ""))
    if broken := [str(row["run"]) for row in rows if row.get("problem")]:
        raise IncompleteError(f"cannot be read: {', '.join(broken)}")


def list_protocols() -> list[dict[str, object]]:
    """The protocols that ship with the package."""
    from kaleido_bench.protocol import find_protocols, load_protocol

    rows: list[dict[str, object]] = []
    for name, path in find_protocols().items():
        loaded = load_protocol(path)
        rows.append(
            {
                "protocol": name,
                "version": loaded.protocol.version,
                "level": loaded.protocol.level,
                "regime": loaded.protocol.regime,
                "references": list(loaded.reference_labels),
                "scenes": len({case.scene for case in loaded.cases}),
                "cases": len(loaded.cases),
                "hash": loaded.hash[:12],
                "title": loaded.protocol.title,
            }
        )
    return rows


def list_models() -> list[dict[str, object]]:
    """The methods that can be run. None of them is imported."""
    from kaleido_bench.predict.adapters.registry import find_adapters

    return [
        {
            "model": name,
            "variant": entry.variant or None,
            "default": entry.default_variant,
            "arguments": None if entry.arguments is None else list(entry.arguments) or None,
            "title": entry.title,
        }
        for name, entry in sorted(find_adapters().items())
    ]


def list_datasets(data_dir: Path | None) -> list[dict[str, object]]:
    """The data sets that the shipped protocols read, and how many of the scenes they name are here."""
    from kaleido_bench.data.readers import build_reader, resolve_root
    from kaleido_bench.protocol import find_protocols, load_protocol

    wanted: dict[tuple[str, str, str], set[str]] = {}
    for path in find_protocols().values():
        loaded = load_protocol(path)
        dataset = loaded.protocol.dataset
        key = (dataset.name, dataset.reader, dataset.root)
        wanted.setdefault(key, set()).update(case.scene for case in loaded.cases)
    rows: list[dict[str, object]] = []
    for (name, reader, root), scenes in sorted(wanted.items()):
        try:
            folder = resolve_root(root, data_dir)
            here = scenes & set(build_reader(reader).scene_names(folder))
            where: str | None = str(folder)
        except BenchError:
            here, where = set[str](), None
        rows.append(
            {
                "data set": name,
                "reader": reader,
                "root": root,
                "scenes": f"{len(here)} of {len(scenes)}",
                "folder": where,
            }
        )
    return rows


def list_conventions() -> list[dict[str, object]]:
    """The metric conventions that ship with the package."""
    from kaleido_bench.conventions import find_conventions, load_convention

    conventions = [load_convention(name) for name in find_conventions()]
    return [
        {"convention": each.name, "metrics": list(each.metrics), "hash": each.hash[:12], "title": each.title}
        for each in conventions
    ]


def list_runs(out: Path) -> list[dict[str, object]]:
    """The runs below a folder; one that cannot be read has a problem and nothing else."""
    from kaleido_bench.predictions import find_runs

    keys = ("run", "protocol", "model", "predictions", "result", "last call", "problem")
    rows: list[dict[str, object]] = []
    for path in find_runs(out):
        try:
            found = _describe_run(path)
        except BenchError as error:
            found = {"problem": str(error)}
        rows.append({**dict.fromkeys(keys), "run": str(path), **found})
    return rows


def _describe_run(path: Path) -> dict[str, object]:
    from kaleido_bench.items import plan_items
    from kaleido_bench.predictions import load_run_protocol, open_run

    run = open_run(path)
    items = plan_items(load_run_protocol(run), deterministic=run.record.adapter.deterministic)
    here = sum(run.item_folder(item).is_dir() for item in items)
    return {
        "protocol": run.record.protocol,
        "model": run.record.model,
        "predictions": f"{here} of {len(items)}",
        "result": run.result.is_file(),
        "last call": run.record.sessions[-1].started if run.record.sessions else None,
    }
