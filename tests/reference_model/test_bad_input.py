"""What people hand in: nothing, the same twice, absurd units, other models' weights, numbers that are none."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from reference_model.checkpoint import write_checkpoint
from reference_model.config import Preset
from reference_model.inference import LoadedModel, load_model, render_views
from reference_model.presets import smoke
from reference_model.rollout import Rollout
from reference_model.sampler import Sampling
from reference_model.stored import VERSION
from tests.reference_model.models import DESIGNS, build_config, build_model, random_poses

DESIGN = {**DESIGNS["windows-and-registers"], "pose": "prope", "kv_heads": 1, "keep_references": True}
INTRINSICS = torch.tensor([[40.0, 0, 17], [0, 44, 15], [0, 0, 1]])


def save(folder: Path, **changes: Any) -> Preset:
    preset = dataclasses.replace(smoke(), model=build_config(**{**DESIGN, **changes}))
    model = build_model(preset.model, torch.float32, std=0.08)
    write_checkpoint(folder, model.state_dict(), preset, {"training_data": []})
    return preset


@pytest.fixture
def loaded(tmp_path: Path) -> LoadedModel:
    save(tmp_path)
    return load_model(tmp_path)


def render(loaded: LoadedModel, poses: torch.Tensor, references: int, **options: Any) -> torch.Tensor:
    images = torch.rand(references, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    k = INTRINSICS.expand(len(poses), 3, 3)
    return render_views(
        loaded, images, poses[:references], k[:references], poses[references:], k[references:], **options
    )


def test_no_reference_is_refused(loaded: LoadedModel) -> None:
    with pytest.raises(ValueError, match="0 reference views: at least 1"):
        render(loaded, random_poses(2)[0], 0)


def test_no_target_gives_no_image(loaded: LoadedModel) -> None:
    assert render(loaded, random_poses(2)[0], 2).shape == (0, 3, 32, 32)


@pytest.mark.parametrize("rollout", [Rollout(chunk=1), Rollout(chunk=1, order="nearest", generated=1)])
def test_cameras_that_coincide_are_no_trouble(loaded: LoadedModel, rollout: Rollout) -> None:
    """Twice the same reference, and a target where a reference is; then all cameras at one place."""
    poses = random_poses(4)[0]
    poses[1] = poses[0]
    poses[3] = poses[2]
    some = render(loaded, poses, 3, rollout=rollout)
    every = render(loaded, poses[:1].expand(5, 4, 4), 3, rollout=rollout)
    assert some.isfinite().all() and every.isfinite().all()
    assert some.std() > 0 and every.std() > 0


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_an_absurd_unit_changes_nothing(loaded: LoadedModel, scale: float) -> None:
    """`focus`, the named normalisation, gives every scene one size."""
    poses = random_poses(5)[0]
    moved = poses.clone()
    moved[:, :3, 3] = scale * (moved[:, :3, 3] + torch.tensor([5.0, -3.0, 2.0]))
    assert loaded.preset.model.normalisation == "focus"
    assert (render(loaded, poses, 3) - render(loaded, moved, 3)).abs().max() < 1e-3


def test_without_normalisation_an_absurd_unit_is_not_hidden(tmp_path: Path) -> None:
    """Guards the test above, and says what the rule is for: the model itself sees scale."""
    save(tmp_path, normalisation="none")
    model, poses = load_model(tmp_path), random_poses(5)[0]
    moved = poses.clone()
    moved[:, :3, 3] *= 1e6
    assert (render(model, poses, 3) - render(model, moved, 3)).abs().max() > 0.05


def test_a_checkpoint_of_another_shape_is_refused(tmp_path: Path) -> None:
    save(tmp_path)
    stored = json.loads((tmp_path / "preset.json").read_text())
    stored["model"]["width"] = 96
    (tmp_path / "preset.json").write_text(json.dumps(stored))
    with pytest.raises(ValueError, match="do not fit the preset") as caught:
        load_model(tmp_path)
    assert "size mismatch" in str(caught.value) and str(tmp_path) in str(caught.value)


def test_a_checkpoint_of_a_later_version_is_refused(tmp_path: Path) -> None:
    save(tmp_path)
    stored = json.loads((tmp_path / "preset.json").read_text())
    (tmp_path / "preset.json").write_text(json.dumps({**stored, "version": VERSION + 1}))
    with pytest.raises(ValueError, match=f"version {VERSION + 1}: this code reads 1 to {VERSION}"):
        load_model(tmp_path)


def test_weights_of_fewer_layers_are_refused(tmp_path: Path) -> None:
    save(tmp_path)
    stored = json.loads((tmp_path / "preset.json").read_text())
    stored["model"]["depth"] = 3
    (tmp_path / "preset.json").write_text(json.dumps(stored))
    with pytest.raises(ValueError, match=r"Missing key.*blocks\.2"):
        load_model(tmp_path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_images_and_cameras_that_are_no_numbers_are_refused(loaded: LoadedModel, value: float) -> None:
    poses = random_poses(3)[0]
    k = INTRINSICS.expand(3, 3, 3)
    images = torch.rand(2, 3, 32, 32)
    images[1, 0, 5, 5] = value
    with pytest.raises(ValueError, match="reference tokens hold NaN"):
        render_views(loaded, images, poses[:2], k[:2], poses[2:], k[2:])
    poses[2, 0, 3] = value
    with pytest.raises(ValueError, match="target cameras hold NaN"):
        render(loaded, poses, 2)


@pytest.mark.parametrize(
    ("images", "word"),
    [
        (torch.full((2, 3, 32, 32), 255, dtype=torch.uint8), r"from 255 to 255: expected values in \[0, 1\]"),
        (torch.full((2, 3, 32, 32), -1.0), "from -1 to -1"),
        (torch.rand(2, 4, 32, 32), r"\[2, 4, 32, 32\]: expected \[reference, 3, height, width\]"),
        (torch.rand(2, 3, 32, 40), "40x32: this model renders 32x32"),
    ],
    ids=["bytes", "signed", "alpha", "oblong"],
)
def test_images_of_another_range_or_shape_are_refused(loaded: LoadedModel, images: torch.Tensor, word: str) -> None:
    poses, k = random_poses(3)[0], INTRINSICS.expand(3, 3, 3)
    with pytest.raises(ValueError, match=word):
        render_views(loaded, images, poses[:2], k[:2], poses[2:], k[2:])


@pytest.mark.parametrize(
    ("images", "cameras", "word"),
    [
        (3, (2, 2, 2, 2), r"reference cameras: c2w \[2, 4, 4\], K \[2, 3, 3\]; expected \[3, 4, 4\]"),
        (2, (3, 3, 2, 2), r"reference cameras: .*expected \[2, 4, 4\]"),
        (2, (2, 1, 2, 2), r"reference cameras: .*K \[1, 3, 3\]"),
        (2, (2, 2, 2, 3), r"target cameras: .*K \[3, 3, 3\]; expected \[2, 4, 4\]"),
    ],
)
def test_as_many_cameras_as_images_are_asked_for(
    loaded: LoadedModel, images: int, cameras: tuple[int, int, int, int], word: str
) -> None:
    """A camera too few would make the first target's a reference's, and leave one image unmade."""
    given = [random_poses(n)[0] if i % 2 == 0 else INTRINSICS.expand(n, 3, 3) for i, n in enumerate(cameras)]
    with pytest.raises(ValueError, match=word):
        render_views(loaded, torch.rand(images, 3, 32, 32), *given)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (torch.diag(torch.tensor([2.0, 2, 2, 1])), "scaled, sheared or mirrored"),
        (torch.diag(torch.tensor([1.0, -1, 1, 1])), "scaled, sheared or mirrored"),
        (torch.eye(4), "focal length is not positive"),
    ],
)
def test_cameras_that_no_pinhole_has_are_refused(loaded: LoadedModel, change: torch.Tensor, word: str) -> None:
    poses = random_poses(3)[0]
    k = INTRINSICS.repeat(3, 1, 1)
    if word.startswith("focal"):
        k[2, 1, 1] = 0
    poses[2] = poses[2] @ change.double()
    with pytest.raises(ValueError, match=f"target cameras: .*{word}"):
        render_views(loaded, torch.rand(2, 3, 32, 32), poses[:2], k[:2], poses[2:], k[2:])


@pytest.mark.parametrize("cached", [True, False])
def test_an_overflow_is_named_by_its_layer(loaded: LoadedModel, cached: bool) -> None:
    """In half precision 6e4 is the end; in bfloat16, as in float32, 3e38."""
    layer = loaded.model.stack()[1].mlp
    with torch.no_grad():
        layer.up.weight *= 10  # the gate and the value: what `down` takes is a hundredfold
    before = layer.down.weight.detach().clone()
    for dtype, gain in ((torch.float16, 1e4), (torch.bfloat16, 1e38)):
        with torch.no_grad():
            layer.down.weight.copy_(before * gain)
        with torch.autocast("cpu", dtype), pytest.raises(ValueError, match=r"not finite: blocks\.1\.mlp\.down: "):
            render(loaded, random_poses(4)[0], 2, cached=cached)


def test_weights_that_are_no_numbers_are_named(loaded: LoadedModel) -> None:
    with torch.no_grad():
        loaded.model.head.bias[3] = torch.nan
    with pytest.raises(ValueError, match=r"weights of head\.bias"):
        render(loaded, random_poses(4)[0], 2)


def test_sampling_that_does_not_exist_is_refused(loaded: LoadedModel) -> None:
    poses = random_poses(4)[0]
    for sampling, word in (
        (Sampling(2, solver="rk4"), "heun"),
        (Sampling(2, schedule="cosine"), "quantiles"),
        (Sampling(0), "at least 1"),
        (Sampling(2, guidance=3.0), "not trained without references"),
        (Sampling(2, guidance=float("nan")), "guidance nan: expected a finite number"),
    ):
        with pytest.raises(ValueError, match=word):
            render(loaded, poses, 2, sampling=sampling)
