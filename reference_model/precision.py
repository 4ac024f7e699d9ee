"""What the network computes in at inference: float32, or bfloat16 for its matrix products and attention.

In bfloat16, norms, camera actions, the embedding of t, the path from noise to images and the codec stay in float32
(autocast's own choice, `positions.without_autocast`, `sampler.integrate`). Training has its own (`train.py`).
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn

from reference_model.config import check_choice
from reference_model.model import Kaleido

PRECISIONS = ("float32", "bfloat16")


def check_precision(precision: str, device: str | torch.device = "cpu") -> None:
    """Raises ValueError for what is none of PRECISIONS, for one that the device does not compute in, and for CUDA where
    there is none.
    """
    check_choice("precision", precision, PRECISIONS)
    device = torch.device(device)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device {device}: PyTorch finds no CUDA here; expected cpu")
    if precision == "bfloat16":
        here = torch.amp.is_autocast_available(device.type)
        if device.type == "cuda":
            with torch.cuda.device(device):
                here = torch.cuda.is_bf16_supported(including_emulation=False)
        if not here:
            raise ValueError(f"precision bfloat16: {device} does not compute in it; expected float32 there")


def compute_in(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """Where the network is called. Of float32 it changes nothing: weights and a caller's autocast decide.

    Casts of weights are not kept: a recorded step would read them after they are gone.
    """
    if precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16, cache_enabled=False)


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
