"""Ten pairs, each of which differs in what it says, builds, trains a step and samples."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from reference_model.ablations import Ablation, build_ablations, build_extra, shorten
from reference_model.config import Preset
from reference_model.flops import forward_flops
from reference_model.flow import build_levels, sample_noise_levels
from reference_model.held_out import predict_targets, render_batch
from reference_model.inputs import build_inputs
from reference_model.model import Kaleido, count_parameters
from reference_model.presets import PRESETS, medium, small, smoke
from reference_model.train import build_loss, compile_blocks
from reference_model.training.steps import WorldSource, prepare_step

NUMERALS = ["i", "ii", "iii", "iv", "v", "vi", "vii", "viii", "ix", "x"]
FIELDS = {
    "i": {"pose_channels", "position", "rays"},
    "ii": {"layout"},
    "iii": {"window"},
    "iv": {"references_see_targets"},
    "v": {"kv_heads"},
    "vi": {"registers"},
    "vii": {"mlp", "mlp_width"},
    "viii": {"logit_mean"},
    "ix": {"sampling_mean"},
    "x": {"stages"},
}


def differences(a: Preset, b: Preset) -> set[str]:
    left, right = (dataclasses.asdict(x) for x in (a, b))
    return {name for group in left for name in left[group] if left[group][name] != right[group][name]}


@pytest.mark.parametrize("name", ["small", "medium", "smoke"])
def test_ten_groups_each_differ_in_what_they_say_alone(name: str) -> None:
    ablations = build_ablations(PRESETS[name]())
    assert [ablation.group for ablation in ablations] == NUMERALS
    assert len({ablation.name for ablation in ablations}) == 10
    for ablation in ablations:
        found = differences(ablation.ours, ablation.other)
        extra = {"keep_references", "shift", "pure_noise", "value_action"}
        assert FIELDS[ablation.group] <= found <= FIELDS[ablation.group] | extra, ablation.name


def short(preset: Preset, flops: float = 4e15) -> Preset:
    return shorten(preset, size=64, views=10, flops=flops)


@pytest.mark.parametrize("preset", [small(), medium(), short(small())], ids=["small", "medium", "small at 64 px"])
def test_windows_are_cut_at_every_stage(preset: Preset) -> None:
    ablation = next(x for x in build_ablations(preset) if x.group == "iii")
    for stage in preset.train.stages:
        patches = (stage.image_size // preset.model.patch) ** 2
        assert ablation.ours.model.window_of(patches) > 0 == ablation.other.model.window_of(patches)


def test_pairs_of_small_have_about_the_same_parameters() -> None:
    """What is compared is the design, not the size: but for grouped queries, which save key heads."""
    for ablation in build_ablations(small()):
        with torch.device("meta"):
            ours, other = (count_parameters(Kaleido(x.model)) for x in (ablation.ours, ablation.other))
        assert abs(ours - other) < (0.2 if ablation.group == "v" else 0.02) * other, ablation.name


@pytest.fixture(scope="module")
def worlds() -> WorldSource:
    return WorldSource(None, "cpu")


def run_side(preset: Preset, worlds: WorldSource) -> tuple[float, torch.Tensor]:
    """The loss of one training step of the last stage, and one sampled batch."""
    torch.manual_seed(0)
    model, inputs = Kaleido(preset.model), build_inputs(preset.model, "cpu")
    stage = preset.train.stages[0]
    one = dataclasses.replace(stage, scenes=1, share=1.0)
    preset = dataclasses.replace(preset, train=dataclasses.replace(preset.train, stages=(one,)))
    stream = worlds.open(preset, 0, 0, "cpu")
    tensors = prepare_step(inputs, stream.step(0), preset, 2, torch.Generator().manual_seed(0))
    loss = build_loss(model, preset)(tensors, 2)
    loss.backward()
    batch = render_batch(5, 1, 3, stage.image_size, "cpu")
    return loss.item(), predict_targets(model.eval(), inputs, batch, 2, 2, preset.flow)


@pytest.mark.parametrize("ablation", build_ablations(smoke()), ids=lambda x: x.group)
def test_both_sides_train_and_sample(ablation: Ablation, worlds: WorldSource) -> None:
    for preset in (ablation.ours, ablation.other):
        loss, images = run_side(preset, worlds)
        assert 0 < loss < 100 and images.isfinite().all()


@pytest.mark.parametrize("name", ["small", "medium", "latent"])
def test_the_unbiased_side_of_group_viii_has_no_bias_left(name: str) -> None:
    """At any size and number of targets, and no share of the scenes at pure noise."""
    ablation = next(x for x in build_ablations(PRESETS[name]()) if x.group == "viii")
    drawn = [
        sample_noise_levels(20_000, x.flow, torch.Generator().manual_seed(0), 1024, 8)
        for x in (ablation.ours, ablation.other)
    ]
    assert drawn[0].median() > 0.8
    assert drawn[1].median().item() == pytest.approx(0.5, abs=0.01) and drawn[1].max() < 1


def test_inference_alone_changes_in_group_ix() -> None:
    ablation = next(x for x in build_ablations(small()) if x.group == "ix")
    ours, other = (build_levels(4, x.flow) for x in (ablation.ours, ablation.other))
    assert other == pytest.approx([1.0, 0.75, 0.5, 0.25, 0.0])
    assert all(a > b for a, b in zip(ours[1:-1], other[1:-1], strict=True))


def test_video_shares_the_time_and_hides_the_cameras(worlds: WorldSource) -> None:
    ablation: Any = build_ablations(small())[-1]
    for preset in (ablation.ours, ablation.other):
        assert sum(stage.share for stage in preset.train.stages) == pytest.approx(1.0)
    assert [stage.video for stage in ablation.ours.train.stages] == [True, False, False]
    assert not any(stage.video for stage in ablation.other.train.stages)
    video = build_ablations(smoke())[-1].ours
    drawn = worlds.open(video, 0, 0, "cpu").step(0)
    scenes = video.train.stages[0].scenes
    assert torch.equal(drawn.c2w, torch.eye(4).expand(scenes, 4, 4, 4))
    assert drawn.times.diff(dim=1).abs().min() >= 1  # frames of different times


def count(preset: Preset) -> int:
    with torch.device("meta"):
        return count_parameters(Kaleido(preset.model))


def test_extra_pairs_change_one_thing_of_the_preset() -> None:
    base = short(small())
    pairs = build_extra(base)
    assert len({pair.group for pair in pairs}) == len(pairs)
    for pair in pairs:
        assert pair.ours == base and pair.other != base and not pair.sign
        shape = {"width", "depth", "heads", "kv_heads", "mlp_width"}
        assert len(differences(pair.ours, pair.other) - shape) == {"depth": 0, "views": 2}.get(pair.group, 1)
        assert abs(count(pair.other) - count(base)) < 0.05 * count(base)
    assert "depth" not in {pair.group for pair in build_extra(short(smoke()))}  # two heads cannot be narrowed


def test_the_pair_that_halves_the_batch_takes_twice_the_steps() -> None:
    pair = next(pair for pair in build_extra(short(small())) if pair.group == "batch")
    assert pair.ours.train.stages[0].scenes == 2 * pair.other.train.stages[0].scenes


@pytest.mark.parametrize("name", ["small", "medium", "smoke"])
def test_a_short_run_holds_the_views_of_a_step_and_warms_up_in_a_tenth(name: str) -> None:
    preset = PRESETS[name]()
    before = min((x for x in preset.train.stages if not x.video), key=lambda x: x.image_size)
    held, found = before.scenes // preset.train.pieces * preset.model.max_views, short(preset, flops=1e14)
    (stage,) = found.train.stages
    assert stage.scenes * 10 == pytest.approx(held, rel=0.12, abs=5)
    assert not stage.video and found.train.pieces == 1
    steps = 1e14 / (3 * stage.scenes * forward_flops(found.model, 3, 7, 64))
    assert found.train.warmup_steps <= max(0.11 * steps, 1) and found.model.image_size == stage.image_size == 64


def test_pairs_name_their_sides_and_what_is_reported_of_images() -> None:
    for pair in build_ablations(small()):
        assert all(pair.sides) and " or ".join(pair.sides) == pair.question
        assert pair.sign == (1 if pair.group in {"i", "ii", "viii", "x"} else 0)


def test_a_short_run_may_keep_the_stages() -> None:
    preset = small()
    found = shorten(preset, size=128, views=8, flops=1.8e16, stages="preset")
    assert [(x.image_size, x.share, x.video) for x in found.train.stages] == [
        (x.image_size, x.share, x.video) for x in preset.train.stages
    ]
    assert [x.scenes * preset.train.pieces for x in found.train.stages] == [x.scenes for x in preset.train.stages]
    assert found.model == preset.model and found.train.pieces == 1


def test_an_encoder_decoder_is_not_compiled() -> None:
    """Its halves see another number of views at each split: dozens of graphs for one run of seconds."""
    pair = next(pair for pair in build_ablations(smoke()) if pair.group == "ii")
    for preset, compiled in ((pair.ours, True), (pair.other, False)):
        model = Kaleido(preset.model)
        compile_blocks(model)
        assert {block._compiled_call_impl is not None for block in model.stack()} == {compiled}
