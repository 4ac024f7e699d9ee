"""What a model, its flow and its training are made of: frozen records. Presets: presets.py; as JSON: stored.py.

Each design of the paper is one field; its docstring says whether the paper names it and what is ours. A field with a
default was added after weights had shipped: its default is the model of those weights, so that their preset, stored
without it, means what it meant (`stored.from_json`, which knows the one exception).
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass


def check_choice(field: str, value: str, choices: tuple[str, ...]) -> None:
    """ValueError unless the value is one of the choices."""
    if value not in choices:
        raise ValueError(f"{field} {value!r}: expected one of {', '.join(choices)}")


def check_least(least: float, **fields: float) -> None:
    """ValueError, naming it, for a field that is below `least` or no number."""
    for field, value in fields.items():
        if not least <= value < float("inf"):
            raise ValueError(f"{field} {value}: expected {least:g} or more")


@dataclass(frozen=True)
class ModelConfig:
    """The sequence model. Kaleido's widths, depths, heads and patch size are not published: these are ours."""

    width: int
    depth: int
    heads: int
    mlp_width: int  # hidden width of the feed-forward layer
    patch: int  # side, in pixels of the image, of what one token stands for
    image_size: int  # side, in pixels, of the last training stage; inference runs at this size
    pose_channels: int  # of a head's channels, how many carry the 4x4 camera action; 0: attention sees no camera
    max_views: int  # references + targets in one training sequence

    pose: str = "gta"
    """The camera action: `gta` (the paper's; blind to the focal length) or `prope` (arXiv 2507.10496, which is not:
    the paper states its handling of intrinsics as a limit)."""

    value_action: str = "joint"
    """What v and the output carry of the pose: `joint` as GTA, `split`, `dual` or `none`
    (positions.build_pose_actions). The alternatives to `joint` are not the paper's."""

    time_channels: int = 0
    """Of a head's channels, how many turn with the frame's time in attention across views. The paper encodes time; how
    many channels it has is ours. 0: no video."""

    position: str = "rotary"
    """2-D position: `rotary` (RoPE; the paper's) or `learned` (a table added to the tokens; the ablation's)."""

    rays: str = "camera"
    """Rays among a token's inputs: `camera` (in the camera's own frame: the focal length for a `gta` model; ours),
    `plucker` (in the world's frame: the ablation's absolute baseline) or `none`."""

    window: int = 0
    """Side, in patches, of the windows of attention across views; 0: every patch sees every patch of the views it may
    see. The paper has temporal windows and gives no size; that a window is cut from the image and shared by all views
    is ours. An image no larger than the window is not cut."""

    window_from: int = 512
    """Patches of a view from which on it is cut. Below, cutting costs more than it saves (docs/log.md, entry 8: 1.06
    times at 256 patches, 0.24 at 1,024). 0: a view of any size."""

    window_rule: str = "alternate"
    """Which patches a window holds: `local` neighbours (right for video: what moves little stays in its window), `grid`
    patches spread over the whole image (as in MaxViT: corresponding points of distant cameras may be anywhere), or
    `alternate`, local in even blocks and grid in odd ones. Ours."""

    references_see_targets: bool = False
    """Whether reference tokens attend to targets. Blind references (the default) can be computed once and kept over all
    steps and chunks. The paper does not say; the seeing variant is an ablation."""

    keep_references: bool = False
    """Whether inference keeps keys and values of blind references over steps and chunks. Equal to computing them anew
    but for rounding; off for the weights whose published images were made without."""

    layout: str = "decoder-only"
    """`decoder-only` (the paper's: references and targets in one stack) or `encoder-decoder` (its ablation: the first
    half of the blocks reads the references, the other half the targets, each of its layers seeing the encoder's
    end)."""

    kv_heads: int = 0
    """Key and value heads of grouped-query attention (a third party's account names it); 0: as many as query heads."""

    qk_norm: bool = True
    """RMS norm of queries and keys before the action. Ours: not named in what of the paper could be read."""

    registers: int = 0
    """Learned register tokens of each view (the paper has them; how many, and that each view has its own, standing on
    its camera and time, is ours). They see every patch of every view they may see, and every window sees them."""

    mlp: str = "swiglu"
    """The feed-forward layer: `swiglu` (the paper's) or `gelu` (the ablation's; give it 3/2 of the mlp_width for the
    same number of parameters)."""

    modulation: str = "shared"
    """How the noise level enters (AdaIN; the paper names it, as in DiT): `shared` by all blocks with a table of offsets
    each (PixArt's form), or `block`, a layer of its own in each (DiT's form)."""

    feature_channels: int = 0
    """Channels of the image features beside the reference latents (the paper: DINOv2; see features.py). 0: none."""

    features: str = "none"
    """Which image features (features.build_features). They must have `feature_channels` channels."""

    codec: str = "pixels"
    """What turns images into tokens and back (codecs.py). The paper: a per-image VAE, which one is not known."""

    token_channels: int = 0
    """Values in a token; 0: the pixels of a patch."""

    normalisation: str = "focus"
    """The named rule that gives every scene one frame and size (positions.NORMALISATIONS). Ours."""

    @property
    def head_channels(self) -> int:
        return self.width // self.heads

    @property
    def key_heads(self) -> int:
        return self.kv_heads or self.heads

    @property
    def channels(self) -> int:
        """Values in a token."""
        return self.token_channels or 3 * self.patch**2

    def window_of(self, patches: int) -> int:
        """The side of the windows that views of so many patches are cut into; 0: not cut."""
        return self.window if patches > self.window**2 and patches >= self.window_from else 0

    @property
    def ray_channels(self) -> int:
        return {"camera": 4, "plucker": 18, "none": 0}[self.rays]

    def __post_init__(self) -> None:
        check_choice("pose", self.pose, ("gta", "prope"))
        check_choice("value_action", self.value_action, ("joint", "split", "dual", "none"))
        check_choice("position", self.position, ("rotary", "learned"))
        check_choice("rays", self.rays, ("camera", "plucker", "none"))
        check_choice("window_rule", self.window_rule, ("local", "grid", "alternate"))
        check_choice("layout", self.layout, ("decoder-only", "encoder-decoder"))
        check_choice("mlp", self.mlp, ("swiglu", "gelu"))
        check_choice("modulation", self.modulation, ("shared", "block"))
        check_choice("normalisation", self.normalisation, ("focus", "first", "none"))
        check_least(1, width=self.width, depth=self.depth, heads=self.heads, patch=self.patch, kv_heads=self.key_heads)
        check_least(1, mlp_width=self.mlp_width, image_size=self.image_size)
        check_least(2, max_views=self.max_views)
        check_least(
            0,
            pose_channels=self.pose_channels,
            time_channels=self.time_channels,
            window=self.window,
            window_from=self.window_from,
            registers=self.registers,
            feature_channels=self.feature_channels,
            token_channels=self.token_channels,
        )
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        if self.heads % self.key_heads:
            raise ValueError(f"heads {self.heads} is not a multiple of kv_heads {self.kv_heads}")
        if self.head_channels % 4 or self.time_channels % 2:
            raise ValueError(
                f"a head has {self.head_channels} channels, {self.time_channels} of time: 4 and 2 must divide"
            )
        rest = self.head_channels - self.pose_channels - self.time_channels
        vectors = 8 if self.value_action == "split" else 4
        if self.pose_channels % vectors or rest < 0 or rest % 4:
            raise ValueError(
                f"pose_channels {self.pose_channels} of {self.head_channels} channels: it must divide by {vectors}, "
                f"what is left for position beside {self.time_channels} of time by 4"
            )
        if self.image_size % self.patch:
            raise ValueError(f"image_size {self.image_size} is not a multiple of patch {self.patch}")
        if self.window and (self.image_size // self.patch) % self.window and self.image_size > self.patch * self.window:
            raise ValueError(
                f"{self.image_size // self.patch} patches a side do not divide into windows of {self.window}"
            )
        if self.keep_references and self.references_see_targets:
            raise ValueError("keep_references needs references that do not see targets")
        if self.layout == "encoder-decoder" and (self.depth % 2 or self.references_see_targets):
            raise ValueError("encoder-decoder needs an even depth and references that do not see targets")


def drop_idle(model: ModelConfig) -> ModelConfig:
    """The model with one value for what says nothing, which is how views are cut where none is: those that are equal
    then are one model.
    """
    return model if model.window else dataclasses.replace(model, window_from=0, window_rule="alternate")


def list_differences(one: ModelConfig, other: ModelConfig) -> list[str]:
    """The fields in which weights of one are no weights of the other. How large and how many the views were is none of
    them, unless their positions are a table: weights of 128 px and 8 views may go on at 256 px or with 12.
    """
    free = {"max_views"} if one.position == "learned" else {"max_views", "image_size"}
    one, other = drop_idle(one), drop_idle(other)
    names = [field.name for field in dataclasses.fields(one) if field.name not in free]
    return [name for name in names if getattr(one, name) != getattr(other, name)]


@dataclass(frozen=True)
class FlowConfig:
    """How noise levels are drawn in training, and with the same bias laid out in sampling. Kaleido samples biased
    towards noise; its values are not published, these are ours.
    """

    logit_mean: float  # t = sigmoid(mean + std z): mean > 0 is biased towards noise; log SNR has mean -2 mean
    logit_std: float
    min_t: float  # the velocity loss of a clean prediction divides by t; below this it divides by min_t

    prediction: str = "clean"
    """What the network predicts: `clean` (x-prediction, which works on raw pixel patches, arXiv 2511.13720), `velocity`
    (the paper's, as a third party reports) or `noise`."""

    levels: str = "logit-normal"
    """How levels spread about the bias: `logit-normal`, or `uniform` shifted by e^mean (mean 0: not shifted)."""

    shift: str = "fixed"
    """Whether the bias grows with what is generated: `fixed`, `resolution` (a = sqrt(tokens of a view / base_tokens),
    SD3's rule) or `resolution-views` (that times sqrt(targets): near-copies of one scene average the noise away). It
    adds ln a to the mean, in training and sampling alike. Ours: a rule of thumb."""

    base_tokens: int = 256
    """Tokens of a view at which the resolution's shift is 1."""

    max_t: float = 1.0
    """The highest level, in training and sampling. Below 1 for noise-prediction, which says nothing at pure noise."""

    reference_dropout: float = 0.0
    """Share of the training steps without references, for guidance in sampling."""

    pure_noise: float = 0.0
    """Share of the scenes trained at max_t exactly, which is all that sampling in one step asks. Ours."""

    sampling_mean: float | None = None
    """Bias of the sampling grid where it is not to be that of training; None: the same. For the ablation."""

    def __post_init__(self) -> None:
        check_choice("prediction", self.prediction, ("clean", "velocity", "noise"))
        check_choice("levels", self.levels, ("logit-normal", "uniform"))
        check_choice("shift", self.shift, ("fixed", "resolution", "resolution-views"))
        check_least(1, base_tokens=self.base_tokens)
        check_least(0, min_t=self.min_t)
        means = [self.logit_mean] if self.sampling_mean is None else [self.logit_mean, self.sampling_mean]
        if not 0 < self.logit_std < math.inf or not all(map(math.isfinite, means)):
            raise ValueError(
                f"logit_mean {self.logit_mean}, logit_std {self.logit_std}, sampling_mean {self.sampling_mean}: "
                "expected finite means and a deviation above 0"
            )
        if self.prediction == "noise" and not self.max_t < 1:
            raise ValueError(f"max_t {self.max_t}: noise-prediction says nothing at t = 1; expected less, such as 0.98")
        if not 0 < self.max_t <= 1 or not 0 <= self.reference_dropout < 1 or not 0 <= self.pure_noise <= 1:
            raise ValueError(
                f"max_t {self.max_t}, reference_dropout {self.reference_dropout}, pure_noise {self.pure_noise}: "
                "shares, of which dropout is below 1 and max_t above 0"
            )


@dataclass(frozen=True)
class Stage:
    """A stretch of training at one resolution."""

    image_size: int
    scenes: int  # a step, over all its pieces
    share: float  # of the budget
    video: bool = False  # frames of a moving camera, whose poses the model is not told: identity poses, and time

    def __post_init__(self) -> None:
        check_least(1, image_size=self.image_size, scenes=self.scenes)
        if not 0 < self.share <= 1:
            raise ValueError(f"share {self.share} of the budget: expected above 0 and at most 1")


@dataclass(frozen=True)
class TrainConfig:
    stages: tuple[Stage, ...]
    learning_rate: float
    weight_decay: float
    warmup_steps: int
    decay_share: float  # the last share of the budget, in which the rate falls linearly to zero
    ema_decay: float
    clip_norm: float
    seed: int
    view_rule: str = "given"
    """How the views of a sequence are chosen among a world's (view_sampling.RULES). The paper names principled view
    sampling and gives no rule."""

    view_pool: int = 1
    """How many times as many cameras a world has as a sequence takes."""

    scale_jitter: float = 0.0
    """How far the unit of a scene's normalised poses is drawn, as the natural logarithm of the largest factor (0.5: 0.6
    to 1.65; for a quarter of those with near cameras 20 and more, view_sampling.draw_units): a normalisation that
    takes the wrong distance for 1 is then nothing new. 0: never. Video has no unit. Ours."""

    scale_share: float = 1.0
    """Share of the scenes whose unit is drawn at all. Below 1 the normalisation's own unit is the likeliest one, which
    is all that one reference can say of a scene's size. Ours."""

    pieces: int = 1
    """A step's scenes are drawn in so many pieces, and each process takes whole ones: the same run on as many GPUs as
    divide it, up to the rounding of sums."""

    sharded: bool = False
    """Whether several processes hold a share of the weights each (FSDP2) instead of a replica each."""

    recomputed: bool = False
    """Whether the backward pass computes each block again instead of finding its activations kept: a third more
    arithmetic for a small part of the memory."""

    def __post_init__(self) -> None:
        check_choice("view_rule", self.view_rule, ("given", "random", "orbit", "trajectory", "mixed", "video"))
        uneven = [stage.scenes for stage in self.stages if stage.scenes % self.pieces]
        if self.pieces < 1 or uneven:
            raise ValueError(f"{self.pieces} pieces a step: {uneven or 'none'} scenes do not divide into them")
        if not self.stages:
            raise ValueError("no stages: expected at least one")
        check_least(1, view_pool=self.view_pool)
        check_least(
            0,
            seed=self.seed,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            warmup_steps=self.warmup_steps,
            clip_norm=self.clip_norm,
            scale_jitter=self.scale_jitter,
        )
        if not (0 <= self.decay_share <= 1 and 0 <= self.scale_share <= 1 and 0 <= self.ema_decay < 1):
            raise ValueError(
                f"decay_share {self.decay_share}, scale_share {self.scale_share}, ema_decay {self.ema_decay}: "
                "expected 0 to 1, the last below 1"
            )


@dataclass(frozen=True)
class Preset:
    model: ModelConfig
    flow: FlowConfig
    train: TrainConfig

    def __post_init__(self) -> None:
        for stage in self.train.stages:
            if stage.image_size % self.model.patch:
                raise ValueError(
                    f"a stage's image_size {stage.image_size} is not a multiple of patch {self.model.patch}"
                )


def without_idle(preset: Preset) -> Preset:
    """The preset as it is compared and named, so that a default of idle fields may change (`drop_idle`)."""
    return dataclasses.replace(preset, model=drop_idle(preset.model))
