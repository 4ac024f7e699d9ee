"""Muon for the matrices inside the blocks, AdamW for everything else; both from PyTorch."""

from __future__ import annotations

import torch
from torch import nn

from reference_model.config import TrainConfig


def build_optimizers(model: nn.Module, config: TrainConfig) -> list[torch.optim.Optimizer]:
    """Muon's update is scaled to AdamW's size (match_rms_adamw), so that one learning rate serves both."""
    inside = [p for name, p in model.named_parameters() if "blocks." in name and p.ndim == 2 and "table" not in name]
    chosen = {id(p) for p in inside}
    outside = [p for p in model.parameters() if id(p) not in chosen]
    decay = config.weight_decay
    return [
        torch.optim.Muon(inside, lr=config.learning_rate, weight_decay=decay, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(
            outside, lr=config.learning_rate, betas=(0.9, 0.95), weight_decay=0.0, fused=outside[0].is_cuda
        ),
    ]


def learning_rate_factor(progress: float, step: int, warmup_steps: int, decay_share: float) -> float:
    """Linear warm-up, flat, then linear to zero over the last `decay_share` of the run. progress in [0, 1]."""
    warm = min(1.0, (step + 1) / max(warmup_steps, 1))
    cool = min(1.0, (1 - progress) / decay_share) if decay_share else 1.0
    return warm * max(cool, 0.0)
