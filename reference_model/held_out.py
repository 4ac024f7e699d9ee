"""Scores on worlds never trained on, beside the nearest reference view. A training-time look, not a benchmark result:
that is kbench's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from reference_model.config import FlowConfig
from reference_model.inputs import Inputs
from reference_model.model import Kaleido, Views
from reference_model.positions import normalise_poses, pose_distances
from reference_model.sampler import Sampling, sample_targets
from reference_model.worlds import draw_batch, to_device
from reference_model.worlds.cameras import build_intrinsics
from reference_model.worlds.photographs import Photographs
from reference_model.worlds.render import PLAIN_RENDERER, Renderer, render_worlds

HELD_OUT_SEED = 10**9  # training draws from seeds below this one

Heed = Callable[[], None]
"""Called before each batch that is predicted, equally often by all processes of a team; it may raise, to end it."""


def heed_nothing() -> None:
    pass


class Batch(NamedTuple):
    images: Float[Tensor, "b v 3 size size"]
    c2w: Float[Tensor, "b v 4 4"]  # normalised
    intrinsics: Float[Tensor, "b v 3 3"]


def render_batch(
    seed: int,
    scenes: int,
    views: int,
    size: int,
    device: str,
    photographs: Photographs | None = None,
    renderer: Renderer = PLAIN_RENDERER,
) -> Batch:
    """Draw and render worlds: a seed (and a set of photographs) is a batch."""
    worlds, rig = draw_batch(scenes, views, torch.Generator().manual_seed(seed))
    intrinsics, c2w = build_intrinsics(rig, size), normalise_poses(rig.c2w)
    there = to_device(worlds, device), to_device(rig, device)
    images = render_worlds(*there, size, photographs=photographs, renderer=renderer)
    return Batch(images, c2w.to(device), intrinsics.to(device))


def psnr(predicted: Tensor, truth: Tensor) -> Tensor:
    """One value per image, after rounding to 8 bits, capped at 60 dB so that a copied plain image does not decide a
    mean.
    """
    error = ((predicted.clamp(0, 1) * 255).round() - (truth * 255).round()).square().flatten(-3).mean(-1) / 255**2
    return -10 * torch.log10(error.clamp(min=1e-6))


def nearest_reference(batch: Batch, references: int) -> Tensor:
    """For each target the reference whose direction and centre are closest."""
    cost = pose_distances(batch.c2w[:, references:], batch.c2w[:, :references], 1.0)
    index = cost.argmin(-1)
    return batch.images[torch.arange(len(index), device=index.device)[:, None], index]


@torch.inference_mode()
def predict_targets(
    model: Kaleido, inputs: Inputs, batch: Batch, references: int, steps: int, flow: FlowConfig, seed: int = 0
) -> Tensor:
    """Target images of a batch by `steps` Euler steps."""
    size = batch.images.shape[-1]
    tokens = inputs.codec.encode(batch.images)
    clean = tokens[:, :references]
    noise = torch.randn(tokens[:, references:].shape, generator=torch.Generator().manual_seed(seed)).to(tokens.device)
    views = Views(batch.c2w, batch.intrinsics, references, size, size)
    features, cache = inputs.see(batch.images[:, :references]), None
    if model.config.keep_references and steps > 1:
        cache = model.encode_references(clean, views.take(0, references, references), features)
    out = sample_targets(model, flow, clean, views, noise, Sampling(steps), features=features, cache=cache)
    return inputs.codec.decode(out, size, size)


@torch.inference_mode()
def score_batch(
    model: Kaleido, inputs: Inputs, batch: Batch, flow: FlowConfig, steps: tuple[int, ...], heed: Heed = heed_nothing
) -> list[dict[str, float]]:
    """Mean PSNR in dB for 1, 3 and 5 references, for the nearest view and each number of steps."""
    scenes, views = batch.images.shape[:2]
    rows: list[dict[str, float]] = []
    for references in (count for count in (1, 3, 5) if count < views):
        truth = batch.images[:, views - 1 :] if views > 5 else batch.images[:, references:]
        last = slice(-truth.shape[1], None)
        row = {
            "references": float(references),
            "nearest": psnr(nearest_reference(batch, references)[:, last], truth).mean().item(),
        }
        for count in steps:
            predicted: list[Tensor] = []
            for some in (Batch(*(x[i : i + 16] for x in batch)) for i in range(0, scenes, 16)):
                heed()
                predicted.append(predict_targets(model, inputs, some, references, count, flow)[:, last])
            row[f"steps_{count}"] = psnr(torch.cat(predicted), truth).mean().item()
        rows.append(row)
    return rows


def score_held_out(
    model: Kaleido,
    inputs: Inputs,
    size: int,
    views: int,
    device: str,
    *,
    scenes: int,
    flow: FlowConfig,
    steps: tuple[int, ...],
    photographs: Photographs | None = None,
    renderer: Renderer = PLAIN_RENDERER,
    heed: Heed = heed_nothing,
) -> list[dict[str, float]]:
    """`score_batch` on held-out worlds."""
    batch = render_batch(HELD_OUT_SEED, scenes, views, size, device, photographs, renderer)
    return score_batch(model, inputs, batch, flow, steps, heed)
