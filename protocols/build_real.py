"""Writes protocols/real/*.yaml and their indices from the scenes of KBENCH_DATA. Same scenes, same bytes.

    python protocols/build_real.py DATA_DIR [--out protocols]

How views are chosen (kaleido_bench/splits.py has the functions):

- objects-few, scenes-few: targets are at most 8 views, and at most a third of the scene, evenly spread over its order
  and away from its ends. References are chosen among all other views by farthest-point sampling of poses (camera centre
  and viewing direction), starting from the view nearest to the mean target pose; 1, 3 and 6 references are prefixes of
  that order. Targets are the same under every count and are never references. For lego, references come from the 100
  training views and targets from every 8th official test view. For DTU, the views that pixelNeRF and its successors
  drop for their lighting are dropped here, from references and targets.
- llff-few: targets are `index % 8 == 0`; 3 and 6 references are `round(linspace)` over the other views, both as
  RegNeRF and FreeNeRF choose them (so 6 does not contain 3). The 1 reference is ours: the middle one of the 3.
- objects-masked: the cases of objects-few whose scenes have masks: files, frozen with the images, or alpha channels,
  which are frozen in them.
- *-many: targets are every 8th view, references all others, for scenes of 30 views or more (and for both LLFF scenes,
  as the field does). For lego, references are the 100 training views and targets every 8th official test view.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from builders.at_hand import choose_at_hand, run_builder  # noqa: E402

from kaleido_bench.authoring import FrozenProtocol  # noqa: E402
from kaleido_bench.cases import Case  # noqa: E402
from kaleido_bench.data.readers import resolve_root  # noqa: E402
from kaleido_bench.data.scenes import Scene  # noqa: E402
from kaleido_bench.drafts import Data, Draft, describe_preparation  # noqa: E402
from kaleido_bench.splits import (  # noqa: E402
    choose_every,
    choose_linspace,
    choose_spread,
    describe_poses,
    nested_cases,
    order_references,
)

ROOT = "scenes"
FEW_COUNTS = (1, 3, 6)
MOST_FEW_TARGETS = 8
MANY_FROM_VIEWS = 30
HOLD_OUT_EVERY = 8
HEADER = "Written by protocols/build_real.py. Do not edit: change the script, raise the version, run it again."

DTU_BAD_LIGHT = frozenset({3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 36, 37, 38, 39})
"""Views of DTU left out for their exposure; sxyu/pixel-nerf and Jiawei-Yang/FreeNeRF, `exclude_idx`."""


class Notes(NamedTuple):
    """What a reader must know of one scene.

    Args:
        masked: in place of the problem, where the foreground is scored too.
    """

    source: str
    problem: str | None = None
    masked: str | None = None


NOTES: dict[str, Notes] = {
    "buddha13": Notes(
        "buddha13: alicevision/dataset_buddha@9067f679eb5a, 13 of its 67 photographs; CC BY 4.0",
        "buddha13: few and distant views under changing light; its poses have the largest median epipolar error of the "
        "real scenes, 1.3 px at 512 px.",
    ),
    "dtu_scan24": Notes(
        "dtu_scan24: DTU MVS scan 24, from wqrray/nerf_baseline@eb0777530a09; free for research, no licence text",
        "dtu_scan24: the whole image is scored; papers that mask the table report other numbers. "
        "The 15 views with bad light are left out, as pixelNeRF and FreeNeRF do.",
        "dtu_scan24: 78 % of the cropped pixels are foreground, the board below the houses with it. "
        "The 15 views with bad light are left out, as pixelNeRF and FreeNeRF do.",
    ),
    "fox": Notes("fox: NVlabs/instant-ngp@abe236ee00cf; NVIDIA Source Code License, non-commercial"),
    "gso_toy": Notes(
        "gso_toy: a Google Scanned Objects render, from a1600012888/LaCT@1f84d479fee8; asset CC BY 4.0",
        "gso_toy: rendered; 83 % of the pixels are white background, which raises PSNR and SSIM.",
        "gso_toy: rendered; 13 % of the pixels of its targets are foreground, by the alpha channel.",
    ),
    "llff_fern": Notes(
        "llff_fern: LLFF (Mildenhall et al. 2019), from luo-ziyuan/CopyRNeRF-code@454f028b606b; terms unclear"
    ),
    "llff_flower": Notes(
        "llff_flower: LLFF (Mildenhall et al. 2019), from zhelianl-zl/deeplearning_Nerf@10e586ed6810; terms unclear"
    ),
    "lund_door": Notes("lund_door: borglab/gtsfm@b8f24c757d2d, photographs by C. Olsson; BSD-3-Clause"),
    "mydesk": Notes(
        "mydesk: arthurhero/Long-LRM@d92dd5166991, every 3rd of 498 video frames; Apache-2.0",
        "mydesk: dark video frames; with all other views given, a target's neighbour shows almost the same image.",
    ),
    "nerd_gold_cape": Notes(
        "nerd_gold_cape: NeRD (Boss et al. 2021), vork/moldGoldCape@c7ef1f0f2a7c; CC BY-NC-SA 4.0, British Museum",
        "nerd_gold_cape: masks exist and are not used; the museum's surroundings are scored too.",
        "nerd_gold_cape: 45 % of the cropped pixels are foreground; what shows through the cape's neck is none.",
    ),
    "nerf_synthetic_lego": Notes(
        "nerf_synthetic_lego: NeRF-Synthetic (Mildenhall et al. 2020), from luo-ziyuan/CopyRNeRF-code@454f028b606b; "
        "CC BY-NC",
        "nerf_synthetic_lego: rendered; stored at 400x400, half the size of the original; 41 of the 200 test "
        "views are at hand; 69 % of the pixels are white background.",
        "nerf_synthetic_lego: rendered; stored at 400x400, half the size of the original; 41 of the 200 test "
        "views are at hand; 31 % of the pixels are foreground, by the alpha channel.",
    ),
    "strecha_castle_p30": Notes(
        "strecha_castle_p30: Strecha et al. 2008, from openMVG/SfM_quality_evaluation@348a981ef511; research use"
    ),
    "strecha_fountain_p11": Notes(
        "strecha_fountain_p11: Strecha et al. 2008, from openMVG/SfM_quality_evaluation@348a981ef511; research use"
    ),
    "temple_ring": Notes(
        "temple_ring: Middlebury MVS, from sreeharipremkumar/Structure-From-Motion@6fce82243b7c; research use",
        "temple_ring: 63 % of the cropped pixels are dark background (below 32 of 255), which raises PSNR and SSIM.",
    ),
}


class Plan(NamedTuple):
    """What distinguishes one protocol from the others."""

    name: str
    title: str
    level: str
    regime: str
    scenes: tuple[str, ...]
    counts: tuple[int, ...] | str
    rule: str  # how views were chosen, for `sources`
    problems: tuple[str, ...] = ()
    foreground: bool = False  # scored beside the full image, so that masks are frozen too


FEW_RULE = (
    "split: ours (protocols/build_real.py): targets evenly spread, at most 8; references by farthest-point sampling of "
    "poses from the view nearest to the mean target; 1, 3 and 6 are nested"
)
MANY_RULE = (
    "split: ours (protocols/build_real.py) after the field's rule: every 8th view a target, all others references"
)
SQUARE_CROP = "Images are scaled and cropped to 256x256: what lies outside the central square is not scored."
LLFF_AS_FIELD = (
    "split: targets are index % 8 == 0; 3 and 6 references by round(linspace) over the rest, as RegNeRF and FreeNeRF "
    "do (Jiawei-Yang/FreeNeRF, internal/datasets.py); the 1 reference, the middle of the 3, is ours"
)

PLANS = (
    Plan(
        "real/objects-few",
        "Real and rendered objects from 1, 3 and 6 views",
        "object",
        "few-view",
        ("buddha13", "dtu_scan24", "gso_toy", "nerd_gold_cape", "nerf_synthetic_lego", "temple_ring"),
        FEW_COUNTS,
        FEW_RULE,
        ("From 1 reference the scale of a scene is not observable; cameras are given and no scale is searched.",),
    ),
    Plan(
        "real/objects-masked",
        "Real and rendered objects from 1, 3 and 6 views, their foreground beside the full image",
        "object",
        "few-view",
        ("dtu_scan24", "gso_toy", "nerd_gold_cape", "nerf_synthetic_lego"),
        FEW_COUNTS,
        FEW_RULE,
        (
            "From 1 reference the scale of a scene is not observable; cameras are given and no scale is searched.",
            "The cases are those of real/objects-few, of the four of its six scenes that have masks: their means are "
            "not the means there.",
            "Masks choose what is scored; methods are given full images. Background where the foreground should be "
            "lowers psnr-fg and ssim-fg, foreground where the background should be does not.",
        ),
        foreground=True,
    ),
    Plan(
        "real/scenes-few",
        "Real scenes from 1, 3 and 6 views",
        "scene",
        "few-view",
        ("fox", "lund_door", "mydesk", "strecha_castle_p30", "strecha_fountain_p11"),
        FEW_COUNTS,
        FEW_RULE,
        (
            "From 1 reference the scale of a scene is not observable; cameras are given and no scale is searched.",
            "mydesk and castle_p30 are wider than one view: with few references, targets show what none has seen.",
        ),
    ),
    Plan(
        "real/llff-few",
        "Two LLFF scenes from 1, 3 and 6 views",
        "scene",
        "few-view",
        ("llff_fern", "llff_flower"),
        FEW_COUNTS,
        LLFF_AS_FIELD,
        (
            "2 of the 8 LLFF scenes, at 256x256: not comparable with published LLFF tables (8 scenes, 504x378).",
            "As in the field, the 6 references do not contain the 3.",
        ),
    ),
    Plan(
        "real/objects-many",
        "Real and rendered objects from all views but every 8th",
        "object",
        "many-view",
        ("dtu_scan24", "gso_toy", "nerd_gold_cape", "nerf_synthetic_lego", "temple_ring"),
        "all",
        MANY_RULE + "; lego: the 100 training views and every 8th official test view",
    ),
    Plan(
        "real/scenes-many",
        "Real scenes from all views but every 8th",
        "scene",
        "many-view",
        ("fox", "mydesk", "strecha_castle_p30"),
        "all",
        MANY_RULE,
    ),
    Plan(
        "real/llff-many",
        "Two LLFF scenes from all views but every 8th",
        "scene",
        "many-view",
        ("llff_fern", "llff_flower"),
        "all",
        "split: index % 8 == 0 are targets, all others references, as NeRF and its successors do",
        (
            "2 of the 8 LLFF scenes, at 256x256: not comparable with published LLFF tables (8 scenes, 1008x756).",
            "fern has 17 references, fewer than the other scenes called many-view here.",
        ),
    ),
)


class Pools(NamedTuple):
    """Positions of the views that may become references and targets, in the scene's order."""

    references: list[int]
    targets: list[int]


def usable_views(scene: Scene) -> Pools:
    """Which views may become what, before any is chosen."""
    ids = list(scene.views)
    if scene.name == "nerf_synthetic_lego":
        official = [i for i, view in enumerate(ids) if view.startswith("test_")]
        every_8th = [i for i in official if int(ids[i].removeprefix("test_")) % HOLD_OUT_EVERY == 0]
        return Pools([i for i, view in enumerate(ids) if view.startswith("train_")], every_8th)
    if scene.name == "dtu_scan24":
        kept = [i for i, view in enumerate(ids) if int(view) not in DTU_BAD_LIGHT]
        return Pools(kept, kept)
    return Pools(list(range(len(ids))), list(range(len(ids))))


def choose_few(scene: Scene, counts: Sequence[int]) -> list[Case]:
    """Few references by farthest-point sampling of poses; see the module's docstring."""
    ids, pools = list(scene.views), usable_views(scene)
    wanted = min(MOST_FEW_TARGETS, len(pools.targets) // 3)
    targets = [pools.targets[i] for i in choose_spread(len(pools.targets), wanted)]
    candidates = [i for i in pools.references if i not in targets]
    poses = describe_poses([view.camera for view in scene.views.values()])
    order = order_references(poses, candidates, targets, max(counts))
    return nested_cases(scene.name, [ids[i] for i in order], [ids[i] for i in targets], counts)


def choose_llff_few(scene: Scene, counts: Sequence[int]) -> list[Case]:
    """References by linspace over the views that are no targets; see the module's docstring."""
    ids = list(scene.views)
    targets = choose_every(len(ids), HOLD_OUT_EVERY)
    rest = [i for i in range(len(ids)) if i not in targets]
    cases: list[Case] = []
    for count in counts:
        positions = choose_linspace(len(rest), count) if count > 1 else choose_linspace(len(rest), 3)[1:2]
        references = tuple(ids[rest[i]] for i in positions)
        name = f"{scene.name}-r{count}"
        cases.append(Case(id=name, scene=scene.name, references=references, targets=tuple(ids[i] for i in targets)))
    return cases


def choose_many(scene: Scene) -> list[Case]:
    """Every 8th view a target, all others references; see the module's docstring."""
    ids, pools = list(scene.views), usable_views(scene)
    apart = scene.name == "nerf_synthetic_lego"  # its targets are another split already, every 8th of the official one
    targets = pools.targets if apart else [pools.targets[i] for i in choose_every(len(pools.targets), HOLD_OUT_EVERY)]
    references = [i for i in pools.references if i not in targets]
    if len(references) + len(targets) < MANY_FROM_VIEWS and not scene.name.startswith("llff_"):
        raise ValueError(f"{scene.name} has too few views for many-view")
    return [
        Case(
            id=f"{scene.name}-all",
            scene=scene.name,
            references=tuple(ids[i] for i in references),
            targets=tuple(ids[i] for i in targets),
        )
    ]


def choose_cases(plan: Plan, scene: Scene) -> list[Case]:
    """The cases of one scene under one protocol."""
    if isinstance(plan.counts, str):
        return choose_many(scene)
    if plan.name == "real/llff-few":
        return choose_llff_few(scene, plan.counts)
    return choose_few(scene, plan.counts)


def freeze_plan(plan: Plan, data_dir: Path) -> FrozenProtocol:
    """One protocol as files, from the scenes on disk."""
    root = resolve_root(ROOT, data_dir)
    chosen = choose_at_hand(root, plan.scenes, lambda scene: choose_cases(plan, scene), masks=plan.foreground)
    return chosen.freeze(draft_plan(plan), HEADER)


def draft_plan(plan: Plan) -> Draft:
    """The protocol but for its cases."""
    notes = [NOTES[name] for name in plan.scenes]
    problems = [problem for note in notes if (problem := note.masked if plan.foreground else note.problem)]
    return Draft(
        name=plan.name,
        title=plan.title,
        level=plan.level,
        regime=plan.regime,
        data=Data(plan.name.replace("/", "-").rsplit("-", 1)[0], "transforms", ROOT, revision=""),
        counts=plan.counts,
        preparation=describe_preparation(256),
        metrics=("psnr", "ssim", "lpips-alex", *(("psnr-fg", "ssim-fg") if plan.foreground else ())),
        optional_metrics=("lpips-vgg",),
        sources=(*(note.source for note in notes), plan.rule),
        problems=(*plan.problems, *problems, SQUARE_CROP),
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Parses the command line and writes the files."""
    run_builder(
        arguments,
        description="Write protocols/real/*.yaml and their indices.",
        out=HERE,
        freeze=lambda data_dir: (freeze_plan(plan, data_dir) for plan in PLANS),
    )


if __name__ == "__main__":
    main()
