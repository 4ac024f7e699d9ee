"""Train a preset: `python -m reference_model.train tiny --minutes 9 --out DIR`, on several GPUs below torchrun. Read
top to bottom.

A run has a budget, cut into stages: rising resolution, video first where the preset has it. Every step draws views from
a source (procedural worlds, or posed scenes), noises the targets and compares what the model makes of them. Every
save_steps the whole state is written, and the same command goes on from there. Beside it lies what comes out in the
end: the running average of the weights, in bfloat16, with a card that says what made it.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import math
import signal
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from reference_model.checkpoint import (
    find_checkpoint,
    hash_checkpoint,
    load_checkpoint,
    read_card,
    write_card,
    write_checkpoint,
)
from reference_model.config import Preset, list_differences
from reference_model.flops import step_flops
from reference_model.flow import flow_loss, mix
from reference_model.inputs import build_inputs
from reference_model.model import Kaleido, Views, count_parameters
from reference_model.optim import build_optimizers, set_learning_rate
from reference_model.overflow import find_overflow
from reference_model.presets import PRESETS
from reference_model.training.claim import claim
from reference_model.training.cost import check_memory
from reference_model.training.gradients import Accumulator, Gradients
from reference_model.training.parallel import Team, join_team, speaks
from reference_model.training.progress import DivergedError, Log, Report, Spent, Step, write_line, write_to_tensorboard
from reference_model.training.resuming import (
    Begun,
    Initial,
    Trained,
    clear_leftovers,
    describe_initial,
    find_state,
    hash_code,
    name_tensors,
    read_header,
    read_state,
    write_state,
)
from reference_model.training.schedule import Budget, learning_rate, stage_at
from reference_model.training.settings import drop_video, override, read_preset
from reference_model.training.sharded_muon import build_sharded_optimizers
from reference_model.training.sharding import (
    ShardedGradients,
    build_average,
    build_mesh,
    gather,
    gather_weights,
    is_sharded,
    local_parts,
    shard_model,
    wrap_blocks,
)
from reference_model.training.stepping import Loss, StepTensors, build_stepper
from reference_model.training.steps import Source, StepViews, Stream, WorldSource, prepare_step
from reference_model.view_sampling import draw_reference_count

CONSULT = 10  # steps between looks at the clock and at the signal to stop, which all processes heed together


@dataclass(frozen=True)
class Run:
    """What is asked of one call, none of it part of the model."""

    out: Path
    budget: Budget
    device: str = "cpu"
    compiled: bool = True  # block by block, on CUDA
    recorded: bool | None = None  # each step as a CUDA graph, on CUDA; None: where blocks are compiled
    resumable: bool = True  # whether the state is written beside the weights; seldom worth it for a run of seconds
    save_steps: int = 1000
    initial: Path | None = None  # weights to begin with, of the same model
    tensorboard: bool = False

    def __post_init__(self) -> None:
        if self.save_steps < 1:
            raise ValueError(f"save_steps {self.save_steps}: expected 1 or more")


def build_loss(model: nn.Module, preset: Preset) -> Loss:
    """Noise the targets, predict them, compare."""

    def loss(step: StepTensors, references: int) -> Tensor:
        clean, targets, noise = step.tokens[:, :references], step.tokens[:, references:], step.noise[:, references:]
        side = math.isqrt(step.tokens.shape[2]) * preset.model.patch
        sequence = torch.cat([clean, mix(targets, noise, step.t)], 1)
        views = Views(step.c2w, step.intrinsics, references, side, side, step.times)
        with torch.autocast(sequence.device.type, torch.bfloat16, enabled=sequence.is_cuda):
            predicted = model(sequence, step.t, views, step.features)
        return flow_loss(predicted, targets, noise, step.t, preset.flow)

    return loss


def compile_blocks(model: Kaleido) -> None:
    """Compile block by block, since the whole model takes minutes. Shapes are fixed, but for an encoder-decoder, whose
    halves see another number of views at each split (76 graphs at fixed shapes, 20 at dynamic ones): its blocks stay as
    they are, since the fused kernels and the recording of a step leave a compiler little to win.
    """
    torch._dynamo.config.cache_size_limit = 64
    for block in [] if len(model.encoder) else model.stack():
        block.compile(dynamic=False)


def prepare_blocks(model: Kaleido, preset: Preset, *, compiled: bool) -> None:
    """As the preset and the call ask: compiled, recomputed, or as they are."""
    if is_sharded(model) or preset.train.recomputed:
        wrap_blocks(model, compiled=compiled, recomputed=preset.train.recomputed)
    elif compiled:
        compile_blocks(model)


def build_trained(preset: Preset, run: Run, team: Team) -> Trained:
    """A model as it begins, its average, and optimizers that remember nothing yet; of a sharded preset this process'
    rows of them.

    Raises ValueError where the initial weights are of another model, or the model cannot be sharded.
    """
    torch.manual_seed(preset.train.seed)
    model = Kaleido(preset.model)
    if run.initial:
        weights, other, _ = load_checkpoint(find_checkpoint(run.initial))
        if differing := list_differences(preset.model, other.model):
            raise ValueError(f"{run.initial} is of another model: it differs in {', '.join(differing)}")
        model.load_state_dict(weights)
    if preset.train.sharded and team.size > 1:
        mesh = build_mesh(team.device)
        shard_model(model, mesh, mixed=team.device != "cpu")
        return Trained(model, build_average(model, mesh), build_sharded_optimizers(model, preset.train))
    model = model.to(team.device)
    averaged = copy.deepcopy(model).eval().requires_grad_(False)
    return Trained(model, averaged, build_optimizers(model, preset.train))


def read_initial(weights: Path) -> Initial:
    folder = find_checkpoint(weights)
    return Initial(hash_checkpoint(folder), read_card(folder))


class Loop:
    """Steps of one run in one process."""

    def __init__(self, preset: Preset, source: Source, run: Run, team: Team, trained: Trained) -> None:
        self.preset, self.source, self.team, self.trained = preset, source, team, trained
        self.inputs = build_inputs(preset.model, team.device)
        self.weights, self.running = (local_parts(m.parameters()) for m in (trained.model, trained.averaged))
        accumulate = ShardedGradients if is_sharded(trained.model) else Gradients
        self.gradients: Accumulator = accumulate(list(trained.model.parameters()))
        self.loss = build_loss(trained.model, preset)
        recorded = (run.compiled if run.recorded is None else run.recorded) and team.device != "cpu"
        self.stepper = build_stepper(self.loss, self.gradients, recorded=recorded)
        self.noise = torch.Generator(team.device)
        self.pieces = team.take_pieces(preset.train.pieces)
        self.streams: list[Stream] = []
        self.opened = -1
        self.met: set[tuple[int, ...]] = set()  # what steps of this process have been prepared for
        self.compiled = (run.compiled or recorded) and team.device != "cpu"
        self.code_sha256 = hash_code()
        self.initial = read_initial(run.initial) if run.initial else None  # or as the run that is resumed says

    def step(self, step: int, progress: float, views: list[StepViews]) -> Step:
        """The step of this number, when so much of the budget has passed, on what `fetch` gave for it."""
        config = self.preset.train
        references = self.draw_references(step)
        self.gradients.zero()
        loss = torch.zeros((), device=self.team.device)
        for tensors in self.prepare(step, references, views):
            loss += self.stepper(tensors, references)
        self.gradients.average(self.team, config.pieces)
        self.team.add_up(loss)
        norms = self.gradients.clip(config.clip_norm)
        rate = learning_rate(config, progress, step)
        set_learning_rate(self.trained.optimizers, rate)
        for optimizer in self.trained.optimizers:
            optimizer.step()
        torch._foreach_lerp_(self.running, self.weights, 1 - min(config.ema_decay, (1 + step) / (10 + step)))
        size = config.stages[self.opened].image_size
        return Step(loss / config.pieces, norms, references, size, rate, self.count_flops(references), progress)

    def prepares(self, step: int, progress: float) -> bool:
        """Whether this process meets the first step of its kind: of a stage, and where steps are compiled or recorded,
        of a number of references. It takes longer, by up to a minute, and says so once.
        """
        stage = stage_at(self.preset.train.stages, progress)
        kind = (stage, self.draw_references(step)) if self.compiled else (stage,)
        new = kind not in self.met
        self.met.add(kind)
        return new

    def wait(self) -> None:
        """For the device."""
        if self.team.device != "cpu":
            torch.cuda.synchronize(self.team.device)

    def fetch(self, step: int, progress: float) -> list[StepViews]:
        """The views of this process' pieces of a step. Nothing of the run changes: where they cannot be had, the state
        may still be written. All processes raise together: its own error the one that has it, ValueError the others.
        """
        number, views, failed = stage_at(self.preset.train.stages, progress), list[StepViews](), None
        try:
            if number != self.opened:
                self.streams = [self.source.open(self.preset, number, piece, self.team.device) for piece in self.pieces]
                self.opened = number
            views = [stream.step(step) for stream in self.streams]
        except Exception as error:
            failed = error
        self.team.fail_together(failed)
        return views

    def prepare(self, step: int, references: int, views: list[StepViews]) -> Iterator[StepTensors]:
        """Piece by piece, as tokens. The noise of each is a function of the seed, the step and the piece."""
        for piece, seen in zip(self.pieces, views, strict=True):
            self.noise.manual_seed((self.preset.train.seed * 1_000_003 + step) * 101 + piece)
            yield prepare_step(self.inputs, seen, self.preset, references, self.noise)

    def draw_references(self, step: int) -> int:
        """How many of a sequence's views are references in this step, the same for all its scenes."""
        model, flow = self.preset.model, self.preset.flow
        return draw_reference_count(step, self.preset.train.seed, model.max_views, flow.reference_dropout)

    def count_flops(self, references: int) -> float:
        """Model FLOPs of a step of the open stage, all pieces."""
        return step_flops(self.preset.model, self.preset.train.stages[self.opened], references)

    def name_overflow(self, step: int, progress: float) -> str:
        """At the weights of now, on the data of a step, drawn again: what of it is no number, or which layer's output.
        All processes together, each on its own pieces.
        """
        try:
            views = self.fetch(step, progress)
        except Exception as error:
            return f"its views cannot be had again ({error})"
        references, found = self.draw_references(step), list[str]()
        for tensors in self.prepare(step, references, views):
            given = {name: x for name, x in tensors._asdict().items() if isinstance(x, Tensor)}
            wrong = [name for name, x in given.items() if not x.isfinite().all()]
            overflow = find_overflow(self.trained.model, lambda given=tensors: self.loss(given, references))
            found += [f"its data hold NaN or infinity: {', '.join(wrong)}"] if wrong else []
            found += [str(overflow)] if overflow and not wrong else []
        return next(iter(self.team.gather(found)), "no layer makes it of finite numbers: look at its images and poses")


class Stopping(Protocol):
    """Whether someone has asked the run to end. Heeded at a step's end, and between batches that are scored."""

    @property
    def asked(self) -> bool: ...


class Stop:
    """Asked by SIGINT or SIGTERM."""

    def __init__(self) -> None:
        self.asked = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self.ask)

    def ask(self, *_: object) -> None:
        self.asked = True


def train(preset: Preset, source: Source, run: Run, report: Report = write_line, stop: Stopping | None = None) -> bool:
    """Train until the budget is spent, write the checkpoint and score it; or, asked to stop, write the state. Whether
    it is done. A run that was begun in `out` goes on; one that is done is left as it is.

    Raises ValueError where the device is too small (cost.check_memory), `out` holds another run or one that is being
    trained, or the processes do not divide the pieces; what the source raises where views cannot be had, once the state
    is written; DivergedError where the loss diverges, naming the layer; OSError where `out` cannot be written.
    """
    team = join_team(run.device)
    report = report if team.rank == 0 else lambda _: None
    check_memory(preset, team.device, team.size)
    loop = Loop(preset, source, run, team, build_trained(preset, run, team))
    with claim(run.out) if team.rank == 0 else nullcontext():
        log = resume(loop, run, report)
        then = "goes on from here"
        done = not go_on(loop, run, log, stop)
        if done:
            done, then = finish(loop, run, log.now, log.report, stop), "scores the weights"
        if not done:
            report({"stopped": log.spent.steps, "state": str(run.out), "next": f"the same command {then}"})
    team.leave()
    return done


def resume(loop: Loop, run: Run, report: Report) -> Log:
    """Read the state that lies in `out`, if one does, and introduce the run; its log, which knows how far it is.

    Raises ValueError where it is another run's.
    """
    trained, team, spent = loop.trained, loop.team, Spent()
    if run.tensorboard and team.rank == 0:
        report = write_to_tensorboard(str(run.out / "tensorboard"), report)
    if state := find_state(run.out):
        begun = read_header(state, loop.preset, loop.source.describe())
        if loop.initial and not begun.initial:
            raise ValueError(
                f"{run.out} holds a run that began without --init. Give another --out, or leave --init out"
            )
        read_state(state, trained)
        spent, loop.initial = begun.spent, begun.initial
        same_code = begun.code_sha256 == loop.code_sha256
        report({"resumed": spent.steps, **({} if same_code else {"note": "the code has changed since"})})
    prepare_blocks(trained.model, loop.preset, compiled=run.compiled and team.device != "cpu")
    report({"parameters": count_parameters(trained.model), "device": run.device, "processes": team.size,
            "torch": torch.__version__})  # fmt: skip
    names = [name for name, _ in trained.model.named_parameters()]
    return Log(names, team.device, team.size, spent, run.budget, report)


def go_on(loop: Loop, run: Run, log: Log, stop: Stopping | None) -> bool:
    """Step until the budget is spent or someone asks to stop, which it returns, and write the state on the way."""
    progress, asked, saved = run.budget.progress(*log.spent), False, log.spent.steps
    while progress < 1 and not asked:
        number = log.spent.steps
        if new := loop.prepares(number, progress):
            loop.wait()
        began = log.seconds
        try:
            views = loop.fetch(number, progress)
        except Exception:
            if number > saved:  # what was trained is not lost to one broken image
                save(loop, run, log)
            raise
        try:
            made = loop.step(number, progress, views)
            if new:
                loop.wait()
                log.set_apart(log.seconds - began)
            log.add(made)
            progress = log.progress if run.budget.minutes is None else progress
            if loop.team.size == 1 or log.spent.steps % CONSULT == 0:
                said = loop.team.follow(log.progress, float(stop is not None and stop.asked))
                progress, asked = said[0], bool(said[1])
            if log.spent.steps % run.save_steps == 0 or progress >= 1 or asked:
                save(loop, run, log)
                saved = log.spent.steps
        except DivergedError as error:
            found = loop.name_overflow(error.step, error.progress)
            raise DivergedError(f"{error}; {found}", error.step, error.progress) from error
    return asked


def save(loop: Loop, run: Run, log: Log) -> None:
    """Write the whole state, and the averaged weights of now: `kaleido@OUT` while the run goes on, and what is left of
    it should the state be lost. All processes together: the first one writes, the others hand it their rows.

    Raises DivergedError, and leaves what lies there, where the weights are not worth it.
    """
    log.check()
    spent = log.now
    if run.resumable:
        tensors = gather(name_tensors(loop.trained))
        if loop.team.rank == 0:
            begun = Begun(spent, loop.code_sha256, loop.initial)
            write_state(run.out, tensors, loop.preset, loop.source.describe(), begun)
        else:
            deque(tensors, maxlen=0)
    save_weights(loop, run, spent)


def save_weights(loop: Loop, run: Run, spent: Spent) -> None:
    """Write the averaged weights with their card, not scored yet; all processes together."""
    weights = ((name, tensor.to(torch.bfloat16)) for name, tensor in gather_weights(loop.trained.averaged))
    if loop.team.rank == 0:
        card = {**describe_data(loop), **describe_run(loop, run, spent)}
        write_checkpoint(run.out, weights, loop.preset, card)
    else:
        deque(weights, maxlen=0)


def describe_data(loop: Loop) -> dict[str, object]:
    """What the weights have seen, for their card: this run's source, and what the weights that it began with had seen.
    A benchmark on either is not zero-shot.
    """
    described: dict[str, Any] = loop.source.describe()
    before: list[str] = loop.initial.card.get("training_data", []) if loop.initial else []
    return {**described, "training_data": list(dict.fromkeys([*described["training_data"], *before]))}


def describe_run(loop: Loop, run: Run, spent: Spent) -> dict[str, object]:
    """What made the weights, for their card."""
    return {
        **spent._asdict(),
        "budget": {name: value for name, value in dataclasses.asdict(run.budget).items() if value is not None},
        "device": "cpu" if loop.team.device == "cpu" else torch.cuda.get_device_name(),
        "processes": loop.team.size,
        "torch": torch.__version__,
        "code_sha256": loop.code_sha256,
        **describe_initial(loop.initial),
    }


class StoppedError(Exception):
    """Someone has asked the run to end while its weights were being scored."""


def finish(loop: Loop, run: Run, spent: Spent, report: Report, stop: Stopping | None) -> bool:
    """Score the weights and add the scores to their card; write them where a run was killed before it could. Nothing
    is done twice. Whether it is done; else someone has asked to stop, and the weights lie there without scores.

    All processes together, as the first one finds the folder: of a sharded average none can score alone.
    """

    def heed() -> None:
        if loop.team.follow(float(stop is not None and stop.asked))[0]:
            raise StoppedError

    found = find_finished(run.out, spent) if loop.team.rank == 0 else (False, False)
    written, scored = (bool(said) for said in loop.team.follow(*found))
    if not written:
        save_weights(loop, run, spent)
    if not scored:
        try:
            scores = loop.source.score(loop.trained.averaged, loop.inputs, loop.preset, loop.team.device, heed)
        except StoppedError:
            return False
        for row in scores:
            report({key: round(value, 2) for key, value in row.items()})
        if loop.team.rank == 0:
            write_card(run.out, {**read_card(run.out), "held_out_psnr": scores})
    if loop.team.rank == 0:
        clear_leftovers(run.out)
    report({"done": spent.steps, "weights": str(run.out)})
    return True


def find_finished(out: Path, spent: Spent) -> tuple[bool, bool]:
    """Whether the weights of so many steps lie there, and whether they are scored."""
    card = read_card(out) if (out / "card.json").is_file() else {}
    written = card.get("steps") == spent.steps
    return written, written and "held_out_psnr" in card


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m reference_model.train", description=__doc__)
    parser.add_argument("preset", help=f"{', '.join(sorted(PRESETS))}, or a preset.json")
    parser.add_argument("--out", type=Path, required=True)
    budget = parser.add_mutually_exclusive_group(required=True)
    budget.add_argument("--minutes", type=float, help="of this machine's time")
    budget.add_argument("--steps", type=int)
    budget.add_argument("--flops", type=float, help="model FLOPs of training, such as 1e16")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument(
        "--photographs", type=Path, help="packed by reference_model.worlds.photographs; else from packages"
    )
    parser.add_argument("--set", action="append", default=[], metavar="GROUP.FIELD=VALUE", help="change the preset")
    parser.add_argument("--no-video", action="store_true", help="leave the preset's stages of video out")
    parser.add_argument("--init", type=Path, help="begin with these weights")
    parser.add_argument("--save-steps", type=int, default=1000, help="write the whole state so often")
    parser.add_argument("--tensorboard", action="store_true")
    return parser


def main() -> None:
    args = build_parser().parse_args()
    torch.set_float32_matmul_precision("high")
    try:
        device = join_team(args.device).device  # before anything is put there
        run = Run(
            out=args.out,
            budget=Budget(args.minutes, args.steps, args.flops),
            device=device,
            compiled=not args.no_compile,
            save_steps=args.save_steps,
            initial=args.init,
            tensorboard=args.tensorboard,
        )
        preset = override(read_preset(args.preset), args.set)
        preset = drop_video(preset) if args.no_video else preset
        done = train(preset, WorldSource(args.photographs, device), run, stop=Stop())
    except (ValueError, OSError, DivergedError) as error:
        sys.exit(f"{error}" if speaks() else 1)  # once: all processes fail alike
    sys.exit(0 if done else 130)


if __name__ == "__main__":
    main()
