"""Which of the fused kernels a model uses, so that a benchmark can take any of them away and show what it is worth."""

from __future__ import annotations

from reference_model.blocks import Attention, Block, FeedForward, TemporalAttention
from reference_model.model import Kaleido

KERNELS = {
    "actions": "q, k, v and outputs of attention: norms, pose, time, position (kernels/action.py)",
    "across": "attention across views without cutting and joining (kernels/across.py)",
    "stream": "gated sums, norms and modulation (kernels/stream.py)",
    "swiglu": "SwiGLU (kernels/stream.py)",
}
WAYS: dict[str, tuple[str, ...]] = {
    "now": (),
    "before": ("across", "stream", "swiglu"),  # as docs/log.md, 2026-11-22, 8
    "plain": tuple(KERNELS),
    **{f"no-{name}": (name,) for name in KERNELS},
}
"""Names of what to take away."""


def take_away(model: Kaleido, names: tuple[str, ...]) -> None:
    """Give these kernels' work to their plain twins. Before anything is compiled."""
    for module in model.modules():
        if isinstance(module, Attention) and "actions" in names:
            module.fused = None
        if isinstance(module, TemporalAttention):
            module.joint = "across" not in names
        if isinstance(module, Block) and "stream" in names:
            module.fused = None
        if isinstance(module, FeedForward) and "swiglu" in names:
            module.fused = None


def sort_kernels(seconds: dict[str, float]) -> dict[str, float]:
    """Time by what a kernel is for, from the time by its name."""
    kinds = {
        "products": ("gemm", "nvjet", "cutlass", "cublas", "matmul", "s16816"),
        "attention": ("cudnn", "flash", "fmha", "attention", "sdpa"),
        "rendering": ("_render_kernel",),
        "actions": ("_prepare_kernel", "_prepare_backward_kernel", "_act_kernel"),
        "swiglu": ("_swiglu_kernel", "_swiglu_backward_kernel"),
        "stream": ("_forward_kernel", "_backward_kernel"),
        "compiled": ("triton_",),
        "copies": ("memcpy", "memset", "copy", "cat"),
    }
    found: dict[str, float] = {}
    for name, value in seconds.items():
        kind = next((kind for kind, words in kinds.items() if any(word in name.lower() for word in words)), "other")
        found[kind] = found.get(kind, 0.0) + value
    return dict(sorted(found.items(), key=lambda item: -item[1]))
