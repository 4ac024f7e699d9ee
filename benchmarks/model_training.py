"""Sections of benchmarks/model.py on training: a whole step, its compilation, and what pose attention costs in it."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from kernels_used import sort_kernels
from model_inputs import build_config, build_model, draw_tokens, draw_views
from model_machine import Machine, free, judge, report
from torch import Tensor

from reference_model.config import ModelConfig
from reference_model.flops import forward_flops
from reference_model.optim import build_optimizers
from reference_model.presets import tiny
from reference_model.training.gradients import Gradients
from reference_model.training.stepping import StepTensors, build_stepper


class Step(NamedTuple):
    """Forward and backward of a whole model, and the optimizers' step."""

    run: Callable[[], object]
    launch: Callable[[], object]  # the same, not recorded
    update: Callable[[], None]
    gradients: Gradients
    flops: int


def build_step(machine: Machine, config: ModelConfig, scenes: int, *, way: str = "now") -> Step:
    model = build_model(machine, config, way=way)
    views, tokens = draw_views(machine, scenes, 4, 4, config.image_size), draw_tokens(machine, config, scenes, 8)
    t = torch.rand(scenes, device=machine.device)
    optimizers, gradients = build_optimizers(model, tiny().train), Gradients(list(model.parameters()))
    tensors = StepTensors(tokens, tokens, t, views.c2w, views.intrinsics, torch.zeros_like(views.c2w[..., 0, 0]), None)

    def loss(step: StepTensors, references: int) -> Tensor:
        here = views._replace(c2w=step.c2w, intrinsics=step.intrinsics, references=references)
        with machine.precision():
            out = model(step.tokens, step.t, here)
        return (out.float() - step.tokens[:, references:]).square().mean()

    steppers = [build_stepper(loss, gradients, recorded=recorded) for recorded in (machine.cuda, False)]

    def update() -> None:
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = 0.0  # the weights stay
            optimizer.step()

    def call(number: int) -> Tensor:
        gradients.zero()
        return steppers[number](tensors, 4)

    flops = 3 * scenes * forward_flops(config, 4, 4, tokens.shape[2])
    return Step(lambda: call(0), lambda: call(1), update, gradients, flops)


def count_scenes(machine: Machine, args: argparse.Namespace, width: int) -> int:
    """Scenes of a step: with fewer the GPU is not filled, with more the memory is."""
    if machine.toy:
        return 2
    return args.scenes or (64 if width < 768 else 48)


def expected_tflops(width: int) -> float:
    """What bounds training at this width on an H100: products at 600 TFLOP/s and 50 bytes a channel and token of
    unavoidable elementwise traffic at 3 TB/s; that is an MFU of 0.61 / (1 + 417 / width) of its 989 TFLOP/s.
    """
    return 989 * 0.61 / (1 + 417 / width)


BARS = {512: 300, 768: 380}  # model TFLOP/s of a training step without the optimizer


def measure_training(machine: Machine, args: argparse.Namespace) -> None:
    """Training at 128 px, 4 + 4 views; with several ways, the gradients of each beside the first's."""
    for width in map(int, args.widths.split(",")):
        reference: Tensor | None = None
        for way in args.ways.split(","):
            found = time_training(machine, args, width, way, reference)
            reference = found if reference is None else reference
            free(machine)


def time_training(machine: Machine, args: argparse.Namespace, width: int, way: str, reference: Tensor | None) -> Tensor:
    """Report one width and way. Returns its gradients."""
    config, scenes = build_config(machine, width), count_scenes(machine, args, width)
    torch.manual_seed(1)
    step = build_step(machine, config, scenes, way=way)
    first = machine.host(lambda: (step.launch(), machine.wait()))
    gradients = step.gradients.flat.clone()
    launching = machine.host(step.launch)  # before the step is recorded: then its memory is the graph's
    apart = 0.0 if reference is None else ((gradients - reference).norm() / reference.norm()).item()
    seconds, updating = machine.timed(step.run), machine.timed(step.update)
    rate = step.flops / seconds / 1e12
    peak = torch.cuda.max_memory_allocated() / 2**30 if machine.cuda else 0.0
    report("train", width=width, way=way, head_channels=config.head_channels, scenes=scenes, first_step_s=first,
           ms=1e3 * seconds, tflops=rate, expected=expected_tflops(width), bar=judge(rate, BARS.get(width, 0)),
           launched_host_ms=1e3 * launching, optimizer_ms=1e3 * updating,
           tflops_with_optimizer=step.flops / (seconds + updating) / 1e12, peak_gib=peak,
           gradients_apart=apart)  # fmt: skip
    if args.profile:
        profile(machine, step)
    return gradients


def profile(machine: Machine, step: Step) -> None:
    """A step's milliseconds by what they are for, and its costliest kernels."""
    kind = torch.profiler.ProfilerActivity.CUDA if machine.cuda else torch.profiler.ProfilerActivity.CPU
    with torch.profiler.profile(activities=[kind]) as profiler:
        for _ in range(3):
            step.run()
        machine.wait()
    rows = profiler.key_averages()
    spent = {row.key: (row.self_device_time_total if machine.cuda else row.self_cpu_time_total) / 3e3 for row in rows}
    print("  ms a step: " + "  ".join(f"{name} {value:.2f}" for name, value in sort_kernels(spent).items()))
    key = "self_cuda_time_total" if machine.cuda else "self_cpu_time_total"
    print(rows.table(sort_by=key, row_limit=25, max_name_column_width=70), flush=True)


def measure_compilation(machine: Machine, args: argparse.Namespace) -> None:
    """The first training step, in a process of its own: with an empty cache, then with that cache."""
    alone = [sys.executable, str(Path(__file__).with_name("model.py")), "--first-step"]
    with tempfile.TemporaryDirectory() as folder:
        places = {"TORCHINDUCTOR_CACHE_DIR": f"{folder}/inductor", "TRITON_CACHE_DIR": f"{folder}/triton"}
        for name, bar in (("cold", 50), ("cached", 15)):
            command = [*alone, *(["--tiny"] if machine.toy else [])]
            done = subprocess.run(command, env={**os.environ, **places}, capture_output=True, text=True, check=False)
            if done.returncode:
                raise RuntimeError(f"the first step failed: {done.stderr[-2000:]}")
            seconds = json.loads(done.stdout.splitlines()[-1])["seconds"]
            report("compile", cache=name, first_step_s=seconds, bar=judge(seconds, bar, most=True))


def first_step(machine: Machine, args: argparse.Namespace) -> None:
    """What `measure_compilation` runs: forward and backward from a started device to their first end."""
    config = build_config(machine)
    step = build_step(machine, config, count_scenes(machine, args, 512))
    machine.wait()
    print(json.dumps({"seconds": machine.host(lambda: (step.run(), machine.wait()))}))


def measure_gta(machine: Machine, args: argparse.Namespace) -> None:
    """What pose attention costs beside plain RoPE: the whole step, with the kernels and as plain compiled code."""
    for width in map(int, args.widths.split(",")):
        seconds: dict[str, float] = {}
        for name, pose, way in (
            ("rope", 0, "now"),
            ("gta", 64, "now"),
            ("rope, plain", 0, "no-actions"),
            ("gta, plain", 64, "no-actions"),
        ):
            config = build_config(machine, width)
            config = dataclasses.replace(config, pose_channels=min(pose, config.pose_channels))
            step = build_step(machine, config, count_scenes(machine, args, width), way=way)
            seconds[name] = machine.timed(step.run)
            free(machine)
        for name, base, bar in (
            ("gta", "rope", 5.0),
            ("gta, plain", "rope, plain", None),
            ("gta", "rope, plain", None),
        ):
            percent = 100 * (seconds[name] / seconds[base] - 1)
            verdict = {"bar": judge(percent, bar, most=True)} if bar is not None else {}
            report("gta", width=width, what=name, beside=base, ms=1e3 * seconds[name], base_ms=1e3 * seconds[base],
                   overhead_percent=percent, **verdict)  # fmt: skip
