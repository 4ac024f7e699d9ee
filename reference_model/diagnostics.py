"""What happens inside a trained model: how large activations grow, where attention across views goes, and which layer
first gives a number that is none.

    python -m reference_model.diagnostics tiny --out DIR                    # numbers and figures at 64, 128 and 256 px
    python -m reference_model.diagnostics with/ without/ --out DIR          # checkpoints beside each other
    python -m reference_model.diagnostics --out DIR                         # the figures of the numbers in DIR

Numbers are written first (activations.json, attention-NAME.npz); the figures need matplotlib, and are drawn from those
files: where it is not installed, the third form draws them elsewhere.

The paper reports massive activations: few, sudden at a middle layer, larger with training and with resolution, much
smaller with register tokens. The report takes the residual stream after each block, by kind of token: the largest
magnitude and the median, over held-out worlds. A giant in a few tokens is not one that every token has in the same
channel, which a norm takes for a constant: the share of tokens with one, and the channels they are in, tell them apart.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from reference_model.attention import Window, cut_windows
from reference_model.blocks import Block, TemporalAttention
from reference_model.figures import AttentionReport, draw_figures
from reference_model.flow import mix
from reference_model.held_out import HELD_OUT_SEED, Batch, render_batch
from reference_model.inference import LoadedModel, load_model
from reference_model.kernels.rendering import choose_renderer
from reference_model.model import Kaleido, Views
from reference_model.overflow import Overflow, find_overflow, hook_layers

GIANT = 100.0  # times the median magnitude, from which on a value counts as one
LEVEL = 0.7  # the noise level of the report: targets are mostly noise, as where sampling spends its steps


class Magnitude(NamedTuple):
    """Of the residual stream after one block."""

    layer: str
    kind: str
    largest: float
    median: float
    tokens: float  # share of them that hold a value above GIANT times the median
    channels: int  # that hold one in any token


class AttentionMap(NamedTuple):
    """Where one target patch looks in one layer, over all views: softmax weights, mean over heads."""

    layer: str
    weights: Float[Tensor, "v n"]  # registers last in each view; sums to 1


def split_kinds(
    x: Float[Tensor, "b v n d"], layer: str, references: int, registers: int, *, encoded: bool
) -> dict[str, Tensor]:
    """A block's tokens by kind. In an encoder-decoder (`encoded`) a block holds references or targets alone."""
    patches = x.shape[2] - registers
    if encoded:
        references = x.shape[1] if layer.startswith("encoder") else 0
    parts = {
        "reference": x[:, :references, :patches],
        "target": x[:, references:, :patches],
        "register": x[:, :, patches:],
    }
    return {kind: part for kind, part in parts.items() if part.numel()}


def measure_giants(size: Float[Tensor, "b v n d"]) -> tuple[float, float, float, int]:
    """What follows the kind in a Magnitude."""
    median = size.median()
    giant = size > GIANT * median
    return size.max().item(), median.item(), giant.any(-1).float().mean().item(), int(giant.flatten(0, -2).any(0).sum())


def measure_activations(model: Kaleido, references: int, call: Callable[[], object]) -> list[Magnitude]:
    """The residual stream after every block while `call` runs `model.forward` with so many references."""
    rows: list[Magnitude] = []

    def look(name: str, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        kinds = split_kinds(
            output[0].detach(), name, references, model.config.registers, encoded=len(model.encoder) > 0
        )
        for kind, part in kinds.items():
            rows.append(Magnitude(name, kind, *measure_giants(part.float().abs())))

    with hook_layers(model, Block, look):
        call()
    return rows


def seen_tokens(window: Window | None, view_of_query: int, patch: int, shape: torch.Size, references: int) -> Tensor:
    """[v, n]: which tokens the patch of a view may see (attention.attend_across, attend_windows)."""
    v, n = shape
    seen = torch.ones(v, n, dtype=torch.bool)
    if view_of_query < references:
        seen[references:] = False
    if window is not None:
        patches = window.rows * window.columns
        index = torch.arange(patches).reshape(1, 1, patches, 1, 1)
        groups = cut_windows(index, window)[:, 0, :, 0, 0]
        own = groups[(groups == patch).any(1)][0]
        inside = torch.ones(n, dtype=torch.bool)
        inside[:patches] = False
        inside[own] = True
        seen &= inside
    return seen


def map_attention(
    model: Kaleido, view: int, patch: int, call: Callable[[], object], scene: int = 0
) -> list[AttentionMap]:
    """Where one patch of one view (counted over references and targets) looks in each attention across views while
    `call` runs `model.forward`. Decoder-only models.
    """
    maps: list[AttentionMap] = []

    def look(name: str, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        assert isinstance(module, TemporalAttention)
        x, actions, window, references = inputs[:4]
        q, k, _ = module.project(x, actions)
        query = q[scene, view, patch].float()  # h c
        keys = k[scene].float().repeat_interleave(q.shape[3] // k.shape[3], dim=2)  # v n h c
        scores = torch.einsum("hc,vnhc->hvn", query, keys) / query.shape[-1] ** 0.5
        seen = seen_tokens(window, view, patch, scores.shape[1:], int(references)).to(scores.device)
        weights = scores.masked_fill(~seen, -torch.inf).flatten(1).softmax(-1).mean(0)
        maps.append(AttentionMap(name, weights.unflatten(0, seen.shape).cpu()))

    with hook_layers(model, TemporalAttention, look):
        call()
    return maps


class Sample(NamedTuple):
    """Held-out worlds, ready for a model."""

    images: Float[Tensor, "b v 3 size size"]
    run: Callable[[], Tensor]  # the model's prediction of the targets at LEVEL


def draw_sample(loaded: LoadedModel, batch: Batch, references: int) -> Sample:
    """The same cameras and noise for every model that is shown the batch."""
    scenes, size = batch.images.shape[0], batch.images.shape[-1]
    views = Views(batch.c2w, batch.intrinsics, references, size, size)
    tokens = loaded.inputs.codec.encode(batch.images)
    features = loaded.inputs.see(batch.images[:, :references])
    noise = torch.randn(tokens[:, references:].shape, generator=torch.Generator().manual_seed(0)).to(tokens)
    t = tokens.new_full((scenes,), LEVEL)
    sequence = torch.cat([tokens[:, :references], mix(tokens[:, references:], noise, t)], 1)

    @torch.inference_mode()
    def run() -> Tensor:
        return loaded.model(sequence, t, views, features)

    return Sample(batch.images, run)


def choose_patch(sample: Sample, view: int, patch_size: int) -> int:
    """The patch of a view with the most to see: the largest deviation of its pixels in the middle half of the image."""
    image = sample.images[0, view]
    side = image.shape[-1] // patch_size
    patches = image.unfold(1, patch_size, patch_size).unfold(2, patch_size, patch_size)  # 3 row column p q
    deviation = patches.flatten(3).std(-1).mean(0)
    middle = torch.zeros_like(deviation)
    middle[side // 4 : side - side // 4, side // 4 : side - side // 4] = 1
    return int((deviation * middle).argmax())


def examine(
    loaded: LoadedModel, batches: dict[int, Batch], references: int
) -> tuple[dict[int, list[Magnitude]], dict[int, Overflow]]:
    """Magnitudes at each size, and the first layer that overflows where one does."""
    report: dict[int, list[Magnitude]] = {}
    overflows: dict[int, Overflow] = {}
    for size, batch in batches.items():
        sample = draw_sample(loaded, batch, references)
        report[size] = measure_activations(loaded.model, references, sample.run)
        if (overflow := find_overflow(loaded.model, sample.run)) is not None:
            overflows[size] = overflow
    return report, overflows


def report_attention(loaded: LoadedModel, batch: Batch, references: int) -> AttentionReport:
    """Where a patch of the first scene's first target looks, in every layer."""
    first = Batch(*(x[:1] for x in batch))
    sample, patch_size = draw_sample(loaded, first, references), loaded.preset.model.patch
    patch = choose_patch(sample, references, patch_size)
    maps = map_attention(loaded.model, references, patch, sample.run)
    return AttentionReport(
        images=(sample.images[0].permute(0, 2, 3, 1).cpu().numpy() * 255).round().astype(np.uint8),
        weights=torch.stack([found.weights for found in maps]).numpy(),
        layers=tuple(found.layer for found in maps),
        references=references,
        patch=patch,
        patch_size=patch_size,
    )


def print_report(name: str, report: dict[int, list[Magnitude]], overflows: dict[int, Overflow]) -> None:
    """A line for each size and kind of token, and one for each overflow."""
    for size, rows in report.items():
        for kind in {row.kind: None for row in rows}:
            worst = max((row for row in rows if row.kind == kind), key=lambda row: row.largest)
            times = f"{worst.largest / max(worst.median, 1e-9):.0f} times its median"
            giants = (
                f"{100 * worst.tokens:.3g} % of tokens with more than {GIANT:g} times, in {worst.channels} channels"
            )
            print(f"{name} at {size} px, {kind}: largest {worst.largest:.4g} after {worst.layer}, {times}; {giants}")  # noqa: T201
    for size, overflow in overflows.items():
        print(f"{name} at {size} px: {overflow}")  # noqa: T201


def name_checkpoints(checkpoints: list[str]) -> list[str]:
    """Their folders' names; the whole paths, joined by dashes, of those that share one."""
    names = [Path(checkpoint).name for checkpoint in checkpoints]
    doubled = {name for name, count in Counter(names).items() if count > 1}
    return [
        "-".join(Path(checkpoint).parts).strip("/-") if name in doubled else name
        for checkpoint, name in zip(checkpoints, names, strict=True)
    ]


def write_reports(args: argparse.Namespace) -> int:
    """Write activations.json and attention-NAME.npz; say what overflows. 1 where something does."""
    args.out.mkdir(parents=True, exist_ok=True)
    models = {
        name: load_model(checkpoint, args.device)
        for name, checkpoint in zip(name_checkpoints(args.checkpoints), args.checkpoints, strict=True)
    }
    sizes = sorted({*args.sizes, *(loaded.image_size for loaded in models.values())})
    seed, views = HELD_OUT_SEED + 1, args.references + args.targets
    renderer = choose_renderer(args.device)
    batches = {size: render_batch(seed, args.scenes, views, size, args.device, renderer=renderer) for size in sizes}
    reports: dict[str, dict[int, list[Magnitude]]] = {}
    failed = 0
    for name, loaded in models.items():
        chosen = {size: batches[size] for size in sorted(args.sizes)}
        reports[name], overflows = examine(loaded, chosen, args.references)
        print_report(name, reports[name], overflows)
        failed = failed or int(bool(overflows))
        if not overflows and not len(loaded.model.encoder):
            report_attention(loaded, batches[loaded.image_size], args.references).write(args.out, name)
    plain = {n: {size: [row._asdict() for row in rows] for size, rows in r.items()} for n, r in reports.items()}
    (args.out / "activations.json").write_text(json.dumps(plain, indent=1) + "\n")
    return failed


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m reference_model.diagnostics", description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument(
        "checkpoints", nargs="*", help="names of shipped weights, or folders; none: draw what is in DIR"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the numbers and figures")
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128, 256], help="in pixels")
    parser.add_argument("--scenes", type=int, default=4)
    parser.add_argument("--references", type=int, default=4)
    parser.add_argument("--targets", type=int, default=2)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--no-figures", action="store_true", help="write numbers alone")
    args = parser.parse_args(words)
    failed = write_reports(args) if args.checkpoints else 0
    if args.no_figures:
        return failed
    if importlib.util.find_spec("matplotlib") is None:
        print(  # noqa: T201
            f"matplotlib is not installed, so no figure was drawn; where it is, draw those of {args.out} with "
            f"python -m reference_model.diagnostics --out {args.out}"
        )
        return failed
    for path in draw_figures(args.out):
        print(path)  # noqa: T201
    return failed


if __name__ == "__main__":
    raise SystemExit(main())
