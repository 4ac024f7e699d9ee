"""bfloat16 at inference, and steps that are recorded: what they move, what they must not, and who is told."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from reference_model import recording
from reference_model.checkpoint import write_checkpoint
from reference_model.config import Preset
from reference_model.inference import LoadedModel, load_model, render_views
from reference_model.precision import round_weights
from reference_model.presets import smoke
from reference_model.recording import Recordings
from reference_model.rollout import Rollout, Scene, roll_out
from reference_model.sampler import Sampling, sample_targets
from tests.reference_model.models import DESIGNS, build_config, build_model, build_scene, random_poses

BASE: dict[str, Any] = {**DESIGNS["windows-and-registers"], "pose": "prope", "kv_heads": 1}
GENERATED = Rollout(chunk=2, order="nearest", generated=2)
WAYS = {
    "one step": (Sampling(1), None),
    "guided": (Sampling(3, solver="heun", guidance=1.5), None),
    "generated": (Sampling(2), GENERATED),
    "appended": (Sampling(2), GENERATED._replace(growth="append")),
}
KINDS: dict[str, dict[str, Any]] = {
    "blind": {},
    "seeing": {"references_see_targets": True},
    "encoder-decoder": {"layout": "encoder-decoder"},
}
cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs need a GPU")


def store(folder: Path, **changes: Any) -> Path:
    base = smoke()
    preset = Preset(
        build_config(**{**BASE, **changes}), dataclasses.replace(base.flow, reference_dropout=0.1), base.train
    )
    write_checkpoint(folder, build_model(preset.model, torch.float32, std=0.08).state_dict(), preset, {})
    return folder


def render(loaded: LoadedModel, targets: int = 4, references: int = 3, seed: int = 0, **options: Any) -> Tensor:
    size = loaded.image_size
    poses = random_poses(references + targets, seed)[0]
    images = torch.rand(references, 3, size, size, generator=torch.Generator().manual_seed(seed))
    focal = (1.2 + 0.1 * seed) * size
    k = torch.tensor([[focal, 0, 0.5 * size], [0, 1.3 * size, 0.5 * size], [0, 0, 1]]).expand(len(poses), 3, 3)
    given = images, poses[:references], k[:references], poses[references:], k[references:]
    return render_views(loaded, *given, seed=seed, **options)


def psnr(a: Tensor, b: Tensor) -> float:
    return -10 * (a - b).square().mean().log10().item()


@pytest.mark.parametrize(
    ("kind", "way"), [(kind, way) for kind in KINDS for way in WAYS if way != "appended" or kind == "blind"]
)
def test_bfloat16_is_near_float32_and_repeats(tmp_path: Path, kind: str, way: str) -> None:
    """On a CPU too: whoever tries a command there gets the method the command names."""
    sampling, rollout = WAYS[way]
    folder = store(tmp_path, **KINDS[kind])
    wide, narrow = (load_model(folder, "cpu", precision) for precision in ("float32", "bfloat16"))
    assert wide.weights_sha256 == narrow.weights_sha256
    options = {"sampling": sampling, "rollout": rollout, "cached": True if way == "appended" else None}
    images = [render(loaded, **options) for loaded in (wide, narrow, narrow)]
    assert images[1].dtype == torch.float32
    assert torch.equal(images[1], images[2]) and not torch.equal(images[0], images[1])
    assert psnr(images[0], images[1]) > 46


@pytest.mark.parametrize(
    ("precision", "way", "kept"),
    [("float32", "generated", False), ("float32", "appended", True), ("bfloat16", "generated", True)],
)
def test_references_are_kept_where_they_must_be_whatever_the_preset_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str, way: str, kept: bool
) -> None:
    """In bfloat16, and where generated views are appended to what is kept. Else they are rounded as if they were not:
    made for a number of targets (rollout.Conditions).
    """
    loaded = load_model(store(tmp_path), "cpu", precision)
    assert not loaded.preset.model.keep_references
    encode, made_for = loaded.model.encode_references, set[bool]()
    monkeypatch.setattr(loaded.model, "encode_references", lambda *args: (made_for.add(args[-1] > 0), encode(*args))[1])
    sampling, rollout = WAYS[way]
    found = render(loaded, sampling=sampling, rollout=rollout)
    assert made_for == {not kept}
    assert torch.equal(found, render(loaded, sampling=sampling, rollout=rollout, cached=True)) or not kept


def test_tokens_and_their_path_keep_their_type(tmp_path: Path) -> None:
    model = load_model(store(tmp_path), "cpu", "bfloat16").model
    scene = build_scene(model.config, torch.float32)
    kinds: list[torch.dtype] = []
    model.embed.register_forward_pre_hook(lambda _, inputs: kinds.append(inputs[0].dtype))
    with torch.no_grad():
        out = sample_targets(
            model, smoke().flow, scene.clean, scene.views, scene.noised, Sampling(2), precision="bfloat16"
        )
    assert out.dtype == torch.float32 and kinds == [torch.float32] * 2


def test_weights_rounded_once_predict_what_weights_rounded_at_every_call_do() -> None:
    """Bit by bit, under autocast: t's embedding keeps its type, and with it the angles of t."""
    config = build_config(registers=2, modulation="block")
    model, scene = build_model(config, torch.float32), build_scene(config, torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        before = scene.run(model)
        rounded = round_weights(model)
        assert {p.dtype for p in rounded.blocks.parameters()} == {torch.float32, torch.bfloat16}
        assert torch.equal(scene.run(rounded), before)


@pytest.mark.parametrize("cached", [True, False])
def test_an_overflow_in_bfloat16_is_named_by_its_layer(tmp_path: Path, cached: bool) -> None:
    loaded = load_model(store(tmp_path), "cpu", "bfloat16")
    layer = loaded.model.stack()[1].mlp
    with torch.no_grad():
        layer.up.weight *= 10
        layer.down.weight *= 1e38
    with pytest.raises(ValueError, match=r"not finite: blocks\.1\.mlp\.down: "):
        render(loaded, cached=cached)


def test_weights_that_bfloat16_cannot_hold_are_named(tmp_path: Path) -> None:
    """Finite in float32, infinite when rounded."""
    folder = store(tmp_path)
    loaded = load_model(folder)
    with torch.no_grad():
        loaded.model.stack()[0].mlp.up.weight[0, 0] = torch.finfo(torch.float32).max
    write_checkpoint(folder, loaded.model.state_dict(), loaded.preset, {})
    with pytest.raises(ValueError, match=r"weights of blocks\.0\.mlp\.up\.weight"):
        render(load_model(folder, "cpu", "bfloat16"))


def test_what_no_machine_or_not_this_one_computes_in_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = store(tmp_path)
    with pytest.raises(ValueError, match="precision 'half': expected one of float32, bfloat16"):
        load_model(folder, "cpu", "half")
    with pytest.raises(ValueError, match="recorded steps on cpu: only CUDA records"):
        load_model(folder, "cpu", recorded=True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for precision in ("float32", "bfloat16"):
        with pytest.raises(ValueError, match="device cuda: PyTorch finds no CUDA here; expected cpu"):
            load_model(folder, "cuda", precision)
    monkeypatch.setattr(torch.amp, "is_autocast_available", lambda device: False)
    with pytest.raises(ValueError, match="precision bfloat16: cpu does not compute in it; expected float32"):
        load_model(folder, "cpu", "bfloat16")


class Replay:
    """A recording as CUDA makes it, on a CPU: the first function, on the memory it was recorded with."""

    made = called = 0

    def __init__(self, function: Callable[..., Tensor], *examples: Tensor, shared: object) -> None:
        self.function, self.inputs = function, [example.clone() for example in examples]
        Replay.made += 1

    def __call__(self, *tensors: Tensor) -> Tensor:
        for held, given in zip(self.inputs, tensors, strict=True):
            held.copy_(given)
        Replay.called += 1
        return self.function(*self.inputs).clone()


@pytest.fixture
def replays(monkeypatch: pytest.MonkeyPatch) -> type[Replay]:
    monkeypatch.setattr(recording, "RecordedFunction", Replay)
    monkeypatch.setattr(Replay, "made", 0)
    monkeypatch.setattr(Replay, "called", 0)
    return Replay


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("way", "cached", "recorded"),
    [("guided", True, 2), ("guided", False, 2), ("generated", True, 2), ("generated", False, 2), ("appended", True, 2)],
)
def test_a_replay_reads_the_scene_at_hand_and_not_the_one_it_was_recorded_with(
    tmp_path: Path, replays: type[Replay], precision: str, way: str, cached: bool, recorded: int
) -> None:
    """Scenes in turn, other images, cameras, noise: whatever is not held would be the first scene's. Two recordings for
    all: with and without references, or without and with generated views.
    """
    sampling, rollout = WAYS[way]
    plain = load_model(store(tmp_path), "cpu", precision)
    loaded = plain._replace(recordings=Recordings())
    for seed in (0, 1, 0):
        options = {"seed": seed, "cached": cached, "sampling": sampling, "rollout": rollout}
        assert torch.equal(render(loaded, **options), render(plain, **options))
    assert replays.made == recorded


def test_what_is_recorded_is_forgotten_when_there_is_too_much_of_it(tmp_path: Path, replays: type[Replay]) -> None:
    loaded = load_model(store(tmp_path))._replace(recordings=Recordings(most=2))
    for references in (1, 2, 1, 3, 1, 2):  # 2 is the one that was not used for longest when 3 comes
        render(loaded, 2, references)
    assert replays.made == 4


def test_models_that_share_recordings_keep_to_their_own(tmp_path: Path, replays: type[Replay]) -> None:
    recordings = Recordings()
    for kind in ("blind", "seeing"):
        plain = load_model(store(tmp_path / kind, **KINDS[kind]))
        assert torch.equal(render(plain._replace(recordings=recordings), cached=False), render(plain, cached=False))
    assert replays.made == 2


def test_chunks_of_other_sizes_are_recorded_apart(tmp_path: Path, replays: type[Replay]) -> None:
    """The last chunk of three targets has one, beside as many references."""
    plain = load_model(store(tmp_path))
    loaded, options = plain._replace(recordings=Recordings()), {"rollout": Rollout(chunk=2), "cached": True}
    for seed in (0, 1):
        assert torch.equal(render(loaded, 3, seed=seed, **options), render(plain, 3, seed=seed, **options))
    assert replays.made == 2


def test_nothing_is_recorded_under_autocast_of_the_caller_s(tmp_path: Path, replays: type[Replay]) -> None:
    """It keeps casts of weights until it ends, and what a recording reads must stay."""
    loaded = load_model(store(tmp_path))._replace(recordings=Recordings())
    with torch.autocast("cpu", torch.bfloat16):
        render(loaded)
    assert replays.made == 0
    narrow = load_model(tmp_path, "cpu", "bfloat16")._replace(recordings=Recordings())
    with torch.autocast("cpu", torch.bfloat16):
        render(narrow)  # this one is the model's own, which keeps none
    assert replays.made == 1


def test_nothing_is_recorded_where_gradients_are_wanted(tmp_path: Path, replays: type[Replay]) -> None:
    config = build_config(**BASE)
    model, scene = build_model(config, torch.float32), build_scene(config, torch.float32)
    r = scene.views.references
    rollout = roll_out(
        model, smoke().flow, Scene(scene.tokens[0, :r], scene.views), scene.tokens[0, r:], recordings=Recordings()
    )
    next(rollout).tokens.sum().backward()
    assert replays.made == 0 and model.head.weight.grad is not None


def test_an_overflow_in_a_replay_is_named_by_its_layer(tmp_path: Path, replays: type[Replay]) -> None:
    """Found again without the recording, whose layers are not called on CUDA."""
    loaded = load_model(store(tmp_path), "cpu", "bfloat16")._replace(recordings=Recordings())
    render(loaded)
    with torch.no_grad():
        loaded.model.head.weight *= 1e38
        loaded.model.head.weight *= 10
    with pytest.raises(ValueError, match=r"not finite: (weights of )?head"):
        render(loaded)
    assert (replays.made, replays.called) == (1, 2)


@cuda
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("way", "cached"), [(way, cached) for way in WAYS for cached in (True, False) if way != "appended" or cached]
)
def test_recorded_steps_are_the_steps(tmp_path: Path, precision: str, way: str, cached: bool) -> None:
    """Bit by bit, over scenes in turn."""
    sampling, rollout = WAYS[way]
    folder = store(tmp_path)
    recorded, plain = (load_model(folder, "cuda", precision, recorded=each) for each in (True, False))
    assert recorded.recordings is not None and plain.recordings is None
    for seed in (0, 1, 0):
        options = {"seed": seed, "cached": cached, "sampling": sampling, "rollout": rollout}
        assert torch.equal(render(recorded, **options), render(plain, **options))
    assert recorded.recordings.kept


@cuda
def test_a_GPU_renders_in_bfloat16_what_a_CPU_does(tmp_path: Path) -> None:
    folder = store(tmp_path)
    images = [render(load_model(folder, device, "bfloat16"), sampling=Sampling(2)) for device in ("cpu", "cuda")]
    assert psnr(*images) > 40
