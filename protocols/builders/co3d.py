"""CO3D: latentSplat's hydrants and teddy bears.

Its index counts positions among the frames that its own split lists, sorted by frame number; those numbers run from 0
without a gap in every sequence it names (checked below), so that a position is a frame number, which is a view's id.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from builders.common import load_entries, load_json, position_cases, prepare, with_twin
from kaleido_bench.drafts import Data, Draft

LATENTSPLAT = "Chrixtar+latentsplat"
KINDS = {
    "intra": "targets between two near views",
    "extra": "targets anywhere else on the orbit",
    "360": "the whole orbit from two views",
}


def build(splits: Path) -> list[Draft]:
    """All protocols of the family."""
    return [
        draft
        for category in ("hydrant", "teddybear")
        for kind in KINDS
        for draft in build_one(splits / LATENTSPLAT, category, kind)
    ]


def check_frames(folder: Path, category: str) -> dict[str, int]:
    """Sequence -> number of frames of the published split, whose frame numbers must run from 0 without a gap."""
    numbers: defaultdict[str, list[int]] = defaultdict(list)
    rows = load_json(folder / "dataset_splits" / f"co3d_{category}_eval.json")
    assert isinstance(rows, list)
    for sequence, number, _ in rows:
        numbers[sequence].append(number)
    for sequence, found in numbers.items():
        if sorted(found) != list(range(len(found))):
            raise ValueError(f"{category}/{sequence}: frame numbers with a gap; positions are no ids")
    return {sequence: len(found) for sequence, found in numbers.items()}


def build_one(folder: Path, category: str, kind: str) -> list[Draft]:
    """One published index."""
    file = f"co3d_{category}_{kind}.json"
    frames = check_frames(folder, category)
    entries = load_entries(folder / "evaluation_index" / file)
    for entry in entries:
        if max(*entry.context, *entry.target) >= frames[entry.scene]:
            raise ValueError(f"{file}: {entry.scene} has {frames[entry.scene]} frames only")
    entries = [entry._replace(scene=f"{category}/{entry.scene}") for entry in entries]
    scenes = len({entry.scene for entry in entries})
    return with_twin(
        Draft(
            name=f"co3d/latentsplat-{category}-{kind}",
            title=f"CO3D {category}, {scenes} sequences, {KINDS[kind]}, as latentSplat asks",
            level="object",
            regime="few-view",
            data=Data("co3d", "co3d", "co3d", "CO3D v2"),
            preparation=prepare(256),
            convention="pixelsplat-offline",
            metrics=("psnr", "ssim"),
            optional_metrics=("lpips-vgg",),
            cases=position_cases(entries),
            sources=(
                "data: CO3D v2 (Reizenstein et al. 2021), CC BY-NC 4.0",
                f"split: Chrixtar/latentsplat@67ae0f664a1f, assets/evaluation_index/{file}, "
                f"assets/dataset_splits/co3d_{category}_eval.json; MIT",
                "preparation: Chrixtar/latentsplat, config/dataset/co3d_hydrant.yaml (256x256), "
                "src/dataset/dataset_co3d.py",
            ),
            problems=(
                "latentSplat resizes the images of one question to the smallest of them first (dataset_co3d.py); CO3D "
                "sequences whose frames differ in size are prepared one by one here. It skips questions with an image "
                "of 256 pixels or less on a side, and those with a camera that is no rotation.",
                *(
                    ("The orbit is asked for in chunks of 20 targets, one case a chunk.",)
                    if kind == "360"
                    else ("References are not always in ascending order.",)
                ),
                "Real photographs with their background; masks are not used.",
                "It reports DISTS too, which is not defined here.",
            ),
        )
    )
