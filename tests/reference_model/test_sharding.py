"""Two processes with half of a model each (FSDP2; gloo on the processor) against one process with all of it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch import Tensor

from reference_model.config import ModelConfig
from reference_model.model import Kaleido
from reference_model.optim import build_optimizers, orthogonalise
from reference_model.overflow import find_overflow
from reference_model.presets import smoke
from reference_model.training.parallel import Team
from reference_model.training.sharded_muon import build_sharded_optimizers, orthogonalise_shared
from reference_model.training.sharding import (
    ShardedGradients,
    build_average,
    build_mesh,
    gather,
    gather_weights,
    local_parts,
    rows_of,
    scatter,
    shard_model,
    wrap_blocks,
)
from tests.reference_model.models import Scene, build_config, build_model, build_scene

PROCESSES, PIECES, STEPS, DECAY, LIMIT = 2, 4, 3, 0.7, 0.5
TRAIN = smoke().train
MATRICES = ((5, 3, 4), (1, 4, 2), (6, 1, 8), (4, 4, 4))  # rows, columns, how many: rows and matrices that do not divide


def design() -> ModelConfig:
    """Everything that is a parameter somewhere; one register, of which the second process has no row."""
    return build_config(
        registers=1, kv_heads=1, pose="prope", time_channels=4, feature_channels=6, position="learned", window=2
    )


def scene_of(piece: int, step: int) -> Scene:
    """A piece of a step; of the last step without references, so that some weights have no gradient."""
    scene = build_scene(design(), torch.float32, scenes=2, seed=1 + 10 * step + piece)
    if step < STEPS - 1:
        return scene
    return scene.with_views(references=0)._replace(features=None)


def loss_of(model: Kaleido, scene: Scene) -> Tensor:
    return (model(*scene) - scene.tokens[:, scene.views.references :]).square().mean()


def draw_matrices(rows: int, columns: int, count: int) -> Tensor:
    return torch.randn(count, rows, columns, generator=torch.Generator().manual_seed(rows))


class Trained(NamedTuple):
    losses: list[Tensor]
    norms: list[Tensor]  # one a parameter and step
    tensors: dict[str, Tensor]  # weights, running average and optimizer state


def train_share(rank: int, *, recomputed: bool) -> Trained:
    model, mesh = build_model(design(), torch.float32), build_mesh("cpu")
    wrap_blocks(model, compiled=False, recomputed=recomputed)
    shard_model(model, mesh, mixed=False)
    average = build_average(model, mesh)
    weights, running = list(model.parameters()), local_parts(average.parameters())
    optimizers, gradients = build_sharded_optimizers(model, TRAIN), ShardedGradients(weights)
    team, losses, norms = Team(rank, PROCESSES, "cpu"), [], []
    for step in range(STEPS):
        gradients.zero()
        own = [loss_of(model, scene_of(piece, step)) for piece in team.take_pieces(PIECES)]
        for loss in own:
            loss.backward()
        gradients.average(team, PIECES)
        norms.append(gradients.clip(LIMIT))
        for optimizer in optimizers:
            optimizer.step()
        torch._foreach_lerp_(running, local_parts(weights), 1 - DECAY)
        losses.append(torch.stack(own).detach())
    tensors = {f"model.{name}": whole.clone() for name, whole in gather_weights(model)}
    tensors |= {f"average.{name}": whole.clone() for name, whole in gather_weights(average)}
    return Trained(losses, norms, tensors | dict(gather(name_states(optimizers))))


def train_whole() -> Trained:
    model = build_model(design(), torch.float32)
    weights, running = list(model.parameters()), [p.detach().clone() for p in model.parameters()]
    optimizers = build_optimizers(model, TRAIN)
    losses, norms = [], []
    for step in range(STEPS):
        model.zero_grad(set_to_none=True)
        each = torch.stack([loss_of(model, scene_of(piece, step)) for piece in range(PIECES)])
        each.mean().backward()
        norms.append(torch.stack([torch.zeros(()) if p.grad is None else p.grad.norm() for p in weights]))
        torch.nn.utils.clip_grad_norm_(weights, LIMIT)
        for optimizer in optimizers:
            optimizer.step()
        torch._foreach_lerp_(running, [p.detach() for p in weights], 1 - DECAY)
        losses.append(each.detach())
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    names = [name for name, _ in model.named_parameters()]
    tensors |= {f"average.{name}": tensor for name, tensor in zip(names, running, strict=True)}
    return Trained(losses, norms, tensors | dict(name_states(optimizers)))


def name_states(optimizers: list[torch.optim.Optimizer]) -> list[tuple[str, Tensor]]:
    return [
        (f"optimizer.{i}.{number}.{key}", value)
        for i, optimizer in enumerate(optimizers)
        for number, state in sorted(optimizer.state_dict()["state"].items())
        for key, value in state.items()
    ]


def complaint(call: Callable[[], object]) -> str:
    try:
        call()
    except ValueError as error:
        return str(error)
    return "none"


def try_average(model: Kaleido, average: Kaleido, scene: Scene) -> dict[str, Tensor]:
    """The running average as sampling uses it: `denoise` beside kept references, before and after a change."""
    views, count = scene.views, scene.tokens.shape[1]
    found = {}
    with torch.inference_mode():
        for label in ("before", "after"):
            kept = average.encode_references(
                scene.clean, views.take(0, views.references, views.references), scene.features
            )
            found[f"cached.{label}"] = average.denoise(
                scene.noised, scene.t, views.take(views.references, count, 0), kept
            )
            found[f"whole.{label}"] = average(*scene)
            torch._foreach_mul_(local_parts(average.parameters()), 0.5)
    found["model"] = model(*scene).detach()
    return found


def try_autocast(rank: int) -> dict[str, Tensor]:
    """The gradients of a step whose weights are gathered in bfloat16."""
    model, mesh = build_model(design(), torch.float32), build_mesh("cpu")
    shard_model(model, mesh, mixed=True)
    with torch.autocast("cpu", torch.bfloat16):
        loss = loss_of(model, scene_of(rank, 0))
    loss.backward()
    named = [(name, p.grad) for name, p in model.named_parameters() if p.grad is not None]
    return {"loss": loss.detach(), **{f"grad.{name}": whole for name, whole in gather(named)}}


def try_loading() -> list[str]:
    """Round trip through whole tensors, and what is said of others."""
    model, mesh = build_model(design(), torch.float32), build_mesh("cpu")
    whole = {name: torch.full_like(tensor, i) for i, (name, tensor) in enumerate(model.state_dict().items())}
    shard_model(model, mesh, mixed=False)
    for name, own in model.state_dict().items():
        scatter(own, whole[name].double())
    same = all(torch.equal(tensor, whole[name]) for name, tensor in gather_weights(model))
    first = next(iter(whole))
    if mesh.get_local_rank() == 1:
        local_parts([model.head.weight])[0][-1] = torch.nan  # in rows that the first process does not have
    overflow = find_overflow(model, lambda: None)
    return [
        f"same: {same}",
        complaint(lambda: scatter(model.state_dict()[first], torch.zeros(1))),
        str(overflow),
        complaint(lambda: shard_model(Kaleido(build_config(layout="encoder-decoder")), mesh, mixed=False)),
    ]


def work(rank: int, folder: Path) -> None:
    """One of the two processes."""
    warnings.simplefilter("error", UserWarning)
    torch.set_num_threads(1)
    store = f"file://{folder / 'store'}"
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=PROCESSES, timeout=timedelta(seconds=120))
    out: dict[str, Tensor] = {}
    for rows, columns, count in MATRICES:
        own = draw_matrices(rows, columns, count)[:, rows_of(rows, PROCESSES, rank)]
        done = orthogonalise_shared(list(own), rows, dist.group.WORLD)
        out[f"matrices.{rows}"] = torch.stack(done).contiguous()
    for label, recomputed in (("kept", False), ("recomputed", True)):
        losses, norms, tensors = train_share(rank, recomputed=recomputed)
        out |= {f"{label}.losses": torch.stack(losses), f"{label}.norms": torch.stack(norms)}
        out |= {f"{label}.{name}": tensor.contiguous() for name, tensor in tensors.items()}
    model, mesh = build_model(design(), torch.float32), build_mesh("cpu")
    shard_model(model, mesh, mixed=False)
    found = try_average(model, build_average(model, mesh), scene_of(0, 0))
    out |= {f"average.{name}": tensor.contiguous() for name, tensor in found.items()}
    out |= {f"autocast.{name}": tensor.contiguous() for name, tensor in try_autocast(rank).items()}
    (folder / f"{rank}.txt").write_text("\n".join(try_loading()))
    save_file({name: tensor.clone() for name, tensor in out.items()}, folder / f"{rank}.safetensors")
    dist.destroy_process_group()


class Found(NamedTuple):
    tensors: list[dict[str, Tensor]]  # of each process
    said: list[list[str]]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    folder = tmp_path_factory.mktemp("sharded")
    torch.multiprocessing.spawn(work, (folder,), nprocs=PROCESSES)
    return Found(
        [load_file(folder / f"{rank}.safetensors") for rank in range(PROCESSES)],
        [(folder / f"{rank}.txt").read_text().splitlines() for rank in range(PROCESSES)],
    )


@pytest.fixture(scope="module")
def whole() -> Trained:
    return train_whole()


@pytest.mark.parametrize(("rows", "processes"), [(8, 2), (5, 2), (1, 3), (7, 4), (0, 2)])
def test_rows_are_dealt_out_as_torch_chunks_them(rows: int, processes: int) -> None:
    every = torch.arange(rows)
    parts = [every[rows_of(rows, processes, rank)] for rank in range(processes)]
    assert torch.equal(torch.cat(parts), every)
    for part, chunk in zip(parts, every.chunk(processes), strict=False):
        assert torch.equal(part, chunk)


@pytest.mark.parametrize(("rows", "columns", "count"), MATRICES)
def test_shared_matrices_are_orthogonalised_as_whole_ones(found: Found, rows: int, columns: int, count: int) -> None:
    parts = [tensors[f"matrices.{rows}"] for tensors in found.tensors]
    expected = orthogonalise(draw_matrices(rows, columns, count))
    torch.testing.assert_close(torch.cat(parts, 1), expected, atol=2e-2, rtol=0)  # bfloat16


def difference(found: Tensor, expected: Tensor, start: Tensor | float = 0.0) -> float:
    """As a share of how far the expected one has moved from where it was."""
    assert found.shape == expected.shape
    moved = float((expected - start).norm())
    return float((found - expected).norm()) / moved if moved else float((found - expected).norm())


@pytest.mark.parametrize("label", ["kept", "recomputed"])
def test_sharded_training_is_training(found: Found, whole: Trained, label: str) -> None:
    """Weights, running average and optimizer state have the names, shapes and values of one process with the scenes of
    both; losses are each process' own; norms are those of all. A sum in another order moves some entries to the next
    bfloat16 number, which Muon's quintic enlarges: its matrices agree to hundredths of how far they have moved.
    """
    start = {f"model.{name}": tensor for name, tensor in build_model(design(), torch.float32).state_dict().items()}
    start |= {name.replace("model.", "average."): tensor for name, tensor in start.items()}
    for rank, tensors in enumerate(found.tensors):
        own = {name.removeprefix(f"{label}."): tensor for name, tensor in tensors.items() if name.startswith(label)}
        losses, norms = own.pop("losses"), own.pop("norms")
        share = Team(rank, PROCESSES, "cpu").take_pieces(PIECES)
        torch.testing.assert_close(losses, torch.stack(whole.losses)[:, list(share)], rtol=1e-5, atol=0)
        torch.testing.assert_close(norms, torch.stack(whole.norms), rtol=1e-4, atol=1e-6)
        assert own.keys() == whole.tensors.keys()
        for name, tensor in whole.tensors.items():
            muons = name in start and ".blocks." in name and name.endswith(".weight")
            assert difference(own[name], tensor, start.get(name, 0.0)) < (0.04 if muons else 1e-3), name
    still = [name for name, tensor in start.items() if torch.equal(whole.tensors[name], tensor)]
    assert not still  # or the comparison would say little


def test_an_average_serves_sampling_and_does_not_go_stale(found: Found) -> None:
    for tensors in found.tensors:
        for label in ("before", "after"):
            cached, both = tensors[f"average.cached.{label}"], tensors[f"average.whole.{label}"]
            torch.testing.assert_close(cached, both, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(tensors["average.whole.before"], tensors["average.model"], rtol=1e-5, atol=1e-6)
        assert not torch.allclose(tensors["average.whole.before"], tensors["average.whole.after"], rtol=0.1)


def test_bfloat16_is_gathered_and_float32_kept(found: Found) -> None:
    """Under autocast a layer rounds its weights anyway: gathering them rounded changes the gradients by the rounding of
    what is left (gains, offsets), and they arrive in float32.
    """
    model = build_model(design(), torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        losses = torch.stack([loss_of(model, scene_of(piece, 0)) for piece in range(PROCESSES)])
    losses.mean().backward()
    for rank, tensors in enumerate(found.tensors):
        torch.testing.assert_close(tensors["autocast.loss"], losses[rank], rtol=1e-2, atol=0)
        for name, parameter in model.named_parameters():
            grad = tensors[f"autocast.grad.{name}"]
            assert grad.dtype == torch.float32 and parameter.grad is not None
            error = (grad - parameter.grad).norm() / parameter.grad.norm()
            assert error < 0.05, f"{name}: {error}"


def test_weights_are_read_tensor_by_tensor_and_mistakes_named(found: Found) -> None:
    for same, shape, overflow, layout in found.said:
        assert same == "same: True"
        assert "found shape (1,), expected (" in shape
        assert "weights of head.weight" in overflow  # all processes see it, and none runs on alone
        assert layout.startswith("an encoder-decoder cannot be sharded; expected layout decoder-only")
