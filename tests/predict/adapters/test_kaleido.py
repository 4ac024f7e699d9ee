"""The adapter around a stand-in for the reference model, which needs no weights, and its geometry by reprojection."""

from __future__ import annotations

import dataclasses
import inspect
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from kaleido_bench.data.cameras import Camera, Cameras, project, stack_cameras, unstack_cameras
from kaleido_bench.errors import BenchError
from kaleido_bench.predict.adapters import (
    ADAPTERS,
    AdapterCard,
    ReferenceViews,
    TargetCameras,
    build_adapter,
    resolve_model,
)
from kaleido_bench.predict.adapters.kaleido import Kaleido, Square, build, find_shipped_weights
from reference_model import inference
from reference_model.checkpoint import write_checkpoint
from reference_model.config import Preset
from reference_model.model import Kaleido as ReferenceModel
from reference_model.presets import smoke
from reference_model.rollout import Rollout
from reference_model.sampler import Sampling


class StandIn(NamedTuple):
    """What the adapter reads of a loaded model."""

    image_size: int = 16
    weights_sha256: str = "0" * 64
    training_data: tuple[str, ...] = ("worlds",)
    model: torch.nn.Module = torch.nn.Linear(3, 2)
    preset: Preset = smoke()
    precision: str = "float32"

    def plan_rollout(self) -> Rollout:
        return Rollout(references=3)


def adapt(steps: int = 4, *, model: StandIn = StandIn(), rollout: Rollout | None = None, **fields: Any) -> Kaleido:
    return Kaleido("tiny", model, Sampling(steps, **fields), rollout or model.plan_rollout())  # type: ignore[arg-type]


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
        model: StandIn, images: torch.Tensor, *cameras: torch.Tensor, sampling: Sampling, rollout: Rollout, seed: int
    ) -> torch.Tensor:
        names = ("reference_c2w", "reference_K", "target_c2w", "target_K")
        way = {"sampling": sampling, "rollout": rollout, "seed": seed}
        recorded.append({"images": images, **dict(zip(names, cameras, strict=True)), **way})
        return images[:1].repeat(cameras[2].shape[0], 1, 1, 1)

    monkeypatch.setattr(inference, "render_views", render_views)
    return recorded


@pytest.mark.parametrize(("width", "height"), [(16, 16), (48, 48), (48, 30), (29, 47), (8, 8)])
def test_a_smooth_image_survives_the_way_there_and_back(calls: list[dict[str, Any]], width: int, height: int) -> None:
    references, targets = request(width, height)
    predicted = adapt().predict(references, targets, np.random.default_rng(5))
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
    adapter = adapt()
    adapter.predict(references, targets, np.random.default_rng(5))
    adapter.predict(references, targets, np.random.default_rng(5))
    adapter.predict(references, targets, np.random.default_rng(6))
    first, again, other = calls
    assert first["images"].shape == (2, 3, 16, 16)
    assert first["images"].dtype == torch.float32
    assert float(first["images"].min()) >= 0 and float(first["images"].max()) <= 1
    assert first["sampling"] == Sampling(4) and first["rollout"] == Rollout(references=3)
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
    card = adapt(4).describe()
    assert (card.name, card.variant, card.weights_sha256, card.training_data) == (
        "kaleido",
        "tiny",
        "0" * 64,
        ("worlds",),
    )
    assert card.settings == {"steps": 4, "image_size": 16, "fit": "stretch, lanczos in, bicubic out"}
    assert (card.parameters, card.function_evaluations) == (3 * 2 + 2, 4)
    retrained = adapt(model=StandIn(weights_sha256="1" * 64)).describe()
    assert len({card.fingerprint, adapt(2).describe().fingerprint, retrained.fingerprint}) == 3


@pytest.mark.parametrize("name", find_shipped_weights())
def test_the_shipped_models_have_the_fingerprints_of_their_committed_predictions(name: str) -> None:
    """Settings that came later are left out of them while they are at their defaults."""
    root = Path(__file__).parents[3] / "leaderboards"
    committed = {
        path: json.loads(path.read_text())["model"]["fingerprint"]
        for path in root.glob(f"**/results/kaleido@{name}.json")
    }
    assert root / f"quickstart/results/kaleido@{name}.json" in committed
    assert set(committed.values()) == {
        build_adapter(resolve_model(f"kaleido@{name}"), {}, "cpu").describe().fingerprint
    }


SETTINGS: dict[str, tuple[str, int | str | float]] = {
    "solver": ("heun", "heun"),
    "schedule": ("quantiles", "quantiles"),
    "guidance": ("1.5", 1.5),
    "chunk": ("2", 2),
    "order": ("nearest", "nearest"),
    "references": ("2", 2),
    "generated": ("2", 2),
    "growth": ("append", "append"),
    "precision": ("bfloat16", "bfloat16"),
}


def test_every_setting_reaches_the_card_and_the_fingerprint(guided: Path) -> None:
    def describe(**args: str) -> AdapterCard:
        return build_adapter(resolve_model(f"kaleido@{guided}"), args, "cpu").describe()

    assert {"steps", *SETTINGS} == set(ADAPTERS["kaleido"].arguments or ())
    plain, found = describe(steps="3"), set[str]()
    for name, (text, value) in SETTINGS.items():
        beside = {"generated": 1} if name == "growth" else {}  # without generated views nothing grows
        card = describe(steps="3", **{name: text}, **{key: str(number) for key, number in beside.items()})
        assert dict(card.settings) == {**plain.settings, **beside, name: value}
        found.add(card.fingerprint)
    assert len(found | {plain.fingerprint}) == len(SETTINGS) + 1
    usual = {
        "solver": "euler",
        "schedule": "shifted",
        "guidance": "1",
        "chunk": "4",
        "order": "given",
        "generated": "0",
        "growth": "reencode",
        "precision": "float32",
    }
    assert describe(steps="3", **usual).fingerprint == plain.fingerprint  # said, and the same


@pytest.mark.parametrize(
    "args",
    [
        {},
        {"steps": "3"},
        {"steps": "3", "solver": "heun"},
        {"steps": "2", "guidance": "2"},
        {"steps": "3", "solver": "heun", "guidance": "2", "schedule": "quantiles"},
        {"steps": "2", "chunk": "1", "order": "nearest", "generated": "1"},
        {"steps": "2", "chunk": "1", "generated": "1", "growth": "append"},
    ],
    ids=lambda args: "-".join(args) or "defaults",
)
def test_the_function_evaluations_said_are_those_done(
    guided: Path, args: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted at the network, over the targets that each pass answers."""
    adapter = build_adapter(resolve_model(f"kaleido@{guided}"), args, "cpu")
    assert isinstance(adapter, Kaleido)
    answered: list[int] = []
    network = adapter.model.model
    network.register_forward_hook(lambda module, inputs, output: answered.append(output.shape[1]))
    denoise = network.denoise  # what stands for a pass where references are kept

    def count(*given: Any, **named: Any) -> torch.Tensor:
        output = denoise(*given, **named)
        answered.append(output.shape[1])
        return output

    monkeypatch.setattr(network, "denoise", count)
    references, targets = request(32, 32)
    images = adapter.predict(references, targets, np.random.default_rng(0))
    assert sum(answered) / len(images) == adapter.describe().function_evaluations


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "many", "", "\u0663"])
@pytest.mark.parametrize("name", ["steps", "chunk", "references"])
def test_counts_that_are_none(name: str, text: str) -> None:
    with pytest.raises(BenchError, match=f"--model-arg {name}.*whole number from 1"):
        build("tiny", {name: text}, "cpu")


@pytest.mark.parametrize(
    ("args", "word"),
    [
        ({"guidance": "nan"}, "a number from 0"),
        ({"guidance": "-1"}, "a number from 0"),
        ({"guidance": "much"}, "a number from 0"),
        ({"guidance": "2"}, "not trained without references"),
        ({"generated": "-1"}, "whole number from 0"),
        ({"solver": "rk4"}, "euler, heun"),
        ({"schedule": "cosine"}, "shifted, quantiles"),
        ({"growth": "double", "generated": "1"}, "growth 'double': expected one of reencode, append"),
        ({"growth": "append"}, "nothing would grow; expected generated of at least 1"),
        ({"order": "backwards"}, "given, nearest, trajectory"),
        ({"precision": "float16"}, "precision 'float16': expected one of float32, bfloat16"),
    ],
)
def test_settings_that_the_sampler_does_not_have(args: dict[str, str], word: str) -> None:
    """Refused before anything is predicted."""
    with pytest.raises(BenchError, match=word):
        build("tiny", args, "cpu")


def test_unknown_weights() -> None:
    with pytest.raises(BenchError, match=r"kaleido@no-such-weights: no checkpoint"):
        build_adapter(resolve_model("kaleido@no-such-weights"), {}, "cpu")


def test_a_checkpoint_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def load_model(variant: str, device: str, precision: str) -> StandIn:
        raise ValueError("1 of 2 weight files are there")

    monkeypatch.setattr(inference, "load_model", load_model)
    with pytest.raises(BenchError, match="1 of 2 weight files"):
        build("folder", {}, "cpu")


def test_arguments_reach_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    load_model = inference.load_model
    monkeypatch.setattr(inference, "load_model", lambda variant, device, precision: StandIn(precision=precision))
    plain = build(None, {}, "cpu")
    default = inspect.signature(load_model).parameters["variant"].default
    assert plain.variant == ADAPTERS["kaleido"].default_variant == default  # said in three places
    assert (plain.sampling, plain.rollout) == (inference.BY_DEFAULT, Rollout(references=3))
    given = build("tiny", {"steps": "7", "order": "nearest", "generated": "2", "precision": "bfloat16"}, "cpu")
    assert (given.sampling, given.model.precision) == (Sampling(7), "bfloat16")
    assert given.rollout == Rollout(order="nearest", references=3, generated=2)


def test_cameras_of_the_squares_are_stacked_in_order() -> None:
    cameras = stack_cameras([camera(48, 30, x) for x in (0.0, 1.0, 2.0)])
    moved: Cameras = Square(48, 30, 16).move_cameras(cameras)
    np.testing.assert_array_equal(moved.c2w, cameras.c2w)


def store(folder: Path, preset: Preset) -> Path:
    """A checkpoint of the real model, small and untrained."""
    torch.manual_seed(0)
    model = ReferenceModel(preset.model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))  # what starts at zero would hide what it multiplies
    write_checkpoint(folder, model.state_dict(), preset, {"training_data": ["worlds"]})
    return folder


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return store(tmp_path_factory.mktemp("checkpoint"), smoke())


@pytest.fixture(scope="module")
def guided(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that knows what it is to have no references."""
    flow = dataclasses.replace(smoke().flow, reference_dropout=0.1)
    return store(tmp_path_factory.mktemp("guided"), dataclasses.replace(smoke(), flow=flow))


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
