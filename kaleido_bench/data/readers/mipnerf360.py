"""Mip-NeRF 360 as its benchmark scores it: the outdoor scenes at a quarter of their side, the indoor ones at half.

One table of the field is a mean over both, so one protocol has both. Source: nerfbaselines/nerfbaselines@cde53bda36e6,
nerfbaselines/datasets/mipnerf360.py (`_scenes360_res`), after google-research/multinerf.
"""

from __future__ import annotations

from pathlib import Path

from kaleido_bench.data.readers.colmap import ColmapReader
from kaleido_bench.data.scenes import Scene

INDOOR = frozenset({"bonsai", "counter", "kitchen", "room"})


class MipNerf360Reader:
    """Reads COLMAP folders, `images_2` of the indoor scenes and `images_4` of all others."""

    def scene_names(self, root: Path) -> list[str]:
        """The folders directly below `root` that hold a sparse model."""
        return ColmapReader().scene_names(root)

    def load_scene(self, root: Path, name: str) -> Scene:
        """The registered images by name, of the size that the benchmark scores. Raises what `ColmapReader` raises."""
        return ColmapReader(2 if name in INDOOR else 4).load_scene(root, name)
