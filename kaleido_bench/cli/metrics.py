"""`kbench metrics`: what a convention is, and how much of a gap between two numbers it makes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from kaleido_bench.cli.failures import ends_cleanly
from kaleido_bench.cli.options import Data, Device, Json
from kaleido_bench.cli.printing import format_rows, print_json

if TYPE_CHECKING:
    from kaleido_bench.conventions import Convention
    from kaleido_bench.score.comparing.differences import Comparison, Difference, Step

Name = Annotated[str, typer.Argument(metavar="NAME", help="From `kbench list conventions`.")]
First = Annotated[str, typer.Argument(metavar="A", help="A convention, from `kbench list conventions`.")]
Second = Annotated[str, typer.Argument(metavar="B", help="Another one.")]
RunFolder = Annotated[Path, typer.Option("--run", metavar="RUN", help="The run whose predictions are scored.")]


def build_metrics_app() -> typer.Typer:
    """The commands below `kbench metrics`."""
    app = typer.Typer(
        help="Metric conventions. What one is, and how much of a gap is convention.", no_args_is_help=True
    )
    app.command("show")(ends_cleanly(show_convention))
    app.command("diff")(ends_cleanly(diff_conventions))
    return app


def show_convention(name: Name, json: Json = False) -> None:
    """One convention in full. Recipe, hash, source, quirk, and what nobody knows of it."""
    from kaleido_bench.conventions import load_convention

    convention = load_convention(name)
    if json:
        print_json(describe(convention))
    else:
        typer.echo(render(convention))


def diff_conventions(
    first: First, second: Second, run: RunFolder, data: Data = None, device: Device = "auto", json: Json = False
) -> None:
    """How much of a gap is convention. Scores a run under both, and under each step of the recipe alone."""
    from kaleido_bench.cli.console import LateProgress
    from kaleido_bench.conventions import load_convention
    from kaleido_bench.predict.execution.devices import resolve_device
    from kaleido_bench.predictions import load_run_protocol, open_run
    from kaleido_bench.score.comparing.differences import compare_conventions

    conventions = load_convention(first), load_convention(second)
    opened = open_run(run)
    with LateProgress(f"{opened.record.protocol} {opened.record.model}: score", "items") as progress:
        comparison = compare_conventions(
            opened,
            load_run_protocol(opened),
            *conventions,
            data_dir=data,
            device=resolve_device(device),
            report=progress.report,
        )
    if json:
        print_json({"run": str(run), **describe_comparison(*conventions, comparison)})
    else:
        typer.echo(render_comparison(*conventions, comparison))


def describe(convention: Convention) -> dict[str, object]:
    """The record, its hash, and what must be said beside its numbers."""
    from kaleido_bench.conventions import list_caveats

    return {
        **convention.model_dump(mode="json"),
        "hash": convention.hash,
        "metrics": list(convention.metrics),
        "caveats": list(list_caveats(convention)),
    }


def render(convention: Convention) -> str:
    """A convention as text for people."""
    from kaleido_bench.conventions import UNHASHED_FIELDS, list_caveats

    fields = convention.model_dump(mode="json", exclude={*UNHASHED_FIELDS, "name", "schema_version"})
    for path in convention.unset_fields:
        group, _, name = path.rpartition(".")
        (fields[group] if group else fields)[name] = "unset"
    recipes = fields.pop("lpips")
    lines = [
        convention.name,
        f"  {'title':<18} {convention.title}",
        f"  {'hash':<18} {convention.hash}",
        *(f"  {key:<18} {_show(value)}" for key, value in fields.items()),
        *(f"  {recipe.pop('metric'):<18} {_show(recipe)}" for recipe in recipes),
    ]
    for title, words in (
        ("quirk", [convention.quirk] if convention.quirk else []),
        ("notes", convention.notes),
        ("sources", convention.source),
        ("said beside every number", list_caveats(convention)),
    ):
        lines += ["", f"  {title}", *(f"    - {word}" for word in words)] if words else []
    return "\n".join(lines)


def describe_comparison(first: Convention, second: Convention, comparison: Comparison) -> dict[str, object]:
    """Two conventions on one run, as one JSON document."""
    return {
        "first": {"name": first.name, "hash": first.hash},
        "second": {"name": second.name, "hash": second.hash},
        "differences": [
            {
                "metric": each.metric,
                "references": each.references,
                "first": _finite(each.first),
                "second": _finite(each.second),
                "gap": _finite(each.gap),
                "most": step.name if (step := find_most(each)) else None,
                "steps": [
                    {**step._asdict(), "mean": _finite(step.mean), "change": _finite(step.change)}
                    for step in each.steps
                ],
            }
            for each in comparison.differences
        ],
        "notes": list(comparison.notes),
    }


def render_comparison(first: Convention, second: Convention, comparison: Comparison) -> str:
    """Two conventions on one run, as text for people."""
    head = ["metric", "references", first.name, second.name, "gap", "most of it", "which alone makes"]
    rows = [
        [
            each.metric,
            each.references,
            f"{each.first:.4f}",
            f"{each.second:.4f}",
            _signed(each.gap),
            *_explain(find_most(each)),
        ]
        for each in comparison.differences
    ]
    return "\n".join([format_rows([head, *rows]), *([""] if comparison.notes else []), *comparison.notes])


def find_most(difference: Difference) -> Step | None:
    """The single step that moves the mean most; None where no step moves it."""
    step = difference.steps[0] if difference.steps else None
    return step if step is not None and step.change else None


def _explain(step: Step | None) -> tuple[str, str]:
    if step is None:
        return "-", "-"
    # Of several fields that are one step, those that differ, by name: two of them may have the same value.
    moved = {key: f"{_show(step.first[key])} -> {_show(step.second[key])}" for key in step.first}
    moved = {key: change for key, change in moved.items() if step.first[key] != step.second[key]}
    words = [*moved.values()] if len(moved) == 1 else [f"{key} {change}" for key, change in moved.items()]
    return f"{step.name}: {', '.join(words)}", _signed(step.change)


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{value:+.4f}"


def _finite(value: float | None) -> float | str | None:
    """JSON has no infinity."""
    return value if value is None or math.isfinite(value) else ("inf" if value > 0 else "-inf")


def _show(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        fields = cast("Mapping[str, object]", value)
        return ", ".join(f"{key} {_show(each)}" for key, each in fields.items())
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(str, cast('list[object]', value)))}]"
    return str(value)
