"""ReconFusion's splits, which CAT3D takes too."""

from __future__ import annotations

from builders.pending import FROZEN_TODAY, Entry, Published, draft_entry
from kaleido_bench.drafts import Draft

RECONFUSION = Published(
    kind="reconfusion",
    title="ReconFusion R, {}, 3, 6 and 9 inputs",
    root="reconfusion",
    obtain="the folder 10oT2_OQ9Sjh5wlfJQoGx2y7ZKYwpgNg5 of Google Drive that reconfusion.github.io links as its data "
    "splits",
    size=512,
    sources=(
        "split: ReconFusion (Wu et al. 2024, arXiv 2312.02981), reconfusion.github.io; CAT3D (Gao et al. 2024) uses it "
        "too",
        "layout: Stability-AI/stable-virtual-camera, seva/data_io.py, ReconfusionParser",
    ),
    problems=(
        "The papers' metric convention and the net of their LPIPS were not found; their resolution neither: 512x512 is "
        "ours.",
        "Published rows are renderings of a reconstruction (a NeRF fitted to samples); a sampler's own images score "
        "lower.",
    ),
)
INPUTS = (3, 6, 9)

ENTRIES = (
    Entry("re10k", "RealEstate10K", "re10k", "re10k", "scene", 10, INPUTS),
    Entry("llff", "LLFF", "llff", "llff", "scene", 8, INPUTS,
          problems=("Targets are every 8th image.", FROZEN_TODAY.format("llff/regnerf"))),
    Entry("dtu", "DTU", "dtu", "dtu", "object", 15, INPUTS, dict.fromkeys(INPUTS, 25),
          ("Whether object masks are applied is not stated.", FROZEN_TODAY.format("dtu/regnerf"))),
    Entry("co3d", "CO3D", "co3d", "co3d", "object", 20, INPUTS),
    Entry("mipnerf360", "Mip-NeRF 360", "mipnerf360", "mipnerf360", "scene", 9, INPUTS,
          problems=("Targets are the original test set; inputs were picked by a heuristic of coverage and spacing.",)),
)  # fmt: skip


def build() -> list[Draft]:
    """One protocol a data set."""
    return [draft_entry(RECONFUSION, entry) for entry in ENTRIES]
