"""In which floating-point type a metric runs, and with which shortcuts of the device switched off."""

from __future__ import annotations

import contextlib
from collections.abc import Generator

import torch


def widest_float(device: torch.device) -> torch.dtype:
    """float64, or float32 on the one kind of device that has no float64 (Apple's mps)."""
    return torch.float32 if device.type == "mps" else torch.float64


@contextlib.contextmanager
def exact_float32(device: torch.device) -> Generator[None]:
    """Convolutions in true float32 and always by the same algorithm: no tf32, no autocast, no autotuning, no gradients.

    A caller's autocast would otherwise reach into the metric (LVSM scores its LPIPS in bfloat16 that way), and cuDNN
    would use tf32, which is its default.
    """
    cudnn = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)
    with torch.inference_mode(), torch.autocast(device.type, enabled=False), cudnn:
        yield
