"""The number of threads moves no bit of what the model makes, and is left as it was."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from reference_model.threads import apply_alone
from tests.reference_model.models import build_config, build_model, build_scene

THREADS = (1, 2, 3)


@pytest.fixture(autouse=True)
def _keep_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("rows", [1, 5, 6, 7, 11, 12])
def test_a_few_rows_are_the_same_bits(rows: int) -> None:
    generator = torch.Generator().manual_seed(rows)
    layer, given = nn.Linear(512, 4608), torch.randn(1, rows, 512, generator=generator)
    made: list[Tensor] = []
    for threads in THREADS:
        torch.set_num_threads(threads)
        made.append(apply_alone(layer, given).detach())
        assert torch.get_num_threads() == threads
    assert all(torch.equal(made[0], other) for other in made[1:])


@pytest.mark.parametrize("modulation", ["shared", "block"])
def test_a_model_s_few_rows_of_t_are_the_same_bits(modulation: str) -> None:
    config = build_config(modulation=modulation, width=256)
    model, scene = build_model(config, std=0.05), build_scene(config)
    made: list[Tensor] = []
    for threads in THREADS:
        torch.set_num_threads(threads)
        with torch.inference_mode():
            made.append(scene.run(model))
    assert made[0].abs().max() > 0.01
    assert all(torch.equal(made[0], other) for other in made[1:])


def test_the_number_of_threads_survives_an_error() -> None:
    torch.set_num_threads(2)
    with pytest.raises(RuntimeError):
        apply_alone(nn.Linear(3, 4), torch.zeros(2, 5))
    assert torch.get_num_threads() == 2


def test_gradients_pass() -> None:
    layer, rows = nn.Linear(3, 4), torch.ones(5, 3, requires_grad=True)
    apply_alone(layer, rows).sum().backward()
    assert rows.grad is not None and torch.equal(rows.grad, layer.weight.sum(0).expand(5, 3))
