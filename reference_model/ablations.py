"""The paper's ten ablation groups, each as a pair of presets: what the model is, and what is put in its place.

The paper's caption fixes four kinds of groups: (i-v) the design of the architecture, (vi-vii) stability against large
activations, (viii-ix) the sampling of timesteps in training and in inference, (x) video pre-training. Which design
stands at which numeral within a kind could not be read; that is ours, and so is each replacement's exact form. Where
third parties report what the paper found, `reported` says so.

    for ablation in build_ablations(preset): ablation.group, ablation.ours, ablation.other

Both sides of a pair train and sample with the same code; `ours` is the preset handed in, but for what a group needs in
order to differ (a window to compare with none, for example).
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

from reference_model.config import Preset, Stage


class Ablation(NamedTuple):
    group: str  # i to x
    kind: str  # the kind the caption gives
    question: str
    ours: Preset
    other: Preset
    reported: str  # what the paper is said to have found; empty where nothing was found

    @property
    def name(self) -> str:
        return f"{self.group}-{self.question.replace(' ', '-')}"


def change(preset: Preset, *, model: dict[str, Any] | None = None, flow: dict[str, Any] | None = None) -> Preset:
    """The preset with some fields of its model and flow changed."""
    return dataclasses.replace(
        preset,
        model=dataclasses.replace(preset.model, **(model or {})),
        flow=dataclasses.replace(preset.flow, **(flow or {})),
    )


def with_video(preset: Preset, share: float) -> Preset:
    """Video in the first `share` of the training time, at the first stage's size; the rest keeps its proportions."""
    posed = [stage for stage in preset.train.stages if not stage.video]
    total = sum(stage.share for stage in posed)
    stages = [dataclasses.replace(stage, share=stage.share / total * (1 - share)) for stage in posed]
    if share:
        stages.insert(0, Stage(posed[0].image_size, posed[0].scenes, share, video=True))
    return dataclasses.replace(preset, train=dataclasses.replace(preset.train, stages=tuple(stages)))


def widest_window(preset: Preset) -> int:
    """Half of the side of the smallest stage's images, in patches: windows are real at every stage."""
    return min(stage.image_size for stage in preset.train.stages) // preset.model.patch // 2


def ablate_architecture(preset: Preset) -> list[Ablation]:
    """Groups i to v."""
    config, kind = preset.model, "architecture"
    absolute = {"pose_channels": 0, "position": "learned", "rays": "plucker", "value_action": "joint"}
    even = change(preset, model={"depth": config.depth + config.depth % 2})
    windowed = change(preset, model={"window": widest_window(preset), "window_rule": "alternate", "window_from": 0})
    grouped = max(config.heads // 2, 1)
    return [
        Ablation("i", kind, "unified encoding or plucker and learned positions", preset, change(preset, model=absolute),
                 "standard positional encoding is worse"),
        Ablation("ii", kind, "one stack or encoder and decoder", even,
                 change(even, model={"layout": "encoder-decoder"}), "encoder-decoder is worse"),
        Ablation("iii", kind, "windows or full attention across views", windowed,
                 change(windowed, model={"window": 0}), ""),
        Ablation("iv", kind, "references blind to targets or seeing them", preset,
                 change(preset, model={"references_see_targets": True, "keep_references": False}), ""),
        Ablation("v", kind, "grouped queries or a key head each", change(preset, model={"kv_heads": grouped}),
                 change(preset, model={"kv_heads": 0}), ""),
    ]  # fmt: skip


def ablate_stability(preset: Preset) -> list[Ablation]:
    """Groups vi and vii. GELU gets 3/2 of the width: the same number of parameters."""
    kind, gelu = "stability", {"mlp": "gelu", "mlp_width": preset.model.mlp_width * 3 // 2}
    return [
        Ablation("vi", kind, "registers or none", change(preset, model={"registers": preset.model.registers or 4}),
                 change(preset, model={"registers": 0}), "registers reduce massive activations (caption)"),
        Ablation("vii", kind, "swiglu or gelu", preset, change(preset, model=gelu),
                 "training is unstable where the overflow is not fixed"),
    ]  # fmt: skip


def ablate_timesteps(preset: Preset) -> list[Ablation]:
    """Groups viii and ix. An unbiased mean is 0 with the shift rules off; the unshifted grid is that of a mean of 0."""
    plain = {"logit_mean": 0.0, "shift": "fixed"}
    return [
        Ablation("viii", "timesteps", "noise biased training or unbiased", preset, change(preset, flow=plain),
                 "a standard sampler of levels is worse"),
        Ablation("ix", "timesteps", "the training bias in sampling or an even grid", preset,
                 change(preset, flow={"sampling_mean": 0.0}), ""),
    ]  # fmt: skip


def ablate_video(preset: Preset, share: float = 0.3) -> list[Ablation]:
    """Group x: equal time in all, part of it on video or none."""
    timed = preset if preset.model.time_channels else change(preset, model={"time_channels": 8})
    return [
        Ablation("x", "video", "video pre-training or none", with_video(timed, share), with_video(timed, 0.0),
                 "without it spatial consistency is clearly worse"),
    ]  # fmt: skip


def build_ablations(preset: Preset) -> list[Ablation]:
    """All ten, in order."""
    return [
        *ablate_architecture(preset),
        *ablate_stability(preset),
        *ablate_timesteps(preset),
        *ablate_video(preset),
    ]
