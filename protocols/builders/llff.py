"""LLFF: every 8th view a target; few references by linspace, or all others.

The rule exists only in code (Jiawei-Yang/FreeNeRF@c2d8bdc, internal/datasets.py): sorted images, targets
`i % 8 == 0`; of the other views R, references are R[round(x)] for x in linspace(0, len(R) - 1, n), Python's round.
Numbers of images are those of the released nerf_llff_data (`poses_bounds.npy` of all eight scenes was at hand).
"""

from __future__ import annotations

from pathlib import Path

from builders.common import make_case, prepare
from kaleido_bench.drafts import Data, Draft
from kaleido_bench.splits import choose_every, choose_linspace

VIEWS = {
    "fern": 20,
    "flower": 34,
    "fortress": 42,
    "horns": 62,
    "leaves": 26,
    "orchids": 25,
    "room": 41,
    "trex": 55,
}
"""Scene -> number of views."""

EVERY = 8
SOURCE = "data: LLFF (Mildenhall et al. 2019), nerf_llff_data; terms unclear"
NAMES = (
    "View ids are the file names of images_{factor} as nerf_llff_data ships them (image000.png, ...), which sort like "
    "the photographs."
)


def view_id(number: int) -> str:
    """The id of a view by its number from 0, in `images_4` and `images_8`."""
    return f"image{number:03d}"


def build(splits: Path) -> list[Draft]:
    """All protocols of the family."""
    return [build_few(), build_dense()]


def build_few() -> Draft:
    """3, 6 and 9 references."""
    cases = []
    for scene, views in VIEWS.items():
        targets = choose_every(views, EVERY)
        rest = [view for view in range(views) if view not in targets]
        for count in (3, 6, 9):
            references = [rest[position] for position in choose_linspace(len(rest), count)]
            cases.append(make_case(scene, [view_id(view) for view in references], [view_id(view) for view in targets]))
    return Draft(
        name="llff/regnerf",
        title="LLFF, 8 scenes from 3, 6 and 9 views at 504x378, every 8th view a target",
        level="scene",
        regime="few-view",
        data=Data("llff", "llff-8", "nerf_llff_data", "nerf_llff_data, images_8 (504x378)"),
        preparation=prepare(504, 378, fit="none"),
        convention="kbench-v1",
        metrics=("psnr", "ssim", "lpips-alex"),
        optional_metrics=("lpips-vgg",),
        cases=tuple(cases),
        sources=(
            SOURCE,
            "split: Jiawei-Yang/FreeNeRF@c2d8bdc, internal/datasets.py (after RegNeRF): targets i % 8 == 0, references "
            "round(linspace) over the rest",
        ),
        problems=(
            "The 6 references do not contain the 3, nor the 9 the 6: a curve over the number of references also "
            "changes which views they are.",
            NAMES.format(factor=8),
            "Which LPIPS network the papers of this line print differs; kbench-v1 has both.",
        ),
    )


def build_dense() -> Draft:
    """All views that are no targets."""
    cases = []
    for scene, views in VIEWS.items():
        targets = choose_every(views, EVERY)
        references = [view_id(view) for view in range(views) if view not in targets]
        case = make_case(scene, references, [view_id(view) for view in targets])
        cases.append(case.model_copy(update={"id": f"{scene}-all"}))
    return Draft(
        name="llff/dense",
        title="LLFF, 8 scenes from all views but every 8th at 1008x756",
        level="scene",
        regime="many-view",
        data=Data("llff", "llff-4", "nerf_llff_data", "nerf_llff_data, images_4 (1008x756)"),
        preparation=prepare(1008, 756, fit="none"),
        convention="nerfbaselines",
        metrics=("psnr", "ssim", "lpips-alex"),
        optional_metrics=("lpips-vgg",),
        cases=tuple(cases),
        counts="all",
        sources=(
            SOURCE,
            "split: nerfbaselines/nerfbaselines@cde53bda36e6, datasets/llff.py (hold_every 8, downscale 4), as NeRF "
            "and its successors",
        ),
        problems=("It reports LPIPS-vgg for this data set.", NAMES.format(factor=4)),
    )
