"""The path, its noise levels, and the sampler on an oracle whose answer is known."""

from __future__ import annotations

import math

import pytest
import torch

from reference_model.config import FlowConfig
from reference_model.flow import build_levels, flow_loss, mix, noise_schedule, sample_noise_levels, velocity_from_clean
from reference_model.sampler import integrate


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
