"""What stands between images and the model: the codec and the image features that a configuration names."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from reference_model.codecs import Codec, build_codec
from reference_model.config import ModelConfig
from reference_model.features import Features, build_features


class Inputs(NamedTuple):
    codec: Codec
    features: Features

    def see(self, images: Float[Tensor, "b v 3 height width"]) -> Float[Tensor, "b v n feature"] | None:
        """Features on the grid of the tokens; None where there are none, or no views."""
        if not images.shape[1]:
            return None
        patch = self.codec.patch
        return self.features.encode(images, images.shape[-2] // patch, images.shape[-1] // patch)

    def see_tokens(
        self, tokens: Float[Tensor, "view n channels"], height: int, width: int
    ) -> Float[Tensor, "view n feature"]:
        """Features of views that exist as tokens only. ValueError where there are none."""
        features = self.see(self.codec.decode(tokens, height, width).clamp(0, 1)[None])
        if features is None:
            raise ValueError("this model has no image features")
        return features[0]


def build_inputs(config: ModelConfig, device: str | torch.device) -> Inputs:
    """Raises ValueError where codec or features do not fit the configuration, FileNotFoundError for missing weights."""
    codec, features = build_codec(config.codec, config.patch), build_features(config.features)
    if codec.channels != config.channels:
        raise ValueError(
            f"codec {codec.name} has {codec.channels} values in a token, the model takes {config.channels}"
        )
    if features.channels != config.feature_channels:
        raise ValueError(
            f"features {features.name} have {features.channels} channels, the model takes {config.feature_channels}"
        )
    for part in (codec, features):
        network = getattr(part, "network", None)
        if isinstance(network, nn.Module):
            network.to(device)
    return Inputs(codec, features)
