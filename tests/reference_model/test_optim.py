"""Batched Muon beside PyTorch's own."""

from __future__ import annotations

import torch
from torch import nn

from reference_model.optim import BatchedMuon


def test_batched_muon_is_pytorchs_muon() -> None:
    torch.manual_seed(0)
    ours = [nn.Parameter(torch.randn(shape)) for shape in [(64, 32), (64, 32), (32, 96)]]
    theirs = [nn.Parameter(p.detach().clone()) for p in ours]
    started = [p.detach().clone() for p in ours]
    a = BatchedMuon(ours, lr=0.01, weight_decay=0.1)
    b = torch.optim.Muon(theirs, lr=0.01, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    for _ in range(5):
        for p, q in zip(ours, theirs, strict=True):
            p.grad = torch.randn_like(p)
            q.grad = p.grad.clone()
        a.step()
        b.step()
    for p, q, start in zip(ours, theirs, started, strict=True):
        moved = (q - start).norm()
        assert (p - q).norm() < 0.02 * moved  # both orthogonalise in bfloat16
        assert moved > 0.1
