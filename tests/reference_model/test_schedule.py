"""How much is trained: the rate, the stages, the budget."""

from __future__ import annotations

import dataclasses
import math

import pytest

from reference_model.presets import tiny
from reference_model.training.schedule import Budget, learning_rate, stage_at


def test_the_rate_warms_up_stays_and_falls_to_zero() -> None:
    config = dataclasses.replace(tiny().train, learning_rate=2.0, warmup_steps=10, decay_share=0.4)
    assert learning_rate(config, 0.0, 0) == pytest.approx(0.2)
    assert learning_rate(config, 0.3, 50) == 2.0
    assert learning_rate(config, 0.8, 50) == pytest.approx(1.0)
    assert learning_rate(config, 1.0, 50) == 0.0


def test_stages_follow_the_share_of_the_budget() -> None:
    assert [stage_at(tiny().train.stages, x) for x in (0.0, 0.44, 0.46, 1.0)] == [0, 0, 1, 1]


def test_a_budget_is_one_of_three() -> None:
    assert Budget(minutes=2).progress(30, 0, 0) == 0.25
    assert Budget(steps=8).progress(0, 2, 0) == 0.25
    assert Budget(flops=1e3).progress(0, 0, 250) == 0.25
    for wrong in ({}, {"steps": 0}, {"steps": 3, "minutes": 1}, {"minutes": math.inf}, {"flops": math.nan}):
        with pytest.raises(ValueError, match="exactly one"):
            Budget(**wrong)
