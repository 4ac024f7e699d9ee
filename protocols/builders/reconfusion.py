"""ReconFusion's splits, which CAT3D takes too."""

from __future__ import annotations

from collections.abc import Sequence

from builders.pending import FROZEN_TODAY, Split

RECONFUSION_FOLDER = (
    "the folder 10oT2_OQ9Sjh5wlfJQoGx2y7ZKYwpgNg5 of Google Drive that reconfusion.github.io links as its data splits"
)
RECONFUSION_PROBLEMS = (
    "The papers' metric convention and the net of their LPIPS were not found; their resolution neither: 512x512 is "
    "ours.",
    "Published rows are renderings of a reconstruction (a NeRF fitted to samples); a sampler's own images score lower.",
)


def reconfusion(name: str, title: str, data: str, level: str, scenes: int, *, targets: int | None = None,
                problems: Sequence[str] = ()) -> Split:  # fmt: skip
    """One data set of ReconFusion's splits, with 3, 6 and 9 inputs."""
    return Split(
        name=f"reconfusion/{name}",
        title=f"ReconFusion R, {title}, 3, 6 and 9 inputs",
        kind="reconfusion",
        entry=name,
        data=data,
        level=level,
        counts=(3, 6, 9),
        scenes=scenes,
        targets=None if targets is None else (targets,) * 3,
        size=(512, 512),
        sources=(
            "split: ReconFusion (Wu et al. 2024, arXiv 2312.02981), reconfusion.github.io; CAT3D (Gao et al. 2024) "
            "uses it too",
            "layout: Stability-AI/stable-virtual-camera, seva/data_io.py, ReconfusionParser",
        ),
        problems=tuple(problems) + RECONFUSION_PROBLEMS,
        root=f"reconfusion/{name}",
        obtain=RECONFUSION_FOLDER,
    )


RECONFUSION = [
    reconfusion("re10k", "RealEstate10K", "re10k", "scene", 10),
    reconfusion(
        "llff",
        "LLFF",
        "llff",
        "scene",
        8,
        problems=("Targets are every 8th image.", FROZEN_TODAY.format("llff/regnerf")),
    ),
    reconfusion(
        "dtu",
        "DTU",
        "dtu",
        "object",
        15,
        targets=25,
        problems=("Whether object masks are applied is not stated.", FROZEN_TODAY.format("dtu/regnerf")),
    ),
    reconfusion("co3d", "CO3D", "co3d", "object", 20),
    reconfusion(
        "mipnerf360",
        "Mip-NeRF 360",
        "mipnerf360",
        "scene",
        9,
        problems=("Targets are the original test set; inputs were picked by a heuristic of coverage and spacing.",),
    ),
]
