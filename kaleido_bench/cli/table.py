"""`kbench table`: results as a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from kaleido_bench.cli.labels import relabel, tell_apart
from kaleido_bench.cli.options import CompletedFolder, ConventionName, Json
from kaleido_bench.cli.tables import Format, print_table
from kaleido_bench.errors import BenchError, IncompleteError

if TYPE_CHECKING:
    from kaleido_bench.predictions import Run
    from kaleido_bench.publish.boards import Shelf
    from kaleido_bench.score.results.efficiency import Efficiency
    from kaleido_bench.score.results.records import Result

Sources = Annotated[
    list[Path],
    typer.Argument(
        metavar="RUN", help="Run folders, folders of runs, or stored results (leaderboards/<protocol>, one file)."
    ),
]


class _Found(NamedTuple):
    """A result, where it is from, and what predicting took where that was asked for."""

    path: Path
    result: Result
    efficiency: Efficiency | None = None


def table(
    run: Sources,
    form: Annotated[Format, typer.Option("--format", "-f", help="How the table is written.")] = Format.TEXT,
    convention: ConventionName = None,
    samples: Annotated[
        bool, typer.Option("--samples/--no-samples", help="Best and spread of a model with several samples.")
    ] = True,
    efficiency: Annotated[
        bool, typer.Option("--efficiency", help="Seconds, memory, network evaluations and parameters, too.")
    ] = False,
    json: Json = False,
    completed: CompletedFolder = None,
) -> None:
    """Results as a table. Ranked after rounding, ties marked; ends with 1 when a run has no result or no mean.

    Each result of a run is made again from its rows first: one that was edited is refused. A stored one is held to its
    protocol, its convention and itself. Seconds and memory are only in runs.
    """
    from kaleido_bench.cli.folders import find_all_results
    from kaleido_bench.cli.lacking import check_predicted
    from kaleido_bench.cli.pairs import Failure, finish, go_on
    from kaleido_bench.conventions import load_convention
    from kaleido_bench.predictions import open_run
    from kaleido_bench.publish.boards import Shelf
    from kaleido_bench.score.results.efficiency import load_run_efficiency

    if convention is not None:
        load_convention(convention, where="--convention")
    failures: list[Failure] = []
    made: list[_Found] = []
    stored: list[_Found] = []
    shelf: Shelf | None = None
    for path in find_all_results(run):
        with go_on(str(path), failures):
            if path.is_file():
                shelf = shelf or Shelf(completed)
                stored.append(_Found(path, _load_stored(path, shelf, convention)))
                continue
            opened = open_run(path)
            result = _load_made(opened, convention)
            made.append(_Found(path, result, load_run_efficiency(opened) if efficiency else None))
            check_predicted(opened, result)
    found = join_stored(made, stored)
    results = [each.result for each in found]
    efficiencies = [each.efficiency for each in found if each.efficiency is not None]
    if results:
        print_table(results, Format.JSON if json else form, samples=samples, efficiencies=efficiencies)
    finish(failures, sum(result.complete for result in results))


def _load_made(run: Run, convention: str | None) -> Result:
    """A run's own result, made again from its rows."""
    from kaleido_bench.cli.console import say
    from kaleido_bench.cli.lacking import count_unscored
    from kaleido_bench.score.results.checking import load_checked_result
    from kaleido_bench.score.results.records import result_path, score_command

    name = convention or run.record.convention
    again = f"`{score_command(run, name)}`"
    if not result_path(run, name).is_file():
        raise IncompleteError(f"{run.path}: no result under {name} yet. Make it: {again}.")
    result = load_checked_result(run, name)
    if unscored := count_unscored(run, result):
        say(f"{run.path}: {unscored} more predictions are there: {again} counts them")
    return result


def _load_stored(path: Path, shelf: Shelf, convention: str | None) -> Result:
    from kaleido_bench.publish.boards import load_entry

    result = load_entry(path, shelf)
    if convention not in (None, result.convention.name):
        raise BenchError(
            path,
            f"a result under {result.convention.name}",
            expected=f"one under {convention}, as --convention says",
            fix="A stored result has no predictions to score again: name its run.",
        )
    return result


def join_stored(made: Sequence[_Found], stored: Sequence[_Found]) -> list[_Found]:
    """Stored results before those of runs. Of a stored one and another that are the same one is kept; of those that are
    not, under one label, each has a label of its own.
    """
    known = [each.result for each in made]
    labels = {_label(each) for each in made}
    kept: list[_Found] = []
    for each in stored:
        if each.result not in known:
            kept.append(each)
            known.append(each.result)
    kept = [
        each._replace(result=relabel(each.result, f"{each.result.model.model} (stored)"))
        if _label(each) in labels
        else each
        for each in kept
    ]
    return [*_tell_apart(kept), *_tell_apart(made)]


def _label(found: _Found) -> tuple[str, str, str]:
    result = found.result
    return result.protocol.hash, result.convention.hash, result.model.model


def _tell_apart(found: Sequence[_Found]) -> list[_Found]:
    results = tell_apart([each.result for each in found], [each.path for each in found])
    return [
        each._replace(
            result=result,
            efficiency=each.efficiency and each.efficiency.model_copy(update={"model": result.model.model}),
        )
        for each, result in zip(found, results, strict=True)
    ]
