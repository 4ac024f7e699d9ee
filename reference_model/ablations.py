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
from typing import Any, Literal, NamedTuple

from reference_model.config import Preset, Stage
from reference_model.flops import step_flops
from reference_model.training.settings import drop_video

Stages = Literal["one", "preset"]


class Ablation(NamedTuple):
    group: str  # i to x; of a pair that is not the paper's, a short name
    kind: str  # the kind the caption gives, or `extra`
    question: str  # "ours or the other"
    ours: Preset
    other: Preset
    reported: str  # what the paper is said to have found; empty where nothing was found
    sign: int = 0
    """+1 where it is said that ours has the better images; 0 where nothing is said of images."""

    @property
    def name(self) -> str:
        return f"{self.group}-{self.question.replace(' ', '-')}"

    @property
    def sides(self) -> tuple[str, str]:
        """What ours has, and what is put in its place."""
        ours, _, other = self.question.partition(" or ")
        return ours, other


def change(
    preset: Preset,
    *,
    model: dict[str, Any] | None = None,
    flow: dict[str, Any] | None = None,
    train: dict[str, Any] | None = None,
) -> Preset:
    """The preset with some fields of its records changed."""
    return dataclasses.replace(
        preset,
        model=dataclasses.replace(preset.model, **(model or {})),
        flow=dataclasses.replace(preset.flow, **(flow or {})),
        train=dataclasses.replace(preset.train, **(train or {})),
    )


def shorten(preset: Preset, *, size: int, views: int, flops: float, stages: Stages = "one") -> Preset:
    """The preset for a short run on worlds alone, on one device, with a warm-up over at most a tenth of what so many
    model FLOPs are in steps.

    Args:
        stages: `one` of images of this size, whose steps hold about as many views as one piece of the preset's smallest
            stage does; or the `preset`'s own, each step one piece of its.
    """
    own = tuple(dataclasses.replace(x, scenes=max(x.scenes // preset.train.pieces, 1)) for x in preset.train.stages)
    if stages == "one":
        smallest = min((x for x in own if not x.video), key=lambda x: x.image_size)
        scenes = max(1, round(smallest.scenes * preset.model.max_views / views))
        own = (Stage(size, 8 * round(scenes / 8) if scenes > 8 else scenes, 1.0),)
    model = dataclasses.replace(preset.model, image_size=size, max_views=views)
    train = dataclasses.replace(preset.train, stages=own, pieces=1, sharded=False)
    short = dataclasses.replace(preset, model=model, train=train)
    warm = max(1, min(preset.train.warmup_steps, int(count_steps(short, flops) / 10)))
    return change(short, train={"warmup_steps": warm})


def count_steps(preset: Preset, flops: float) -> float:
    """About how many steps so many model FLOPs are, at the usual split of the views."""
    references = max(preset.model.max_views // 3, 1)
    return sum(stage.share * flops / step_flops(preset.model, stage, references) for stage in preset.train.stages)


def with_video(preset: Preset, share: float) -> Preset:
    """Video in the first `share` of the budget, at the first stage's size; the rest keeps its proportions."""
    posed = drop_video(preset).train.stages
    stages = [dataclasses.replace(stage, share=stage.share * (1 - share)) for stage in posed]
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
                 "standard positional encoding is worse", +1),
        Ablation("ii", kind, "one stack or encoder and decoder", even,
                 change(even, model={"layout": "encoder-decoder"}), "encoder-decoder is worse", +1),
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
    plain = {"logit_mean": 0.0, "shift": "fixed", "pure_noise": 0.0}
    return [
        Ablation("viii", "timesteps", "noise biased training or unbiased", preset, change(preset, flow=plain),
                 "a standard sampler of levels is worse", +1),
        Ablation("ix", "timesteps", "the training bias in sampling or an even grid", preset,
                 change(preset, flow={"sampling_mean": 0.0}), ""),
    ]  # fmt: skip


def ablate_video(preset: Preset, share: float = 0.3) -> list[Ablation]:
    """Group x: an equal budget in all, part of it on video or none. (Video on top of an equal budget of posed views,
    which is how a paper would put it, would have to win nothing back.)"""
    timed = preset if preset.model.time_channels else change(preset, model={"time_channels": 8})
    return [
        Ablation("x", "video", "video pre-training or none", with_video(timed, share), with_video(timed, 0.0),
                 "without it spatial consistency is clearly worse", +1),
    ]  # fmt: skip


def build_ablations(preset: Preset) -> list[Ablation]:
    """All ten, in order."""
    return [
        *ablate_architecture(preset),
        *ablate_stability(preset),
        *ablate_timesteps(preset),
        *ablate_video(preset),
    ]


def reshape(preset: Preset) -> Preset:
    """Deeper and narrower: three quarters of the width in heads of the same size, and as many more blocks as keep the
    parameters. Needs a number of heads that 4 divides.
    """
    config = preset.model
    heads, depth = config.heads * 3 // 4, -(-config.depth * 16 // 9)
    narrow = {"width": heads * config.head_channels, "heads": heads, "depth": depth}
    keys = max(k for k in range(1, heads + 1) if heads % k == 0 and k <= max(config.key_heads * 3 // 4, 1))
    return change(preset, model={**narrow, "mlp_width": config.mlp_width * 3 // 4, "kv_heads": keys})


def build_extra(preset: Preset) -> list[Ablation]:
    """Pairs that are not the paper's: what may raise the PSNR of one step most for its FLOPs, the likeliest first.
    `ours` is the preset; what is in question is the other side.
    """

    def against(name: str, question: str, other: Preset) -> Ablation:
        return Ablation(name, "extra", question, preset, other, "")

    def at_rate(other: float) -> Ablation:
        return against(f"rate-{other:g}", f"rate {rate:g} or {other:g}", change(preset, train={"learning_rate": other}))

    stages = tuple(dataclasses.replace(stage, scenes=max(stage.scenes // 2, 1)) for stage in preset.train.stages)
    pure = preset.flow.pure_noise
    less = 0.0 if pure else 0.5
    rate, mean, rule = preset.train.learning_rate, preset.flow.logit_mean, preset.train.view_rule
    plain = {"view_rule": "given", "view_pool": 1} if rule != "given" else {"view_rule": "orbit", "view_pool": 2}
    rates = [at_rate(other) for other in (8e-3, 4e-3, 2e-3) if other != rate]
    pairs = [
        against("noise", f"{pure:g} at pure noise or {less:g}", change(preset, flow={"pure_noise": less})),
        rates[0],
        against("batch", "a batch or half of it in twice the steps", change(preset, train={"stages": stages})),
        against("weight", "the velocity's loss or the clean image's", change(preset, flow={"min_t": 1.0})),
        *rates[1:2],
        against("mean", f"a bias of {mean:g} or {mean + 0.8:g}", change(preset, flow={"logit_mean": mean + 0.8})),
        against("views", f"views {rule} or {plain['view_rule']}", change(preset, train=plain)),
    ]  # fmt: skip
    if preset.train.scale_jitter:
        pairs.append(against("unit", "a drawn unit or one", change(preset, train={"scale_jitter": 0.0})))
    if preset.model.heads % 4 == 0:
        pairs.append(against("depth", "wide or deep and narrow", reshape(preset)))
    return [*pairs, *rates[2:]]
