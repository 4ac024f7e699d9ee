"""`kbench score`: the half that needs no model and no GPU."""

from __future__ import annotations

from kaleido_bench.cli.options import ConventionNames, Data, Device, Json, RunFolders, parse_conventions
from kaleido_bench.cli.tables import Format, print_table


def score(
    run: RunFolders, convention: ConventionNames = None, data: Data = None, device: Device = "auto", json: Json = False
) -> None:
    """Score what is not scored. Needs the ground truth and no model; prints the table, under each convention."""
    from kaleido_bench.cli.folders import find_all_runs
    from kaleido_bench.cli.pairs import Failure, finish, go_on
    from kaleido_bench.cli.scores import ScoreOutcome, check_complete, report_scores, score_one
    from kaleido_bench.conventions import load_convention
    from kaleido_bench.predictions import load_run_protocol, open_run

    failures: list[Failure] = []
    outcomes: list[ScoreOutcome] = []
    asked = [load_convention(name, where="--convention") for name in parse_conventions(convention) or ()]
    for path in find_all_runs(run):
        with go_on(str(path), failures):
            opened = open_run(path)
            loaded = load_run_protocol(opened)
            for each in asked or [load_convention(loaded.protocol.convention)]:
                with go_on(f"{path} {each.name}" if asked else str(path), failures):
                    outcome = score_one(
                        opened, loaded, each, data_dir=data, device=device, deviations=opened.record.deviations
                    )
                    outcomes.append(outcome)
                    check_complete(outcome)
    report_scores(outcomes)
    if outcomes:
        print_table([outcome.result for outcome in outcomes], Format.JSON if json else Format.TEXT)
    finish(failures, sum(outcome.result.complete for outcome in outcomes))
