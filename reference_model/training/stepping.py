"""A training step's forward and backward pass, launched kernel by kernel or recorded as a CUDA graph.

At width 512 a pass is some thousand kernels, and the host needs longer to launch them than the device to run them
(docs/log.md). `RecordedStepper` launches them once and replays them; its plain twin is `build_plain_stepper`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from reference_model.recording import warm_up
from reference_model.training.gradients import Accumulator, Gradients


class StepTensors(NamedTuple):
    """All that a step's loss is computed from, but for the weights."""

    tokens: Float[Tensor, "b v n channels"]  # clean, of all views
    noise: Float[Tensor, "b v n channels"]  # of which the targets' is used
    t: Float[Tensor, " b"]
    c2w: Float[Tensor, "b v 4 4"]
    intrinsics: Float[Tensor, "b v 3 3"]
    times: Float[Tensor, "b v"]
    features: Float[Tensor, "b reference n feature"] | None


Loss = Callable[[StepTensors, int], Float[Tensor, ""]]
"""Loss of a step with so many references."""

Stepper = Callable[[StepTensors, int], Float[Tensor, ""]]
"""The loss of a step (or a piece of one), its gradients added to what the parameters hold."""


def build_plain_stepper(loss: Loss, gradients: Accumulator) -> Stepper:
    def step_plainly(tensors: StepTensors, references: int) -> Tensor:
        gradients.attach()
        value = loss(tensors, references)
        value.backward()
        return value.detach()

    return step_plainly


class _Recording(NamedTuple):
    graph: torch.cuda.CUDAGraph
    tensors: StepTensors  # where a replay reads
    loss: Tensor  # where it writes, beside the gradients


class RecordedStepper:
    """A stepper on CUDA that records each number of references at its first step and replays it from then on.

    Gradients stay in one place for all recordings. Other shapes (another stage) forget what was recorded. The returned
    loss is a copy: it outlives the next step.
    """

    def __init__(self, loss: Loss, gradients: Gradients) -> None:
        self.loss, self.gradients = loss, gradients
        self.recordings: dict[int, _Recording] = {}
        self.shapes: list[torch.Size] = []

    def __call__(self, tensors: StepTensors, references: int) -> Tensor:
        shapes = [x.shape for x in tensors[:-1] if x is not None]
        if shapes != self.shapes:
            self.recordings.clear()
            self.shapes, self.pool = shapes, torch.cuda.graph_pool_handle()
        self.gradients.attach()
        if references not in self.recordings:
            self.recordings[references] = self._record(tensors, references)
        recording = self.recordings[references]
        for place, value in zip(recording.tensors, tensors, strict=True):
            if place is not None and value is not None:
                place.copy_(value)
        recording.graph.replay()
        return recording.loss.clone()

    def _record(self, tensors: StepTensors, references: int) -> _Recording:
        features = None if tensors.features is None else tensors.features.clone()
        tokens, noise, t, c2w, intrinsics, times = (x.clone() for x in tensors[:6])
        own = StepTensors(tokens, noise, t, c2w, intrinsics, times, features)
        before = self.gradients.flat.clone()
        warm_up(lambda: self.loss(own, references).backward(), 2)
        self.gradients.flat.copy_(before)
        graph = torch.cuda.CUDAGraph()
        # Worlds are drawn and copied on another thread meanwhile: its calls are no part of this.
        with torch.cuda.graph(graph, pool=self.pool, capture_error_mode="thread_local"):
            value = self.loss(own, references)
            value.backward()
        return _Recording(graph, own, value.detach())


def build_stepper(loss: Loss, gradients: Accumulator, *, recorded: bool) -> Stepper:
    """Recorded where it is asked for and possible: of sharded models each pass gathers the weights anew."""
    if recorded and isinstance(gradients, Gradients):
        return RecordedStepper(loss, gradients)
    return build_plain_stepper(loss, gradients)
