"""Who sees whom, in both directions: the gradients too are those of dense attention under the mask it stands for."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from reference_model.attention import KeyValues, attend_across, join_past, make_room


@pytest.mark.parametrize("references", [0, 1, 3, 5])
@pytest.mark.parametrize("kv_heads", [1, 2])
def test_gradients_are_those_of_dense_attention_under_the_mask(references: int, kv_heads: int) -> None:
    torch.manual_seed(0)
    shapes = [(2, 5, 4, heads, 8) for heads in (2, kv_heads, kv_heads)]
    q, k, v = (torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes)
    got = attend_across(q, k, v, torch.tensor(references))
    is_target = torch.arange(5).repeat_interleave(4) >= references
    allowed = is_target[:, None] | ~is_target[None, :]
    flat = [x.flatten(1, 2).transpose(1, 2) for x in (q, k, v)]
    expected = F.scaled_dot_product_attention(*flat, attn_mask=allowed, enable_gqa=kv_heads < 2)
    expected = expected.transpose(1, 2).unflatten(1, (5, 4))
    assert torch.allclose(got, expected, atol=1e-12)
    weights = torch.randn_like(got)
    for a, b in zip(*(torch.autograd.grad((x * weights).sum(), (q, k, v)) for x in (got, expected)), strict=True):
        assert torch.allclose(a, b, atol=1e-12)


def test_gradients_that_come_twice_are_not_summed_twice() -> None:
    """Gradients are added in place: what a first backward pass returned stays as it was."""
    q, k, v = (torch.randn(1, 3, 2, 1, 4, requires_grad=True) for _ in range(3))
    out = attend_across(q, k, v, torch.tensor(1)).square().sum()
    first = [x.clone() for x in torch.autograd.grad(out, (q, k, v), retain_graph=True)]
    for a, b in zip(first, torch.autograd.grad(out, (q, k, v)), strict=True):
        assert torch.equal(a, b)


def test_room_behind_the_cache_gives_what_joining_gives_at_every_step() -> None:
    kept, *fresh = (KeyValues(*torch.randn(2, 2, views, 4, 2, 8).unbind(0)) for views in (3, 2, 2))
    room = make_room(kept, 2)
    for own in fresh:
        for got, expected in zip(join_past(room, own), join_past(kept, own), strict=True):
            assert torch.equal(got, expected)
    assert room.k.data_ptr() == join_past(room, fresh[0]).k.data_ptr()  # nothing is copied but what is new
