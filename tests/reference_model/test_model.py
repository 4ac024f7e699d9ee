"""The sequence: who sees whom, what starts as the identity, and that the FLOPs stated are the FLOPs done."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F

from reference_model.attention import attend, attend_across, attend_windows, attend_within, cut_views
from reference_model.codecs import patchify, unpatchify
from reference_model.model import AlignedLinear, Kaleido, Views
from reference_model.presets import smoke
from tests.reference_model.models import DESIGNS, build_config, build_model, build_scene


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


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", DESIGNS)
def test_fresh_blocks_are_the_identity(name: str, dtype: torch.dtype) -> None:
    """Whatever a layer computes, its gate starts at zero."""
    config = build_config(**DESIGNS[name])
    torch.manual_seed(0)
    model, scene = Kaleido(config).to(dtype), build_scene(config, dtype)
    places = model.build_places(scene.views)
    x = model.embed_views(scene.tokens, scene.views, scene.features)
    for block in model.stack():
        out, _ = block(x, model.time(torch.rand(1, 5, dtype=dtype)), places, torch.tensor(2))
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


def test_patches_are_cut_row_by_row_and_put_back() -> None:
    images = torch.rand(2, 3, 3, 16, 24)
    tokens = patchify(images, 8)
    assert tokens.shape == (2, 3, 6, 192)
    corner = images[1, 2, :, 0:8, 8:16].permute(1, 2, 0).flatten() * 2 - 1  # the second patch of the first row
    assert torch.allclose(tokens[1, 2, 1], corner)
    assert torch.allclose(unpatchify(tokens, 8, 16, 24), images, atol=1e-6)


def test_autocast_does_not_round_cameras() -> None:
    """In bfloat16 a translation is known to three digits: the matrices are built without it."""
    config = build_config(pose="prope", time_channels=8)
    model, scene = build_model(config, torch.float32), build_scene(config, torch.float32)
    plain = model.build_places(scene.views).across
    with torch.autocast("cpu", torch.bfloat16):
        under = model.build_places(scene.views).across
    assert plain.pose is not None and under.pose is not None
    for a, b in zip(plain.pose, under.pose, strict=True):
        assert b.dtype == torch.float32 and torch.equal(a, b)


@pytest.mark.parametrize("grid", [False, True])
def test_windows_are_dense_attention_under_the_mask_they_stand_for(grid: bool) -> None:
    rows, columns, side, registers, views, references = 4, 6, 2, 3, 3, 1
    n = rows * columns
    q, k, v = torch.randn(3, 2, views, n + registers, 2, 8, dtype=torch.float64).unbind(0)
    window = cut_views(rows, columns, side)[int(grid)]
    assert window is not None
    got = attend_windows(q, k, v, torch.tensor(references), window)
    y, x = torch.arange(n) // columns, torch.arange(n) % columns
    if grid:
        name = (y % (rows // side)) * 100 + x % (columns // side)
    else:
        name = (y // side) * 100 + x // side
    name = torch.cat([name, torch.full((registers,), -1)]).repeat(views)
    is_target = torch.arange(views).repeat_interleave(n + registers) >= references
    near = (name[:, None] == name[None, :]) | (name[:, None] < 0) | (name[None, :] < 0)
    allowed = near & (is_target[:, None] | ~is_target[None, :])
    q, k, v = (x.flatten(1, 2).transpose(1, 2) for x in (q, k, v))
    expected = F.scaled_dot_product_attention(q, k, v, attn_mask=allowed).transpose(1, 2).unflatten(1, (views, -1))
    assert torch.allclose(got, expected, atol=1e-12)


@pytest.mark.parametrize(
    ("rule", "layout", "expected"),
    [
        ("local", "decoder-only", [False] * 4),
        ("grid", "decoder-only", [True] * 4),
        ("alternate", "decoder-only", [False, True] * 2),
        ("alternate", "encoder-decoder", [False, True] * 2),
    ],
)
def test_windows_alternate_from_local_on(rule: str, layout: str, expected: list[bool]) -> None:
    """In each stack from its own first block."""
    model = Kaleido(dataclasses.replace(smoke().model, depth=4, window=2, window_rule=rule, layout=layout))
    assert [block.grid for block in model.stack()] == expected


def test_windows_that_do_not_divide_the_image_are_refused() -> None:
    with pytest.raises(ValueError, match="2x2"):
        cut_views(4, 5, 2)
    assert cut_views(4, 4, 4) == (None, None)  # a window that holds the image cuts nothing


def test_grouped_queries_are_attention_with_keys_repeated() -> None:
    q, k, v = torch.randn(1, 5, 4, 8), torch.randn(1, 7, 2, 8), torch.randn(1, 7, 2, 8)
    repeated = (x.repeat_interleave(2, 2) for x in (k, v))
    assert torch.allclose(attend(q, k, v), attend(q, *repeated), atol=1e-6)


def test_features_enter_at_the_references_as_if_concatenated() -> None:
    """One layer over [tokens, rays, role, features], with zeros at the targets."""
    config = build_config(feature_channels=6)
    model, scene = build_model(config), build_scene(config)
    assert model.features is not None and scene.features is not None
    with_features, without = (model.embed_views(scene.tokens, scene.views, x) for x in (scene.features, None))
    assert torch.equal(with_features[:, 2:], without[:, 2:])
    wide = torch.cat([torch.zeros(1, 2, 16, 197, dtype=torch.float64), scene.features], -1)
    weight = torch.cat([model.embed.weight, model.features.weight], 1)
    assert torch.allclose(with_features[:, :2] - without[:, :2], wide @ weight.mT, atol=1e-12)


@pytest.mark.parametrize("name", ["whole"])
def test_the_number_of_references_compiles_nothing_anew(name: str) -> None:
    """One graph a kind of block, whatever the split: the compiler raises where it would compile again."""
    config = build_config(**DESIGNS[name])
    model, scene = build_model(config, torch.float32), build_scene(config, torch.float32)
    torch._dynamo.reset()
    expected = {r: scene._replace(features=None).with_views(references=r).run(model) for r in (1, 2, 3)}
    for block in model.stack():
        block.compile(dynamic=False, backend="eager")
    scene._replace(features=None).run(model)
    with torch._dynamo.config.patch(error_on_recompile=True):
        for r in (1, 2, 3):
            out = scene._replace(features=None).with_views(references=r).run(model)
            assert torch.allclose(out, expected[r], atol=1e-5)
    torch._dynamo.reset()


def test_padded_inputs_make_the_same_product() -> None:
    layer = AlignedLinear(13, 6).double()
    x = torch.randn(2, 3, 13, dtype=torch.float64)
    assert torch.allclose(layer.pad(x), layer(x), atol=1e-12)
    assert torch.equal(layer(x), F.linear(x, layer.weight, layer.bias))
