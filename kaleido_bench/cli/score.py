"""`kbench score`: the half that needs no model and no GPU."""

from __future__ import annotations

from kaleido_bench.cli.options import ConventionName, Data, Device, Json, RunFolders
from kaleido_bench.cli.tables import Format, print_table


def score(
    run: RunFolders, convention: ConventionName = None, data: Data = None, device: Device = "auto", json: Json = False
) -> None:
    """Score what is not scored. Needs the ground truth and no model; prints the table."""
    from kaleido_bench.cli.folders import find_all_runs
    from kaleido_bench.cli.pairs import Failure, finish, go_on
    from kaleido_bench.cli.scores import ScoreOutcome, check_complete, report_scores, score_one
    from kaleido_bench.conventions import load_convention
    from kaleido_bench.predictions import load_run_protocol, open_run

    failures: list[Failure] = []
    outcomes: list[ScoreOutcome] = []
    for path in find_all_runs(run):
        with go_on(str(path), failures):
            opened = open_run(path)
            loaded = load_run_protocol(opened)
            outcome = score_one(
                opened,
                loaded,
                load_convention(convention or loaded.protocol.convention),
                data_dir=data,
                device=device,
                deviations=opened.record.deviations,
            )
            outcomes.append(outcome)
            check_complete(outcome)
    report_scores(outcomes)
    if outcomes:
        print_table([outcome.result for outcome in outcomes], Format.JSON if json else Format.TEXT)
    finish(failures, sum(outcome.result.complete for outcome in outcomes))
