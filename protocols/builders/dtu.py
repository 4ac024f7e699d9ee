"""DTU: RegNeRF's and pixelNeRF's few views, MVSplat's zero-shot pairs, MVSNeRF's five scans.

Rules that exist only in code, restated: view numbers count the 49 cameras from 0.

- RegNeRF and FreeNeRF (Jiawei-Yang/FreeNeRF@c2d8bdc, internal/datasets.py, dtu_split_type 'pixelnerf'): references are
  the first 3, 6 or 9 of 25, 22, 28, 40, 44, 48, 0, 8, 13; targets are the 25 views that are neither among those nine
  nor among the 15 with wrong exposure.
- pixelNeRF (sxyu/pixel-nerf@91a044b, README.md, eval/eval.py, eval/calc_metrics.py --exclude_dtu_bad): references 25;
  22, 25, 28; and so on; targets are all other views that are not among the 15: fewer with more references.
- MVSNeRF (apchenstu/mvsnerf@c1f2925, renderer.ipynb, data/dtu_ft.py, configs/pairs.th): scans 1, 8, 21, 103, 114;
  references are the first three of `dtu_train`, targets are `dtu_test`.
"""

from __future__ import annotations

from pathlib import Path

from builders.common import load_entries, make_case, prepare, with_twin
from kaleido_bench.cases import Case
from kaleido_bench.drafts import Data, Draft

SCANS = (8, 21, 30, 31, 34, 38, 40, 41, 45, 55, 63, 82, 103, 110, 114)
ORDER = (25, 22, 28, 40, 44, 48, 0, 8, 13)
BAD_LIGHT = frozenset({3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 36, 37, 38, 39})
VIEWS = range(49)

PIXELNERF = Data("dtu", "dtu-pixelnerf", "rs_dtu_4/DTU", "pixelNeRF's dtu_dataset.zip (rs_dtu_4), 400x300")
MVSNET = Data("dtu-mvsnet", "dtu-mvsnet", "mvs_training/dtu", "MVSNet's preprocessed training set, 640x512, light 3")
SOURCE = "data: DTU MVS (Jensen et al. 2014); free for research, no licence text"
EXCLUDED = (
    "The 15 views with wrong exposure are left out: 3-7, 16-21, 36-39 (sxyu/pixel-nerf, eval/calc_metrics.py, "
    "--exclude_dtu_bad)."
)
WHOLE_IMAGE = (
    "The whole image is scored, the table and the black background with it. RegNeRF's line scores inside object masks "
    "too; which of the two the tables of ReconFusion, CAT3D and SEVA print was not found."
)


def view_id(number: int) -> str:
    """The id of a view by its number from 0, in every DTU reader."""
    return f"{number:06d}"


def build(splits: Path) -> list[Draft]:
    """All protocols of the family."""
    return [build_regnerf(), build_pixelnerf(), *build_mvsplat(splits), build_mvsnerf()]


def build_regnerf() -> Draft:
    """3, 6 and 9 references, 25 targets that stay."""
    targets = [view for view in VIEWS if view not in ORDER and view not in BAD_LIGHT]
    cases = [_case(scan, list(ORDER[:count]), targets) for scan in SCANS for count in (3, 6, 9)]
    return Draft(
        name="dtu/regnerf",
        title="DTU, 15 scans from 3, 6 and 9 views, 25 targets, as RegNeRF and FreeNeRF ask",
        level="object",
        regime="few-view",
        data=PIXELNERF,
        preparation=prepare(400, 300),
        convention="kbench-v1",
        metrics=("psnr", "ssim", "lpips-alex"),
        optional_metrics=("lpips-vgg", "psnr-fg", "ssim-fg"),
        cases=tuple(cases),
        sources=(
            SOURCE,
            "split: Jiawei-Yang/FreeNeRF@c2d8bdc, internal/datasets.py (dtu_split_type 'pixelnerf', after RegNeRF); "
            "scans: Wanggcong/SparseNeRF@1339735, scripts/eval_dtu.sh",
        ),
        problems=(
            "The whole image is scored, the table and the black background with it; where masks lie beside the images "
            "(rs_dtu_4/DTU/scan<N>/mask, as IDR has them), psnr-fg and ssim-fg count what is inside them. RegNeRF's "
            "line prints both. Which of the two the tables of ReconFusion, CAT3D and SEVA print was not found.",
            "RegNeRF blackens both images outside the mask before SSIM and LPIPS; ssim-fg is the mean of the SSIM map "
            "inside the mask instead.",
            EXCLUDED,
            "RegNeRF reads the Rectified photographs (1600x1200) and reduces them by 4 itself; pixelNeRF's copy is "
            "400x300 already. Resampled differently, they are not the same images.",
            "Not dtu/pixelnerf, whose targets change with the number of references.",
            "The metric code of the RegNeRF line is no named convention here: kbench-v1 stands in.",
        ),
    )


def build_pixelnerf() -> Draft:
    """1, 3, 6 and 9 references, all others targets."""
    cases: list[Case] = []
    for scan in SCANS:
        for count in (1, 3, 6, 9):
            references = sorted(ORDER[:count])
            targets = [view for view in VIEWS if view not in references and view not in BAD_LIGHT]
            cases.append(_case(scan, references, targets))
    return Draft(
        name="dtu/pixelnerf",
        title="DTU, 15 scans from 1, 3, 6 and 9 views, all other well-lit views targets, as pixelNeRF asks",
        level="object",
        regime="few-view",
        data=PIXELNERF,
        preparation=prepare(400, 300),
        convention="pixelnerf",
        metrics=("psnr", "ssim"),
        optional_metrics=("lpips-vgg",),
        cases=tuple(cases),
        sources=(
            SOURCE,
            "split: sxyu/pixel-nerf@91a044bdd62a, README.md (-P '22 25 28 40 44 48 0 8 13', --split val), "
            "eval/eval.py, eval/calc_metrics.py; BSD-2-Clause",
        ),
        problems=(
            "The targets shrink with the number of references (33, 31, 28, 25): a curve over it compares different "
            "images. dtu/regnerf keeps the 25.",
            EXCLUDED,
            WHOLE_IMAGE,
        ),
    )


def build_mvsplat(splits: Path) -> list[Draft]:
    """MVSplat's zero-shot test: two or three near references, one target an entry."""
    drafts: list[Draft] = []
    for count in (2, 3):
        file = f"evaluation_index_dtu_nctx{count}.json"
        cases: list[Case] = []
        for entry in load_entries(splits / "donydchen+mvsplat" / file):
            scan, _, number = entry.scene.partition("_train_")
            made = make_case(scan, [view_id(view) for view in entry.context], [view_id(view) for view in entry.target])
            cases.append(made.model_copy(update={"id": f"{made.id}-{number}"}))
        drafts += with_twin(
            Draft(
                name=f"dtu/mvsplat-{count}v",
                title=f"DTU, 16 scans, {count} near views and four targets one by one, as MVSplat asks",
                level="object",
                regime="few-view",
                data=MVSNET,
                preparation=prepare(256),
                convention="mvsplat",
                metrics=("psnr", "ssim"),
                optional_metrics=("lpips-vgg",),
                cases=tuple(cases),
                sources=(
                    SOURCE,
                    f"split: donydchen/mvsplat@175b17a636a0, assets/{file}; MIT. Its keys are <scan>_train_<number>.",
                    "preparation: donydchen/mvsplat, README.md (dtu_training.rar, src/scripts/convert_dtu.py); 256x256",
                ),
                problems=(
                    "The references are the same for all four targets (33 and 31, then 43).",
                    "Only the central 512x512 of 640x512 is seen and scored, at 256x256. The whole image, unmasked.",
                ),
            )
        )
    return drafts


def build_mvsnerf() -> Draft:
    """MVSNeRF without fine-tuning: three references, four targets, five scans."""
    references, targets = (25, 21, 33), (32, 24, 23, 44)
    return Draft(
        name="dtu/mvsnerf",
        title="DTU, 5 scans from 3 views, four targets, as MVSNeRF asks",
        level="object",
        regime="few-view",
        data=MVSNET,
        preparation=prepare(640, 512),
        convention="kbench-v1",
        metrics=("psnr", "ssim", "lpips-alex"),
        optional_metrics=("lpips-vgg",),
        cases=tuple(_case(scan, list(references), list(targets)) for scan in (1, 8, 21, 103, 114)),
        sources=(
            SOURCE,
            "split: apchenstu/mvsnerf@c1f2925cd7f6, configs/pairs.th (dtu_train[:3], dtu_test), data/dtu_ft.py "
            "(read_source_views), renderer.ipynb (scans 1, 8, 21, 103, 114); MIT",
        ),
        problems=(
            "MVSNeRF scores PSNR where the depth map has a value, and blackens the rest of both images before SSIM and "
            "LPIPS-vgg (renderer.ipynb). The depth maps are not read here: the whole image is scored, and the numbers "
            "are not its.",
            "SSIM there is scikit-image's default (a uniform 7x7 window) of floats.",
            "For one target view its training and validation take the first three of that view's ten best neighbours "
            "in configs/dtu_pairs.txt instead (data/dtu.py); that list makes no test protocol in the repository.",
        ),
    )


def _case(scan: int, references: list[int], targets: list[int]) -> Case:
    return make_case(f"scan{scan}", [view_id(view) for view in references], [view_id(view) for view in targets])
