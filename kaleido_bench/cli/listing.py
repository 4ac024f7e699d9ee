"""`kbench list`: what there is, one line each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
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
    SUITES = "suites"
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
    """What there is, one line each. Protocols, suites, models, datasets, conventions or runs."""
    rows = {
        Kind.PROTOCOLS: list_protocols,
        Kind.SUITES: list_suites,
        Kind.MODELS: list_models,
        Kind.DATASETS: lambda: list_datasets(data),
        Kind.CONVENTIONS: list_conventions,
        Kind.RUNS: lambda: list_runs(out),
    }[kind]()
    shown = rows if json else [_for_people(kind, row) for row in rows]
    empty = f"no {kind}" + (f" below {out}" if kind is Kind.RUNS else "")
    print_rows(shown, as_json=json, empty=empty, spare=_SPARE.get(kind, ()), one_line_each=True)
    if broken := [str(row["run"]) for row in rows if row.get("problem")]:
        raise IncompleteError(f"cannot be read: {', '.join(broken)}")


_ONLY_IN_JSON = {Kind.PROTOCOLS: {"level", "regime", "version"}, Kind.DATASETS: {"folder", "get"}}
"""Columns that would push the title off the screen."""

_SPARE = {
    Kind.PROTOCOLS: ("hash", "cases", "rule", "targets", "title", "scenes"),
    Kind.DATASETS: ("homepage", "licence", "root"),
}
"""Columns that a narrow terminal does without, the first one first."""


def _for_people(kind: Kind, row: Mapping[str, object]) -> dict[str, object]:
    return {key: value for key, value in row.items() if key not in _ONLY_IN_JSON.get(kind, set())}


def list_protocols() -> list[dict[str, object]]:
    """The protocols that ship with the package."""
    from kaleido_bench.catalogue import list_catalogue

    return [
        {
            "protocol": each.name,
            "references": list(each.references),
            "scenes": each.scenes,
            "cases": each.cases,
            "targets": each.targets,
            "ids": each.ids,
            "rule": each.rule,
            "level": each.level,
            "regime": each.regime,
            "version": each.version,
            "hash": each.hash[:12],
            "title": each.title,
        }
        for each in list_catalogue()
    ]


def list_suites() -> list[dict[str, object]]:
    """The suites that ship with the package."""
    from kaleido_bench.catalogue import list_catalogue
    from kaleido_bench.shipped import find_suites
    from kaleido_bench.suites import load_suite

    pending = {each.name for each in list_catalogue() if each.ids == "pending"}
    suites = [load_suite(name) for name in find_suites()]
    return [
        {
            "suite": suite.name,
            "protocols": len(suite.protocols),
            "ids pending": sum(name in pending for name in suite.protocols),
            "title": suite.title,
        }
        for suite in suites
    ]


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
    """The data sets of the field and of the shipped protocols, and how many of the scenes they name are here."""
    from kaleido_bench.catalogue import list_catalogue
    from kaleido_bench.data.datasets import DATASETS

    used: dict[tuple[str, str, str], list[str]] = {}
    for each in list_catalogue():
        used.setdefault((each.data, each.reader, each.root), []).append(each.name)
    rows: list[dict[str, object]] = []
    for (name, reader, root), protocols in sorted(used.items()):
        known = DATASETS.get(name)  # and no licence is guessed from the reader: it may read anybody's data
        rows.append(
            {
                "data set": name,
                "reader": reader,
                "root": root,
                "protocols": len(protocols),
                **_count_scenes(protocols, reader, root, data_dir),
                "licence": None if known is None else known.licence,
                "homepage": None if known is None else known.homepage,
                "get": None if known is None else f"{known.get} See {known.homepage}",
            }
        )
    for name, known in DATASETS.items():
        if name not in {key[0] for key in used}:
            rows.append(
                {
                    **dict.fromkeys(rows[0]),
                    "data set": name,
                    "reader": known.readers[0],
                    "protocols": 0,
                    "licence": known.licence,
                    "homepage": known.homepage,
                    "get": f"{known.get} See {known.homepage}",
                }
            )
    return rows


def _count_scenes(protocols: Sequence[str], reader: str, root: str, data_dir: Path | None) -> dict[str, object]:
    """Scenes here, of those the protocols name; nothing is counted where the data set is not here at all."""
    from kaleido_bench.data.readers import build_reader, resolve_root
    from kaleido_bench.protocol import PendingError, load_protocol

    try:
        folder = resolve_root(root, data_dir)
        here = set(build_reader(reader).scene_names(folder))
    except BenchError:
        return {"scenes": None, "folder": None}
    wanted: set[str] = set()
    for name in protocols:
        with suppress(PendingError):
            wanted |= {case.scene for case in load_protocol(name).cases}
    return {"scenes": f"{len(here & wanted)} of {len(wanted)}", "folder": str(folder)}


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
