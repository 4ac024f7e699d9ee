"""One attention for every layer. References are blind to targets, so what they compute never depends on noise and can
be kept.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

# cuDNN's kernel is 1.3 to 1.6 times as fast as FlashAttention-2 on Hopper; the others are for machines without it.
BACKENDS = [SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]


def attend(
    q: Float[Tensor, "b query h c"], k: Float[Tensor, "b key h c"], v: Float[Tensor, "b key h c"]
) -> Float[Tensor, "b query h c"]:
    """Softmax attention, scaled by 1/sqrt(c)."""
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    if q.is_cuda:
        with sdpa_kernel(BACKENDS, set_priority=True):
            return F.scaled_dot_product_attention(q, k, v).transpose(1, 2)
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2)


@torch.compiler.disable  # eager, so that a compiled block is two pieces of fixed shape whatever the split
def attend_across(
    q: Float[Tensor, "b v n h c"],
    k: Float[Tensor, "b v n h c"],
    v: Float[Tensor, "b v n h c"],
    references: Int[Tensor, ""],
) -> Float[Tensor, "b v n h c"]:
    """Cross-frame attention: reference tokens see the references, target tokens see everything.

    `references` is a number in a CPU tensor: as a plain int it would be a constant of the compiled graph, one
    compilation per value.
    """
    count = int(references)
    out: list[Tensor] = []
    if count:
        seen = (x[:, :count].flatten(1, 2) for x in (q, k, v))
        out.append(attend(*seen).unflatten(1, (count, -1)))
    if count < q.shape[1]:
        targets = attend(q[:, count:].flatten(1, 2), k.flatten(1, 2), v.flatten(1, 2))
        out.append(targets.unflatten(1, (-1, q.shape[2])))
    return torch.cat(out, dim=1)


@torch.compiler.disable
def attend_within(
    q: Float[Tensor, "b v n h c"], k: Float[Tensor, "b v n h c"], v: Float[Tensor, "b v n h c"]
) -> Float[Tensor, "b v n h c"]:
    """Spatial attention: each view on its own."""
    return attend(q.flatten(0, 1), k.flatten(0, 1), v.flatten(0, 1)).unflatten(0, q.shape[:2])
