"""The sequence: who sees whom, what starts as the identity, and that the FLOPs stated are the FLOPs done."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from reference_model.attention import attend_across, attend_within
from reference_model.codecs import patchify, unpatchify
from reference_model.config import ModelConfig, smoke, tiny
from reference_model.flops import forward_flops
from reference_model.model import Kaleido, Views, count_parameters


def test_cross_frame_attention_is_dense_attention_under_the_mask_it_stands_for() -> None:
    q, k, v = torch.randn(3, 2, 5, 4, 2, 8, dtype=torch.float64).unbind(0)
    got = attend_across(q, k, v, torch.tensor(2))
    is_target = torch.arange(5).repeat_interleave(4) >= 2
    allowed = is_target[:, None] | ~is_target[None, :]  # targets see everything, references see references
    q, k, v = (x.flatten(1, 2).transpose(1, 2) for x in (q, k, v))
    expected = F.scaled_dot_product_attention(q, k, v, attn_mask=allowed).transpose(1, 2).unflatten(1, (5, 4))
    assert torch.allclose(got, expected, atol=1e-12)


def test_spatial_attention_keeps_views_apart() -> None:
    q, k, v = torch.randn(3, 1, 3, 4, 2, 8).unbind(0)
    before = attend_within(q, k, v)
    v[:, 2] += 1
    after = attend_within(q, k, v)
    assert torch.equal(before[:, :2], after[:, :2])
    assert not torch.equal(before[:, 2], after[:, 2])


def test_a_fresh_block_is_the_identity() -> None:
    config = smoke().model
    torch.manual_seed(0)
    model = Kaleido(config)
    x = torch.randn(1, 3, 16, config.width)
    cameras = Views(torch.eye(4).expand(1, 3, 4, 4), torch.eye(3).expand(1, 3, 3, 3), 1, 32, 32)
    for block in model.stack():
        out, _ = block(x, model.time(torch.rand(1, 3)), model.build_places(cameras), torch.tensor(1))
        assert torch.equal(out, x)


def test_references_are_blind_to_targets_and_to_noise() -> None:
    """Targets change what references see of nothing: their features can be kept while targets are denoised."""
    config = smoke().model
    torch.manual_seed(0)
    model = Kaleido(config)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.2)
    seen: list[torch.Tensor] = []
    last = model.blocks[-1]
    last.register_forward_hook(lambda _module, _inputs, output: seen.append(output[0]))
    k = torch.tensor([[40.0, 0, 16], [0, 40.0, 16], [0, 0, 1]]).expand(1, 4, 3, 3)
    views = Views(torch.eye(4).expand(1, 4, 4, 4), k, 2, 32, 32)
    tokens = torch.randn(1, 4, 16, 192)
    with torch.no_grad():
        model(tokens, torch.tensor([0.9]), views)
        tokens[:, 2:] = torch.randn(1, 2, 16, 192)
        model(tokens, torch.tensor([0.1]), views)
    assert torch.allclose(seen[0][:, :2], seen[1][:, :2], atol=1e-6)
    assert (seen[0][:, 2:] - seen[1][:, 2:]).abs().max() > 1e-2


@pytest.mark.parametrize(("references", "targets", "size"), [(1, 3, 32), (3, 1, 16)])
def test_the_stated_flops_are_the_flops_done(references: int, targets: int, size: int) -> None:
    config = smoke().model
    model = Kaleido(config)
    n, views = (size // config.patch) ** 2, references + targets
    k = torch.eye(3).expand(1, views, 3, 3)
    cameras = Views(torch.eye(4).expand(1, views, 4, 4), k, references, size, size)
    # The counter does not know the CPU's fused attention: let it be matrix products.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.randn(1, views, n, 3 * config.patch**2), torch.rand(1), cameras)
    assert counter.get_total_flops() == forward_flops(config, references, targets, n)


def test_tiny_fits_its_budget() -> None:
    """16 MiB in bfloat16, so that the weights can ship with the package."""
    assert 2 * count_parameters(Kaleido(tiny().model)) <= 16 * 2**20


def test_patches_are_cut_row_by_row_and_put_back() -> None:
    images = torch.rand(2, 3, 3, 16, 24)
    tokens = patchify(images, 8)
    assert tokens.shape == (2, 3, 6, 192)
    corner = images[1, 2, :, 0:8, 8:16].permute(1, 2, 0).flatten() * 2 - 1  # the second patch of the first row
    assert torch.allclose(tokens[1, 2, 1], corner)
    assert torch.allclose(unpatchify(tokens, 8, 16, 24), images, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "word"),
    [({"heads": 3}, "heads"), ({"pose_channels": 6}, "pose_channels"), ({"image_size": 30}, "image_size")],
)
def test_an_impossible_config_is_refused(change: dict[str, int], word: str) -> None:
    fields = {"width": 64, "depth": 1, "heads": 2, "mlp_width": 64, "patch": 8, "image_size": 32}
    with pytest.raises(ValueError, match=word):
        ModelConfig(**{**fields, "pose_channels": 16, "max_views": 4, **change})
