"""The weights that ship."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch

from reference_model.checkpoint import SHIPPED, find_checkpoint
from reference_model.config import drop_idle
from reference_model.held_out import HELD_OUT_SEED, Batch, nearest_reference, psnr, render_batch
from reference_model.inference import load_model, render_views
from reference_model.model import count_parameters
from reference_model.presets import PRESETS
from reference_model.sampler import Sampling

SHIPS = sorted(path.parent.name for path in SHIPPED.glob("*/card.json"))


def test_an_unknown_checkpoint_names_those_that_ship() -> None:
    with pytest.raises(FileNotFoundError, match="tiny"):
        find_checkpoint("huge")


@pytest.mark.parametrize("name", SHIPS)
def test_the_shipped_weights_are_small_and_say_where_they_come_from(name: str) -> None:
    sizes = [path.stat().st_size for path in find_checkpoint(name).glob("*.safetensors")]
    loaded = load_model(name)
    parameters = count_parameters(loaded.model)
    assert max(sizes) <= 16 * 2**20 and parameters <= 31_000_000
    assert 2 * parameters <= sum(sizes) < 2.01 * parameters  # in bfloat16, and nothing else
    assert loaded.training_data == ("reference_model.worlds",)
    assert drop_idle(loaded.preset.model) == drop_idle(PRESETS[name]().model)


@pytest.fixture(scope="module")
def held_out() -> Batch:
    """Two held-out worlds of eight views: what the shipped weights are judged on."""
    return render_batch(HELD_OUT_SEED + 1, 2, 8, 128, "cpu")


class Rendered(NamedTuple):
    """Of the last two views of each world."""

    predicted: torch.Tensor
    truth: torch.Tensor
    nearest: torch.Tensor


def render_held_out(name: str, held_out: Batch, references: int, steps: int = 1) -> Rendered:
    kept = [*range(references), 6, 7]
    batch = Batch(*(x[:, kept] for x in held_out))
    loaded = load_model(name)
    out = [
        render_views(
            loaded, batch.images[i, :references], batch.c2w[i, :references], batch.intrinsics[i, :references],
            batch.c2w[i, references:], batch.intrinsics[i, references:],
            sampling=Sampling(steps),
        )
        for i in range(2)
    ]  # fmt: skip
    return Rendered(torch.stack(out), batch.images[:, references:], nearest_reference(batch, references))


@pytest.fixture(scope="module")
def from_five(held_out: Batch) -> dict[str, Rendered]:
    """By the name of the weights."""
    return {name: render_held_out(name, held_out, 5) for name in SHIPS}


def score(rendered: Rendered) -> float:
    return float(psnr(rendered.predicted, rendered.truth).mean())


@pytest.mark.parametrize("name", SHIPS)
def test_the_shipped_weights_beat_the_nearest_view_on_worlds_they_never_saw(
    from_five: dict[str, Rendered], name: str
) -> None:
    found = from_five[name]
    gain = score(found) - float(psnr(found.nearest, found.truth).mean())
    assert gain > 2.0, f"kaleido@{name} is {gain:.2f} dB from the nearest view"


def test_the_default_is_the_best_that_ships(from_five: dict[str, Rendered]) -> None:
    default = inspect.signature(load_model).parameters["variant"].default
    assert max(from_five, key=lambda name: score(from_five[name])) == default


@pytest.mark.parametrize("name", SHIPS)
def test_more_references_help(held_out: Batch, from_five: dict[str, Rendered], name: str) -> None:
    assert score(from_five[name]) > score(render_held_out(name, held_out, 1)) + 0.5


def test_rendering_does_not_depend_on_the_world_frame_or_its_unit(held_out: Batch) -> None:
    loaded = load_model("tiny")
    batch = Batch(*(x[1:, :4] for x in held_out))
    frame = torch.tensor([[0.0, -1, 0, 5], [1, 0, 0, -3], [0, 0, 1, 2], [0, 0, 0, 1]])
    moved = frame @ batch.c2w[0]
    moved[:, :3, 3] *= 40.0
    both = [
        render_views(loaded, batch.images[0, :3], c[:3], batch.intrinsics[0, :3], c[3:], batch.intrinsics[0, 3:])
        for c in (batch.c2w[0], moved)
    ]
    assert (both[0] - both[1]).abs().max() < 2e-3


def test_images_of_another_size_are_refused() -> None:
    loaded = load_model("tiny")
    with pytest.raises(ValueError, match="128x128"):
        render_views(loaded, torch.rand(1, 3, 64, 64), *(torch.eye(n)[None] for n in (4, 3, 4, 3)))


@pytest.mark.parametrize("name", SHIPS)
def test_the_shipped_model_renders_what_it_rendered(held_out: Batch, name: str) -> None:
    """When this fails and the change is meant: raise CODE_VERSION in kaleido_bench/predict/adapters/kaleido.py, or old
    predictions will be taken for new ones; then write the golden file again with what the message prints.
    """
    golden = Path(__file__).parents[1] / "golden" / f"kaleido_{name}.npy"
    rendered = render_held_out(name, held_out, 3, steps=2)
    small = torch.nn.functional.avg_pool2d(rendered.predicted.flatten(0, 1), 16).numpy()
    if not golden.exists():
        np.save(golden, small)
        pytest.fail(f"{golden} was missing and has been written: look at it, then commit it")
    np.testing.assert_allclose(small, np.load(golden), atol=2e-3)
