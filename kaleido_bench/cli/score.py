"""`kbench score`: the half that needs no model and no GPU."""

from __future__ import annotations

from typing import Annotated

import typer

from kaleido_bench.cli.labels import tell_apart
from kaleido_bench.cli.options import ConventionNames, Data, Device, Json, RunFolders, parse_conventions
from kaleido_bench.cli.tables import Format, print_table

ScoreWorkers = Annotated[
    int, typer.Option("--workers", min=1, help="So many processes score at once, each on its share of the cores.")
]


def score(
    run: RunFolders,
    convention: ConventionNames = None,
    data: Data = None,
    device: Device = "auto",
    workers: ScoreWorkers = 1,
    json: Json = False,
) -> None:
    """Score what is not scored. Needs the ground truth and no model; prints the table, under each convention.

    Runs of one protocol that are named together are scored together: each target is read once for all of them.
    """
    from kaleido_bench.cli.folders import find_all_runs
    from kaleido_bench.cli.pairs import Failure, finish, go_on
    from kaleido_bench.cli.scores import Wanted, report_scores, score_all
    from kaleido_bench.conventions import load_convention
    from kaleido_bench.predictions import load_run_protocol, open_run

    failures: list[Failure] = []
    wanted: list[Wanted] = []
    asked = [load_convention(name, where="--convention") for name in parse_conventions(convention) or ()]
    for path in find_all_runs(run):
        with go_on(str(path), failures):
            opened = open_run(path)
            loaded = load_run_protocol(opened)
            for each in asked or [load_convention(loaded.protocol.convention)]:
                name = f"{path} {each.name}" if asked else str(path)
                wanted.append(Wanted(opened, loaded, each, opened.record.deviations, name))
    scored = score_all(wanted, failures, data_dir=data, device=device, workers=workers)
    outcomes = [outcome for outcome in scored if outcome is not None]
    report_scores(outcomes)
    if outcomes:
        results = tell_apart([each.result for each in outcomes], [each.run.path for each in outcomes])
        print_table(results, Format.JSON if json else Format.TEXT)
    finish(failures, sum(outcome.result.complete for outcome in outcomes))
