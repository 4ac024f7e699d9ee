"""`kbench run`: the main job."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kaleido_bench.cli.options import (
    CompletedFolder,
    Data,
    Device,
    Json,
    Limit,
    ModelArgs,
    Models,
    Out,
    Protocols,
    References,
    Samples,
    Scenes,
    WorkerCount,
    parse_deviations,
    parse_model_args,
)

if TYPE_CHECKING:
    from kaleido_bench.cli.pairs import Call

DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]


def run(
    protocol: Protocols,
    model: Models,
    model_arg: ModelArgs = None,
    data: Data = None,
    out: Out = Path("runs"),
    device: Device = "auto",
    references: References = None,
    samples: Samples = None,
    limit: Limit = None,
    scenes: Scenes = None,
    workers: WorkerCount = 1,
    dry_run: DryRun = False,
    json: Json = False,
    completed: CompletedFolder = None,
) -> None:
    """Predict, score, print the table. What is there is not made again: the same call finishes an interrupted one."""
    from kaleido_bench.cli import pairs
    from kaleido_bench.cli.suites import expand, naming_not_run

    wanted = expand(protocol, completed, data)
    call = pairs.build_call(
        wanted.protocols,
        model,
        parse_model_args(model_arg),
        data_dir=data,
        out=out,
        device=device,
        workers=workers,
        deviations=parse_deviations(references, scenes, samples, limit),
    )
    with naming_not_run(wanted):
        if dry_run:
            print_plan(call, as_json=json)
        else:
            run_call(call, as_json=json)


def run_call(call: Call, *, as_json: bool) -> None:
    """Predict and score every pair, then print one table of all results."""
    from kaleido_bench.cli import pairs
    from kaleido_bench.cli.console import say
    from kaleido_bench.cli.scores import Wanted, report_scores, score_all
    from kaleido_bench.cli.tables import Format, print_table
    from kaleido_bench.conventions import load_convention
    from kaleido_bench.items import select_items
    from kaleido_bench.predict.runner import PredictOutcome
    from kaleido_bench.score.metrics.scorers import check_scorable
    from kaleido_bench.score.targets import check_targets

    adapters, checked = pairs.Models(), set[str]()

    def work(pair: pairs.Pair) -> tuple[PredictOutcome, Wanted]:
        outlook = pairs.look_at(call, pair)
        if outlook.there < outlook.expected and pair.loaded.hash not in checked:
            # Found here, missing weights or a bad target cost a moment; found when scoring, all of the predictions.
            check_scorable(pair.loaded.protocol)
            check_targets(pair.loaded, call.data_dir, select_items(pair.loaded, call.deviations))
            checked.add(pair.loaded.hash)
        predicted = pairs.predict_pair(call, pair, adapters)
        convention = load_convention(pair.loaded.protocol.convention)
        return predicted, Wanted(predicted.run, pair.loaded, convention, call.deviations, str(pair))

    predicted, failures = pairs.for_each_pair(call, work)
    adapters.drop()
    # After all predictions: runs of one protocol share its targets.
    scored = score_all([each for _, each in predicted], failures, data_dir=call.data_dir, device=call.device)
    done = [
        pairs.Done(outcome, found)
        for (outcome, _), found in zip(predicted, scored, strict=True)
        if found is not None and found.result.complete
    ]
    report_scores([each.scored for each in done])
    pairs.report_work(done, call.out)
    if done:
        if sys.stderr.isatty():
            say("")  # between the bars and the table
        print_table([each.scored.result for each in done], Format.JSON if as_json else Format.TEXT)
    pairs.finish(failures, len(done))


def print_plan(call: Call, *, as_json: bool) -> None:
    """What a run would do, one line a pair. Counts folders; reads and makes nothing else."""
    from kaleido_bench.cli import pairs
    from kaleido_bench.cli.printing import print_rows

    def look(pair: pairs.Pair) -> dict[str, object]:
        plan = pairs.look_at(call, pair)
        return {
            "protocol": pair.loaded.protocol.name,
            "model": pair.label,
            "predictions": plan.expected,
            "there": plan.there,
            "to predict": plan.expected - plan.there,
            "result": plan.result,
            "folder": str(plan.folder),
        }

    rows, failures = pairs.for_each_pair(call, look)
    print_rows(rows, as_json=as_json, empty="no pair of a protocol and a model")
    pairs.finish(failures, len(rows))
