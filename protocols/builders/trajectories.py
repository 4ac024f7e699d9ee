"""Trajectories from one input: ViewCrafter's and 4DiM's, which SEVA's archive publishes."""

from __future__ import annotations

from builders.pending import SEVA_ZIP, V_INPUTS, Entry, Published, draft_entry
from kaleido_bench.drafts import Draft

VIEWCRAFTER = Published(
    kind="viewcrafter",
    title="ViewCrafter V, {}, trajectories from 1 input",
    root="seva",
    obtain=SEVA_ZIP,
    size=(1024, 576),
    sources=(
        "split: ViewCrafter (Yu et al. 2024, arXiv 2409.02048), published by Stability-AI/stable-virtual-camera, "
        "benchmark/README.md, with images and cameras",
        "its authors gave it by mail only: Drexubery/ViewCrafter#44, #60",
    ),
    problems=(
        V_INPUTS,
        "The scale of the scene is not ViewCrafter's own (it estimates depth with DUSt3R); SEVA sweeps it.",
        "576x1024 is the size of ViewCrafter's 25-frame model; the metric convention was not found.",
    ),
)

FOUR_DIM = Published(
    kind="4dim",
    title="4DiM D, {} from 1 input",
    root="seva",
    obtain=SEVA_ZIP,
    size=256,
    sources=(
        "split: 4DiM (Watson et al. 2024, arXiv 2407.07860), published by Stability-AI/stable-virtual-camera, "
        "benchmark/README.md",
    ),
    problems=(
        "4DiM's cameras are in metres after a calibration of its own; the data set's are not.",
        "The metric convention was not found.",
    ),
)


def build() -> list[Draft]:
    """ViewCrafter's three and 4DiM's one."""
    return [
        draft_entry(VIEWCRAFTER, Entry("re10k", "RealEstate10K", "re10k-viewcrafter", "re10k", "scene", 10, (1,))),
        draft_entry(VIEWCRAFTER, Entry("co3d", "CO3D", "co3d-viewcrafter", "co3d", "object", 10, (1,))),
        draft_entry(
            VIEWCRAFTER, Entry("tnt", "Tanks and Temples", "tnt-viewcrafter", "tanks-and-temples", "scene", 22, (1,))
        ),
        draft_entry(FOUR_DIM, Entry("re10k", "RealEstate10K", "re10k-4dim", "re10k", "scene", 128, (1,))),
    ]
