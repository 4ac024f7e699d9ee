"""What stands around attention in every layer: RMS norm of q and k, the pose, time and position actions on q, k and v,
and the inverse action on the output.

Each is one pass over memory in Triton and plain functions beside it. The bytes are those of the input and the output,
nothing in between: written as separate functions the same work moves about 200 bytes a channel and token and cost 15 to
24 % of a training step (docs/log.md).

    q' = A_q (g_q * q / rms(q)),   k' = A_k (g_k * k / rms(k)),   v' = A_v v,   out = A_out o

A is the block-diagonal action of `positions.apply_action`. The twins are `attention.prepare_qkv` and
`attention.restore_output`.
"""

from __future__ import annotations

import importlib.util
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from reference_model.positions import Actions, Rotations

EPSILON = 1e-6  # under the root of the RMS norm


def fused_device() -> str | None:
    """The type of device whose tensors the fused kernels take here: `cuda` where Triton is installed and the GPU is an
    Ampere or newer, else None. Asked once, when a module is built. (Triton's interpreter also runs them on CPU tensors,
    for tests; nothing chooses that by itself.)
    """
    if importlib.util.find_spec("triton") is None or not torch.cuda.is_available():
        return None
    return "cuda" if torch.version.hip is None and torch.cuda.get_device_capability() >= (8, 0) else None


def takes(device: str | None, x: Tensor) -> bool:
    """Whether the kernels of that device take this tensor: they compute in float32, so float64 stays with the twins."""
    return x.device.type == device and x.dtype != torch.float64


# The operators: opaque to a compiler, so that a compiled block holds them without a break.


class Tables(NamedTuple):
    """Cosines and sines as the kernels read them: [b, v, n, angle], expanded by strides alone."""

    time_cos: Tensor | None
    time_sin: Tensor | None
    cos: Tensor
    sin: Tensor


def expand_tables(actions: Actions, like: Tensor) -> Tables:
    """The angles of every token of `like` [b, v, n, ...]."""

    def expand(rotations: Rotations) -> tuple[Tensor, Tensor]:
        cos, sin = (x.expand(*like.shape[:3], x.shape[-1]) for x in rotations)
        return cos, sin

    moving = expand(actions.time) if actions.time is not None else (None, None)
    return Tables(*moving, *expand(actions.position))


def prepare_qkv(
    qkv: Float[Tensor, "b v n hkv c"],
    heads: int,
    q_gain: Float[Tensor, " c"] | None,
    k_gain: Float[Tensor, " c"] | None,
    actions: Actions,
) -> tuple[Float[Tensor, "b v n h c"], Float[Tensor, "b v n kv c"], Float[Tensor, "b v n kv c"]]:
    """q, k and v ready for attention, each contiguous, from one read of the packed projection (heads of q, of k, of v;
    bfloat16, float16 or float32). Without gains nothing is normed. Differentiable in `qkv` and the gains.

    Raises ValueError for shapes that do not fit each other.
    """
    check_shapes(qkv, heads, actions)
    matrices = actions.pose[:3] if actions.pose is not None else (None, None, None)
    return torch.ops.reference_model.prepare_qkv(qkv, q_gain, k_gain, *matrices, *expand_tables(actions, qkv), heads)


def restore_output(out: Float[Tensor, "b v n h c"], actions: Actions) -> Float[Tensor, "b v n h c"]:
    """Attention's output in the frame of each token's own view. Differentiable in `out`."""
    matrices = actions.pose.output if actions.pose is not None else None
    return torch.ops.reference_model.act(out, matrices, *expand_tables(actions, out), False, 1)


def check_shapes(qkv: Tensor, heads: int, actions: Actions) -> None:
    """Raises ValueError where heads, channels, matrices and angles do not fit."""
    packed, channels = qkv.shape[-2:]
    kv = (packed - heads) // 2
    if kv < 1 or heads + 2 * kv != packed or heads % kv:
        raise ValueError(f"{packed} packed heads: not {heads} of queries and two times a divisor of that")
    angles = sum(x.cos.shape[-1] for x in (actions.time, actions.position) if x is not None)
    pose = channels - 2 * angles
    if pose < 0 or pose % 4 or (pose > 0) != (actions.pose is not None):
        raise ValueError(
            f"{channels} channels and {angles} angles leave {pose} channels for the pose block; expected "
            f"{'a positive multiple of 4' if actions.pose is not None else 'none, as there are no matrices'}"
        )
    for matrices in actions.pose or ():
        if matrices.shape[:2] != qkv.shape[:2] or matrices.shape[3:] != (4, 4) or pose // 4 % matrices.shape[2]:
            raise ValueError(
                f"matrices of shape {tuple(matrices.shape)} for tokens of shape {tuple(qkv.shape)} and {pose} channels"
                " of pose"
            )


TABLES = "Tensor? time_cos, Tensor? time_sin, Tensor cos, Tensor sin"
torch.library.define(
    "reference_model::prepare_qkv",
    f"(Tensor qkv, Tensor? q_gain, Tensor? k_gain, Tensor? query, Tensor? key, Tensor? value, {TABLES}, int heads)"
    " -> (Tensor, Tensor, Tensor)",
)
torch.library.define(
    "reference_model::prepare_qkv_backward",
    "(Tensor dq, Tensor dk, Tensor dv, Tensor qkv, Tensor? q_gain, Tensor? k_gain, Tensor? query, Tensor? key,"
    f" Tensor? value, {TABLES}) -> (Tensor, Tensor, Tensor)",
)
torch.library.define(
    "reference_model::act", f"(Tensor x, Tensor? matrices, {TABLES}, bool transposed, int sign) -> Tensor"
)


@torch.library.impl("reference_model::prepare_qkv", ("cpu", "cuda"))
def _prepare(*args: Any) -> tuple[Tensor, Tensor, Tensor]:
    from reference_model.kernels import action_triton

    return action_triton.prepare_forward(*args)


@torch.library.impl("reference_model::prepare_qkv_backward", ("cpu", "cuda"))
def _prepare_backward(*args: Any) -> tuple[Tensor, Tensor, Tensor]:
    from reference_model.kernels import action_triton

    return action_triton.prepare_backward(*args)


@torch.library.impl("reference_model::act", ("cpu", "cuda"))
def _act(*args: Any) -> Tensor:
    from reference_model.kernels import action_triton

    return action_triton.act(*args)


@torch.library.register_fake("reference_model::prepare_qkv")
def _fake_prepare(qkv: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    heads = rest[-1]
    kv = (qkv.shape[-2] - heads) // 2
    return tuple(qkv.new_empty(*qkv.shape[:3], count, qkv.shape[-1]) for count in (heads, kv, kv))


@torch.library.register_fake("reference_model::prepare_qkv_backward")
def _fake_prepare_backward(
    dq: Tensor, dk: Tensor, dv: Tensor, qkv: Tensor, q_gain: Tensor | None, k_gain: Tensor | None, *rest: Any
) -> tuple[Tensor, Tensor, Tensor]:
    q, k = (qkv.new_empty(0) if gain is None else gain.new_empty(gain.shape) for gain in (q_gain, k_gain))
    return qkv.new_empty(qkv.shape), q, k


@torch.library.register_fake("reference_model::act")
def _fake_act(x: Tensor, *rest: Any) -> Tensor:
    return x.new_empty(x.shape)


def _keep_prepare(ctx: Any, inputs: tuple[Any, ...], output: object) -> None:
    ctx.save_for_backward(*inputs[:10])


def _backward_prepare(ctx: Any, dq: Tensor, dk: Tensor, dv: Tensor) -> tuple[Tensor | None, ...]:
    qkv, *gains = torch.ops.reference_model.prepare_qkv_backward(dq, dk, dv, *ctx.saved_tensors)
    given = (grad if learned is not None else None for grad, learned in zip(gains, ctx.saved_tensors[1:3], strict=True))
    return (qkv, *given, *[None] * 8)


def _keep_act(ctx: Any, inputs: tuple[Any, ...], output: object) -> None:
    ctx.save_for_backward(*inputs[1:6])
    ctx.transposed, ctx.sign = inputs[6:]


def _backward_act(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    """The transpose of a block of matrices and turns: transposed matrices, turns back."""
    back = torch.ops.reference_model.act(grad, *ctx.saved_tensors, not ctx.transposed, -ctx.sign)
    return (back, *[None] * 7)


torch.library.register_autograd("reference_model::prepare_qkv", _backward_prepare, setup_context=_keep_prepare)
torch.library.register_autograd("reference_model::act", _backward_act, setup_context=_keep_act)
