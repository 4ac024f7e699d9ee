"""How long a study takes before it is begun: the queue of `workers.work_off`, with what runs cost beside training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from reference_model.studies.runs import Run
from reference_model.studies.workers import choose_next


class Costs(NamedTuple):
    """Seconds of a run beside its model FLOPs. On four H200s a process' first run took 80 s more than its FLOPs, 45 of
    them until its blocks were compiled, and each later one of the same code 7 to 10 (docs/log.md, 2026-11-22, 15).
    What it costs to compile a further design in a process that runs, and each further resolution, is supposed.
    """

    tflops: float = 200.0
    process: float = 28.0  # once a process: imports, photographs, kernels, the first scores
    run: float = 8.0  # every time: building, recording, weights, scores
    compile: float = 45.0  # a design that no run before it had
    stage: float = 20.0  # each further resolution of such a design

    def eager(self) -> Costs:
        """Nothing is compiled; recording each resolution remains."""
        return self._replace(compile=0.0, stage=4.0)


class Slot(NamedTuple):
    """A run on a device."""

    run: Run
    device: str
    begin: float
    end: float


def estimate_run(run: Run, flops: float, costs: Costs, *, fresh: bool, known: bool) -> float:
    """Seconds. fresh: the first of its process; known: some run has compiled its code."""
    sizes = len({stage.image_size for stage in run.preset.train.stages})
    never = run.preset.model.layout == "encoder-decoder"  # train.compile_blocks
    first = 0.0 if known or never else costs.compile + costs.stage * (sizes - 1)
    return flops / (costs.tflops * 1e12) + costs.run + first + (costs.process if fresh else 0.0)


def estimate_queue(runs: Sequence[Run], devices: Sequence[str], flops: float, costs: Costs) -> list[Slot]:
    """When each run would begin and end, in the order of their beginnings."""
    pending, slots, known = list(runs), list[Slot](), set[str]()
    free = dict.fromkeys(devices, 0.0)
    while pending:
        device = min(free, key=lambda name: free[name])
        now = free[device]
        known |= {slot.run.graph for slot in slots if slot.end <= now}
        run = choose_next(pending, [slot.run for slot in slots if slot.end > now], known)
        pending.remove(run)
        fresh = all(slot.device != device for slot in slots)
        seconds = estimate_run(run, flops, costs, fresh=fresh, known=run.graph in known)
        slots.append(Slot(run, device, now, now + seconds))
        free[device] = now + seconds
    return slots
