"""Weights in bfloat16 once, for benchmarks of inference under autocast. The renderer itself computes in float32."""

from __future__ import annotations

import torch
from torch import nn

from reference_model.model import Kaleido


def round_weights(model: Kaleido) -> Kaleido:
    """The same model, the weights of its matrix products in bfloat16: for inference under autocast, which would round
    them alike at every call. What enters no product (gains, tables, registers) stays, and so does the embedding of t,
    whose angles take the type of its weights.
    """
    kept = set(model.time.modules())
    for module in model.modules():
        if isinstance(module, nn.Linear) and module not in kept:
            module.to(torch.bfloat16)
    return model
