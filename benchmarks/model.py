"""How fast the reference model trains and samples on one GPU, each number beside what bounds it.

    python benchmarks/model.py                              # all sections, about 12 minutes on an H100
    python benchmarks/model.py --only train,gta             # some of them
    python benchmarks/model.py --only train --profile       # what a step spends its time on
    python benchmarks/model.py --only train --ways now,before,no-stream   # without some fused kernels (kernels_used.py)
    python benchmarks/model.py --only latency --device cpu  # seconds a view as `kbench run` has them, on two threads
    python benchmarks/model.py --tiny                       # all sections at toy size on a CPU: does it run

Sections: ceiling, kernels, train, compile, gta, window, cache, frames, latency. Every line is printed as soon as it is
known, and appended as JSON to $OUT/model.jsonl where OUT names a folder. Model FLOP/s counts matrix products and
attention (flops.py, times 3 for training) and nothing else. Training steps are recorded as CUDA graphs, as the trainer
records them. Weights are random everywhere, never zero: a GPU multiplies
zeros faster. Rows with a `bar` say whether it is met.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch
import torch._functorch.config
from kernels_used import WAYS, sort_kernels, take_away
from rounding import round_weights
from torch import Tensor

from reference_model.attention import Window, attend_across, attend_windows, attend_within, prepare_qkv, restore_output
from reference_model.config import ModelConfig, Preset
from reference_model.flops import cache_flops, denoise_flops, forward_flops
from reference_model.flow import build_levels
from reference_model.inference import LoadedModel, render_views
from reference_model.inputs import build_inputs
from reference_model.kernels import action
from reference_model.model import Kaleido, Views, count_parameters, make_rooms
from reference_model.optim import build_optimizers
from reference_model.presets import large, small, smoke, tiny
from reference_model.recording import RecordedFunction, StepTensors, build_stepper
from reference_model.sampler import Rollout, Sampling, Scene, integrate, roll_out
from reference_model.training.gradients import Gradients


class Machine(NamedTuple):
    device: str
    toy: bool  # sizes for a CPU
    repeats: int

    @property
    def cuda(self) -> bool:
        return self.device == "cuda"

    def wait(self) -> None:
        if self.cuda:
            torch.cuda.synchronize()

    def timed(self, function: Callable[[], object], repeats: int | None = None) -> float:
        """Seconds a call, after two calls that warm up: the median of three batches of calls."""
        repeats = repeats or self.repeats
        for _ in range(2 if self.cuda else 1):
            function()
        self.wait()
        batches: list[float] = []
        for _ in range(3 if self.cuda else 1):
            begun = time.perf_counter()
            for _ in range(repeats):
                function()
            self.wait()
            batches.append((time.perf_counter() - begun) / repeats)
        return sorted(batches)[len(batches) // 2]

    def host(self, function: Callable[[], object]) -> float:
        """Seconds until a call returns, with nothing queued before it: what the host takes to launch it."""
        self.wait()
        begun = time.perf_counter()
        function()
        passed = time.perf_counter() - begun
        self.wait()
        return passed

    @contextmanager
    def precision(self) -> Iterator[None]:
        """bfloat16 on a GPU. Casts of weights are not kept: a CUDA graph would read them after they are gone."""
        with torch.autocast(self.device, torch.bfloat16, enabled=self.cuda, cache_enabled=False):
            yield


def report(section: str, **values: object) -> None:
    """One line for people, one for programs."""
    print(f"{section:8s} " + "  ".join(f"{key} {show(value)}" for key, value in values.items()), flush=True)
    if folder := os.environ.get("OUT"):
        with (Path(folder) / "model.jsonl").open("a") as file:
            file.write(json.dumps({"section": section, **values}) + "\n")


def show(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def judge(value: float, bar: float, *, most: bool = False) -> str:
    """`most`: the bar is a maximum."""
    return f"{'<=' if most else '>='} {bar:g} {'met' if (value <= bar) == most or value == bar else 'MISSED'}"


def build_config(machine: Machine, width: int = 512, size: int = 128, **changes: object) -> ModelConfig:
    """The shape of the first probe: 12 blocks, heads of 128 channels, half of a head pose, all of it multi-head."""
    config = ModelConfig(
        width=width, depth=12, heads=width // 128, mlp_width=-(-width * 8 // 3 // 64) * 64, patch=8, image_size=size,
        pose_channels=64, max_views=8,
    )  # fmt: skip
    if machine.toy:
        config = dataclasses.replace(config, width=64, depth=2, heads=2, mlp_width=128, pose_channels=16, image_size=32)
    return dataclasses.replace(config, **changes)


def build_model(machine: Machine, config: ModelConfig, *, way: str = "now", compiled: bool = True) -> Kaleido:
    """A model with random weights, its blocks compiled one by one on a GPU. `way`: without which kernels."""
    torch.manual_seed(0)
    model = Kaleido(config).to(machine.device)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.5 * parameter.shape[-1] ** -0.5)
    take_away(model, WAYS[way])
    if compiled and machine.cuda:
        torch._dynamo.config.cache_size_limit = 64
        for block in model.stack():
            block.compile(dynamic=False)
    return model


def build_sampling_model(machine: Machine, config: ModelConfig, way: str = "now") -> Kaleido:
    """Not compiled: with the kernels there is little left to fuse. Weights are rounded once."""
    model = build_model(machine, config, way=way, compiled=False).eval()
    return round_weights(model) if machine.cuda else model


def draw_views(machine: Machine, scenes: int, references: int, targets: int, size: int) -> Views:
    """Cameras on a circle about the origin, at distance 1."""
    count = references + targets
    angle = torch.linspace(0, 6.28, count + 1)[:-1]
    c2w = torch.eye(4).repeat(count, 1, 1)
    c2w[:, 0, 0], c2w[:, 0, 2], c2w[:, 2, 0], c2w[:, 2, 2] = angle.cos(), -angle.sin(), angle.sin(), angle.cos()
    c2w[:, :3, 3] = -c2w[:, :3, 2]
    k = torch.tensor([[1.2 * size, 0, size / 2], [0, 1.2 * size, size / 2], [0, 0, 1]])
    return Views(
        c2w.expand(scenes, -1, -1, -1).to(machine.device),
        k.expand(scenes, count, 3, 3).to(machine.device),
        references,
        size,
        size,
    )


def draw_tokens(machine: Machine, config: ModelConfig, scenes: int, views: int) -> Tensor:
    n = (config.image_size // config.patch) ** 2
    return torch.randn(scenes, views, n, config.channels, device=machine.device)


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
    unavoidable elementwise traffic at 3 TB/s; it predicts nanochat's rates within 2 % (docs: MFU = 0.61 / (1 + 417/d)).
    """
    return 989 * 0.61 / (1 + 417 / width)


BARS = {512: 300, 768: 380}  # model TFLOP/s of a training step without the optimizer

# The sections.


def measure_ceiling(machine: Machine, args: argparse.Namespace) -> None:
    """What the machine can do at most."""
    side, kind = (8192, torch.bfloat16) if machine.cuda else (256, torch.float32)
    a = torch.randn(side, side, device=machine.device, dtype=kind)
    product = 2 * side**3 / machine.timed(lambda: a @ a, 20) / 1e12
    b = torch.randn(2**28 if machine.cuda else 2**20, device=machine.device, dtype=kind)
    copy = 2 * b.numel() * b.element_size() / machine.timed(b.clone, 20) / 1e12
    name = torch.cuda.get_device_name() if machine.cuda else "cpu"
    report("ceiling", device=name, torch=torch.__version__, product_tflops=product, copy_tb_per_s=copy,
           fused=action.fused_device() is not None)  # fmt: skip


@torch._functorch.config.patch(donated_buffer=False)  # one backward pass is run again and again
def measure_kernels(machine: Machine, args: argparse.Namespace) -> None:
    """The fused kernels alone: time, and share of the copy bandwidth of 3 TB/s that their bytes make."""
    config = build_config(machine)
    scenes = 2 if machine.toy else 32
    model = build_model(machine, config, compiled=False)
    views = draw_views(machine, scenes, 4, 4, config.image_size)
    places = model.build_places(views)
    n, h, c = (config.image_size // config.patch) ** 2, config.heads, config.head_channels
    kind = torch.bfloat16 if machine.cuda else torch.float32
    qkv = torch.randn(scenes, 8, n, 3 * h, c, device=machine.device, dtype=kind, requires_grad=True)
    gains = model.stack()[0].temporal.gains
    assert gains is not None
    for name, actions in (("across", places.across), ("within", places.within)):
        for fused in (True, False) if action.fused_device() else (False,):
            prepare, restore = plain_pair(config.heads, gains, actions)
            if fused:
                prepare = lambda: action.prepare_qkv(qkv, h, gains.q, gains.k, actions)  # noqa: E731, B023
                restore = lambda x: action.restore_output(x, actions)  # noqa: E731, B023
            else:
                prepare = lambda f=prepare: f(qkv)  # noqa: E731
            q, k, v = prepare()
            pairs = {
                "prepare": (prepare, 2 * qkv.nbytes),
                "prepare backward": (grad_of((q, k, v), qkv), 3 * qkv.nbytes),
                "restore": (lambda f=restore, x=q.detach(): f(x), 2 * q.nbytes),
            }
            for what, (function, moved) in pairs.items():
                seconds = machine.timed(function, 20)
                report("kernels", attention=name, what=what, how="fused" if fused else "plain", ms=1e3 * seconds,
                       copy_ms=moved / 3e12 * 1e3, share_of_copy=moved / 3e12 / seconds)  # fmt: skip


def plain_pair(heads: int, gains, actions) -> tuple[Callable, Callable]:
    """The plain twins, compiled where there is a compiler for the device."""
    prepare, restore = lambda x: prepare_qkv(x, heads, gains, actions), lambda x: restore_output(x, actions)
    if torch.cuda.is_available():
        return torch.compile(prepare, dynamic=False), torch.compile(restore, dynamic=False)
    return prepare, restore


def grad_of(outputs: tuple[Tensor, ...], source: Tensor) -> Callable[[], object]:
    gradients = [torch.randn_like(x) for x in outputs]
    return lambda: torch.autograd.grad(outputs, source, gradients, retain_graph=True)


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
    gradients, launching = (
        step.gradients.flat.clone(),
        machine.host(step.launch),
    )  # once recorded, memory is the graph's
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


def free(machine: Machine) -> None:
    """What a section leaves behind: compiled modules hold themselves."""
    torch.compiler.reset()
    gc.collect()
    if machine.cuda:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def measure_compilation(machine: Machine, args: argparse.Namespace) -> None:
    """The first training step, in a process of its own: with an empty cache, then with that cache."""
    with tempfile.TemporaryDirectory() as folder:
        places = {"TORCHINDUCTOR_CACHE_DIR": f"{folder}/inductor", "TRITON_CACHE_DIR": f"{folder}/triton"}
        for name, bar in (("cold", 50), ("cached", 15)):
            command = [sys.executable, __file__, "--first-step", *(["--tiny"] if machine.toy else [])]
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


def measure_windows(machine: Machine, args: argparse.Namespace) -> None:
    """Attention across views in windows against the full attention it replaces, forward and backward."""
    kind, references = torch.bfloat16 if machine.cuda else torch.float32, torch.tensor(4)
    cut_from = 0 if machine.toy else large().model.window_from
    for size, side, views, scenes in (
        (128, 8, 8, 32),
        (256, 8, 12, 8),
        (256, 16, 12, 8),
        (512, 8, 12, 2),
        (512, 16, 12, 2),
    ):
        rows = size // 8 if not machine.toy else size // 32
        side, scenes, h, c = (side, scenes, 4, 128) if not machine.toy else (side // 4, 1, 2, 16)
        q, k, v = torch.randn(3, scenes, views, rows**2, h, c, device=machine.device, dtype=kind).unbind(0)
        for x in (q, k, v):
            x.requires_grad_()
        grad = torch.randn_like(q)
        times: dict[str, float] = {}
        windows = {name: Window(rows, rows, side, grid=name == "grid") for name in ("local", "grid")}
        for name, window in {"full": None, **windows}.items():

            def run(window: Window | None = window) -> None:
                if window is None:
                    out = attend_across(q, k, v, references)  # noqa: B023
                else:
                    out = attend_windows(q, k, v, references, window)  # noqa: B023
                torch.autograd.grad(out, (q, k, v), grad)  # noqa: B023

            times[name] = machine.timed(run)
        within = machine.timed(lambda: torch.autograd.grad(attend_within(q, k, v), (q, k, v), grad))  # noqa: B023
        pairs = 16 + (views - 4) * views
        flops = 3.5 * 4 * scenes * h * c * pairs * rows**4
        for name in ("local", "grid"):
            ratio = times[name] / times["full"]
            report("window", size=size, window=f"{side}x{side} {name}", views=views, scenes=scenes,
                   ms=1e3 * times[name], full_ms=1e3 * times["full"], full_tflops=flops / times["full"] / 1e12,
                   within_ms=1e3 * within, ratio=ratio, flops_ratio=(side / rows) ** 2,
                   bar=judge(ratio, 1.0, most=True) if rows**2 >= cut_from else "not cut by the presets",
                   )  # fmt: skip


def build_sampler(
    machine: Machine, model: Kaleido, clean: Tensor, views: Views, steps: int, *, cached: bool, graphed: bool
) -> Callable[[Tensor], Tensor]:
    """Target tokens from noise, as `sampler.sample_targets` makes them, with or without a cache of the references, each
    denoising step as one CUDA graph or as its single kernels. Making the cache is part of a call.
    """
    targets = views.take(views.references, views.c2w.shape[1], 0)
    flow, places = tiny().flow, model.build_places(targets)
    kept: dict[str, object] = {}

    def predict(x: Tensor, t: Tensor) -> Tensor:
        with machine.precision():
            if cached:
                return model.denoise(x, t, targets, kept["rooms"], places).float()  # pyright: ignore[reportArgumentType]
            return model(torch.cat([clean, x], 1), t, views).float()

    def remember() -> None:
        """Into the same memory each time: the graph reads it there."""
        with machine.precision():
            cache = model.encode_references(clean, views.take(0, views.references, views.references))
        if "rooms" not in kept:
            kept["rooms"] = make_rooms(cache, targets.c2w.shape[1])
        for room, fresh in zip(kept["rooms"], cache, strict=True):  # pyright: ignore[reportArgumentType]
            room.k[:, : room.filled].copy_(fresh.k)
            room.v[:, : room.filled].copy_(fresh.v)

    def sample(noise: Tensor) -> Tensor:
        if cached:
            remember()
        if graphed and "step" not in kept:
            kept["step"] = RecordedFunction(predict, noise, noise.new_full((noise.shape[0],), 0.5))
        step = kept.get("step", predict)
        levels = build_levels(steps, flow, noise.shape[2], noise.shape[1])
        return integrate(step, noise, levels)  # pyright: ignore[reportArgumentType]

    return torch.inference_mode()(sample)


def measure_cache(machine: Machine, args: argparse.Namespace) -> None:
    """8 references, 1 target, 20 steps: the references' keys and values kept, or computed at every step."""
    steps, references = (3, 3) if machine.toy else (20, 8)
    cases = [
        case for case in ((128, 1), (128, 16), (256, 1), (256, 4), (512, 1)) if str(case[0]) in args.sizes.split(",")
    ]
    for (size, scenes), way in itertools.product(cases, args.ways.split(",")):
        config = build_config(machine, size=size, max_views=9)
        scenes = 1 if machine.toy else scenes
        model = build_sampling_model(machine, config, way)
        views = draw_views(machine, scenes, references, 1, config.image_size)
        clean, noise = draw_tokens(machine, config, scenes, references), draw_tokens(machine, config, scenes, 1)
        n = noise.shape[2]
        work = steps * forward_flops(config, references, 1, n)
        kept = cache_flops(config, references, n) + steps * denoise_flops(config, references, 1, n)
        seconds: dict[str, float] = {}
        outputs: dict[str, Tensor] = {}
        for graphed in (False, True) if machine.cuda else (False,):
            for cached in (True, False):
                sample = build_sampler(machine, model, clean, views, steps, cached=cached, graphed=graphed)
                name = f"{'cached' if cached else 'uncached'}{', graph' if graphed else ''}"
                outputs[name] = sample(noise)
                seconds[name] = machine.timed(lambda f=sample: f(noise), 1 if size == 512 else 3)  # noqa: B023
        best = {kind: min(v for k, v in seconds.items() if k.startswith(kind)) for kind in ("cached", "uncached")}
        gap = max((outputs["uncached"] - x).abs().max().item() for x in outputs.values())
        gain = best["uncached"] / best["cached"]
        report("cache", size=size, scenes=scenes, way=way, steps=steps, gain=gain, flops_gain=work / kept,
               bar=judge(gain, 5.0), **{f"{k} ms": 1e3 * v for k, v in seconds.items()},
               uncached_tflops=scenes * work / best["uncached"] / 1e12, largest_difference=gap)  # fmt: skip
        free(machine)


def measure_frames(machine: Machine, args: argparse.Namespace) -> None:
    """480 frames by masked autoregression: 8 references and 4 generated views seen by each chunk of 4."""
    frames, every = (16, 4) if machine.toy else (480, 60)
    config = build_config(machine, max_views=16)
    model = build_sampling_model(machine, config)
    views = draw_views(machine, 1, 8, frames, config.image_size)
    clean, noise = draw_tokens(machine, config, 1, 8)[0], draw_tokens(machine, config, 1, frames)[0]
    made, peaks, begun = 0, [], time.perf_counter()
    rollout = Rollout(chunk=4, order="trajectory", references=8, generated=4)
    with torch.inference_mode(), machine.precision():
        for chunk in roll_out(model, tiny().flow, Scene(clean, views), noise, Sampling(steps=4), rollout):
            made += len(chunk.targets)
            if made % every == 0:
                machine.wait()
                peaks.append(torch.cuda.max_memory_allocated() / 2**20 if machine.cuda else 0.0)
                report("frames", made=made, seconds=time.perf_counter() - begun, peak_mib=peaks[-1])
                if machine.cuda:
                    torch.cuda.reset_peak_memory_stats()
    growth = peaks[-1] / max(peaks[0], 1e-9) if machine.cuda else 1.0
    seconds = time.perf_counter() - begun
    report("frames", frames=made, s_per_frame=seconds / made, growth=growth, bar=judge(growth, 1.02, most=True))
    free(machine)


def measure_latency(machine: Machine, args: argparse.Namespace) -> None:
    """Seconds a view, 4 targets at a time from 4 references, cached; beside the time its FLOPs take at 600 TFLOP/s."""
    if not machine.cuda:
        measure_rendering(machine, args)
    if not (machine.cuda or machine.toy):
        return
    for size, way in itertools.product(map(int, args.sizes.split(",")), args.ways.split(",")):
        config = build_config(machine, size=size)
        model = build_sampling_model(machine, config, way)
        views = draw_views(machine, 1, 4, 4, config.image_size)
        clean, noise = draw_tokens(machine, config, 1, 4), draw_tokens(machine, config, 1, 4)
        n = noise.shape[2]
        for steps in (1, 4, 20):
            seconds: dict[str, float] = {}
            for graphed in (False, True) if machine.cuda else (False,):
                sample = build_sampler(machine, model, clean, views, steps, cached=True, graphed=graphed)
                seconds["graph" if graphed else "eager"] = machine.timed(lambda f=sample: f(noise), 3) / 4  # noqa: B023
            work = (cache_flops(config, 4, n) + steps * denoise_flops(config, 4, 4, n)) / 4
            report("latency", size=size, way=way, steps=steps,
                   **{f"{k} ms a view": 1e3 * v for k, v in seconds.items()}, bound_ms=work / 600e12 * 1e3,
                   tflops=work / min(seconds.values()) / 1e12, parameters=count_parameters(model))  # fmt: skip
        free(machine)


def measure_rendering(machine: Machine, args: argparse.Namespace) -> None:
    """Seconds a view of `render_views` on a CPU, one step, with references kept over chunks as it does by itself and in
    the sequence of each chunk; beside the time of its FLOPs at the rate of one large product.
    """
    torch.set_num_threads(args.threads)
    a = torch.randn(1024, 1024)
    for preset, targets in itertools.product((smoke(),) if machine.toy else (tiny(), small()), (1, 4, 12)):
        torch.manual_seed(0)
        model = build_model(machine, preset.model, compiled=False).eval()
        loaded = LoadedModel(model, preset, "random", (), "cpu", build_inputs(preset.model, "cpu"))
        size, n = preset.model.image_size, (preset.model.image_size // preset.model.patch) ** 2
        for references in (1, 3, 7) if not machine.toy else (1,):
            views = draw_views(machine, 1, references, targets, size)
            c2w, k = views.c2w[0], views.intrinsics[0]
            given = (
                torch.rand(references, 3, size, size),
                c2w[:references],
                k[:references],
                c2w[references:],
                k[references:],
            )
            seconds: dict[bool | None, list[float]] = {None: [], False: []}
            images = {cached: render_views(loaded, *given, cached=cached) for cached in seconds}
            products: list[float] = []
            for _, cached in itertools.product(range(args.repeats), seconds):  # in turn: other work here hits all
                products.append(2 * 1024**3 / machine.timed(lambda: a @ a, 10))
                begun = time.perf_counter()
                render_views(loaded, *given, cached=cached)
                seconds[cached].append((time.perf_counter() - begun) / targets)
            chunks = [min(4, targets - first) for first in range(0, targets, 4)]
            anew = sum(forward_flops(preset.model, references, chunk, n) for chunk in chunks)
            kept = len(set(chunks)) * cache_flops(preset.model, references, n)
            kept += sum(denoise_flops(preset.model, references, chunk, n) for chunk in chunks)
            rate, best, before = max(products), min(seconds[None]), min(seconds[False])
            report("latency", device="cpu", threads=args.threads, preset=preset_name(preset), references=references,
                   targets=targets, **{"s a view": best, "anew s a view": before}, gain=before / best,
                   flops_gain=anew / kept, bound_s=kept / targets / rate, product_gflops=rate / 1e9,
                   share_of_bound=kept / targets / rate / best,
                   largest_difference=(images[None] - images[False]).abs().max().item())  # fmt: skip


def preset_name(preset: Preset) -> str:
    return next(build.__name__ for build in (smoke, tiny, small) if build() == preset)


SECTIONS: dict[str, Callable[[Machine, argparse.Namespace], None]] = {
    "ceiling": measure_ceiling,
    "kernels": measure_kernels,
    "train": measure_training,
    "compile": measure_compilation,
    "gta": measure_gta,
    "window": measure_windows,
    "cache": measure_cache,
    "frames": measure_frames,
    "latency": measure_latency,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--only", default=",".join(SECTIONS), help="sections, with commas between them")
    parser.add_argument("--scenes", type=int, help="in a training step; else 64, or 48 at width 768")
    parser.add_argument("--ways", default="now", help=f"of train, cache and latency: {', '.join(WAYS)}")
    parser.add_argument("--profile", action="store_true", help="after `train`: the costliest operations")
    parser.add_argument("--tiny", action="store_true", help="toy sizes, on the CPU")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu: of latency alone")
    parser.add_argument("--threads", type=int, default=2, help="of latency on a CPU")
    parser.add_argument("--repeats", type=int, default=3, help="of latency on a CPU, of which the best counts")
    parser.add_argument("--widths", default="512,768", help="of train and gta")
    parser.add_argument("--sizes", default="128,256,512", help="of cache and latency, in pixels")
    parser.add_argument("--first-step", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    chosen = args.only.split(",")
    if unknown := [name for name in chosen if name not in SECTIONS]:
        parser.error(f"no section {', '.join(unknown)}: there are {', '.join(SECTIONS)}")
    if unknown := [name for name in args.ways.split(",") if name not in WAYS]:
        parser.error(f"no way {', '.join(unknown)}: there are {', '.join(WAYS)}")
    if args.device == "cpu" and not args.tiny and chosen != ["latency"]:
        parser.error("on a CPU only latency runs at its real size: add --only latency, or --tiny for all at toy size")
    if args.device == "cuda" and not args.tiny and not torch.cuda.is_available():
        parser.error("no GPU here: add --tiny to run at toy size on the CPU, or --only latency --device cpu")
    machine = Machine("cpu" if args.tiny else args.device, toy=args.tiny, repeats=1 if args.tiny else 10)
    torch.set_float32_matmul_precision("high")
    if args.first_step:
        first_step(machine, args)
        return
    for name in chosen:
        SECTIONS[name](machine, args)


if __name__ == "__main__":
    main()
