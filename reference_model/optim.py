"""Muon for the matrices inside the blocks, AdamW for everything else.

`BatchedMuon` equals `torch.optim.Muon(adjust_lr_fn="match_rms_adamw")` (a test says so) but orthogonalises all
matrices of one shape in one
batched product: one at a time, its many small kernels took 20 ms of an 85 ms step (docs/log.md, 2026-11-22, 2).
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from reference_model.config import TrainConfig

# Jordan et al., 2024: a quintic that drives singular values towards 1 in five steps.
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)


def orthogonalise(matrices: Tensor, steps: int = 5) -> Tensor:
    """Replace each matrix's singular values by about 1, in bfloat16."""
    a, b, c = NEWTON_SCHULZ
    x = matrices.bfloat16()
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x


class BatchedMuon(torch.optim.Optimizer):
    """Momentum 0.95, Nesterov, decoupled weight decay, updates scaled to AdamW's size: 0.2 sqrt(max(rows, columns))
    (arXiv 2502.16982).
    """

    def __init__(self, params: Iterable[nn.Parameter], lr: float, weight_decay: float, momentum: float = 0.95) -> None:
        super().__init__(list(params), {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[Tensor]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    by_shape.setdefault(parameter.shape, []).append(parameter)
            for shape, parameters in by_shape.items():
                gradients = [p.grad for p in parameters if p.grad is not None]
                for p in parameters:
                    self.state[p].setdefault("momentum_buffer", torch.zeros_like(p))
                buffers = [self.state[p]["momentum_buffer"] for p in parameters]
                torch._foreach_lerp_(buffers, gradients, 1 - group["momentum"])
                nesterov = torch._foreach_lerp(gradients, buffers, group["momentum"])
                update = orthogonalise(torch.stack(nesterov)).float()
                scale = 0.2 * max(shape) ** 0.5
                torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
                torch._foreach_add_(parameters, list(update.unbind(0)), alpha=-group["lr"] * scale)


def build_optimizers(model: nn.Module, config: TrainConfig) -> list[torch.optim.Optimizer]:
    """One learning rate serves both (`set_learning_rate`)."""
    inside = [
        p
        for name, p in model.named_parameters()
        if name.startswith(("blocks.", "encoder."))
        and p.ndim == 2
        and not any(x in name for x in ("table", "modulate"))
    ]
    chosen = {id(p) for p in inside}
    outside = [p for p in model.parameters() if id(p) not in chosen]
    fused = outside[0].is_cuda
    return [
        BatchedMuon(inside, lr=config.learning_rate, weight_decay=config.weight_decay),
        torch.optim.AdamW(outside, lr=config.learning_rate, betas=(0.9, 0.95), weight_decay=0.0, fused=fused),
    ]


def set_learning_rate(optimizers: Iterable[torch.optim.Optimizer], rate: float) -> None:
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate
