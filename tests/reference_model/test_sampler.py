"""One set of targets: what is computed once equals what is computed every time; solvers, guidance, conversions."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from reference_model.config import FlowConfig
from reference_model.flow import build_levels, mix, to_clean, to_velocity
from reference_model.rollout import Rollout, roll_out
from reference_model.sampler import Sampling, integrate, sample_targets
from tests.reference_model.models import (
    DESIGNS,
    REFERENCES,
    ROWS,
    SEEING,
    build_config,
    build_model,
    build_scene,
    from_velocity,
)
from tests.reference_model.models import Scene as Batch
from tests.reference_model.rollouts import FLOW, PRECISIONS, STD, build_rollout


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
