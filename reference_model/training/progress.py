"""What a run says while it trains: a line each 100 steps with the loss, the rate, the share of the device's peak and
the time left; a spike of the loss with its step and the layer whose gradient leapt; the end of a run that diverged.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from reference_model.flops import peak_flops
from reference_model.training.schedule import Budget

EVERY = 100  # steps
SPIKE = 4.0  # times the median loss of its line
DIVERGED = 1e4

Report = Callable[[dict[str, object]], None]
"""Takes what is to be said, as fields."""


def write_line(fields: dict[str, object]) -> None:
    """One JSON line on standard output."""
    print(json.dumps(fields), flush=True)  # noqa: T201


class DivergedError(RuntimeError):
    """The loss is no number, or out of all proportion, or a gradient is no number.

    Attributes:
        step: since which step, by the number that the loop knows it by: from 0.
        progress: the share of the budget that had passed when it was drawn.
    """

    def __init__(self, message: str, step: int, progress: float) -> None:
        super().__init__(message)
        self.step, self.progress = step, progress


class Spent(NamedTuple):
    """By a run since its beginning, over all its calls."""

    seconds: float = 0.0
    steps: int = 0
    flops: float = 0.0  # model FLOPs of all processes
    seconds_preparing: float = 0.0  # among the seconds: of steps for which something was compiled, recorded or opened


class Step(NamedTuple):
    """One step, as the log takes it: tensors are not read before a line is due."""

    loss: Float[Tensor, ""]
    norms: Float[Tensor, " parameter"]  # of the gradients
    references: int
    size: int  # of the images
    rate: float
    flops: float
    progress: float = 0.0  # the share of the budget that had passed when it was drawn


class Log:
    def __init__(
        self, names: Sequence[str], device: str, processes: int, before: Spent, budget: Budget, report: Report
    ) -> None:
        self.names, self.processes, self.spent, self.budget, self.report = names, processes, before, budget, report
        self.begun = time.monotonic() - before.seconds
        self.marked, self.marked_at = before, time.monotonic()
        self.peak = peak_flops(torch.cuda.get_device_name(device)) if device.startswith("cuda") else None
        self.kept: list[Step] = []

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.begun

    @property
    def now(self) -> Spent:
        return self.spent._replace(seconds=self.seconds)

    @property
    def progress(self) -> float:
        """The share of the budget that has passed."""
        return self.budget.progress(*self.now)

    def set_apart(self, seconds: float) -> None:
        """So many of the seconds that have passed went into preparing: they are no part of a stage's share."""
        self.spent = self.spent._replace(seconds_preparing=self.spent.seconds_preparing + seconds)

    def add(self, step: Step) -> None:
        """Raises DivergedError."""
        self.kept.append(step)
        steps, flops = self.spent.steps + 1, self.spent.flops + step.flops
        self.spent = self.spent._replace(seconds=self.seconds, steps=steps, flops=flops)
        if self.spent.steps % EVERY and self.spent.steps not in (1, 20):
            return
        losses = torch.stack([kept.loss for kept in self.kept]).cpu()  # waits for the device
        self.spent = self.now
        self.name_spikes(losses)
        self.judge(losses)
        self.say(losses.mean().item(), step, self.progress)
        self.kept, self.marked, self.marked_at = [], self.spent, time.monotonic()

    def check(self) -> None:
        """Before weights are written over good ones: `judge` of the steps since the last line. Waits for the device."""
        if self.kept:
            self.judge(torch.stack([kept.loss for kept in self.kept]).cpu())

    def judge(self, losses: Float[Tensor, " step"]) -> None:
        """Raises DivergedError, naming the first of the kept steps whose loss or gradient is no number; or, where all
        are numbers and the losses' mean is out of all proportion, the first whose loss is.
        """
        finite = torch.stack([kept.norms.isfinite().all() for kept in self.kept]).cpu()
        wrong = ~(losses.isfinite() & finite)
        if not wrong.any() and not losses.mean() < DIVERGED:
            wrong = losses >= DIVERGED
        if not wrong.any():
            return
        first = int(wrong.int().argmax())
        step, loss = self.kept[first], losses[first].item()
        number = self.spent.steps - len(self.kept) + first
        if loss < DIVERGED:
            found = f"the gradient of {self.names[int((~step.norms.isfinite()).int().argmax())]} is no number"
        else:
            found = f"the loss is {loss:g}"
        raise DivergedError(
            f"step {number + 1}: {found}; lower the learning rate or the clipping norm", number, step.progress
        )

    def name_spikes(self, losses: Float[Tensor, " step"]) -> None:
        """Report steps whose loss stands out of their line, each with the weight whose gradient leapt the most. Steps
        without references always stand out.
        """
        guided = torch.tensor([kept.references > 0 for kept in self.kept])
        if not guided.any():
            return
        spikes = (losses > SPIKE * losses[guided].nanmedian()) & guided & losses.isfinite()
        for i in spikes.nonzero().flatten().tolist():
            norms = torch.stack([kept.norms for kept in self.kept]).cpu()
            leap = norms[i] / norms.nanmedian(0).values.clamp(min=1e-12)
            worst = int(leap.argmax())
            first = self.spent.steps - len(self.kept) + 1
            self.report({
                "spike": first + i, "loss": losses[i].item(),
                "layer": self.names[worst], "gradient_times_median": round(leap[worst].item(), 1),
            })  # fmt: skip

    def say(self, loss: float, step: Step, progress: float) -> None:
        passed = max(time.monotonic() - self.marked_at, 1e-9)
        training = self.spent.seconds - self.spent.seconds_preparing
        rate = (self.spent.flops - self.marked.flops) / passed / self.processes  # of one device
        line: dict[str, Any] = {
            "step": self.spent.steps, "progress": round(progress, 4), "seconds": round(self.spent.seconds, 1),
            "eta_s": round(training * (1 - progress) / progress) if progress > 0 else None,
            "size": step.size, "loss": round(loss, 5), "lr": round(step.rate, 6),
            "steps_per_s": round((self.spent.steps - self.marked.steps) / passed, 2), "tflops": round(rate / 1e12, 1),
            "mfu": round(rate / self.peak, 3) if self.peak else None,
        }  # fmt: skip
        self.report(line)


def write_to_tensorboard(folder: str, report: Report) -> Report:
    """Every number of every line also to TensorBoard. Raises ValueError where it is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ValueError("--tensorboard needs the package tensorboard: pip install tensorboard") from error
    writer = SummaryWriter(folder)

    def say(fields: dict[str, object]) -> None:
        report(fields)
        step = fields.get("step")
        if isinstance(step, int):
            for name, value in fields.items():
                if isinstance(value, int | float) and name != "step":
                    writer.add_scalar(name, value, step)
            writer.flush()

    return say
