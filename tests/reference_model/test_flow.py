"""The path, its noise levels, and the sampler on an oracle whose answer is known."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from reference_model.config import FlowConfig
from reference_model.flow import (
    SCHEDULES,
    build_levels,
    flow_loss,
    mix,
    noise_schedule,
    sample_noise_levels,
    velocity_from_clean,
)
from reference_model.inputs import build_inputs
from reference_model.presets import smoke
from reference_model.sampler import integrate
from reference_model.training.steps import StepViews, prepare_step
from tests.reference_model.models import from_velocity


def test_the_path_runs_from_data_to_noise_with_constant_velocity() -> None:
    clean, noise = torch.randn(2, 4, 7, dtype=torch.float64).unbind(0)
    assert torch.equal(mix(clean, noise, torch.zeros(4)), clean)
    assert torch.equal(mix(clean, noise, torch.ones(4)), noise)
    for t in (0.1, 0.5, 1.0):
        noisy = mix(clean, noise, torch.full((4,), t))
        assert torch.allclose(velocity_from_clean(noisy, clean, t), noise - clean, atol=1e-6)


def test_there_is_no_velocity_where_the_path_ends() -> None:
    with pytest.raises(ValueError, match="t = 0"):
        velocity_from_clean(torch.zeros(1), torch.zeros(1), 0.0)


def test_log_snr_is_normal_with_the_stated_moments() -> None:
    t = sample_noise_levels(200_000, FlowConfig(1.0, 1.0, 0.1), torch.Generator().manual_seed(0)).double()
    log_snr = 2 * torch.log((1 - t) / t)
    assert log_snr.mean().item() == pytest.approx(-2.0, abs=0.02)
    assert log_snr.std().item() == pytest.approx(2.0, abs=0.02)


def test_the_loss_is_the_error_of_the_implied_velocity() -> None:
    clean, noise, guess = torch.randn(3, 5, 2, 6, dtype=torch.float64).unbind(0)
    t = torch.linspace(0.3, 1.0, 5, dtype=torch.float64)
    noisy = mix(clean, noise, t)
    implied = (noisy - guess) / t[:, None, None]
    expected = (implied - (noise - clean)).square().mean()
    assert flow_loss(guess, clean, noise, t, FlowConfig(1.0, 1.0, 0.1)).item() == pytest.approx(
        expected.item(), rel=1e-6
    )


def test_small_levels_are_divided_by_the_least() -> None:
    one = torch.ones(1, 3)
    assert flow_loss(one, 0 * one, one, torch.tensor([0.01]), FlowConfig(1.0, 1.0, 0.2)).item() == pytest.approx(25.0)


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_any_number_of_steps_reaches_the_data_of_an_oracle(steps: int) -> None:
    clean, noise = torch.randn(2, 1, 3, 4, 12).unbind(0)
    assert torch.allclose(
        integrate(lambda x, t: clean, noise, build_levels(steps, FlowConfig(1.2, 1.2, 0.2))), clean, atol=1e-5
    )


def test_steps_land_on_the_path() -> None:
    """With the true clean image the state at level t is (1 - t) clean + t noise."""
    clean, noise = torch.randn(2, 1, 1, 4, 12).unbind(0)
    visited: list[tuple[float, torch.Tensor]] = []

    def oracle(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        visited.append((t.item(), x))
        return clean

    integrate(oracle, noise, noise_schedule(5, 3.0))
    for t, x in visited:
        assert torch.allclose(x, mix(clean, noise, torch.tensor([t])), atol=1e-5)


def test_shifting_the_grid_moves_log_snr_by_twice_the_log() -> None:
    plain, shifted = noise_schedule(8, 1.0), noise_schedule(8, 3.0)
    assert shifted[0] == 1 and shifted[-1] == 0
    for a, b in zip(plain[1:-1], shifted[1:-1], strict=True):
        moved = 2 * math.log((1 - b) / b) - 2 * math.log((1 - a) / a)
        assert moved == pytest.approx(-2 * math.log(3.0))


def test_no_steps_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        noise_schedule(0, 1.0)


@pytest.mark.parametrize(
    ("shift", "tokens", "targets", "a"),
    [
        ("fixed", 1024, 9, 1.0),
        ("resolution", 1024, 9, 2.0),
        ("resolution-views", 1024, 9, 6.0),
        ("resolution-views", 64, 4, 1.0),
    ],
)
@pytest.mark.parametrize("levels", ["logit-normal", "uniform"])
def test_training_and_sampling_shift_alike(levels: str, shift: str, tokens: int, targets: int, a: float) -> None:
    """The middle of what training draws is the middle of the grid: sigmoid(mean + ln a), at every size."""
    flow = FlowConfig(0.4, 0.9, 0.1, levels=levels, shift=shift, base_tokens=256)
    middle = 1 / (1 + math.exp(-0.4) / a)
    drawn = sample_noise_levels(100_000, flow, torch.Generator().manual_seed(0), tokens, targets)
    assert drawn.median().item() == pytest.approx(middle, abs=0.005)
    for schedule in SCHEDULES:
        assert build_levels(2, flow, tokens, targets, schedule)[1] == pytest.approx(middle)


@pytest.mark.parametrize("references", [1, 3])
def test_the_trainer_shifts_by_what_it_generates(references: int) -> None:
    """Images of 16 px are 4 patches a view, and all but the references are targets."""
    flow = FlowConfig(0.4, 0.9, 0.1, shift="resolution-views", base_tokens=64)
    preset, count = dataclasses.replace(smoke(), flow=flow), 4000
    still = torch.zeros(1).expand(count, 4)
    views = StepViews(torch.zeros(1).expand(count, 4, 3, 16, 16), still, still, still)
    step = prepare_step(build_inputs(preset.model, "cpu"), views, preset, references, torch.Generator().manual_seed(0))
    a = math.sqrt(4 / 64) * math.sqrt(4 - references)
    assert step.t.median().item() == pytest.approx(1 / (1 + math.exp(-0.4) / a), abs=0.02)


def test_uniform_levels_without_bias_are_uniform() -> None:
    drawn = sample_noise_levels(50_000, FlowConfig(0.0, 1.0, 0.1, levels="uniform"), torch.Generator().manual_seed(0))
    assert torch.allclose(torch.histc(drawn, 10, 0, 1) / 5000, torch.ones(10), atol=0.06)


def test_steps_between_quantiles_stand_for_equal_shares_of_the_training() -> None:
    flow = FlowConfig(1.2, 1.2, 0.2, max_t=0.95)
    levels = torch.tensor(build_levels(5, flow, schedule="quantiles"))
    assert levels[0] == pytest.approx(0.95) and levels[-1] == 0 and (levels.diff() < 0).all()
    drawn = sample_noise_levels(100_000, flow, torch.Generator().manual_seed(0))
    below = drawn[drawn < 0.95]  # what was drawn above lies on it
    shares = torch.histogram(below, levels.flip(0)).hist / len(below)
    assert torch.allclose(shares, torch.full((5,), 0.2), atol=0.01)


def test_no_level_is_above_the_highest() -> None:
    flow = FlowConfig(3.0, 2.0, 0.2, prediction="noise", max_t=0.9)
    assert sample_noise_levels(10_000, flow, torch.Generator().manual_seed(0)).max() <= 0.9
    assert build_levels(7, flow)[0] == pytest.approx(0.9)


def test_a_share_of_the_scenes_is_at_pure_noise() -> None:
    """What one step asks; the others are drawn as ever."""
    flow = FlowConfig(0.4, 0.9, 0.1, pure_noise=0.3, max_t=0.98)
    drawn = sample_noise_levels(50_000, flow, torch.Generator().manual_seed(0))
    pure = drawn == flow.max_t
    assert pure.float().mean().item() == pytest.approx(0.3, abs=0.01)
    assert drawn[~pure].median().item() == pytest.approx(1 / (1 + math.exp(-0.4)), abs=0.01)


def test_the_sampling_grid_may_be_given_another_bias() -> None:
    flow = FlowConfig(1.2, 1.2, 0.2, shift="resolution", sampling_mean=0.0)
    assert build_levels(4, flow, tokens=4096) == pytest.approx([1.0, 0.75, 0.5, 0.25, 0.0])


@pytest.mark.parametrize("prediction", ["clean", "velocity", "noise"])
def test_every_prediction_pays_for_the_velocity_it_implies(prediction: str) -> None:
    flow = FlowConfig(1.0, 1.0, 0.1, prediction=prediction, max_t=0.95)
    clean, noise, error = torch.randn(3, 5, 2, 6, dtype=torch.float64).unbind(0)
    t = torch.linspace(0.3, 0.9, 5, dtype=torch.float64)
    noisy = mix(clean, noise, t)
    velocity = noise - clean + 0.1 * error
    predicted = torch.stack([from_velocity(velocity[i], noisy[i], t[i].item(), prediction) for i in range(5)])
    loss = flow_loss(predicted, clean, noise, t, flow).item()
    assert loss == pytest.approx((0.1 * error).square().mean().item(), rel=1e-4)
