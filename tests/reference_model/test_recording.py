"""CUDA graphs of a step and of a function, beside what they record."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

from reference_model.model import Kaleido
from reference_model.presets import smoke
from reference_model.recording import RecordedFunction
from reference_model.train import build_loss
from reference_model.training.gradients import Gradients
from reference_model.training.stepping import Loss, StepTensors, build_stepper


class Zeroed:
    """A stepper whose gradients are begun anew, and then added up over two calls."""

    def __init__(self, loss: Loss, gradients: Gradients, *, recorded: bool) -> None:
        self.gradients, self.stepper = gradients, build_stepper(loss, gradients, recorded=recorded)

    def __call__(self, tensors: StepTensors, references: int) -> torch.Tensor:
        self.gradients.zero()
        self.stepper(tensors, references)
        return self.stepper(tensors, references)


@pytest.mark.parametrize("layout", ["decoder-only", "encoder-decoder"])
def test_a_recorded_step_is_the_step(layout: str) -> None:
    """On CUDA the recording, of blocks that are not compiled; here the plain twin's promise: gradients are added to
    what is there. Without references too, where an encoder has no gradient.
    """
    preset = dataclasses.replace(smoke(), model=dataclasses.replace(smoke().model, layout=layout))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = Kaleido(preset.model).to(device)
    torch.nn.init.normal_(model.head.weight, std=0.1)
    weights, loss = list(model.parameters()), build_loss(model, preset)
    plain, stepper = (Zeroed(loss, Gradients(weights), recorded=recorded) for recorded in (False, device == "cuda"))
    generator = torch.Generator().manual_seed(0)

    def draw() -> StepTensors:
        tokens, noise = (torch.randn(2, 4, 16, 192, generator=generator).to(device) for _ in range(2))
        poses = torch.eye(4, device=device).repeat(2, 4, 1, 1)
        k = torch.tensor([[40.0, 0, 16], [0, 40, 16], [0, 0, 1]], device=device).expand(2, 4, 3, 3)
        t = torch.rand(2, generator=generator).to(device)
        return StepTensors(tokens, noise, t, poses, k, torch.zeros(2, 4, device=device), None)

    for references in (1, 2, 1, 0, 1, 0):
        step = draw()
        expected = plain(step, references)
        grads = [torch.zeros_like(w) if w.grad is None else w.grad.clone() for w in weights]
        assert torch.allclose(stepper(step, references), expected, rtol=1e-4)
        found = [torch.zeros_like(w) if w.grad is None else w.grad for w in weights]
        assert sum(float(g.abs().sum()) for g in grads) > 0
        for a, b in zip(grads, found, strict=True):
            assert torch.allclose(a, b, atol=2e-3 * float(a.abs().max()) + 1e-7)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs need a GPU")
def test_a_recorded_function_is_the_function() -> None:
    """At other values than it was recorded with; an answer is not overwritten by the next; other shapes are refused."""
    layer = nn.Linear(8, 8).cuda().requires_grad_(False)
    first, second = torch.randn(2, 4, 8, device="cuda").unbind(0)
    recorded = RecordedFunction(lambda x: layer(x).relu(), torch.zeros(4, 8, device="cuda"))
    answers = [recorded(x) for x in (first, second)]
    for answer, x in zip(answers, (first, second), strict=True):
        assert torch.allclose(answer, layer(x).relu())
    with pytest.raises(ValueError, match=r"recorded for \(4, 8\), called with \(5, 8\)"):
        recorded(torch.zeros(5, 8, device="cuda"))
