"""The presets, as functions: sizes, levels and stages that were measured to go together (docs/log.md), each a `Preset`
of the records in config.py. Weights carry the preset they were trained with in their own `preset.json`: what changes
here changes what is trained next, never what is loaded.
"""

from __future__ import annotations

import dataclasses

from reference_model.config import FlowConfig, ModelConfig, Preset, Stage, TrainConfig


def tiny() -> Preset:
    """7.9 M parameters: 15.7 MB in bfloat16, trained in under ten minutes on one H100, usable on two CPU cores."""
    return Preset(
        model=ModelConfig(
            width=256, depth=7, heads=4, mlp_width=640, patch=8, image_size=128, pose_channels=32, max_views=8
        ),
        flow=FlowConfig(logit_mean=1.2, logit_std=1.2, min_t=0.2),
        train=TrainConfig(
            stages=(
                Stage(image_size=64, scenes=128, share=0.45),
                Stage(image_size=128, scenes=64, share=0.55),
            ),
            learning_rate=4e-3,
            weight_decay=0.01,
            warmup_steps=200,
            decay_share=0.4,
            ema_decay=0.9995,
            clip_norm=1.0,
            seed=0,
        ),
    )


def small() -> Preset:
    """28.8 M parameters, for a run of under an hour on one H100; its weights ship.

    Width and heads follow the machine: 512 with heads of 128 channels reached 291 TFLOP/s where 448 with heads of 64
    reached 203 on one H100, so 7 wide blocks with two key heads cost less time than 12 narrow ones of as many
    parameters. Attention across views is full: 8 views of 256 tokens and 4 registers are 2,080 keys, where windows save
    little and far baselines need every patch. PRoPE and camera rays together see the focal length twice: both were best
    together in PRoPE's own comparison. Half of a head carries pose as in GTA and PRoPE, 16 channels time, the rest
    position. Four registers a view are the paper's remedy for massive activations; here they were found to lower what
    is large in references, not in targets (docs/log.md, entry 22). Levels lean to noise, half of them all the way: with
    equal FLOPs that was worth 1.5 dB in one step and 0.9 in eight; a mean of 2 instead of 1.2, alone, 0.9 in one. Half
    of the batch in twice the steps was worth 0.65 dB: hence 120 and 80 scenes a step, in two pieces for two GPUs
    (entry 15).
    """
    return Preset(
        model=ModelConfig(
            width=512, depth=7, heads=4, mlp_width=1408, patch=8, image_size=128, pose_channels=64, max_views=8,
            pose="prope", time_channels=16, kv_heads=2, registers=4,
            keep_references=True,
        ),
        flow=FlowConfig(
            logit_mean=2.0, logit_std=1.2, min_t=0.5, shift="resolution", base_tokens=256, reference_dropout=0.05,
            pure_noise=0.5,
        ),
        train=dataclasses.replace(
            tiny().train,
            stages=(
                Stage(image_size=64, scenes=120, share=0.07, video=True),
                Stage(image_size=64, scenes=120, share=0.4),
                Stage(image_size=128, scenes=80, share=0.53),
            ),
            learning_rate=3e-3,
            view_rule="mixed",
            view_pool=2,
            scale_jitter=0.5,
            pieces=2,
        ),
    )  # fmt: skip


def latent() -> Preset:
    """28.8 M parameters at 256 px on the latents of FLUX.2's tiny autoencoder (codecs.py, `taef2`): 2 x 2 of its 32
    channels a token, so as many tokens as `small` has at 128 px. The paper's way, with the one autoencoder whose
    weights are small. Nobody has trained it here yet.

    The network and its training are `small`'s, each stage at twice the size, which is as many tokens. Levels are its
    own: velocity prediction, as third parties report of the paper, sampled in many steps. `small`'s were measured where
    a clean image is predicted in one; here no level is pure noise alone, and `tiny`'s milder bias leaves a sixth of the
    levels, not a twentieth, below one half at 256 px.
    """
    base = small()
    return Preset(
        model=dataclasses.replace(base.model, patch=16, image_size=256, codec="taef2", token_channels=128),
        flow=FlowConfig(
            prediction="velocity", logit_mean=1.2, logit_std=1.2, shift="resolution", base_tokens=256,
            reference_dropout=0.05, pure_noise=0.0,
            min_t=0.2,  # of no effect: the loss of a velocity divides by nothing
        ),
        train=dataclasses.replace(
            base.train,
            stages=tuple(dataclasses.replace(stage, image_size=2 * stage.image_size) for stage in base.train.stages),
        ),
    )  # fmt: skip


def medium() -> Preset:
    """116 M parameters at 256 px: 12 views as the paper trained with, windows of 8 x 8 patches in turn local and
    grid. Nobody has trained it here yet.

    Clean pixels are predicted as in `small`, so its loss (min_t) and its share of pure noise stand, measured at 64 px
    as they were. The bias grows with the targets too: 1.2 is then `small`'s 2.0 at five targets, whatever the size. How
    views and units are drawn is `small`'s; warm-up, decay and clipping are `tiny`'s.
    """
    return Preset(
        model=ModelConfig(
            width=768, depth=14, heads=6, mlp_width=2048, patch=8, image_size=256, pose_channels=64, max_views=12,
            pose="prope", time_channels=16, kv_heads=2, registers=4, window=8, keep_references=True,
        ),
        flow=FlowConfig(
            logit_mean=1.2, logit_std=1.2, min_t=0.5, shift="resolution-views", base_tokens=256,
            reference_dropout=0.05, pure_noise=0.5,
        ),
        train=dataclasses.replace(
            small().train,
            stages=(
                Stage(image_size=64, scenes=64, share=0.2, video=True),
                Stage(image_size=128, scenes=24, share=0.4),
                Stage(image_size=256, scenes=6, share=0.4),
            ),
            learning_rate=1e-3,
            ema_decay=0.9998,
            pieces=1,
        ),
    )  # fmt: skip


def large() -> Preset:
    """3.1 B parameters, the size of the paper's largest, at 512 px on autoencoder latents (FLUX.2's 32 channels at 1/8
    of the size, 2 x 2 of them a token) with DINOv2 features (base, 768 channels) beside the references. Nobody has
    trained it here: its shapes, parameters and FLOPs are checked on the meta device. In training each of up to eight
    GPUs holds a share of it.

    Levels are `latent`'s, for the same reasons; their bias grows with the targets too, so that at 256 px it is about
    what `latent` has there. How views and units are drawn is `small`'s; warm-up, decay and clipping are `tiny`'s.
    """
    return Preset(
        model=ModelConfig(
            width=2560, depth=36, heads=20, mlp_width=6912, patch=16, image_size=512, pose_channels=64, max_views=12,
            pose="prope", time_channels=16, kv_heads=4, registers=8, window=8, keep_references=True,
            feature_channels=768, features="dinov2:facebook/dinov2-base", codec="taef2", token_channels=128,
        ),
        flow=dataclasses.replace(latent().flow, shift="resolution-views", base_tokens=1024),
        train=dataclasses.replace(
            small().train,
            stages=(
                Stage(image_size=256, scenes=16, share=0.3, video=True),
                Stage(image_size=256, scenes=16, share=0.4),
                Stage(image_size=512, scenes=8, share=0.3),
            ),
            learning_rate=3e-4,
            ema_decay=0.9999,
            pieces=8,
            sharded=True,
            recomputed=True,
        ),
    )  # fmt: skip


def smoke() -> Preset:
    """A toy for tests and dry runs: seconds on a CPU."""
    return Preset(
        model=ModelConfig(
            width=64, depth=2, heads=2, mlp_width=128, patch=8, image_size=32, pose_channels=16, max_views=4,
            window_from=0,  # a toy's windows are cut too
        ),
        flow=FlowConfig(logit_mean=1.2, logit_std=1.2, min_t=0.2),
        train=TrainConfig(
            stages=(Stage(image_size=16, scenes=4, share=0.5), Stage(image_size=32, scenes=4, share=0.5)),
            learning_rate=2e-3,
            weight_decay=0.01,
            warmup_steps=5,
            decay_share=0.35,
            ema_decay=0.9,
            clip_norm=1.0,
            seed=0,
        ),
    )  # fmt: skip


PRESETS = {"tiny": tiny, "small": small, "latent": latent, "medium": medium, "large": large, "smoke": smoke}
