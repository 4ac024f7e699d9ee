"""What a run takes at the least: counted, against what it then holds."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from reference_model.config import Preset
from reference_model.presets import PRESETS, smoke
from reference_model.train import Loop, Run, build_trained, train
from reference_model.training import cost
from reference_model.training.parallel import Team
from reference_model.training.resuming import name_tensors
from reference_model.training.schedule import Budget
from reference_model.training.settings import override
from reference_model.training.steps import WorldSource


def test_what_is_counted_is_what_a_run_holds(worlds: WorldSource, tmp_path_factory: pytest.TempPathFactory) -> None:
    """After a step: the state on disk, less each parameter's count of steps, and the gradients."""
    preset, team = override(smoke(), ["model.registers=2"]), Team(0, 1, "cpu")
    run = Run(tmp_path_factory.mktemp("run"), Budget(steps=4))
    loop = Loop(preset, worlds, run, team, build_trained(preset, run, team))
    made = [loop.step(n, n / 4, loop.fetch(n, n / 4)) for n in range(4)]
    counted = cost.count_cost(preset)
    tensors = [tensor for name, tensor in name_tensors(loop.trained) if not name.endswith(".step")]
    tensors += [p.grad for p in loop.trained.model.parameters() if p.grad is not None]
    assert sum(tensor.numel() * tensor.element_size() for tensor in tensors) == counted.held
    assert {counted.least, counted.most} >= {min(s.flops for s in made), max(s.flops for s in made)}


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_every_preset_is_counted_and_costs_more_the_larger_its_step(name: str) -> None:
    preset = PRESETS[name]()
    found = cost.count_cost(preset)
    assert 4 * 4 * found.parameters <= found.held <= 5 * 4 * found.parameters
    assert 0 < found.least <= found.most


def with_sharding(sharded: bool) -> Preset:
    return override(smoke(), ["train.pieces=2", f"train.sharded={str(sharded).lower()}"])


@pytest.mark.parametrize(
    ("sharded", "device", "processes", "room"),
    [
        (False, "cpu", 1, 1.0),
        (False, "cpu", 2, 2.0),
        (True, "cpu", 2, 1.0),
        (True, "cuda:1", 2, 0.5),
        (False, "cuda:1", 2, 1.0),
    ],
)
def test_what_does_not_fit_is_refused_and_what_fits_is_not(
    monkeypatch: pytest.MonkeyPatch, sharded: bool, device: str, processes: int, room: float
) -> None:
    """`room`: in models, what so many processes need, each of a GPU's or all of one machine's."""
    preset = with_sharding(sharded)
    held = cost.count_cost(preset).held
    monkeypatch.setattr(cost, "find_memory", lambda _: int(room * held) + 1)
    cost.check_memory(preset, device, processes)
    monkeypatch.setattr(cost, "find_memory", lambda _: int(room * held) - 1)
    with pytest.raises(ValueError, match=f"186,944 parameters on {device}: .* GiB, of which there are .*; expected"):
        cost.check_memory(preset, device, processes)
    monkeypatch.setattr(cost, "find_memory", lambda _: None)
    cost.check_memory(preset, device, processes)


def test_a_run_is_refused_before_anything_is_built(
    monkeypatch: pytest.MonkeyPatch, worlds: WorldSource, tmp_path: Path
) -> None:
    monkeypatch.setattr(cost, "find_memory", lambda _: 2**20)
    with pytest.raises(ValueError, match=r"of which there are 0\.0"):
        train(smoke(), worlds, Run(tmp_path / "run", Budget(steps=1)))
    assert not (tmp_path / "run").exists()


def test_memory_and_rate_are_of_this_machine() -> None:
    memory = cost.find_memory("cpu")
    assert memory is None or memory > 2**28
    assert cost.time_products() > 1e8 and torch.get_default_dtype() == torch.float32
