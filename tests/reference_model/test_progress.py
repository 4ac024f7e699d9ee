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
        (3e4, 1.0, "the loss is 30000"),
        (1.0, float("inf"), "the gradient of first is no number"),
        (1e3, float("nan"), "the gradient of first is no number"),
    ],
)
def test_what_is_no_number_is_not_saved(loss: float, norm: float, message: str) -> None:
    log = Log(["first"], "cpu", 1, Spent(steps=30), Budget(steps=100), lambda _: None)
    log.check()
    log.add(Step(torch.tensor(1.0), torch.tensor([1.0]), 1, 64, 0.1, 1e9))
    log.check()
    log.add(Step(torch.tensor(loss), torch.tensor([norm]), 1, 64, 0.1, 1e9))
    log.add(Step(torch.tensor(1.0), torch.tensor([1.0]), 1, 64, 0.1, 1e9))
    with pytest.raises(DivergedError, match=f"step 32: {message}") as raised:
        log.check()
    assert raised.value.step == 31


def test_preparing_is_no_part_of_a_stage_s_share(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten minutes of which one went into compiling: the stages share nine, and the run still ends after ten."""
    clock = [100.0]
    monkeypatch.setattr("reference_model.training.progress.time.monotonic", lambda: clock[0])
    lines: list[dict[str, object]] = []
    log = Log(["first"], "cpu", 1, Spent(), Budget(minutes=10), lines.append)
    clock[0] += 60
    log.set_apart(60)
    log.add(Step(torch.tensor(1.0), torch.tensor([1.0]), 1, 64, 0.1, 1e9))
    assert log.progress == 0 and log.now.seconds == 60 == log.now.seconds_preparing
    clock[0] += 54
    assert log.progress == pytest.approx(0.1)
    resumed = Log(["first"], "cpu", 1, log.now, Budget(minutes=10), lines.append)
    assert resumed.progress == pytest.approx(0.1)
    clock[0] += 60
    resumed.set_apart(60)  # compiled once more
    assert resumed.progress == pytest.approx(54 / 480)
    clock[0] = 100 + 600
    assert resumed.progress == pytest.approx(1)
    assert Budget(minutes=1).progress(70, 1, 0, 70) == 1  # nothing is left to share: one step, and done
