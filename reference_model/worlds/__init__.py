"""Procedural worlds: what the reference model learns from.

`draw_batch` draws worlds with cameras from a generator; `render.render_worlds` makes images of them.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from reference_model.worlds.cameras import Rig, draw_clip, draw_rig
from reference_model.worlds.draws import to_device
from reference_model.worlds.scenes import Worlds, draw_worlds

__all__ = ["WorldBatch", "draw_batch", "to_device"]


class WorldBatch(NamedTuple):
    worlds: Worlds
    rig: Rig


def draw_batch(count: int, views: int, generator: torch.Generator, *, video: bool = False) -> WorldBatch:
    """Draw worlds and the cameras that see them: still worlds from anywhere, or clips in which things move."""
    rig = draw_clip(count, views, generator) if video else draw_rig(count, views, generator)
    return WorldBatch(draw_worlds(rig, generator), rig)
