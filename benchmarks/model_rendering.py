"""Seconds a view on a CPU as `kbench run` has them: the CPU's part of the section `latency` of benchmarks/model.py."""

from __future__ import annotations

import argparse
import itertools
import time

import torch
from model_inputs import build_model, draw_views
from model_machine import Machine, report

from reference_model.config import Preset
from reference_model.flops import cache_flops, denoise_flops, forward_flops
from reference_model.inference import LoadedModel, render_views
from reference_model.inputs import build_inputs
from reference_model.presets import small, smoke, tiny


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
