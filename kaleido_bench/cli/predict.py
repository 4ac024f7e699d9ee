"""`kbench predict`: the half that needs the model."""

from __future__ import annotations

from pathlib import Path

from kaleido_bench.cli.options import (
    CompletedFolder,
    Data,
    Device,
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


def predict(
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
    completed: CompletedFolder = None,
) -> None:
    """Predict what is missing. For every protocol with every model; `kbench score` does the rest."""
    from kaleido_bench.cli import pairs
    from kaleido_bench.cli.console import say
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
        adapters = pairs.Models()
        outcomes, failures = pairs.for_each_pair(call, lambda pair: pairs.predict_pair(call, pair, adapters))
        done, there = sum(each.done for each in outcomes), sum(each.reused for each in outcomes)
        if outcomes and not done:
            say(f"nothing to do: {there} of {there} predictions are there")
        elif outcomes:
            say(f"{done} predictions made, {there} found, below {out}")
        pairs.finish(failures, len(outcomes))
