"""The adapter around a stand-in for the reference model, which needs no weights, and its geometry by reprojection."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from kaleido_bench.data.cameras import Camera, Cameras, project, stack_cameras, unstack_cameras
from kaleido_bench.errors import BenchError
from kaleido_bench.predict.adapters import ReferenceViews, TargetCameras, build_adapter, resolve_model
from kaleido_bench.predict.adapters.kaleido import Kaleido, Square, build, read_steps
from reference_model import inference
from reference_model.checkpoint import write_checkpoint
from reference_model.config import smoke
from reference_model.model import Kaleido as ReferenceModel


class StandIn(NamedTuple):
    """What the adapter reads of a loaded model."""

    image_size: int = 16
    weights_sha256: str = "0" * 64
    training_data: tuple[str, ...] = ("worlds",)
    model: torch.nn.Module = torch.nn.Linear(3, 2)


def camera(width: int, height: int, x: float = 0.0) -> Camera:
    c2w = np.eye(4)
    c2w[0, 3] = x
    return Camera(c2w, np.array([[20.0, 0, width / 2 + 1], [0, 22.0, height / 2 - 2], [0, 0, 1]]), width, height)


def gradient(width: int, height: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 255 // width, y * 255 // height, np.full_like(x, 77)], axis=-1).astype(np.uint8)


def request(width: int, height: int) -> tuple[ReferenceViews, TargetCameras]:
    references = stack_cameras([camera(width, height), camera(width, height, 1.0)])
    images = np.stack([gradient(width, height), 255 - gradient(width, height)])
    targets = stack_cameras([camera(width, height, x) for x in (0.2, 0.4, 0.6)])
    return ReferenceViews(("a", "b"), images, references), TargetCameras("case", ("x", "y", "z"), targets)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Replaces the renderer by one that answers with the first reference, and records what it was given."""
    recorded: list[dict[str, Any]] = []

    def render_views(
        model: StandIn, images: torch.Tensor, *cameras: torch.Tensor, steps: int, seed: int
    ) -> torch.Tensor:
        names = ("reference_c2w", "reference_K", "target_c2w", "target_K")
        recorded.append({"images": images, **dict(zip(names, cameras, strict=True)), "steps": steps, "seed": seed})
        return images[:1].repeat(cameras[2].shape[0], 1, 1, 1)

    monkeypatch.setattr(inference, "render_views", render_views)
    return recorded


@pytest.mark.parametrize(("width", "height"), [(16, 16), (48, 48), (48, 30), (29, 47), (8, 8)])
def test_a_smooth_image_survives_the_way_there_and_back(calls: list[dict[str, Any]], width: int, height: int) -> None:
    references, targets = request(width, height)
    predicted = Kaleido("tiny", StandIn(), 4).predict(references, targets, np.random.default_rng(5))  # type: ignore[arg-type]
    assert predicted.shape == (3, height, width, 3)
    assert predicted.dtype == np.uint8
    margin = 4 if max(width, height) > 16 else 0
    inside = (slice(margin, height - margin), slice(margin, width - margin))
    difference = np.abs(predicted[0][inside].astype(int) - references.images[0][inside].astype(int))
    assert difference.max() <= (8 if max(width, height) > 16 else 18 if width == 8 else 0)


def test_the_model_gets_squares_of_its_size_in_its_range_and_the_seed_of_the_generator(
    calls: list[dict[str, Any]],
) -> None:
    references, targets = request(48, 30)
    adapter = Kaleido("tiny", StandIn(), 4)  # type: ignore[arg-type]
    adapter.predict(references, targets, np.random.default_rng(5))
    adapter.predict(references, targets, np.random.default_rng(5))
    adapter.predict(references, targets, np.random.default_rng(6))
    first, again, other = calls
    assert first["images"].shape == (2, 3, 16, 16)
    assert first["images"].dtype == torch.float32
    assert float(first["images"].min()) >= 0 and float(first["images"].max()) <= 1
    assert first["steps"] == 4
    assert first["seed"] == again["seed"] != other["seed"]
    torch.testing.assert_close(first["target_c2w"].numpy(), targets.cameras.c2w, rtol=0, atol=0)


@pytest.mark.parametrize(("width", "height"), [(48, 30), (29, 47), (16, 16), (10, 10)])
def test_K_moves_with_the_pixels(width: int, height: int) -> None:
    """A point is seen at the same relative place of the square as of the image."""
    before = camera(width, height)
    square = Square(width, height, 16)
    moved = unstack_cameras(square.move_cameras(stack_cameras([before])))[0]
    points = np.random.default_rng(0).normal(loc=(0, 0, 6), size=(20, 3))
    expected = project(before, points).pixels * [16 / width, 16 / height]
    np.testing.assert_allclose(project(moved, points).pixels, expected, rtol=0, atol=1e-9)
    assert (moved.width, moved.height) == (16, 16)


def test_the_card_names_weights_settings_and_training_data() -> None:
    card = Kaleido("tiny", StandIn(), 4).describe()  # type: ignore[arg-type]
    assert (card.name, card.variant, card.weights_sha256, card.training_data) == (
        "kaleido",
        "tiny",
        "0" * 64,
        ("worlds",),
    )
    assert card.settings["steps"] == 4
    assert "stretch" in str(card.settings["fit"])
    assert (card.parameters, card.function_evaluations) == (3 * 2 + 2, 4)
    fewer = Kaleido("tiny", StandIn(), 2).describe()  # type: ignore[arg-type]
    retrained = Kaleido("tiny", StandIn(weights_sha256="1" * 64), 4).describe()  # type: ignore[arg-type]
    assert len({card.fingerprint, fewer.fingerprint, retrained.fingerprint}) == 3


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "many", "", "\u0663"])
def test_steps_that_are_none(text: str) -> None:
    with pytest.raises(BenchError, match="whole number from 1"):
        read_steps(text)


def test_unknown_weights() -> None:
    with pytest.raises(BenchError, match=r"kaleido@no-such-weights: no checkpoint"):
        build_adapter(resolve_model("kaleido@no-such-weights"), {}, "cpu")


def test_a_checkpoint_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def load_model(variant: str, device: str) -> StandIn:
        raise ValueError("1 of 2 weight files are there")

    monkeypatch.setattr(inference, "load_model", load_model)
    with pytest.raises(BenchError, match="1 of 2 weight files"):
        build("folder", {}, "cpu")


def test_arguments_reach_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference, "load_model", lambda variant, device: StandIn())
    assert build(None, {}, "cpu").steps == inference.DEFAULT_STEPS
    assert build("tiny", {"steps": "7"}, "cpu").steps == 7


def test_cameras_of_the_squares_are_stacked_in_order() -> None:
    cameras = stack_cameras([camera(48, 30, x) for x in (0.0, 1.0, 2.0)])
    moved: Cameras = Square(48, 30, 16).move_cameras(cameras)
    np.testing.assert_array_equal(moved.c2w, cameras.c2w)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of the real model, small and untrained."""
    preset = smoke()
    torch.manual_seed(0)
    model = ReferenceModel(preset.model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))  # what starts at zero would hide what it multiplies
    folder = tmp_path_factory.mktemp("checkpoint")
    write_checkpoint(folder, model.state_dict(), preset, {"training_data": ["worlds"]})
    return folder


@pytest.mark.parametrize(("width", "height"), [(32, 32), (40, 24)])
def test_the_real_model_answers_deterministically(checkpoint: Path, width: int, height: int) -> None:
    references, targets = request(width, height)
    adapter = build_adapter(resolve_model(f"kaleido@{checkpoint}"), {"steps": "2"}, "cpu")
    first, again, other = (adapter.predict(references, targets, np.random.default_rng(seed)) for seed in (5, 5, 6))
    assert first.shape == (3, height, width, 3)
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert adapter.describe().training_data == ("worlds",)


def test_the_real_model_sees_cameras_and_not_the_world_frame(checkpoint: Path) -> None:
    references, targets = request(32, 32)
    adapter = build_adapter(resolve_model(f"kaleido@{checkpoint}"), {"steps": "1"}, "cpu")
    world = np.array([[0.0, -1, 0, 5], [1, 0, 0, -3], [0, 0, 1, 2], [0, 0, 0, 1]])

    def move(cameras: Cameras, scale: float = 1.0) -> Cameras:
        scaled = cameras.c2w.copy()
        scaled[:, :3, 3] *= scale
        return cameras._replace(c2w=world @ scaled)

    def predict(near: Cameras, far: Cameras) -> np.ndarray:
        answer = adapter.predict(
            references._replace(cameras=near), targets._replace(cameras=far), np.random.default_rng(0)
        )
        return answer.astype(int)

    here = predict(references.cameras, targets.cameras)
    moved = predict(move(references.cameras, 2.5), move(targets.cameras, 2.5))
    assert np.abs(here - moved).max() <= 1  # rounding
    elsewhere = predict(references.cameras, targets.cameras._replace(c2w=world @ targets.cameras.c2w))
    assert np.abs(here - elsewhere).max() > 1
