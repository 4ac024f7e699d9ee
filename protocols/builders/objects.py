"""Rendered objects: EscherNet's GSO-30, pixelNeRF's ShapeNet lists."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from builders.common import make_case, prepare
from builders.nerf_synthetic import BINARY_ALPHA, RESIZED
from kaleido_bench.cases import Case
from kaleido_bench.drafts import Data, Draft

GSO30 = (
    "alarm", "backpack", "bell", "blocks", "chicken", "cream", "elephant", "grandfather", "grandmother", "hat",
    "leather", "lion", "lunch_bag", "mario", "oil", "school_bus1", "school_bus2", "shoe", "shoe1", "shoe2", "shoe3",
    "soap", "sofa", "sorter", "sorting_board", "stucking_cups", "teapot", "toaster", "train", "turtle",
)  # fmt: skip
NMR = Data("shapenet-nmr", "nmr", "NMR_Dataset", "NMR_Dataset.zip, as the authors of DVR host it; 64x64, 24 views")
NMR_VIEWS = 24


def build(splits: Path) -> list[Draft]:
    """All protocols of the family."""
    return [build_gso30(), *build_nmr(splits)]


def build_gso30() -> Draft:
    """The first views of a render are references, the last fifteen targets."""
    targets = [f"{number:03d}" for number in range(10, 25)]
    cases = [
        make_case(name, [f"{number:03d}" for number in range(count)], targets)
        for name in GSO30
        for count in (1, 2, 3, 5, 10)
    ]
    return Draft(
        name="gso/eschernet",
        title="GSO, 30 objects from 1 to 10 views at 256x256, 15 targets, as EscherNet asks",
        level="object",
        regime="few-view",
        data=Data("gso-30", "gso-eschernet", "GSO30", "huggingface kxic/EscherNet-Dataset, GSO30, render_mvs_25"),
        preparation=prepare(256, fit="stretch", filter="bicubic", background="white", alpha="binary"),
        convention="eschernet",
        metrics=("psnr", "ssim", "lpips-alex"),
        cases=tuple(cases),
        sources=(
            "data: Google Scanned Objects (Downs et al. 2022), CC BY 4.0; 25 renders of each object by "
            "kxic/EscherNet-Dataset",
            "split: kxhit/EscherNet@569240f81d72, eval_eschernet.py (the first N views), metrics/eval_2D_NVS.py "
            "(targets 10 to 24)",
            "objects: SyncDreamer's 30 (liuyuan-pal/SyncDreamer), which EscherNet's renders are of",
        ),
        problems=(
            "The names of the 30 objects come from a secondary source; EscherNet scores whatever folders its data "
            "directory holds.",
            "Each object was rendered under a random environment light.",
            BINARY_ALPHA,
            RESIZED,
            "EscherNet predicts all 25 views, the references too, and scores the last 15.",
        ),
    )


def build_nmr(splits: Path) -> list[Draft]:
    """pixelNeRF's ShapeNet: one listed reference an object, all other views targets."""
    drafts: list[Draft] = []
    for name, file, what, data in (
        ("categories", "src_dvr.txt", "8,762 objects of 13 categories", NMR),
        ("unseen", "src_gen.txt", "25,464 objects of 10 categories that were not trained on", NMR),
    ):
        rows = (splits / "sxyu+pixel-nerf" / file).read_text(encoding="utf-8").split("\n")
        cases = [_nmr_case(row.split()) for row in rows if row.strip()]
        generalise = name == "unseen"
        drafts.append(
            Draft(
                name=f"shapenet/pixelnerf-{name}",
                title=f"ShapeNet at 64x64, {what}, one view, as pixelNeRF asks",
                level="object",
                regime="few-view",
                data=data,
                preparation=prepare(64, fit="none"),
                convention="pixelnerf",
                metrics=("psnr", "ssim"),
                optional_metrics=("lpips-vgg",),
                cases=tuple(cases),
                sources=(
                    "data: renders of ShapeNet by Kato et al. (NMR), from the authors of DVR; ShapeNet's terms",
                    f"split: sxyu/pixel-nerf@91a044bdd62a, viewlist/{file}; eval/eval.py (-L, --multicat); "
                    "BSD-2-Clause",
                ),
                problems=(
                    *(
                        (
                            "The list covers all objects of the categories; the paper's test is a quarter of them, "
                            "chosen by a script that is not in the repository (genlist.py). Scores over the whole list "
                            "are not its numbers.",
                        )
                        if generalise
                        else ("One object of src_dvr.txt a line; it is softras_test.lst of all 13 categories.",)
                    ),
                    "Means are over objects; the paper's table also prints means over each category.",
                    "White background covers most of every image.",
                ),
            )
        )
    return drafts


def _nmr_case(row: Sequence[str]) -> Case:
    category, instance, view = row
    views = [f"{number:04d}" for number in range(NMR_VIEWS)]
    reference = views[int(view)]
    return make_case(f"{category}/{instance}", [reference], [each for each in views if each != reference])
