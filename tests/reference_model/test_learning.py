"""That it learns: one scene by heart, in the designs of the `small` preset."""

from __future__ import annotations

import dataclasses

import torch

from reference_model.flow import flow_loss, mix, sample_noise_levels
from reference_model.held_out import HELD_OUT_SEED, predict_targets, psnr, render_batch
from reference_model.inputs import build_inputs
from reference_model.model import Kaleido, Views
from reference_model.presets import small


def test_a_small_model_overfits_one_scene_past_35_db() -> None:
    """PRoPE, registers, grouped queries, camera rays, time: two references, two targets, 32 px, about 10 s on a CPU."""
    references, copies, steps, size = 2, 4, 220, 32
    preset = small()
    config = dataclasses.replace(
        preset.model, width=128, depth=3, heads=2, kv_heads=1, mlp_width=256, pose_channels=32, time_channels=8,
        image_size=size,
    )  # fmt: skip
    torch.manual_seed(0)
    model, inputs = Kaleido(config), build_inputs(config, "cpu")
    batch = render_batch(HELD_OUT_SEED + 10, 1, 4, size, "cpu")  # a calm world: the busy take longer
    tokens = inputs.codec.encode(batch.images).expand(copies, -1, -1, -1)
    views = Views(batch.c2w.expand(copies, -1, -1, -1), batch.intrinsics.expand(copies, -1, -1, -1), 2, size, size)
    clean, truth = tokens[:, :references], tokens[:, references:]
    optimizer = torch.optim.Adam(model.parameters(), betas=(0.9, 0.95))
    generator = torch.Generator().manual_seed(0)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 3e-3 * min(1, (step + 1) / 20) * min(1, (steps - step) / (0.6 * steps))
        t = sample_noise_levels(copies, preset.flow, generator, truth.shape[2], truth.shape[1])
        noise = torch.randn(truth.shape, generator=generator)
        predicted = model(torch.cat([clean, mix(truth, noise, t)], 1), t, views)
        flow_loss(predicted, truth, noise, t, preset.flow).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    for sampling_steps in (1, 4):
        images = predict_targets(model, inputs, batch, references, sampling_steps, preset.flow)
        reached = psnr(images, batch.images[:, references:]).mean().item()
        assert reached > 35, f"{reached:.1f} dB in {sampling_steps} steps"
