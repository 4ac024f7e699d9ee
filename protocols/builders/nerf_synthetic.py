"""NeRF-Synthetic: dense, EscherNet's fixed reference lists, DietNeRF's eight views."""

from __future__ import annotations

from pathlib import Path

from builders.common import load_json, make_case, prepare
from kaleido_bench.cases import Case
from kaleido_bench.drafts import Data, Draft

SCENES = ("chair", "drums", "ficus", "hotdog", "lego", "materials", "mic", "ship")
TRAIN, TEST = 100, 200
COUNTS = (1, 2, 3, 5, 10, 20, 50, 100)
DATA = Data("nerf-synthetic", "nerf-synthetic", "nerf_synthetic", "nerf_synthetic.zip, 800x800")
SOURCE = (
    "data: NeRF-Synthetic (Mildenhall et al. 2020); chair, ficus, hotdog, materials, mic CC-0, drums CC BY, lego "
    "CC BY-NC, ship CC BY-SA"
)
EIGHT = (26, 86, 2, 55, 75, 93, 16, 73)
"""np.random.seed(0); np.random.choice(100, 8, replace=False), reproduced."""

WHITE = "Most of every image is white background, which raises PSNR and SSIM."
BINARY_ALPHA = (
    "Only pixels of alpha 0 become white; edges keep their uncomposited colour, in references and ground truth alike "
    "(alpha: binary)."
)
RESIZED = (
    "Ground truth is resized by Pillow's default (bicubic) there, references by torchvision's (bilinear); here both "
    "are bicubic."
)


def build(splits: Path) -> list[Draft]:
    """All protocols of the family."""
    return [build_dense(), *build_eschernet(splits), build_eight()]


def _train(numbers: list[int]) -> list[str]:
    return [f"train/r_{number}" for number in numbers]


def _test(numbers: list[int]) -> list[str]:
    return [f"test/r_{number}" for number in numbers]


def build_dense() -> Draft:
    """All 100 training views."""
    cases = [make_case(scene, _train(list(range(TRAIN))), _test(list(range(TEST)))) for scene in SCENES]
    return Draft(
        name="nerf-synthetic/dense",
        title="NeRF-Synthetic, 8 objects from 100 views at 800x800, 200 targets",
        level="object",
        regime="many-view",
        data=DATA,
        preparation=prepare(800, fit="none", background="white", alpha="composite"),
        convention="nerfbaselines",
        metrics=("psnr", "ssim", "lpips-alex"),
        optional_metrics=("lpips-vgg",),
        cases=tuple(case.model_copy(update={"id": f"{case.scene}-all"}) for case in cases),
        counts="all",
        sources=(
            SOURCE,
            "split: the data set's own transforms_train.json and transforms_test.json; as scored by "
            "nerfbaselines/nerfbaselines@cde53bda36e6 (blender: 800x800, white)",
        ),
        problems=(
            WHITE,
            "It reports LPIPS-vgg for this data set. The 100 validation views are no references.",
        ),
    )


def build_eschernet(splits: Path) -> list[Draft]:
    """EscherNet's lists: all 200 test views, and the 20 it also released."""
    lists = load_json(splits / "kxhit+EscherNet" / "NeRF_idx.json")
    assert isinstance(lists, dict)
    cases: dict[str, list[Case]] = {"200": [], "20": []}
    for scene in SCENES:
        for count in COUNTS:
            references = _train(lists[scene][f"train_N{count}M20_random"])
            cases["200"].append(make_case(scene, references, _test(list(range(TEST)))))
            cases["20"].append(make_case(scene, references, _test(lists[scene]["test_M20"])))
    full = Draft(
        name="nerf-synthetic/eschernet",
        title="NeRF-Synthetic, 8 objects from 1 to 100 views at 256x256, all 200 test views, as EscherNet asks",
        level="object",
        regime="many-view",
        data=DATA,
        preparation=prepare(256, fit="stretch", filter="bicubic", background="white", alpha="binary"),
        convention="eschernet",
        metrics=("psnr", "ssim", "lpips-alex"),
        cases=tuple(cases["200"]),
        sources=(
            SOURCE,
            "split: kxhit/EscherNet@569240f81d72, metrics/NeRF_idx/<scene>/train_N<N>M20_random.npy; its licence is "
            "Imperial College's, non-commercial",
            "rule: kxhit/EscherNet, eval_eschernet.py (test_index: all test views), metrics/eval_2D_NVS.py",
        ),
        problems=(
            "The one reference of N = 1 is another list than the first of N = 2 (but for hotdog); from 2 on the "
            "references are nested.",
            BINARY_ALPHA,
            RESIZED,
            "EscherNet scales each scene's cameras to a radius of 1.5 itself; here cameras are given.",
            "Lists for 30 views and for fields of view exist in the repository and are not asked for in its table.",
            WHITE,
        ),
    )
    subset = full._replace(
        name="nerf-synthetic/eschernet-20t",
        title="NeRF-Synthetic, 8 objects from 1 to 100 views at 256x256, EscherNet's 20 test views",
        cases=tuple(cases["20"]),
        problems=("Not the paper's table, which uses all 200 test views (nerf-synthetic/eschernet).", *full.problems),
    )
    return [full, subset]


def build_eight() -> Draft:
    """DietNeRF's eight training views, every 8th test view."""
    targets = _test(list(range(0, TEST, 8)))
    return Draft(
        name="nerf-synthetic/dietnerf-8v",
        title="NeRF-Synthetic, 8 objects from 8 views at 400x400, every 8th test view, as DietNeRF asks",
        level="object",
        regime="few-view",
        data=DATA,
        preparation=prepare(400, fit="stretch", filter="box", background="white", alpha="composite"),
        convention="kbench-v1",
        metrics=("psnr", "ssim", "lpips-alex"),
        optional_metrics=("lpips-vgg",),
        cases=tuple(make_case(scene, _train(list(EIGHT)), targets) for scene in SCENES),
        sources=(
            SOURCE,
            "split: Jiawei-Yang/FreeNeRF@c2d8bdc, DietNeRF-pytorch (seed 0, 8 of 100 without replacement; testskip 8; "
            "half_res)",
        ),
        problems=(
            "DietNeRF and FreeNeRF halve the image with its alpha (OpenCV INTER_AREA) and composite afterwards; here "
            "it is composited first. Edges may differ in the last digit.",
            "The metric code of that line is no named convention here: kbench-v1 stands in.",
            WHITE,
        ),
    )
