"""Sections of benchmarks/model.py on sampling: the references' cache, 480 frames, seconds a view."""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable
from typing import Any

import torch
from model_inputs import build_config, build_sampling_model, draw_tokens, draw_views
from model_machine import Machine, free, judge, report
from model_rendering import measure_rendering
from torch import Tensor

from reference_model.flops import cache_flops, denoise_flops, forward_flops
from reference_model.model import Kaleido, Views, count_parameters
from reference_model.precision import compute_in
from reference_model.presets import tiny
from reference_model.recording import Recordings
from reference_model.rollout import Rollout, Scene, roll_out
from reference_model.sampler import Sampling, sample_targets


def build_sampler(
    machine: Machine, model: Kaleido, clean: Tensor, views: Views, steps: int, *, cached: bool, graphed: bool
) -> Callable[[Tensor], Tensor]:
    """`sampler.sample_targets`, with or without a cache of the references, each denoising step as one CUDA graph or as
    its single kernels. Making the cache is part of a call.
    """
    recordings, precision = Recordings() if graphed else None, "bfloat16" if machine.cuda else "float32"
    way: dict[str, Any] = {"precision": precision, "recordings": recordings}

    def sample(noise: Tensor) -> Tensor:
        cache = None
        if cached:
            with compute_in(precision, clean.device):
                cache = model.encode_references(clean, views.take(0, views.references, views.references))
        return sample_targets(model, tiny().flow, clean, views, noise, Sampling(steps), cache=cache, **way)

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
    way: dict[str, Any] = {"precision": "bfloat16", "recordings": Recordings()} if machine.cuda else {}
    with torch.inference_mode():
        for chunk in roll_out(model, tiny().flow, Scene(clean, views), noise, Sampling(steps=4), rollout, **way):
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
