"""How much arithmetic a forward pass is: matrix products and attentions, exactly (a test counts them); 2 FLOPs for a
multiply-add. Training is 3 times the forward pass. Elementwise work, the actions among it, is not counted.
"""

from __future__ import annotations

from reference_model.blocks import MODULATIONS
from reference_model.config import ModelConfig, Stage
from reference_model.model import FREQUENCIES


def projection_flops(config: ModelConfig) -> int:
    """q, k and v of one token in one attention."""
    return 2 * config.width * (config.width + 2 * config.key_heads * config.head_channels)


def token_flops(config: ModelConfig) -> int:
    """The linear layers of one block, for one token."""
    matrices = 3 if config.mlp == "swiglu" else 2
    attentions = 2 * (projection_flops(config) + 2 * config.width**2)
    return attentions + 2 * matrices * config.width * config.mlp_width


def pair_flops(config: ModelConfig, patches: int, *, across: bool) -> int:
    """Attention of one view's tokens to one view's tokens."""
    tokens = patches + config.registers
    pairs = tokens**2
    if across and config.window_of(patches):
        pairs = patches * (config.window**2 + config.registers) + config.registers * tokens
    return 4 * config.width * pairs


def block_flops(config: ModelConfig, patches: int, views: int, pairs: int) -> int:
    """One block over `views` views, whose attention across views has so many (view, view) pairs."""
    linear = token_flops(config) * views * (patches + config.registers)
    modulation = 2 * MODULATIONS * config.width**2 * views if config.modulation == "block" else 0
    within = pair_flops(config, patches, across=False) * views
    return linear + modulation + within + pair_flops(config, patches, across=True) * pairs


def end_flops(config: ModelConfig, references: int, targets: int, patches: int) -> int:
    """All that happens once: embedding, features, head, the level's embedding, the inversion of poses."""
    d, views = config.width, references + targets
    embed = 2 * d * (config.channels + config.ray_channels + 1) * patches * views
    features = 2 * d * config.feature_channels * patches * references
    head = 2 * d * config.channels * patches * targets
    vectors = MODULATIONS if config.modulation == "shared" else 1
    time = 2 * (2 * FREQUENCIES * d + vectors * d * d) * views
    poses = 18 * views if config.pose_channels else 0
    return embed + features + head + time + poses


def cache_flops(config: ModelConfig, references: int, patches: int) -> int:
    """`Kaleido.encode_references`."""
    tokens, half = references * (patches + config.registers), config.depth // 2
    if config.layout == "encoder-decoder":
        encoder = half * block_flops(config, patches, references, references**2)
        blocks = encoder + (config.depth - half) * projection_flops(config) * tokens
    else:
        blocks = config.depth * block_flops(config, patches, references, references**2)
        blocks -= unread_flops(config, references, patches)
    return blocks + end_flops(config, references, 0, patches)


def unread_flops(config: ModelConfig, references: int, patches: int) -> int:
    """What caching spares of the last block, whose keys and values alone are kept."""
    linear = token_flops(config) - 2 * projection_flops(config) - 2 * config.width**2  # across: out; feed-forward
    return linear * references * (patches + config.registers) + pair_flops(config, patches, across=True) * references**2


def denoise_flops(config: ModelConfig, references: int, targets: int, patches: int) -> int:
    """`Kaleido.denoise` beside so many cached references."""
    depth = config.depth - (config.depth // 2 if config.layout == "encoder-decoder" else 0)
    blocks = depth * block_flops(config, patches, targets, targets * (references + targets))
    return blocks + end_flops(config, 0, targets, patches)


def forward_flops(config: ModelConfig, references: int, targets: int, tokens_per_view: int) -> int:
    """`Kaleido.forward` of one scene; `tokens_per_view` counts patches, not registers."""
    if config.references_see_targets:
        views = references + targets
        blocks = config.depth * block_flops(config, tokens_per_view, views, views**2)
        return blocks + end_flops(config, references, targets, tokens_per_view)
    once = cache_flops(config, references, tokens_per_view) if references else 0
    if config.layout == "decoder-only":
        once += unread_flops(config, references, tokens_per_view)
    return once + denoise_flops(config, references, targets, tokens_per_view)


# Dense bfloat16 FLOP/s of a device, by what its name contains: the makers' data sheets.
PEAKS = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "B200": 2250e12, "L40S": 362e12, "RTX 4090": 165e12}


def step_flops(config: ModelConfig, stage: Stage, references: int) -> int:
    """Of a training step of a stage, all its scenes, forward and backward (twice the forward pass)."""
    tokens = (stage.image_size // config.patch) ** 2
    return 3 * stage.scenes * forward_flops(config, references, config.max_views - references, tokens)


def peak_flops(device_name: str) -> float | None:
    """The bfloat16 peak of a device, in FLOP/s; None for one that is not in the list."""
    return next((peak for name, peak in PEAKS.items() if name in device_name), None)
