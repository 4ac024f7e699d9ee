"""Chunks and orders: what each chunk sees, and that it equals a call with that in the sequence."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from reference_model.model import Kaleido, Views, join_caches
from reference_model.ordering import ORDERS, choose_references
from reference_model.rollout import Rollout
from reference_model.sampler import Sampling, sample_targets
from tests.reference_model.models import (
    DESIGNS,
    SEEING,
)
from tests.reference_model.rollouts import FLOW, PRECISIONS, build_rollout, run


class Oracle(Kaleido):
    """Knows the truth of each camera: its answer depends on a target's pose alone, so chunking cannot matter."""

    def denoise(
        self, noised: torch.Tensor, t: torch.Tensor, views: Views, cache: object, places: object = None, beside: int = 0
    ) -> torch.Tensor:
        return views.c2w.flatten(2).sum(-1)[..., None, None].expand_as(noised)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("generated", [0, 4])
@pytest.mark.parametrize(("dtype", "bound"), PRECISIONS)
def test_one_chunk_is_joint_sampling(order: str, generated: int, dtype: torch.dtype, bound: float) -> None:
    parts = model, scene, noise = build_rollout(5, dtype=dtype)
    _, out = run(parts, Rollout(chunk=5, order=order, generated=generated))
    with torch.no_grad():
        joint = sample_targets(model, FLOW, scene.clean[None], scene.views, noise[None], Sampling(2))[0]
    assert (out - joint).abs().max() <= bound


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_chunks_equal_joint_sampling_where_targets_do_not_depend_on_each_other(order: str, dtype: torch.dtype) -> None:
    model, scene, noise = build_rollout(7, dtype=dtype)
    oracle = Oracle(model.config).to(dtype)
    _, joint = run((oracle, scene, noise), Rollout(chunk=7))
    for chunk in (1, 3):
        _, out = run((oracle, scene, noise), Rollout(chunk=chunk, order=order, generated=2))
        assert torch.equal(out, joint)


@pytest.mark.parametrize(("dtype", "bound"), PRECISIONS)
def test_a_later_chunk_is_a_call_with_the_earlier_one_among_the_references(dtype: torch.dtype, bound: float) -> None:
    parts = model, scene, noise = build_rollout(4, dtype=dtype)
    chunks, _ = run(parts, Rollout(chunk=2, generated=2))
    assert [chunk.targets for chunk in chunks] == [[0, 1], [2, 3]]
    clean = torch.cat([scene.clean, chunks[0].tokens])[None]
    with torch.no_grad():
        second = sample_targets(model, FLOW, clean, scene.views._replace(references=5), noise[None, 2:], Sampling(2))
    assert (chunks[1].tokens - second[0]).abs().max() <= bound


@pytest.mark.parametrize("name", ["plain", "whole", "encoder-decoder"])
@pytest.mark.parametrize("generated", [0, 3])
@pytest.mark.parametrize("references", [2, 8])
@pytest.mark.parametrize(("dtype", "bound"), PRECISIONS)
def test_a_cached_rollout_equals_one_without_a_cache(
    name: str, generated: int, references: int, dtype: torch.dtype, bound: float
) -> None:
    parts = build_rollout(6, references=4, dtype=dtype, **DESIGNS[name])
    rollout = Rollout(chunk=2, order="nearest", references=references, generated=generated)
    assert (run(parts, rollout)[1] - run(parts, rollout, cached=False)[1]).abs().max() <= bound


def test_generated_views_are_seen_by_the_feature_network_too() -> None:
    """References keep the features they came with; those of generated views are made of their tokens."""
    model, scene, noise = build_rollout(4, feature_channels=6)
    asked: list[torch.Tensor] = []

    def see(tokens: torch.Tensor) -> torch.Tensor:
        asked.append(tokens)
        return tokens[..., :6]

    parts = model, scene._replace(see=see), noise
    rollout = Rollout(chunk=2, generated=2)
    for cached in (True, False):
        asked.clear()
        chunks, out = run(parts, rollout, cached=cached)
        assert len(asked) == 1 and torch.equal(asked[0], chunks[0].tokens)
        assert scene.features is not None
        features = torch.cat([scene.features, chunks[0].tokens[..., :6]])[None]
        clean = torch.cat([scene.clean, chunks[0].tokens])[None]
        with torch.no_grad():
            views = scene.views._replace(references=5)
            second = sample_targets(model, FLOW, clean, views, noise[None, 2:], Sampling(2), features=features)
        assert torch.allclose(out[2:], second[0], atol=1e-9)
    assert not torch.allclose(run((model, scene, noise), rollout)[1][2:], out[2:], atol=1e-4)  # without it: zeros


def test_independent_chunks_that_see_the_same_references_encode_them_once() -> None:
    parts = model, _, _ = build_rollout(6)
    calls: list[int] = []
    encode = model.encode_references
    model.encode_references = lambda *args: (calls.append(args[0].shape[1]), encode(*args))[1]  # pyright: ignore
    run(parts, Rollout(chunk=2), steps=4)
    assert calls == [3]
    calls.clear()
    run(parts, Rollout(chunk=2, generated=2, growth="append"))
    assert calls == [3, 2, 2, 2]  # only what is new


@pytest.mark.parametrize("name", ["plain", "whole"])
def test_an_appended_chunk_is_a_reference_that_the_earlier_ones_do_not_see(name: str) -> None:
    """With room for everything, append differs from reencode only in what older views see: exactly nothing new."""
    parts = model, scene, noise = build_rollout(4, **DESIGNS[name])
    chunks, _ = run(parts, Rollout(chunk=2, generated=8, growth="append"))
    views, features = scene.views, None if scene.features is None else scene.features[None]
    with torch.no_grad():
        first = model.encode_references(scene.clean[None], views.take(0, 3, 3), features)
        second = model.encode_references(chunks[0].tokens[None], views.take(3, 5, 2), None, first)
        alone = model.encode_references(chunks[0].tokens[None], views.take(3, 5, 2))
        cache = join_caches(first, second)
        expected = sample_targets(
            model, FLOW, scene.clean[None, :0], views.take(5, 7, 0), noise[None, 2:], Sampling(2), cache=cache
        )
    assert torch.allclose(chunks[1].tokens, expected[0], atol=1e-9)
    assert (second[-1].k - alone[-1].k).abs().max() > 1e-3  # it saw the references
    assert (chunks[1].tokens - run(parts, Rollout(chunk=2, generated=8))[0][1].tokens).abs().max() > 1e-6


@pytest.mark.parametrize("growth", ["reencode", "append"])
def test_many_frames_never_see_more_than_their_share(growth: str) -> None:
    """Constant memory: however many targets, a call sees at most references + generated + chunk views."""
    parts = model, _, _ = build_rollout(24, references=5)
    seen: list[int] = []
    denoise = model.denoise

    def watch(noised: torch.Tensor, t: torch.Tensor, views: Views, cache: Any, *rest: Any) -> torch.Tensor:
        seen.append(cache[0].k.shape[1])  # with room for the chunk
        return denoise(noised, t, views, cache, *rest)

    model.denoise = watch  # pyright: ignore
    run(parts, Rollout(chunk=3, order="trajectory", references=4, generated=2, growth=growth), steps=1)
    assert len(seen) == 8 and max(seen) == 4 + 2 + 3 and seen[-1] == seen[2]


def stand(c2w: torch.Tensor, times: list[float] | None = None) -> Views:
    """Cameras of one scene, as orders take them."""
    k = torch.eye(3).expand(1, len(c2w), 3, 3)
    return Views(c2w[None], k, 0, 32, 32, None if times is None else torch.tensor([times], dtype=torch.float32))


def test_frames_without_poses_are_near_in_time() -> None:
    """A clip's poses are all the identity: without times the first references would be taken, whatever is asked."""
    still = torch.eye(4).expand(8, 4, 4)
    references = stand(still, [0, 4, 8, 12, 16, 20, 24, 28])
    assert choose_references(references, stand(still[:1], [17]), 3) == [3, 4, 5]
    targets = stand(still[:5], [40, 27, 33, 26, 30])
    assert ORDERS["nearest"](references, targets) == [1, 3, 4, 2, 0]
    assert ORDERS["trajectory"](references, targets) == [1, 3, 4, 2, 0]
    moving = still.clone()
    moving[:, 0, 3] = torch.arange(8.0)  # now both count: as far in space, the nearer in time
    assert choose_references(stand(moving, [0, 0, 0, 0, 9, 0, 0, 0]), stand(moving[[4]], [0]), 2) == [3, 5]


def test_orders_are_what_their_names_say() -> None:
    reference = torch.eye(4)[None]
    targets = torch.eye(4).repeat(5, 1, 1)
    targets[:, 0, 3] = torch.tensor([4.0, -1.0, 2.0, -1.2, 6.5])
    assert ORDERS["given"](stand(reference), stand(targets)) == [0, 1, 2, 3, 4]
    assert ORDERS["nearest"](stand(reference), stand(targets)) == [
        1,
        3,
        2,
        0,
        4,
    ]  # of what is known, references included
    targets[:, 0, 3] = torch.tensor([4.0, -1.0, 1.5, -2.6, 6.5])
    assert ORDERS["nearest"](stand(reference), stand(targets)) == [1, 2, 3, 0, 4]
    assert ORDERS["trajectory"](stand(reference), stand(targets)) == [1, 3, 2, 0, 4]  # from the last one on


def test_too_many_references_are_chosen_by_pose_and_stay_in_order() -> None:
    poses = torch.eye(4).repeat(6, 1, 1)
    poses[:, 0, 3] = torch.tensor([9.0, 0, 1, 8, 2, 7])
    target = torch.eye(4)[None]
    assert choose_references(stand(poses), stand(target), 3) == [1, 2, 4]
    assert choose_references(stand(poses), stand(target), 6) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("aside", [0.0, 0.5])
def test_references_at_one_place_are_chosen_by_where_they_look(aside: float) -> None:
    """A tripod's: in spreads of their centres every distance is the same, and so large that rounding hides angles."""
    angle = torch.linspace(0, 2 * torch.pi, 31)[:-1]
    poses = torch.eye(4).repeat(30, 1, 1)
    poses[:, 0, 0], poses[:, 0, 2], poses[:, 2, 0], poses[:, 2, 2] = angle.cos(), angle.sin(), -angle.sin(), angle.cos()
    poses[:, :3, 3] = torch.tensor([0.3, 0.2, 1.0])
    target = poses[[17]].clone()
    target[:, 0, 3] += aside
    assert choose_references(stand(poses), stand(target), 3) == [16, 17, 18]


@pytest.mark.parametrize(
    ("rollout", "word"),
    [
        (Rollout(chunk=0), "chunk 0: expected at least 1"),
        (Rollout(references=0), "references 0: expected at least 1"),
        (Rollout(generated=-1), "generated -1: expected at least 0"),
        (Rollout(order="backwards"), "trajectory"),
        (Rollout(growth="double"), "reencode"),
        (Rollout(growth="append"), "nothing would grow; expected generated of at least 1"),
    ],
)
def test_an_impossible_rollout_is_refused(rollout: Rollout, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        run(build_rollout(2), rollout)


def test_what_cannot_grow_is_not_appended_to() -> None:
    for changes in (SEEING, DESIGNS["encoder-decoder"]):
        with pytest.raises(ValueError, match="append needs a cache that can grow"):
            run(build_rollout(4, **changes), Rollout(generated=2, growth="append"))
    with pytest.raises(ValueError, match="append without a cache"):
        run(build_rollout(4), Rollout(generated=2, growth="append"), cached=False)
