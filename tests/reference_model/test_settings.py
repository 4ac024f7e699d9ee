"""Which preset a command means: fields changed, stages of video left out."""

from __future__ import annotations

import dataclasses

import pytest

from reference_model.ablations import with_video
from reference_model.presets import PRESETS, small, smoke, tiny
from reference_model.stored import from_json, to_json
from reference_model.training.settings import drop_video, override


def test_overrides_are_recorded() -> None:
    preset = override(tiny(), ["train.learning_rate=0.5", "model.depth=3"])
    assert (preset.train.learning_rate, preset.model.depth) == (0.5, 3)
    assert from_json(to_json(preset)) == preset


@pytest.mark.parametrize("name", PRESETS)
def test_without_video_the_other_stages_share_the_whole_budget(name: str) -> None:
    preset = PRESETS[name]()
    posed = [stage for stage in preset.train.stages if not stage.video]
    found = drop_video(preset)
    shares = [stage.share for stage in found.train.stages]
    assert sum(shares) == pytest.approx(1.0)
    assert [share / shares[0] for share in shares] == pytest.approx([stage.share / posed[0].share for stage in posed])
    kept = [dataclasses.replace(stage, share=1.0) for stage in found.train.stages]
    assert kept == [dataclasses.replace(stage, share=1.0) for stage in posed]
    assert (found is preset) == (len(posed) == len(preset.train.stages))
    assert drop_video(found) == found == with_video(preset, 0.0)
    assert dataclasses.replace(found, train=preset.train) == preset  # nothing else changes


def test_a_preset_of_video_alone_is_not_left_without_stages() -> None:
    stages = tuple(dataclasses.replace(stage, video=True) for stage in smoke().train.stages)
    preset = dataclasses.replace(smoke(), train=dataclasses.replace(smoke().train, stages=stages))
    with pytest.raises(ValueError, match="all stages are video"):
        drop_video(preset)


def test_small_without_video_is_two_stages() -> None:
    found = drop_video(small()).train
    assert [(stage.image_size, stage.scenes) for stage in found.stages] == [(64, 120), (128, 80)]
    assert [stage.share for stage in found.stages] == pytest.approx([0.4 / 0.93, 0.53 / 0.93])
