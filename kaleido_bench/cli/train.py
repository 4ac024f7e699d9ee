"""`kbench train`: train the reference model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from kaleido_bench.errors import BenchError

if TYPE_CHECKING:
    from kaleido_bench.training.calls import DataCall, Prepared, TrainCall


def train(
    preset: Annotated[
        str,
        typer.Argument(
            metavar="PRESET",
            help="smoke, tiny, small, latent, medium or large, or a file such as a checkpoint's preset.json.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="DIR", help="The run's folder; runs/train/PRESET by default.")
    ] = None,
    minutes: Annotated[float | None, typer.Option("--minutes", help="So many minutes of this machine.")] = None,
    steps: Annotated[int | None, typer.Option("--steps", help="So many steps.")] = None,
    flops: Annotated[
        float | None, typer.Option("--flops", help="So many model FLOPs, forward and backward, such as 1e17.")
    ] = None,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")] = "auto",
    gpus: Annotated[
        str | None, typer.Option("--gpus", metavar="N|all", help="A process for each of N GPUs of this machine.")
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="GROUP.FIELD=VALUE", help="Change a field of the preset. Give it again for more."
        ),
    ] = None,
    no_video: Annotated[
        bool, typer.Option("--no-video", help="Leave the preset's stages of video out; the others share the budget.")
    ] = False,
    initial: Annotated[
        Path | None, typer.Option("--init", metavar="DIR", help="Begin with the weights of this checkpoint.")
    ] = None,
    photographs: Annotated[
        Path | None,
        typer.Option("--photographs", metavar="FILE", help="Packed photographs for the worlds; else from packages."),
    ] = None,
    data: Annotated[
        str | None, typer.Option("--data", metavar="ROOT", help="Train on the posed scenes in this folder instead.")
    ] = None,
    reader: Annotated[
        str | None, typer.Option("--reader", metavar="NAME", help="What reads them; docs/readers.md lists all.")
    ] = None,
    data_name: Annotated[
        str | None,
        typer.Option("--data-name", metavar="NAME", help="What protocols call that data set (kbench list datasets)."),
    ] = None,
    ordered: Annotated[
        bool | None,
        typer.Option("--ordered/--unordered", help="Views are, or are not, frames of a video; else by the reader."),
    ] = None,
    fit: Annotated[
        Literal["centre", "random", "stretch"],
        typer.Option("--fit", help="How images become squares: the centre, a window anywhere, each axis by its ratio."),
    ] = "centre",
    span: Annotated[
        int | None, typer.Option("--span", help="Views of an ordered scene lie within so many frames.")
    ] = None,
    background: Annotated[
        Literal["white", "black", "gray"], typer.Option("--background", help="Behind transparent pixels.")
    ] = "white",
    hold_out: Annotated[
        int, typer.Option("--hold-out", min=0, help="Keep so many scenes apart and score the model on them.")
    ] = 0,
    memory: Annotated[
        float, typer.Option("--memory", min=0, metavar="GIB", help="For decoded images, in each process.")
    ] = 2.0,
    save_steps: Annotated[int, typer.Option("--save-steps", min=1, help="Write the state so often.")] = 1000,
    no_compile: Annotated[bool, typer.Option("--no-compile", help="Do not compile on CUDA: slower, sooner.")] = False,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Also write OUT/tensorboard.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the call, print the preset it means, and do nothing.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print a JSON document a line instead.")] = False,
) -> None:
    """Train the reference model. On procedural worlds or posed scenes; the same call goes on where one was stopped."""
    from kaleido_bench.training.calls import TrainCall

    call = TrainCall(
        preset=preset,
        settings=tuple(setting or ()),
        video=not no_video,
        out=out or Path("runs/train") / Path(preset).stem,
        minutes=minutes,
        steps=steps,
        flops=flops,
        device=device,
        photographs=photographs,
        initial=initial,
        data=read_data(data, reader, data_name, ordered, background, fit, span, hold_out, memory),
        save_steps=save_steps,
        compiled=not no_compile,
        tensorboard=tensorboard,
    )
    run_call(call, gpus, as_json=json, dry_run=dry_run)


def read_data(
    root: str | None,
    reader: str | None,
    name: str | None,
    ordered: bool | None,
    background: Literal["white", "black", "gray"],
    fit: str,
    span: int | None,
    held_out: int,
    memory: float,
) -> DataCall | None:
    """The posed scenes of a call; None: the worlds. Raises BenchError where an option lacks the other it goes with."""
    from kaleido_bench.training.calls import DataCall

    if root is None:
        alone = {
            "--reader": reader,
            "--data-name": name,
            "--ordered": ordered,
            "--span": span,
            "--hold-out": held_out or None,
        }
        given = [option for option, value in alone.items() if value is not None]
        if given:
            raise BenchError(given[0], "without --data", expected="the data set it is about", fix="Add --data ROOT.")
        return None
    if reader is None:
        raise BenchError(
            "--data",
            "without --reader",
            expected="what reads the scenes, such as transforms",
            fix="See docs/readers.md.",
        )
    if name is None:
        raise BenchError(
            "--data",
            "without --data-name",
            expected="the name that protocols have for the data set, or one of your own",
            fix="See `kbench list datasets`: a result on the same data set will say that it is not zero-shot.",
        )
    return DataCall(root, reader, name, ordered, background, fit, span, held_out, memory)


def run_call(call: TrainCall, gpus: str | None, *, as_json: bool, dry_run: bool) -> None:
    """Check the call and carry it out, in this process or in several."""
    from kaleido_bench.cli.console import say
    from kaleido_bench.cli.training_lines import show
    from kaleido_bench.training import checking, running, team

    here = team.find_team()
    processes = 1 if gpus is None else team.count_processes(gpus, call.device)
    prepared = checking.prepare(call, say, source_device="cpu" if processes > 1 else None)
    team.check_pieces(prepared, processes)
    if dry_run:
        print_plan(prepared, processes)
        return
    with show(call.out.name, as_json=as_json, silent=here.rank > 0) as report:
        if processes > 1:
            done = team.launch(write_words(call), processes, call.out, report, say)
        else:
            team.introduce(report)
            done = running.train(prepared, report, say)
    if here.rank > 0:
        return
    if not done:
        say(running.say_stopped(call.out))
        raise typer.Exit(130)
    if not as_json:
        typer.echo(f"weights in {call.out}; try: kbench run quickstart --model kaleido@{call.out}")


def print_plan(prepared: Prepared, processes: int) -> None:
    """What would be trained: the preset as a checkpoint holds it, which is a file that `kbench train` takes."""
    from kaleido_bench.cli.console import say
    from kaleido_bench.training.presets import render_preset

    typer.echo(render_preset(prepared.preset), nl=False)
    run = prepared.run
    anew = f"begins with {run.initial}" if run.initial else "begins anew"
    begun = anew if prepared.resumes is None else f"goes on from step {prepared.resumes}"
    budget = next(f"{value:g} {name}" for name, value in vars(run.budget).items() if value is not None)
    each = f" in {processes} processes" if processes > 1 else ""
    say(f"{budget} on {run.device}{each}, in {run.out}: {begun}")


def write_words(call: TrainCall) -> list[str]:
    """The arguments that mean this call again."""
    options: dict[str, object] = {
        "--out": call.out,
        "--minutes": call.minutes,
        "--steps": call.steps,
        "--flops": call.flops,
        "--device": "cpu" if call.device == "cpu" else "cuda",
        "--init": call.initial,
        "--photographs": call.photographs,
        "--save-steps": call.save_steps,
    }
    flags = {"--no-video": not call.video, "--no-compile": not call.compiled, "--tensorboard": call.tensorboard}
    if call.data is not None:
        data = call.data
        options |= {"--data": data.root, "--reader": data.reader, "--data-name": data.name, "--fit": data.fit}
        options |= {"--span": data.span, "--background": data.background, "--hold-out": data.held_out}
        options["--memory"] = data.memory
        flags |= {"--ordered": data.ordered is True, "--unordered": data.ordered is False}
    words = [call.preset]
    for option, value in options.items():
        words += [] if value is None else [option, str(value)]
    for setting in call.settings:
        words += ["--set", setting]
    return [*words, *(flag for flag, given in flags.items() if given)]
