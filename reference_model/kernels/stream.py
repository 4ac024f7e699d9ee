"""What stands between the matrix products of a block: the gated sum into the residual stream, RMS norm and modulation
of what the next layer reads, and SwiGLU.

    total = x + gate * branch,   out = total / rms(total) * (1 + scale) + shift,   swiglu = silu(first) * second

Each is one pass over memory in Triton, forward and backward, and plain functions beside it (the twins are
`attention.normalise` with the lines of `blocks.Block`, and `torch.nn.functional.silu`). A compiler fuses the forward
passes as well. It cannot fuse the backward ones, where sums over channels (the norm's) stand beside sums over tokens
(those of gate, scale and shift, which a view's tokens share): about 9 passes between two layers where 6 do, and 14 for
SwiGLU where 11 do (docs/log.md).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor


class Summed(NamedTuple):
    total: Float[Tensor, "b v n d"]  # the residual stream
    out: Float[Tensor, "b v n d"]  # what the next layer reads


def normalise(
    x: Float[Tensor, "b v n d"], scale: Float[Tensor, "b v d"], shift: Float[Tensor, "b v d"]
) -> Float[Tensor, "b v n d"]:
    """RMS norm without a weight, modulated. Differentiable in everything."""
    return torch.ops.reference_model.normalise(x, scale, shift)[0]


def add(
    x: Float[Tensor, "b v n d"], branch: Float[Tensor, "b v n d"], gate: Float[Tensor, "b v d"]
) -> Float[Tensor, "b v n d"]:
    """A layer's output, gated, into the residual stream. Differentiable in everything."""
    return torch.ops.reference_model.add_gated(x, branch, gate)


def add_normalise(
    x: Float[Tensor, "b v n d"],
    branch: Float[Tensor, "b v n d"],
    gate: Float[Tensor, "b v d"],
    scale: Float[Tensor, "b v d"],
    shift: Float[Tensor, "b v d"],
) -> Summed:
    """`add`, then `normalise` of the sum, in one pass. Differentiable in everything."""
    return Summed(*torch.ops.reference_model.add_normalise(x, branch, gate, scale, shift)[:2])


def swiglu(packed: Float[Tensor, "*batch two_m"]) -> Float[Tensor, "*batch m"]:
    """silu of the first half of the channels, times the second half. Differentiable."""
    return torch.ops.reference_model.swiglu(packed)


# The operators: opaque to a compiler, so that a compiled block holds them without a break.

torch.library.define(
    "reference_model::normalise", "(Tensor x, Tensor scale, Tensor shift) -> (Tensor, Tensor)"
)  # and the roots: 1 / rms of each token
torch.library.define("reference_model::add_gated", "(Tensor x, Tensor branch, Tensor gate) -> Tensor")
torch.library.define(
    "reference_model::add_normalise",
    "(Tensor x, Tensor branch, Tensor gate, Tensor scale, Tensor shift) -> (Tensor, Tensor, Tensor)",
)
torch.library.define(
    "reference_model::normalise_backward",
    "(Tensor dout, Tensor x, Tensor roots, Tensor scale) -> (Tensor, Tensor)",
)  # gradients: of x; and of gate, scale and shift [3, b, v, d], of which those are written that there are
torch.library.define(
    "reference_model::add_gated_backward", "(Tensor dtotal, Tensor branch, Tensor gate) -> (Tensor, Tensor)"
)
torch.library.define(
    "reference_model::add_normalise_backward",
    "(Tensor dtotal, Tensor dout, Tensor total, Tensor roots, Tensor branch, Tensor gate, Tensor scale)"
    " -> (Tensor, Tensor, Tensor)",
)
torch.library.define("reference_model::swiglu", "(Tensor packed) -> Tensor")
torch.library.define("reference_model::swiglu_backward", "(Tensor dout, Tensor packed) -> Tensor")


def _implement(name: str) -> None:
    """The kernel of that name, imported when it is first called."""

    def call(*args: Any) -> Any:
        from reference_model.kernels import stream_triton

        return getattr(stream_triton, name)(*args)

    torch.library.impl(f"reference_model::{name}", ("cpu", "cuda"))(call)


for _name in (
    *("normalise", "normalise_backward", "add_gated", "add_gated_backward", "add_normalise", "add_normalise_backward"),
    *("swiglu", "swiglu_backward"),
):
    _implement(_name)


def _like(x: Tensor) -> Tensor:
    return x.new_empty(x.shape)


def _shared(vector: Tensor) -> Tensor:
    return vector.new_empty(3, *vector.shape)


def _roots(x: Tensor) -> Tensor:
    return x.new_empty(x.shape[:-1], dtype=torch.float32)


@torch.library.register_fake("reference_model::normalise")
def _fake_normalise(x: Tensor, scale: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    return _like(x), _roots(x)


@torch.library.register_fake("reference_model::normalise_backward")
def _fake_normalise_backward(dout: Tensor, x: Tensor, roots: Tensor, scale: Tensor) -> tuple[Tensor, ...]:
    return _like(x), _shared(scale)


@torch.library.register_fake("reference_model::add_gated")
def _fake_add(x: Tensor, branch: Tensor, gate: Tensor) -> Tensor:
    return _like(x)


@torch.library.register_fake("reference_model::add_gated_backward")
def _fake_add_backward(dtotal: Tensor, branch: Tensor, gate: Tensor) -> tuple[Tensor, Tensor]:
    return _like(branch), _shared(gate)


@torch.library.register_fake("reference_model::add_normalise")
def _fake_add_normalise(
    x: Tensor, branch: Tensor, gate: Tensor, scale: Tensor, shift: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    return _like(x), _like(x), _roots(x)


@torch.library.register_fake("reference_model::add_normalise_backward")
def _fake_add_normalise_backward(
    dtotal: Tensor, dout: Tensor, total: Tensor, roots: Tensor, branch: Tensor, gate: Tensor, scale: Tensor
) -> tuple[Tensor, ...]:
    return _like(total), _like(branch), _shared(gate)


@torch.library.register_fake("reference_model::swiglu")
def _fake_swiglu(packed: Tensor) -> Tensor:
    return packed.new_empty(*packed.shape[:-1], packed.shape[-1] // 2)


@torch.library.register_fake("reference_model::swiglu_backward")
def _fake_swiglu_backward(dout: Tensor, packed: Tensor) -> Tensor:
    return _like(packed)


def _keep_normalise(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(inputs[0], output[1], inputs[1])


def _backward_normalise(ctx: Any, dout: Tensor, _: Tensor) -> tuple[Tensor, ...]:
    dx, shared = torch.ops.reference_model.normalise_backward(dout, *ctx.saved_tensors)
    return dx, *shared.unbind(0)[1:]


def _keep_add(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[1:])


def _backward_add(ctx: Any, dtotal: Tensor) -> tuple[Tensor, ...]:
    dbranch, shared = torch.ops.reference_model.add_gated_backward(dtotal, *ctx.saved_tensors)
    return dtotal, dbranch, shared[0]


def _keep_add_normalise(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
    ctx.mark_non_differentiable(output[2])
    ctx.save_for_backward(output[0], output[2], *inputs[1:4])


def _backward_add_normalise(ctx: Any, dtotal: Tensor, dout: Tensor, _: Tensor) -> tuple[Tensor, ...]:
    *grads, shared = torch.ops.reference_model.add_normalise_backward(dtotal, dout, *ctx.saved_tensors)
    return *grads, *shared.unbind(0)


def _keep_swiglu(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _backward_swiglu(ctx: Any, dout: Tensor) -> Tensor:
    return torch.ops.reference_model.swiglu_backward(dout, *ctx.saved_tensors)


for _name, _backward, _keep in (
    ("normalise", _backward_normalise, _keep_normalise),
    ("add_gated", _backward_add, _keep_add),
    ("add_normalise", _backward_add_normalise, _keep_add_normalise),
    ("swiglu", _backward_swiglu, _keep_swiglu),
):
    torch.library.register_autograd(f"reference_model::{_name}", _backward, setup_context=_keep)
