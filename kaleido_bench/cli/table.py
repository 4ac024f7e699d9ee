"""`kbench table`: results as a table."""

from __future__ import annotations

from typing import Annotated

import typer

from kaleido_bench.cli.options import ConventionName, Json, RunFolders
from kaleido_bench.cli.tables import Format, print_table
from kaleido_bench.errors import BenchError, IncompleteError


def table(
    run: RunFolders,
    form: Annotated[Format, typer.Option("--format", "-f", help="How the table is written.")] = Format.TEXT,
    convention: ConventionName = None,
    json: Json = False,
) -> None:
    """Results as a table. Ranked after rounding, ties marked; ends with 1 when a run has no result."""
    from kaleido_bench.cli.folders import find_all_runs
    from kaleido_bench.predictions import open_run
    from kaleido_bench.score.results import load_result, result_path

    runs = [open_run(path) for path in find_all_runs(run)]
    paths = {each.path: result_path(each, convention or each.record.convention) for each in runs}
    there = [path for path in paths.values() if path.is_file()]
    if not there:
        raise BenchError(run[0], "no result in any run", expected="a result.json", fix="Make it: `kbench score RUN`.")
    print_table([load_result(path) for path in there], Format.JSON if json else form)
    lacking = [str(folder) for folder, path in paths.items() if not path.is_file()]
    if lacking:
        raise IncompleteError(f"no result yet: {', '.join(lacking)}. Make it with `kbench score`.")
