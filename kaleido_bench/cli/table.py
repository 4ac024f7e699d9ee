"""`kbench table`: results as a table."""

from __future__ import annotations

from typing import Annotated

import typer

from kaleido_bench.cli.options import ConventionName, Json, RunFolders
from kaleido_bench.cli.tables import Format, print_table
from kaleido_bench.errors import IncompleteError


def table(
    run: RunFolders,
    form: Annotated[Format, typer.Option("--format", "-f", help="How the table is written.")] = Format.TEXT,
    convention: ConventionName = None,
    samples: Annotated[
        bool, typer.Option("--samples/--no-samples", help="Best and spread of a model with several samples.")
    ] = True,
    efficiency: Annotated[
        bool, typer.Option("--efficiency", help="Seconds, memory, network evaluations and parameters, too.")
    ] = False,
    json: Json = False,
) -> None:
    """Results as a table. Ranked after rounding, ties marked; ends with 1 when a run has no result or no mean.

    Each result is made again from its rows first: one that was edited is refused.
    """
    from kaleido_bench.cli.console import say
    from kaleido_bench.cli.folders import find_all_runs
    from kaleido_bench.cli.lacking import check_predicted, count_unscored
    from kaleido_bench.cli.pairs import Failure, finish, go_on
    from kaleido_bench.conventions import load_convention
    from kaleido_bench.predictions import open_run
    from kaleido_bench.score.checking import load_checked_result
    from kaleido_bench.score.efficiency import Efficiency, load_run_efficiency
    from kaleido_bench.score.results import Result, result_path, score_command

    if convention is not None:
        load_convention(convention, where="--convention")
    failures: list[Failure] = []
    results: list[Result] = []
    efficiencies: list[Efficiency] = []
    for folder in find_all_runs(run):
        with go_on(str(folder), failures):
            opened = open_run(folder)
            name = convention or opened.record.convention
            if not result_path(opened, name).is_file():
                raise IncompleteError(
                    f"{folder}: no result under {name} yet. Make it: `{score_command(opened, name)}`."
                )
            results.append(load_checked_result(opened, name))
            efficiencies += [load_run_efficiency(opened)] if efficiency else []
            if unscored := count_unscored(opened, results[-1]):
                say(f"{folder}: {unscored} more predictions are there: `{score_command(opened, name)}` counts them")
            check_predicted(opened, results[-1])
    if results:
        print_table(results, Format.JSON if json else form, samples=samples, efficiencies=efficiencies)
    finish(failures, sum(result.complete for result in results))
