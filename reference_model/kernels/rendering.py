"""The door to the fused renderer: which of the twins renders worlds on a device. Chosen once."""

from __future__ import annotations

import importlib.util

from reference_model.worlds.render import PLAIN_RENDERER, Renderer


def choose_renderer(device: str) -> Renderer:
    """The fused one where Triton runs, the plain one elsewhere. They agree to rounding."""
    if device.startswith("cuda") and importlib.util.find_spec("triton") is not None:
        from reference_model.kernels.tracing import FUSED_RENDERER

        return FUSED_RENDERER
    return PLAIN_RENDERER
