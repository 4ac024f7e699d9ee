"""Sections of benchmarks/model.py on single operations: the machine's ceiling, fused kernels, windows of attention."""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
import torch._functorch.config
from model_inputs import build_config, build_model, draw_views
from model_machine import Machine, judge, report
from torch import Tensor

from reference_model.attention import Window, attend_across, attend_windows, attend_within, prepare_qkv, restore_output
from reference_model.kernels import action
from reference_model.presets import large


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
