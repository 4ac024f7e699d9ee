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
    json: Json = False,
) -> None:
    """Results as a table. Ranked after rounding, ties marked; ends with 1 when a run has no result."""
    from kaleido_bench.cli.folders import find_all_runs
    from kaleido_bench.cli.pairs import Failure, finish, go_on
    from kaleido_bench.predictions import open_run
    from kaleido_bench.score.results import Result, load_result, result_path

    failures: list[Failure] = []
    results: list[Result] = []
    for folder in find_all_runs(run):
        with go_on(str(folder), failures):
            opened = open_run(folder)
            path = result_path(opened, convention or opened.record.convention)
            if not path.is_file():
                raise IncompleteError(f"{folder}: no result yet. Make it with `kbench score`.")
            results.append(load_result(path))
    if results:
        print_table(results, Format.JSON if json else form)
    finish(failures, len(results))
