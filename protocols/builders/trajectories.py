"""Trajectories from one input: ViewCrafter's and 4DiM's, which SEVA's archive publishes."""

from __future__ import annotations

from builders.pending import SEVA_ZIP, V_INPUTS, Split


def trajectory(name: str, title: str, entry: str, data: str, level: str, scenes: int) -> Split:
    """One data set of ViewCrafter's trajectories."""
    return Split(
        name=f"viewcrafter/{name}",
        title=f"ViewCrafter V, {title}, trajectories from 1 input",
        kind="viewcrafter",
        entry=entry,
        data=data,
        level=level,
        counts=(1,),
        scenes=scenes,
        targets=None,
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
        root=f"seva/{entry}",
        obtain=SEVA_ZIP,
    )


VIEWCRAFTER = [
    trajectory("re10k", "RealEstate10K", "re10k-viewcrafter", "re10k", "scene", 10),
    trajectory("co3d", "CO3D", "co3d-viewcrafter", "co3d", "object", 10),
    trajectory("tnt", "Tanks and Temples", "tnt-viewcrafter", "tanks-and-temples", "scene", 22),
]

FOUR_DIM = [
    Split(
        name="4dim/re10k",
        title="4DiM D, RealEstate10K from 1 input",
        kind="4dim",
        entry="re10k-4dim",
        data="re10k",
        level="scene",
        counts=(1,),
        scenes=128,
        targets=None,
        size=(256, 256),
        sources=(
            "split: 4DiM (Watson et al. 2024, arXiv 2407.07860), published by Stability-AI/stable-virtual-camera, "
            "benchmark/README.md",
        ),
        problems=(
            "4DiM's cameras are in metres after a calibration of its own; the data set's are not.",
            "The metric convention was not found.",
        ),
        root="seva/re10k-4dim",
        obtain=SEVA_ZIP,
    )
]
