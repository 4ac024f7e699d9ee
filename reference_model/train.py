"""Train a preset on procedural worlds: `python -m reference_model.train tiny --minutes 9 --out DIR`. Read top to
bottom.

A run is a stretch of time, cut into stages of rising resolution; the learning rate follows the share of the time that
has passed. Every line of the log carries the loss and the model FLOP/s reached. What comes out is the running average
of the weights, in bfloat16.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from reference_model.checkpoint import write_checkpoint
from reference_model.config import PRESETS, Preset, Stage
from reference_model.diagnostics import find_overflow
from reference_model.flops import forward_flops
from reference_model.flow import flow_loss, mix, sample_noise_levels
from reference_model.held_out import HELD_OUT_SEED, score_held_out
from reference_model.inputs import Inputs, build_inputs
from reference_model.kernels.rendering import choose_renderer
from reference_model.model import Kaleido, Views, count_parameters
from reference_model.optim import build_optimizers, learning_rate_factor
from reference_model.positions import NORMALISATIONS
from reference_model.recording import Loss, StepTensors, build_stepper
from reference_model.view_sampling import draw_reference_count, sample_views
from reference_model.worlds import draw_batch
from reference_model.worlds.cameras import Rig, build_intrinsics
from reference_model.worlds.draws import select, to_device
from reference_model.worlds.photographs import Photographs, load_photographs
from reference_model.worlds.render import Renderer, render_worlds
from reference_model.worlds.scenes import Worlds


class StepWorlds(NamedTuple):
    worlds: Worlds
    rig: Rig
    poses: Float[Tensor, "b v 4 4"]  # what the model is told: the rig's, normalised; in video the identity
    times: Float[Tensor, "b v"]  # of the frames of a video; else 0


class Painting(NamedTuple):
    """How worlds become images: by which twin, papered with which photographs."""

    renderer: Renderer
    photographs: Photographs


def build_painting(device: str, photographs: Path | None) -> Painting:
    """Raises FileNotFoundError where the photographs are not there."""
    loaded = load_photographs(photographs)
    return Painting(choose_renderer(device), loaded._replace(texels=loaded.texels.to(device)))


def take_cameras(rig: Rig, index: Int[Tensor, "b v"]) -> Rig:
    """Some of each world's cameras."""
    rows = torch.arange(index.shape[0])[:, None]
    return Rig(*(x if x.ndim == 1 else x[rows, index] for x in rig))


class WorldStream:
    """Worlds and rigs, drawn ahead of time on a CPU thread, a block of steps at once. Block i is a pure function of
    (seed, i).
    """

    def __init__(
        self,
        views: int,
        scenes: int,
        seed: int,
        device: str,
        block_scenes: int = 2048,
        *,
        rule: str = "given",
        pool: int = 1,
        video: bool = False,
        normalisation: str = "focus",
    ) -> None:
        self.views, self.scenes, self.seed, self.device = views, scenes, seed, device
        self.rule, self.pool_views, self.video = rule, pool * views, video
        self.normalise = NORMALISATIONS[normalisation]
        self.steps_per_block = max(1, block_scenes // scenes) if device != "cpu" else 1
        self.pool = ThreadPoolExecutor(1)
        self.loaded = -1
        self.current: StepWorlds | None = None
        self.ahead: Future[StepWorlds] = self.pool.submit(self.draw, 0)

    def draw(self, block: int) -> StepWorlds:
        generator = torch.Generator().manual_seed((self.seed * 1_000_003 + block) % HELD_OUT_SEED)
        count, pool = self.steps_per_block * self.scenes, 4 * self.views if self.video else self.pool_views
        worlds, rig = draw_batch(count, pool, generator, video=self.video)
        index = sample_views("video" if self.video else self.rule, rig.c2w, self.views, generator)
        rig = take_cameras(rig, index)
        poses, times = self.normalise(rig.c2w), torch.zeros(count, self.views)
        if self.video:
            poses, times = torch.eye(4).expand_as(poses), index.float()
        return to_device(StepWorlds(worlds, rig, poses, times), self.device)

    def step(self, step: int) -> StepWorlds:
        block, index = divmod(step, self.steps_per_block)
        if block != self.loaded:
            self.current, self.loaded = self.ahead.result(), block
            self.ahead = self.pool.submit(self.draw, block + 1)
        assert self.current is not None
        return select(self.current, slice(index * self.scenes, (index + 1) * self.scenes))


def prepare_step(
    inputs: Inputs,
    drawn: StepWorlds,
    preset: Preset,
    references: int,
    size: int,
    generator: torch.Generator,
    painting: Painting,
) -> StepTensors:
    """Render the views, turn them into tokens, draw the noise."""
    rig = drawn.rig
    with torch.no_grad():
        images = render_worlds(
            drawn.worlds,
            rig,
            size,
            scenes_at_once=len(rig.floor) if rig.c2w.is_cuda else 1,
            photographs=painting.photographs,
            renderer=painting.renderer,
        )
        tokens, features = inputs.codec.encode(images), inputs.see(images[:, :references])
        b, v, n, _ = tokens.shape
        t = sample_noise_levels(b, preset.flow, generator, n, v - references)
        noise = torch.randn(tokens.shape, generator=generator, device=tokens.device)
        return StepTensors(tokens, noise, t, drawn.poses, build_intrinsics(rig, size), drawn.times, features)


def build_loss(model: Kaleido, preset: Preset) -> Loss:
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


def stage_at(preset: Preset, progress: float) -> tuple[int, Stage]:
    """The stage in force after a share of the time."""
    passed = 0.0
    for i, stage in enumerate(preset.train.stages):
        passed += stage.share
        if progress < passed:
            return i, stage
    return len(preset.train.stages) - 1, preset.train.stages[-1]


class Log:
    """One JSON line each 100 steps: where the run is, the loss, what the device does. Stops a run that has diverged."""

    def __init__(self) -> None:
        self.begun = self.marked = time.monotonic()
        self.losses: list[Tensor] = []
        self.flops = self.marked_flops = 0.0
        self.marked_step = 0

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.begun

    def add(self, step: int, size: int, rate: float, loss: Tensor, flops: float) -> None:
        """After `step` steps. Raises RuntimeError when the loss is no number or out of all proportion."""
        self.losses.append(loss.detach())
        self.flops += flops
        if step % 100 and step not in (1, 20):
            return
        mean = torch.stack(self.losses).mean().item()  # waits for the device
        if not mean < 1e4:
            raise RuntimeError(f"step {step}: the loss is {mean}; lower the learning rate or the clipping norm")
        now = time.monotonic()
        passed = now - self.marked
        write_line({
            "step": step, "seconds": round(now - self.begun, 1), "size": size,
            "loss": round(mean, 5), "lr": round(rate, 6),
            "steps_per_s": round((step - self.marked_step) / passed, 2),
            "tflops": round((self.flops - self.marked_flops) / passed / 1e12, 1),
        })  # fmt: skip
        self.losses, self.marked, self.marked_step, self.marked_flops = [], now, step, self.flops


def write_line(values: dict[str, object]) -> None:
    print(json.dumps(values), flush=True)  # noqa: T201


def compile_blocks(model: Kaleido) -> None:
    """Compile block by block, since the whole model takes minutes."""
    torch._dynamo.config.cache_size_limit = 64
    for block in model.stack():
        block.compile(dynamic=False)


def finish(
    averaged: Kaleido,
    inputs: Inputs,
    preset: Preset,
    out: Path,
    device: str,
    log: Log,
    steps: int,
    painting: Painting,
) -> None:
    """Write the averaged weights with the card that says where they come from, then score them on held-out worlds and
    add the scores to the card: a run that is cut off while it scores keeps its weights.
    """
    weights = {name: tensor.to(torch.bfloat16) for name, tensor in averaged.state_dict().items()}
    card: dict[str, object] = {
        "training_data": ["reference_model.worlds"],
        "photographs_sha256": painting.photographs.sha256,
        "steps": steps,
        "seconds": round(log.seconds, 1),
        "device": "cpu" if device == "cpu" else torch.cuda.get_device_name(),
        "model_flops": log.flops,
        "torch": torch.__version__,
    }
    write_checkpoint(out, weights, preset, card)
    scores = score_held_out(
        averaged,
        inputs,
        preset.model.image_size,
        preset.model.max_views,
        device,
        scenes=2 if device == "cpu" else 64,
        flow=preset.flow,
        steps=(1, 4, 16),
        photographs=painting.photographs,
        renderer=painting.renderer,
    )
    for row in scores:
        write_line({key: round(value, 2) for key, value in row.items()})
    write_checkpoint(out, weights, preset, {**card, "held_out_psnr": scores})


def train(
    preset: Preset,
    out: Path,
    device: str,
    minutes: float,
    max_steps: int | None,
    compiled: bool,
    photographs: Path | None = None,
) -> None:
    """Train for so many minutes, or so many steps, and write the checkpoint to `out`."""
    config, views = preset.train, preset.model.max_views
    torch.manual_seed(config.seed)
    model, inputs = Kaleido(preset.model).to(device), build_inputs(preset.model, device)
    averaged = Kaleido(preset.model).to(device).eval().requires_grad_(False)
    averaged.load_state_dict(model.state_dict())
    painting = build_painting(device, photographs)
    if compiled:
        compile_blocks(model)
    optimizers = build_optimizers(model, config)
    generator = torch.Generator(device).manual_seed(config.seed)
    weights: list[Tensor] = list(model.parameters())
    running: list[Tensor] = list(averaged.parameters())
    loss_of = build_loss(model, preset)
    stepper = build_stepper(loss_of, weights, recorded=compiled)
    write_line({"parameters": count_parameters(model), "device": device, "torch": torch.__version__})
    log, step, first_step, current, stream = Log(), 0, 0, -1, None
    while (progress := step / max_steps if max_steps else log.seconds / (60 * minutes)) < 1:
        number, stage = stage_at(preset, progress)
        if number != current or stream is None:
            stream = WorldStream(
                views,
                stage.scenes,
                config.seed * 101 + number,
                device,
                rule=config.view_rule,
                pool=config.view_pool,
                video=stage.video,
                normalisation=preset.model.normalisation,
            )
            first_step, current = step, number
        references = draw_reference_count(step, config.seed, views, preset.flow.reference_dropout)
        drawn = stream.step(step - first_step)
        tensors = prepare_step(inputs, drawn, preset, references, stage.image_size, generator, painting)
        loss = stepper(tensors, references)
        torch.nn.utils.clip_grad_norm_(weights, config.clip_norm)
        rate = config.learning_rate * learning_rate_factor(progress, step, config.warmup_steps, config.decay_share)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(running, weights, 1 - min(config.ema_decay, (1 + step) / (10 + step)))
        tokens = (stage.image_size // preset.model.patch) ** 2
        flops = 3 * stage.scenes * forward_flops(preset.model, references, views - references, tokens)
        step += 1
        try:
            log.add(step, stage.image_size, rate, loss, flops)
        except RuntimeError as error:
            found = find_overflow(model, lambda: loss_of(tensors, references))  # noqa: B023
            raise RuntimeError(f"{error}; {found or 'no layer overflows at these weights'}") from error
    finish(averaged, inputs, preset, out, device, log, step, painting)


def override(preset: Preset, settings: list[str]) -> Preset:
    """Change single fields by `group.field=value` (JSON values); the result is what the checkpoint records."""
    for setting in settings:
        name, _, value = setting.partition("=")
        group, _, field = name.partition(".")
        record = dataclasses.replace(getattr(preset, group), **{field: json.loads(value)})
        preset = dataclasses.replace(preset, **{group: record})
    return preset


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("preset", choices=sorted(PRESETS))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--steps", type=int, help="stop after this many steps instead, whatever the time")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument(
        "--photographs", type=Path, help="packed by reference_model.worlds.photographs; else from packages"
    )
    parser.add_argument("--set", action="append", default=[], metavar="GROUP.FIELD=VALUE", help="for experiments")
    args = parser.parse_args()
    preset = override(PRESETS[args.preset](), args.set)
    torch.set_float32_matmul_precision("high")
    train(
        preset,
        args.out,
        args.device,
        args.minutes,
        args.steps,
        not args.no_compile and args.device != "cpu",
        args.photographs,
    )


if __name__ == "__main__":
    main()
