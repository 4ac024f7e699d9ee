"""Protocols whose rule is known and whose files are not at hand: pending, completed from the data set itself.

`kbench import-split mipnerf360|long-lrm|srn|rtmv FOLDER` carries the rule out (kaleido_bench/importers/on_disk.py).
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from builders.common import HEADER, load_json, prepare
from kaleido_bench.authoring import render_yaml
from kaleido_bench.drafts import Data, Draft, Pending, describe_draft
from kaleido_bench.protocol import Protocol
from kaleido_bench.records import canonical_json, parse_yaml_record
from kaleido_bench.view_runs import pack_views

LONG_LRM = "arthurhero+Long-LRM"
EMBEDDED = Path("kaleido_bench/embedded/splits/long-lrm.json")
"""Where the reference lists of Long-LRM are kept for its importer, below the repository."""


class PendingFile(NamedTuple):
    """A pending protocol as a file."""

    yaml_path: str  # below the folder of protocols
    yaml_bytes: bytes


RULE_ONLY = (
    "The rule is known and the files are not at hand here: whoever completes it should compare the protocol's hash "
    "with others who did."
)


def build(splits: Path) -> list[PendingFile]:
    """All protocols of the family."""
    return [
        render_pending(draft)
        for draft in (*build_mipnerf360(), *build_long_lrm(), *build_srn(), build_two_object(), build_rtmv())
    ]


def render_long_lrm(splits: Path) -> bytes:
    """Long-LRM's reference lists, packed: data set -> scene -> [16 references, 32 references]."""
    lists: dict[str, dict[str, list[str]]] = {}
    for name in ("dl3dv", "tnt"):
        rows = load_json(splits / LONG_LRM / f"{name}_fold_8_kmeans_input_idx.json")
        assert isinstance(rows, list)
        lists[name] = {
            row["scene_name"]: [
                pack_views([str(view) for view in row[f"fold_8_kmeans_{count}_input"]]) for count in (16, 32)
            ]
            for row in rows
        }
    scenes = [
        f'"{name}":{{\n'
        + ",\n".join(
            f"{canonical_json(scene).decode().strip()}:{canonical_json(packed).decode().strip()}"
            for scene, packed in sorted(found.items())
        )
        + "\n}"
        for name, found in lists.items()
    ]
    return ("{" + ",\n".join(scenes) + "}\n").encode()


def build_mipnerf360() -> list[Draft]:
    """Dense, and twelve and twenty-four views."""
    waiting = Pending(
        completed_by="mipnerf360",
        entry="dense",
        obtain="the folder that holds the nine scenes, unpacked from 360_v2.zip and 360_extra_scenes.zip",
        scenes=9,
        targets=None,
    )
    dense = Draft(
        name="mipnerf360/dense",
        title="Mip-NeRF 360, 9 scenes from all views but every 8th",
        level="scene",
        regime="many-view",
        data=Data(
            name="mipnerf360",
            reader="mipnerf360",
            root="mipnerf360",
            revision="360_v2.zip and 360_extra_scenes.zip (flowers, treehill): images_4 outdoors, images_2 indoors",
        ),
        pending=waiting,
        counts="all",
        preparation=prepare(None, fit="none"),
        convention="nerfbaselines",
        metrics=("psnr", "ssim", "lpips-alex"),
        optional_metrics=("lpips-vgg",),
        sources=(
            "data: Mip-NeRF 360 (Barron et al. 2022)",
            "split: google-research/multinerf@5b4d4f6 (llffhold 8), nerfbaselines/nerfbaselines@cde53bda36e6, "
            "nerfbaselines/datasets/mipnerf360.py: targets are every 8th of the images sorted by name",
        ),
        problems=(
            "3DGS feeds LPIPS another range (convention 3dgs): its published 0.21 is 0.26 here.",
            "Many papers reduce the photographs themselves instead of reading images_2 and images_4: 0.3 to 0.5 dB "
            "were measured (3dgs-mcmc#14 on garden, gsplat#507).",
            "nerfbaselines reports LPIPS-vgg for this data set.",
            RULE_ONLY,
        ),
    )
    sparse = dense._replace(
        name="mipnerf360/sparse",
        title="Mip-NeRF 360, 9 scenes from 12 and 24 views, every 8th a target",
        pending=waiting._replace(entry="sparse"),
        counts=(12, 24),
        sources=(
            dense.sources[0],
            "split: nerfbaselines/nerfbaselines@cde53bda36e6, nerfbaselines/datasets/mipnerf360_sparse.py: references "
            "are linspace(0, len - 1, n, dtype=int) of the sorted training views (truncated)",
        ),
        problems=(
            "The 24 references do not contain the 12.",
            "RegNeRF's rule for LLFF rounds where this one truncates: not the same views.",
            "nerfbaselines reports LPIPS-vgg for this data set.",
            RULE_ONLY,
        ),
    )
    return [dense, sparse]


def build_long_lrm() -> list[Draft]:
    """DL3DV-140 and Tanks and Temples, 16 and 32 references."""
    drafts: list[Draft] = []
    for entry, name, title, scenes, data in (
        ("dl3dv", "dl3dv/long-lrm", "DL3DV-140", 140, "dl3dv-140"),
        ("tnt", "tnt/long-lrm", "Tanks and Temples, train and truck", 2, "tanks-and-temples"),
    ):
        drafts.append(
            Draft(
                name=name,
                title=f"{title}, from 16 and 32 views at 960x540, every 8th frame a target, as Long-LRM asks (L)",
                level="scene",
                regime="many-view",
                data=Data(
                    name=data,
                    reader="long-lrm",
                    root=f"long-lrm/{entry}",
                    revision="opencv_cameras.json and images_undistort/ as data/prosess_dl3dv.py of Long-LRM "
                    "writes them",
                ),
                pending=Pending(
                    completed_by="long-lrm",
                    entry=entry,
                    obtain=f"the folder of {title} as Long-LRM prepares it, one opencv_cameras.json a scene",
                    scenes=scenes,
                    targets=None,
                ),
                counts=(16, 32),
                preparation=prepare(960, 540),
                convention="kbench-v1",
                metrics=("psnr", "ssim", "lpips-alex"),
                optional_metrics=("lpips-vgg",),
                sources=(
                    "data: DL3DV-10K benchmark (Ling et al. 2024)"
                    if entry == "dl3dv"
                    else "data: Tanks and Temples (Knapitsch et al. 2017)",
                    f"split: arthurhero/Long-LRM@d92dd5166991, data/{entry}_fold_8_kmeans_input_idx.json, "
                    "data/dataset.py "
                    "(target_uniform_every 8, references never targets), configs/dl3dv_i540_32input_8target.yaml; "
                    "Apache-2.0",
                ),
                problems=(
                    "The references are known (kaleido_bench/embedded/splits/long-lrm.json) and the number of frames "
                    "of a scene is not, which the targets, every 8th, depend on.",
                    "The 32 references do not contain the 16.",
                    "SEVA's L entries crop the same split to 576x576 (seva/dl3dv-l, seva/tnt-l): other pixels, other "
                    "numbers.",
                    "The convention of its table was not found; kbench-v1 stands in.",
                    RULE_ONLY,
                ),
            )
        )
    return drafts


def build_srn() -> list[Draft]:
    """Cars and chairs."""
    return [
        Draft(
            name=f"shapenet/pixelnerf-srn-{name}",
            title=f"ShapeNet {name} of SRN at 128x128 from 1 and 2 views, all others targets, as pixelNeRF asks",
            level="object",
            regime="few-view",
            data=Data(
                name=f"srn-{name}",
                reader="srn",
                root=f"srn/{name}_test",
                revision=f"srn_{name}.zip of pixelNeRF's data folder, {name}_test"
                + (" (a render by Vincent Sitzmann after the first)" if name == "cars" else ""),
            ),
            pending=Pending(
                completed_by="srn",
                entry="pixelnerf",
                obtain=f"the folder {name}_test of srn_{name}.zip, which pixelNeRF's README links",
                scenes=None,
                targets=None,
            ),
            counts=(1, 2),
            preparation=prepare(128, fit="none"),
            convention="pixelnerf",
            metrics=("psnr", "ssim"),
            optional_metrics=("lpips-vgg",),
            sources=(
                "data: ShapeNet renders of SRN (Sitzmann et al. 2019); ShapeNet's terms",
                "split: sxyu/pixel-nerf@91a044bdd62a, README.md (-P '64', -P '64 104'), eval/eval.py (source views are "
                "no targets)",
            ),
            problems=(
                "Which objects the test folder holds is not in the repository; all that are there count.",
                "The targets shrink by one from one reference to two.",
                "viewlist/srn_eval_views.txt names 11 views for a quick approximate evaluation; no table uses it "
                "alone.",
                "White background covers most of every image.",
            ),
        )
        for name in ("cars", "chairs")
    ]


def build_two_object() -> Draft:
    """pixelNeRF's two chairs."""
    return Draft(
        name="shapenet/pixelnerf-two-objects",
        title="Two ShapeNet chairs in a scene at 128x128 from 2 views, as pixelNeRF asks",
        level="object",
        regime="few-view",
        data=Data(
            name="two-object",
            reader="two-object",
            root="multi_chair/test",
            revision="multi_chair_test.zip of pixelNeRF's data folder",
        ),
        pending=Pending(
            completed_by="pixelsplat",
            entry="multi_chair_test.json",
            obtain="an index of your own in pixelSplat's layout, {scene: {context, target}}: none was published",
            scenes=None,
            targets=None,
        ),
        counts=(2,),
        preparation=prepare(128, fit="none", background="white", alpha="composite"),
        convention="pixelnerf",
        metrics=("psnr", "ssim"),
        optional_metrics=("lpips-vgg",),
        sources=(
            "data: two chairs of ShapeNet, rendered by the authors of pixelNeRF; ShapeNet's terms",
            "split: sxyu/pixel-nerf@91a044bdd62a, viewlist/2obj_eval_views.txt (targets 0, 2, 4, ..., 18); two views "
            "given in training (README.md)",
        ),
        problems=(
            "Which views are given at test time is in neither the repository nor its README: only the ten evaluation "
            "views are, 0, 2, ..., 18. No guess is made.",
            "Number and names of the test scenes are not in the repository.",
        ),
    )


def build_rtmv() -> Draft:
    """EscherNet's ten scenes."""
    return Draft(
        name="rtmv/eschernet",
        title="RTMV, 10 scenes from 1 to 10 views at 256x256, 10 targets, as EscherNet asks",
        level="object",
        regime="few-view",
        data=Data(
            name="rtmv",
            reader="rtmv",
            root="rtmv/google_scanned",
            revision="40_scenes/google_scanned.tar",
        ),
        pending=Pending(
            completed_by="rtmv",
            entry="eschernet",
            obtain="the folder google_scanned of RTMV's 40_scenes, unpacked from google_scanned.tar",
            scenes=10,
            targets=(10, 10, 10, 10, 10),
        ),
        counts=(1, 2, 3, 5, 10),
        preparation=prepare(256, fit="stretch", filter="bilinear"),
        convention="eschernet",
        metrics=("psnr", "ssim", "lpips-alex"),
        sources=(
            "data: RTMV (Tremblay et al. 2022), google_scanned of 40_scenes",
            "split: kxhit/EscherNet@569240f81d72, eval_eschernet.py (the first N of 20 views), metrics/eval_2D_NVS.py "
            "(targets 10 to 19)",
        ),
        problems=(
            "The names of the ten scenes are not in the repository; all that the folder holds count, and ten are "
            "expected.",
            "EscherNet scores against the ground truth that it saved itself: the .exr truncated to 8 bits without a "
            "change of gamma, resized by torchvision's bilinear filter.",
        ),
    )


def render_pending(draft: Draft) -> PendingFile:
    """The YAML, checked to load."""
    text = f"# {HEADER}\n" + render_yaml(describe_draft(draft))
    parse_yaml_record(text, Protocol, where=draft.name)
    return PendingFile(f"{draft.name}.yaml", text.encode())
