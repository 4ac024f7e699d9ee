"""From images to images through a stored checkpoint: pixels and real latents, one chunk and many."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from reference_model.checkpoint import write_checkpoint
from reference_model.config import Preset
from reference_model.inference import LoadedModel, load_model, render_views
from reference_model.inputs import build_inputs
from reference_model.model import Views
from reference_model.presets import latent, smoke
from reference_model.rollout import Rollout
from reference_model.sampler import Sampling
from tests.reference_model.models import build_config, build_model, random_poses

DESIGN: dict[str, Any] = {
    "pose": "prope", "time_channels": 8, "registers": 2, "window": 2, "kv_heads": 1, "keep_references": True,
}  # fmt: skip


def store(folder: Path, flow: dict[str, Any] | None = None, **changes: Any) -> LoadedModel:
    base = smoke()
    preset = Preset(build_config(**{**DESIGN, **changes}), dataclasses.replace(base.flow, **(flow or {})), base.train)
    write_checkpoint(folder, build_model(preset.model, torch.float32, std=0.08).state_dict(), preset, {})
    return load_model(folder)


def render(loaded: LoadedModel, targets: int, references: int = 3, **options: Any) -> torch.Tensor:
    size = loaded.image_size
    poses = random_poses(references + targets)[0]
    images = torch.rand(references, 3, size, size, generator=torch.Generator().manual_seed(0))
    k = torch.tensor([[1.2 * size, 0, 0.5 * size], [0, 1.3 * size, 0.5 * size], [0, 0, 1]])
    k = k.expand(len(poses), 3, 3)
    return render_views(
        loaded, images, poses[:references], k[:references], poses[references:], k[references:], **options
    )


@pytest.mark.parametrize("prediction", ["clean", "velocity", "noise"])
def test_every_kind_of_model_renders_and_repeats(tmp_path: Path, prediction: str) -> None:
    loaded = store(tmp_path, {"prediction": prediction, "max_t": 0.97, "reference_dropout": 0.1})
    way = Sampling(3, solver="heun", schedule="quantiles", guidance=1.5)
    images = render(loaded, 3, sampling=way)
    assert images.shape == (3, 3, 32, 32) and images.min() >= 0 and images.max() <= 1 and images.std() > 0.01
    assert torch.equal(images, render(loaded, 3, sampling=way))
    assert not torch.equal(images, render(loaded, 3, sampling=way, seed=1))


def test_the_kept_references_change_nothing_that_is_seen(tmp_path: Path) -> None:
    loaded = store(tmp_path)
    for rollout in (Rollout(chunk=2), Rollout(chunk=2, order="trajectory", generated=3)):
        both = [render(loaded, 5, sampling=Sampling(3), rollout=rollout, cached=cached) for cached in (True, False)]
        assert (both[0] - both[1]).abs().max() < 1e-5


def rows_stand_alone() -> bool:
    """Whether this CPU's products round a row of many alike, whatever stands beside it."""
    generator = torch.Generator().manual_seed(0)
    a, w = torch.randn(2048, 256, generator=generator), torch.randn(1280, 256, generator=generator)
    return all(torch.equal((a @ w.T)[:rows], a[:rows] @ w.T) for rows in (256, 512, 1024, 1536))


def test_what_is_shipped_keeps_its_references_on_a_cpu_and_predicts_the_same_bytes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two chunks of four share the references, a last one of two has its own."""
    loaded, encoded = load_model("tiny"), []
    plain = render(loaded, 10, references=2, cached=False)
    encode = loaded.model.encode_references
    monkeypatch.setattr(loaded.model, "encode_references", lambda *args: (encoded.append(args[-1]), encode(*args))[1])
    kept = render(loaded, 10, references=2)
    assert encoded == [4, 2]  # targets beside the references, for which each cache was made
    assert torch.equal(kept, plain) if rows_stand_alone() else (kept - plain).abs().max() < 1e-5


def test_a_target_does_not_depend_on_its_place_in_the_list_of_independent_ones(tmp_path: Path) -> None:
    """A chunk of one, and the noise of a target is its own."""
    loaded = store(tmp_path)
    given, near = (
        render(loaded, 4, sampling=Sampling(2), rollout=Rollout(chunk=1, order=order)) for order in ("given", "nearest")
    )
    assert (given - near).abs().max() < 1e-5


def render_clip(loaded: LoadedModel, times: list[float], references: int = 3, **options: Any) -> torch.Tensor:
    """Frames at these times, the first ones given; poses not told."""
    size, generator = loaded.image_size, torch.Generator().manual_seed(0)
    images = torch.rand(references, 3, size, size, generator=generator)
    k = torch.tensor([[1.2 * size, 0, 0.5 * size], [0, 1.3 * size, 0.5 * size], [0, 0, 1]]).expand(len(times), 3, 3)
    told = torch.tensor(times)
    return render_views(
        loaded, images, None, k[:references], None, k[references:],
        reference_times=told[:references], target_times=told[references:], **options,
    )  # fmt: skip


def test_frames_without_poses_are_asked_for_by_their_time_as_in_training(tmp_path: Path) -> None:
    """Identity poses and times, as `training.steps.WorldStream.draw` gives in a stage of video."""
    loaded, times = store(tmp_path), [0.0, 9, 4, 6, 2]
    images = render_clip(loaded, times, seed=5)
    given = torch.rand(1, 3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    k = torch.tensor([[38.4, 0, 16], [0, 41.6, 16], [0, 0, 1]]).expand(1, 5, 3, 3)
    views = Views(torch.eye(4).expand(1, 5, 4, 4), k, 3, 32, 32, torch.tensor([times]))
    clean = loaded.inputs.codec.encode(given)
    noise = torch.randn(2, *clean.shape[2:], generator=torch.Generator().manual_seed(5))[None]
    with torch.no_grad():
        made = loaded.model(torch.cat([clean, noise], 1), torch.ones(1), views)
    expected = loaded.inputs.codec.decode(made[0], 32, 32).clamp(0, 1)
    assert (images - expected).abs().max() < 1e-5
    assert (images - render_clip(loaded, [t + 7 for t in times], seed=5)).abs().max() < 1e-5  # from any beginning
    assert (images - render_clip(loaded, [*times[:4], 3], seed=5)).abs().amax((1, 2, 3))[1] > 1e-3


def test_of_a_long_clip_the_frames_nearest_in_time_are_seen(tmp_path: Path) -> None:
    loaded = store(tmp_path)
    images = render_clip(loaded, [0, 10, 20, 30, 21], 4, rollout=Rollout(references=2))
    size, generator = loaded.image_size, torch.Generator().manual_seed(0)
    near = torch.rand(4, 3, size, size, generator=generator)[2:]
    k = torch.tensor([[1.2 * size, 0, 0.5 * size], [0, 1.3 * size, 0.5 * size], [0, 0, 1]])[None]
    told = {"reference_times": torch.tensor([20, 30]), "target_times": torch.tensor([21])}
    alone = render_views(loaded, near, None, k.expand(2, 3, 3), None, k, **told)
    assert (images - alone).abs().max() < 1e-5


def test_times_beside_poses_reach_the_model(tmp_path: Path) -> None:
    loaded = store(tmp_path)
    still, moving = (
        render(loaded, 2, reference_times=torch.arange(3), target_times=torch.tensor(when)) for when in ([0, 1], [0, 9])
    )
    assert (moving - still).abs().amax((1, 2, 3))[1] > 1e-3
    assert torch.equal(
        render(loaded, 2), render(loaded, 2, reference_times=torch.zeros(3), target_times=torch.zeros(2))
    )


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({"target_times": None}, "no target times beside those of the other views"),
        ({"reference_c2w": torch.eye(4).expand(2, 4, 4)}, "no target c2w beside those of the other views"),
        ({"target_times": None, "reference_times": None}, "neither poses nor times"),
        ({"reference_times": torch.zeros(3)}, r"reference times \[3\]: expected \[2\], one a view"),
        ({"target_times": torch.tensor([torch.inf])}, "target times hold NaN or infinity"),
        ({"target_times": torch.zeros(2)}, r"target times \[2\]: expected \[1\]"),
        ({"target_intrinsics": torch.zeros(1, 3, 3)}, "a focal length is not positive"),
        ({"loaded": {"time_channels": 0}}, r"times for a model that knows none \(model.time_channels is 0\)"),
    ],
)
def test_times_that_do_not_fit_are_refused(tmp_path: Path, given: dict[str, Any], word: str) -> None:
    loaded = store(tmp_path, **given.pop("loaded", {}))
    k = torch.tensor([[38.4, 0, 16], [0, 41.6, 16], [0, 0, 1]])[None]
    plain: dict[str, Any] = {
        "reference_images": torch.rand(2, 3, 32, 32), "reference_c2w": None, "reference_intrinsics": k.expand(2, 3, 3),
        "target_c2w": None, "target_intrinsics": k, "reference_times": torch.zeros(2), "target_times": torch.ones(1),
    }  # fmt: skip
    render_views(loaded, **plain) if loaded.preset.model.time_channels else None
    with pytest.raises(ValueError, match=word):
        render_views(loaded, **{**plain, **given})


def test_the_latent_way_renders_with_real_weights(weights_dir: Path, tmp_path: Path) -> None:
    """The preset's own codec at a quarter of its size and width: images in, TAEF2's latents between, images out."""
    preset = latent()
    fields = {name: getattr(preset.model, name) for name in ("codec", "patch", "token_channels")}
    loaded = store(tmp_path, {"prediction": "velocity"}, **{**fields, "image_size": 64})
    assert loaded.inputs.codec.channels == preset.model.channels == 128
    images = render(loaded, 2, sampling=Sampling(2))
    assert images.shape == (2, 3, 64, 64) and images.isfinite().all() and images.std() > 0.01
    inputs = build_inputs(preset.model, "cpu")  # the model's tokens are the codec's
    tokens = inputs.codec.encode(torch.rand(1, 1, 3, 256, 256))
    assert tokens.shape == (1, 1, 256, 128)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"token_channels": 100}, "192 values in a token, the model takes 100"),
        ({"codec": "jpeg"}, "expected pixels"),
        ({"feature_channels": 5}, "features none have 0 channels"),
    ],
)
def test_inputs_that_do_not_fit_the_model_are_refused(changes: dict[str, Any], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        build_inputs(build_config(**changes), "cpu")
