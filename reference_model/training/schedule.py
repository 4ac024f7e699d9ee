"""How much is trained, and what share of it has passed: stages and the learning rate follow that share."""

from __future__ import annotations

import math
from dataclasses import dataclass

from reference_model.config import Stage, TrainConfig


@dataclass(frozen=True)
class Budget:
    """One of three. Steps and FLOPs give the same run on every machine; minutes fill a machine's time.

    Minutes are of the whole run, preparing included (Spent.seconds_preparing: mostly compiling, which takes a minute
    however long the run is). The stages share what is left of them: a first stage of 7 % of ten minutes is not spent on
    compiling.
    """

    minutes: float | None = None
    steps: int | None = None
    flops: float | None = None  # model FLOPs, forward and backward

    def __post_init__(self) -> None:
        given = [value for value in (self.minutes, self.steps, self.flops) if value is not None]
        if len(given) != 1 or not 0 < given[0] < math.inf:
            raise ValueError(f"{self}: expected exactly one of minutes, steps or flops, above 0 and finite")

    def progress(self, seconds: float, steps: int, flops: float, seconds_preparing: float = 0.0) -> float:
        """The share of the budget that has passed: 0 at the start, 1 or more at its end. It never falls: more seconds
        of preparing leave less to share.
        """
        if self.steps is not None:
            return steps / self.steps
        if self.flops is not None:
            return flops / self.flops
        shared = 60 * (self.minutes or 1) - seconds_preparing
        return (seconds - seconds_preparing) / shared if shared > 0 else 1.0


def stage_at(stages: tuple[Stage, ...], progress: float) -> int:
    """Number of the stage in force after a share of the budget."""
    passed = 0.0
    for number, stage in enumerate(stages):
        passed += stage.share
        if progress < passed:
            return number
    return len(stages) - 1


def learning_rate(config: TrainConfig, progress: float, step: int) -> float:
    """Linear warm-up, flat, then linear to zero over the last `decay_share` of the budget. progress in [0, 1]."""
    warm = min(1.0, (step + 1) / max(config.warmup_steps, 1))
    cool = min(1.0, (1 - progress) / config.decay_share) if config.decay_share else 1.0
    return config.learning_rate * warm * max(cool, 0.0)
