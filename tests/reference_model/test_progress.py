"""What is said of a run on the way: spikes, and what is no number."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from reference_model.training.progress import DivergedError, Log, Spent, Step
from reference_model.training.schedule import Budget


def test_a_spike_is_named_with_its_step_and_layer(tmp_path: Path) -> None:
    lines: list[dict[str, object]] = []
    log = Log(["first", "second"], "cpu", 1, Spent(steps=80), Budget(steps=100), lines.append)
    for number in range(20):
        odd = number == 12
        loss, norms = (9.0 if odd or number == 5 else 1.0), [1.0, 50.0 if odd else 1.0]
        log.add(Step(torch.tensor(loss), torch.tensor(norms), int(number != 5), 64, 0.1, 1e9))
    assert lines[0] == {"spike": 93, "loss": 9.0, "layer": "second", "gradient_times_median": 50.0}
    assert lines[1]["step"] == 100 and lines[1]["progress"] == 1.0
    assert log.spent.flops == 20e9


@pytest.mark.parametrize(
    ("loss", "norm", "message"),
    [
        (float("nan"), 1.0, "the loss is nan"),
        (3e4, 1.0, "the loss is 15000"),
        (1.0, float("inf"), "a gradient is no number"),
    ],
)
def test_what_is_no_number_is_not_saved(loss: float, norm: float, message: str) -> None:
    log = Log(["first"], "cpu", 1, Spent(steps=30), Budget(steps=100), lambda _: None)
    log.check()
    log.add(Step(torch.tensor(1.0), torch.tensor([1.0]), 1, 64, 0.1, 1e9))
    log.check()
    log.add(Step(torch.tensor(loss), torch.tensor([norm]), 1, 64, 0.1, 1e9))
    with pytest.raises(DivergedError, match=f"step 32: {message}"):
        log.check()
