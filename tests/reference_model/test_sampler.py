"""Caches, chunks and orders: what is computed once equals what is computed every time."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from reference_model.config import FlowConfig
from reference_model.flow import build_levels, mix, to_clean, to_velocity
from reference_model.model import Kaleido, Views, join_caches
from reference_model.sampler import (
    ORDERS,
    Chunk,
    Rollout,
    Sampling,
    Scene,
    choose_references,
    integrate,
    roll_out,
    sample_targets,
)
from tests.reference_model.models import (
    DESIGNS,
    REFERENCES,
    ROWS,
    SEEING,
    SIZE,
    build_config,
    build_model,
    build_scene,
    from_velocity,
    random_poses,
)
from tests.reference_model.models import Scene as Batch

FLOW = FlowConfig(1.2, 1.2, 0.2)
PRECISIONS = [pytest.param(torch.float64, 1e-9, id="float64"), pytest.param(torch.float32, 1e-5, id="float32")]
STD = 0.08  # outputs of order 1, as tokens are


@pytest.mark.parametrize(("dtype", "bound"), PRECISIONS)
@pytest.mark.parametrize("name", DESIGNS)
def test_cached_references_equal_references_in_the_sequence(name: str, dtype: torch.dtype, bound: float) -> None:
    config = build_config(**DESIGNS[name])
    model, scene = build_model(config, dtype, std=STD), build_scene(config, dtype, scenes=2)
    noise = torch.randn(2, 3, ROWS**2, config.channels, generator=torch.Generator().manual_seed(5)).to(dtype)
    with torch.no_grad():
        cache = model.encode_references(scene.clean, scene.views.take(0, REFERENCES, REFERENCES), scene.features)
        both = [
            sample_targets(
                model, FLOW, scene.clean, scene.views, noise, Sampling(3, solver), features=scene.features, cache=kept
            )
            for solver in ("euler", "heun")
            for kept in (cache, None)
        ]
    assert (both[0] - both[1]).abs().max() <= bound
    assert (both[2] - both[3]).abs().max() <= bound
    assert (both[0] - both[2]).abs().max() > bound  # and Heun is not Euler


def test_references_that_see_targets_cannot_be_kept() -> None:
    config = build_config(**SEEING)
    model, scene = build_model(config), build_scene(config)
    with pytest.raises(ValueError, match="nothing to cache"):
        model.encode_references(scene.clean, scene.views.take(0, REFERENCES, REFERENCES))
    with pytest.raises(ValueError, match="keep_references"):
        build_config(keep_references=True, **SEEING)


@pytest.mark.parametrize(("dtype", "bound"), PRECISIONS)
@pytest.mark.parametrize("name", [*DESIGNS, "seeing"])
def test_a_batch_equals_its_scenes_one_by_one(name: str, dtype: torch.dtype, bound: float) -> None:
    config = build_config(**{**DESIGNS, "seeing": SEEING}[name])
    model, batch = build_model(config, dtype, std=STD), build_scene(config, dtype, scenes=3)
    together = batch.run(model)
    for i in range(3):
        views = batch.views._replace(
            c2w=batch.views.c2w[i : i + 1],
            intrinsics=batch.views.intrinsics[i : i + 1],
            times=None if batch.views.times is None else batch.views.times[i : i + 1],
        )
        features = None if batch.features is None else batch.features[i : i + 1]
        alone = Batch(batch.tokens[i : i + 1], batch.t[i : i + 1], views, features).run(model)
        assert (together[i : i + 1] - alone).abs().max() <= bound


# Rollouts.


class Oracle(Kaleido):
    """Knows the truth of each camera: its answer depends on a target's pose alone, so chunking cannot matter."""

    def denoise(
        self, noised: torch.Tensor, t: torch.Tensor, views: Views, cache: object, places: object = None, beside: int = 0
    ) -> torch.Tensor:
        return views.c2w.flatten(2).sum(-1)[..., None, None].expand_as(noised)


def build_rollout(
    targets: int, references: int = 3, dtype: torch.dtype = torch.float64, **changes: Any
) -> tuple[Kaleido, Scene, torch.Tensor]:
    """A model, a scene of one batch row, and noise."""
    config = build_config(**{"max_views": 8, **changes})
    model = build_model(config, dtype, std=STD)
    generator = torch.Generator().manual_seed(3)
    count = references + targets
    k = torch.tensor([[40.0, 0, 17], [0, 44, 15], [0, 0, 1]], dtype=dtype).expand(1, count, 3, 3)
    views = Views(random_poses(count, seed=4).to(dtype), k, references, SIZE, SIZE)

    def draw(rows: int, channels: int = config.channels) -> torch.Tensor:
        return torch.randn(rows, ROWS**2, channels, generator=generator, dtype=torch.float64).to(dtype)

    features = draw(references, config.feature_channels) if config.feature_channels else None
    return model, Scene(draw(references), views, features), draw(targets)


def collect(chunks: list[Chunk], targets: int) -> torch.Tensor:
    out = chunks[0].tokens.new_full((targets, *chunks[0].tokens.shape[1:]), torch.nan)
    for chunk in chunks:
        assert out[chunk.targets].isnan().all()  # each target once
        out[chunk.targets] = chunk.tokens
    assert not out.isnan().any()
    return out


def run(parts: tuple[Kaleido, Scene, torch.Tensor], rollout: Rollout, steps: int = 2, *, cached: bool = True):
    model, scene, noise = parts
    with torch.no_grad():
        chunks = list(roll_out(model, FLOW, scene, noise, Sampling(steps), rollout, cached=cached))
    return chunks, collect(chunks, noise.shape[0])


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


def test_orders_are_what_their_names_say() -> None:
    reference = torch.eye(4)[None]
    targets = torch.eye(4).repeat(5, 1, 1)
    targets[:, 0, 3] = torch.tensor([4.0, -1.0, 2.0, -1.2, 6.5])
    assert ORDERS["given"](reference, targets) == [0, 1, 2, 3, 4]
    assert ORDERS["nearest"](reference, targets) == [1, 3, 2, 0, 4]  # of what is known, references included
    targets[:, 0, 3] = torch.tensor([4.0, -1.0, 1.5, -2.6, 6.5])
    assert ORDERS["nearest"](reference, targets) == [1, 2, 3, 0, 4]
    assert ORDERS["trajectory"](reference, targets) == [1, 3, 2, 0, 4]  # from the last one on


def test_too_many_references_are_chosen_by_pose_and_stay_in_order() -> None:
    poses = torch.eye(4).repeat(6, 1, 1)
    poses[:, 0, 3] = torch.tensor([9.0, 0, 1, 8, 2, 7])
    target = torch.eye(4)[None]
    assert choose_references(poses, target, 3) == [1, 2, 4]
    assert choose_references(poses, target, 6) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("aside", [0.0, 0.5])
def test_references_at_one_place_are_chosen_by_where_they_look(aside: float) -> None:
    """A tripod's: in spreads of their centres every distance is the same, and so large that rounding hides angles."""
    angle = torch.linspace(0, 2 * torch.pi, 31)[:-1]
    poses = torch.eye(4).repeat(30, 1, 1)
    poses[:, 0, 0], poses[:, 0, 2], poses[:, 2, 0], poses[:, 2, 2] = angle.cos(), angle.sin(), -angle.sin(), angle.cos()
    poses[:, :3, 3] = torch.tensor([0.3, 0.2, 1.0])
    target = poses[[17]].clone()
    target[:, 0, 3] += aside
    assert choose_references(poses, target, 3) == [16, 17, 18]


def test_guidance_moves_along_the_difference_of_both_predictions() -> None:
    model, scene, noise = build_rollout(2)
    flow = dataclasses.replace(FLOW, reference_dropout=0.1)

    def sample(guidance: float, references: int = 3) -> torch.Tensor:
        views = scene.views if references else scene.views.take(3, 5, 0)
        with torch.no_grad():
            return sample_targets(
                model, flow, scene.clean[None, :references], views, noise[None], Sampling(1, guidance=guidance)
            )

    plain, free, guided = sample(1.0), sample(1.0, references=0), sample(3.0)
    assert torch.allclose(guided, free + 3 * (plain - free), atol=1e-9)
    with pytest.raises(ValueError, match="not trained without references"):
        sample_targets(model, FLOW, scene.clean[None], scene.views, noise[None], Sampling(1, guidance=2.0))


@pytest.mark.parametrize("schedule", ["shifted", "quantiles"])
def test_the_network_is_asked_at_levels_shifted_by_what_is_generated(schedule: str) -> None:
    """By a view's patches, registers not counted, and the targets of a chunk: as training shifts them."""
    model, scene, noise = build_rollout(5, registers=3)
    flow = dataclasses.replace(FLOW, shift="resolution-views", base_tokens=4)
    asked: list[tuple[int, float]] = []
    denoise = model.denoise

    def watch(noised: torch.Tensor, t: torch.Tensor, *rest: Any) -> torch.Tensor:
        asked.append((noised.shape[1], t.item()))
        return denoise(noised, t, *rest)

    model.denoise = watch  # pyright: ignore
    with torch.no_grad():
        list(roll_out(model, flow, scene, noise, Sampling(3, schedule=schedule), Rollout(chunk=3)))
    expected = [(count, t) for count in (3, 2) for t in build_levels(3, flow, ROWS**2, count, schedule)[:-1]]
    assert [count for count, _ in asked] == [count for count, _ in expected]
    assert [t for _, t in asked] == pytest.approx([t for _, t in expected])
    assert asked[1][1] != pytest.approx(asked[4][1], abs=1e-3)  # as many targets, so much noise


@pytest.mark.parametrize("solver", ["euler", "heun"])
@pytest.mark.parametrize("guidance", [1.0, 2.0])
@pytest.mark.parametrize("steps", [1, 3])
def test_the_network_is_asked_as_often_as_a_sampling_says(solver: str, guidance: float, steps: int) -> None:
    model, scene, noise = build_rollout(2)
    asked: list[int] = []
    model.head.register_forward_hook(lambda *_: asked.append(1))
    sampling = Sampling(steps, solver, guidance=guidance)
    with torch.no_grad():
        list(roll_out(model, dataclasses.replace(FLOW, reference_dropout=0.1), scene, noise, sampling))
    assert len(asked) == sampling.evaluations


# Predictions of any kind.


@pytest.mark.parametrize("prediction", ["clean", "velocity", "noise"])
@pytest.mark.parametrize("solver", ["euler", "heun"])
@pytest.mark.parametrize("schedule", ["shifted", "quantiles"])
@pytest.mark.parametrize(("dtype", "bound"), PRECISIONS)
def test_every_prediction_reaches_the_same_samples_from_the_same_velocity(
    prediction: str, solver: str, schedule: str, dtype: torch.dtype, bound: float
) -> None:
    """A curved field, so that where the steps are matters: data spread about a mean, in closed form."""
    flow = FlowConfig(0.8, 1.1, 0.2, max_t=0.98)
    centre = torch.randn(1, 2, 4, 12, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(dtype)
    noise = torch.randn(1, 2, 4, 12, generator=torch.Generator().manual_seed(2), dtype=torch.float64).to(dtype)

    def velocity(x: torch.Tensor, t: float) -> torch.Tensor:
        """Of data N(centre, 0.5^2): the posterior mean of eps - x_0."""
        spread = 0.25
        total = (1 - t) ** 2 * spread + t**2
        pull = (x - (1 - t) * centre) / total
        return t * pull - centre - (1 - t) * spread * pull

    def network(kind: str):
        return lambda x, t: from_velocity(velocity(x, t.item()), x, t.item(), kind)

    levels = build_levels(6, flow, schedule=schedule)
    assert levels[0] == pytest.approx(0.98) and levels[-1] == 0
    out = integrate(network(prediction), noise, levels, prediction, solver)
    expected = integrate(network("velocity"), noise, levels, "velocity", solver)
    assert (out - expected).abs().max() <= bound
    level = levels[0]  # the exact flow of this field is linear; it starts at the highest level, not at 1
    exact = centre + (noise - (1 - level) * centre) * 0.5 / ((1 - level) ** 2 * 0.25 + level**2) ** 0.5
    many = integrate(network(prediction), noise, build_levels(100, flow, schedule=schedule), prediction, solver)
    assert (many - exact).abs().max() < 0.1  # and they are samples of that data


def test_heun_is_of_second_order() -> None:
    """Halving the steps' size divides Euler's error by 2 and Heun's by about 4; in a field of one mode."""
    flow = FlowConfig(0.0, 1.0, 0.2)
    noise = torch.randn(1, 1, 8, 12, generator=torch.Generator().manual_seed(2), dtype=torch.float64)

    def network(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        level = t.item()
        return (level - (1 - level) * 0.25) * x / ((1 - level) ** 2 * 0.25 + level**2)

    exact = 0.5 * noise  # the flow of N(0, 1) onto N(0, 0.5^2) is linear
    errors = {
        solver: [
            (integrate(network, noise, build_levels(n, flow), "velocity", solver) - exact).abs().max().item()
            for n in (16, 32)
        ]
        for solver in ("euler", "heun")
    }
    assert 1.7 < errors["euler"][0] / errors["euler"][1] < 2.3
    assert errors["heun"][0] / errors["heun"][1] > 3.0
    assert errors["heun"][1] < errors["euler"][1]


@pytest.mark.parametrize("prediction", ["clean", "velocity", "noise"])
def test_conversions_agree_on_the_path(prediction: str) -> None:
    clean, noise = torch.randn(2, 3, 4, 12, dtype=torch.float64).unbind(0)
    for t in (0.05, 0.5, 0.95):
        noisy = mix(clean, noise, torch.full((3,), t))
        predicted = from_velocity(noise - clean, noisy, t, prediction)
        assert torch.allclose(to_clean(predicted, noisy, t, prediction), clean, atol=1e-5)
        assert torch.allclose(to_velocity(predicted, noisy, t, prediction), noise - clean, atol=1e-5)


def test_a_noise_prediction_says_nothing_at_pure_noise() -> None:
    with pytest.raises(ValueError, match="max_t"):
        FlowConfig(0.0, 1.0, 0.2, prediction="noise")
    with pytest.raises(ValueError, match="below 1"):
        to_clean(torch.zeros(1), torch.zeros(1), 1.0, "noise")


@pytest.mark.parametrize(
    ("rollout", "word"),
    [
        (Rollout(chunk=0), "chunk 0: expected at least 1"),
        (Rollout(references=0), "references 0: expected at least 1"),
        (Rollout(generated=-1), "generated -1: expected at least 0"),
        (Rollout(order="backwards"), "trajectory"),
        (Rollout(growth="double"), "reencode"),
    ],
)
def test_an_impossible_rollout_is_refused(rollout: Rollout, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        run(build_rollout(2), rollout)


def test_what_cannot_grow_is_not_appended_to() -> None:
    for changes in (SEEING, DESIGNS["encoder-decoder"]):
        with pytest.raises(ValueError, match="append"):
            run(build_rollout(4, **changes), Rollout(generated=2, growth="append"))
