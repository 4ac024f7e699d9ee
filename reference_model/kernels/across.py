"""Attention across views whose references are blind to targets, without a copy of anything.

It is two attentions: the references' queries over the references' keys, the targets' queries over all. Cut from one
tensor and joined into one, queries, outputs and their gradients are copied in both directions, and the gradients of the
references' keys are added in a pass of their own: 7 passes over memory a layer. The kernels that stand around attention
(action_triton.py) can as well write two tensors and read two. The twins are `attention.prepare_qkv`,
`attention.attend_across` and `attention.restore_output`, one after the other.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from reference_model.attention import QKV, Room, attend, attend_across
from reference_model.kernels import action
from reference_model.positions import Actions


class Packed(NamedTuple):
    """The arguments of `action.prepare_qkv`: the packed projection of some tokens, and what is to be done to it."""

    qkv: Float[Tensor, "b v n hkv c"]
    heads: int
    q_gain: Float[Tensor, " c"] | None
    k_gain: Float[Tensor, " c"] | None
    actions: Actions


class Split(NamedTuple):
    """Queries of references and of targets; keys and values of all views, and those of the references beside them."""

    q_references: Float[Tensor, "b reference n h c"]
    q_targets: Float[Tensor, "b target n h c"]
    k: Float[Tensor, "b v n kv c"]
    v: Float[Tensor, "b v n kv c"]
    k_references: Float[Tensor, "b reference n kv c"]
    v_references: Float[Tensor, "b reference n kv c"]


def read(qkv: Tensor, q_gain: Tensor | None, k_gain: Tensor | None, actions: Actions) -> Any:
    """What the kernels read for these tokens (action_triton.Reading)."""
    from reference_model.kernels.action_triton import Reading

    matrices = actions.pose[:3] if actions.pose is not None else (None, None, None)
    return Reading(q_gain, k_gain, *matrices, *action.expand_tables(actions, qkv))


class PrepareSplit(torch.autograd.Function):
    """`action.prepare_qkv`, its results laid out as two attentions read them."""

    @staticmethod
    def forward(
        ctx: Any,
        qkv: Float[Tensor, "b v n hkv c"],
        q_gain: Tensor | None,
        k_gain: Tensor | None,
        actions: Actions,
        heads: int,
        count: int,
    ) -> tuple[Tensor, ...]:
        from reference_model.kernels.action_triton import prepare_into

        b, views, n, packed, c = qkv.shape
        parts = [qkv.new_empty(b, taken, n, heads, c) for taken in (count, views - count)]
        k, v = (qkv.new_empty(b, views, n, (packed - heads) // 2, c) for _ in range(2))
        reading = read(qkv, q_gain, k_gain, actions)
        for q, first, last in zip(parts, (0, count), (count, views), strict=True):
            prepare_into(qkv[:, first:last], reading.take(first, last), q, k[:, first:last], v[:, first:last])
        ctx.save_for_backward(qkv, q_gain, k_gain)
        ctx.actions, ctx.count = actions, count
        return *parts, k, v, k[:, :count], v[:, :count]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *given: Tensor) -> tuple[Tensor | None, ...]:
        from reference_model.kernels import action_triton as kernels

        dq_references, dq_targets, dk, dv, dk_references, dv_references = given
        qkv, q_gain, k_gain = ctx.saved_tensors
        count, views = ctx.count, qkv.shape[1]
        reading, dqkv = read(qkv, q_gain, k_gain, ctx.actions), torch.empty_like(qkv)
        programs = [kernels.count_programs(x) for x in (qkv[:, :count], qkv[:, count:])]
        dgains = kernels.empty_gains(sum(programs), qkv)
        for grads, first, last, sums in (
            (kernels.Grads(dq_references, dk[:, :count], dv[:, :count], dk_references, dv_references), 0, count,
             dgains[: programs[0]]),
            (kernels.Grads(dq_targets, dk[:, count:], dv[:, count:]), count, views, dgains[programs[0] :]),
        ):  # fmt: skip
            part = qkv[:, first:last], reading.take(first, last), dqkv[:, first:last]
            kernels.prepare_backward_into(grads, *part, sums)
        gains = kernels.sum_gains(dgains, reading, qkv) if q_gain is not None else (None, None)
        return dqkv, *gains, None, None, None


class JoinRestored(torch.autograd.Function):
    """`action.restore_output` of two outputs, into one tensor."""

    @staticmethod
    def forward(ctx: Any, references: Tensor, targets: Tensor, actions: Actions) -> Tensor:
        b, count, n, h, c = references.shape
        out = references.new_empty(b, count + targets.shape[1], n, h, c)
        ctx.actions, ctx.count = actions, count
        _restore(((references, out[:, :count]), (targets, out[:, count:])), out, actions, count, back=False)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        count = ctx.count
        b, views, n, h, c = grad.shape
        references, targets = grad.new_empty(b, count, n, h, c), grad.new_empty(b, views - count, n, h, c)
        pairs = ((grad[:, :count], references), (grad[:, count:], targets))
        _restore(pairs, grad, ctx.actions, count, back=True)
        return references, targets, None


def _restore(
    pairs: tuple[tuple[Tensor, Tensor], ...], whole: Tensor, actions: Actions, count: int, *, back: bool
) -> None:
    """From the first of each pair into the second, the references' views and the targets'; back: the transpose."""
    from reference_model.kernels.action_triton import act_into

    tables = action.expand_tables(actions, whole)
    for (x, out), taken in zip(pairs, (slice(0, count), slice(count, None)), strict=True):
        turns = [None if table is None else table[:, taken] for table in tables]
        matrices = None if actions.pose is None else actions.pose.output[:, taken]
        act_into(x, matrices, turns, out, transposed=back, sign=-1 if back else 1)


class Attended(NamedTuple):
    out: Float[Tensor, "b v n h c"]  # each token in its own view's frame
    k: Float[Tensor, "b v n kv c"]
    v: Float[Tensor, "b v n kv c"]


@torch.compiler.disable  # eager: what is of a shape of its own for each number of references stays out of the graphs
def attend_packed(packed: Packed, references: Int[Tensor, ""]) -> Attended:
    """From the packed projection to what attention across views gathered, and the keys and values.

    Args:
        references: how many of the views are references, in a CPU tensor (attention.attend_across).
    """
    qkv, heads, q_gain, k_gain, actions = packed
    action.check_shapes(qkv, heads, actions)
    count, views = int(references), qkv.shape[1]
    if not count or count == views:
        q, k, v = action.prepare_qkv(*packed)
        out = attend_across(q, k, v, references)  # pyright: ignore[reportCallIssue]
        return Attended(action.restore_output(out, actions), k, v)
    split = Split(*PrepareSplit.apply(qkv, q_gain, k_gain, actions, heads, count))  # pyright: ignore[reportGeneralTypeIssues]
    flat = Split(*(x.flatten(1, 2) for x in split))
    of_references = attend(flat.q_references, flat.k_references, flat.v_references)
    of_references = of_references.unflatten(1, split.q_references.shape[1:3])
    of_targets = attend(flat.q_targets, flat.k, flat.v).unflatten(1, split.q_targets.shape[1:3])
    return Attended(JoinRestored.apply(of_references, of_targets, actions), split.k, split.v)  # pyright: ignore[reportArgumentType]


@torch.compiler.disable
def prepare_room(packed: Packed, room: Room) -> QKV:
    """q, with k and v written straight into the room behind the kept ones, all of which come back. For inference."""
    from reference_model.kernels.action_triton import prepare_into

    qkv, heads, q_gain, k_gain, actions = packed
    action.check_shapes(qkv, heads, actions)
    q = qkv.new_empty(*qkv.shape[:3], heads, qkv.shape[-1])
    reading = read(qkv, q_gain, k_gain, actions)
    prepare_into(qkv, reading, q, room.k[:, room.filled :], room.v[:, room.filled :])
    return QKV(q, room.k, room.v)
