"""Writes protocols/kbench/*.yaml, our own curves from few to many views. Same scenes, same bytes.

    python protocols/build_kbench.py DATA_DIR [--out protocols]

The number of references is the axis. What moves along it is that number and nothing else:

- Targets are chosen once a scene, eight, evenly spread over its order and away from its ends (`choose_spread`), and are
  the same under every count, in every one of these protocols.
- References are nested: farthest-point sampling of poses (camera centre and viewing direction) from the view nearest to
  the mean target (`order_references`); each count is a prefix of the next.
- No target is ever a candidate, so nothing leaks. For lego, references come from the 100 training views and targets
  from the official test views. For DTU, the views with bad light are left out.

A protocol has all its scenes under every one of its counts, so that a column is a mean over the same scenes as its
neighbour: 1 to 20 over many scenes, 1 to 50 and 1 to 100 over those that have as many views.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from build_real import NOTES, ROOT, SQUARE_CROP, usable_views  # noqa: E402
from builders.at_hand import choose_at_hand, run_builder  # noqa: E402

from kaleido_bench.authoring import FrozenProtocol  # noqa: E402
from kaleido_bench.cases import Case  # noqa: E402
from kaleido_bench.data.readers import resolve_root  # noqa: E402
from kaleido_bench.data.scenes import Scene  # noqa: E402
from kaleido_bench.drafts import Data, Draft, describe_preparation  # noqa: E402
from kaleido_bench.splits import choose_spread, describe_poses, nested_cases, order_references  # noqa: E402

HEADER = "Written by protocols/build_kbench.py. Do not edit: change the script, raise the version, run it again."
TARGETS = 8
AXIS = (1, 2, 3, 5, 10, 20, 50, 100)
"""EscherNet's, the longest of the field."""

RULE = (
    "split: ours (protocols/build_kbench.py): 8 targets evenly spread; references by farthest-point sampling of poses "
    "from the view nearest to the mean target, each count a prefix of the next"
)


class Curve(NamedTuple):
    """One protocol."""

    name: str
    title: str
    level: str
    scenes: tuple[str, ...]
    problems: tuple[str, ...] = ()

    @property
    def counts(self) -> tuple[int, ...]:
        """The axis, up to the number in the name."""
        return tuple(count for count in AXIS if count <= int(self.name.rpartition("-")[2]))


FEW_SCENES = "{} scene{}: a curve of this data, with no claim beyond it."
VIDEO = "mydesk is a video: with 100 references every target has neighbours that show almost the same."

CURVES = (
    Curve(
        "kbench/objects-1-20",
        "Five objects from 1 to 20 views, nested, the same 8 targets",
        "object",
        ("dtu_scan24", "gso_toy", "nerd_gold_cape", "nerf_synthetic_lego", "temple_ring"),
    ),
    Curve(
        "kbench/objects-1-50",
        "Three objects from 1 to 50 views, nested, the same 8 targets",
        "object",
        ("gso_toy", "nerd_gold_cape", "nerf_synthetic_lego"),
        (FEW_SCENES.format("Three", "s"),),
    ),
    Curve(
        "kbench/objects-1-100",
        "One object from 1 to 100 views, nested, the same 8 targets",
        "object",
        ("nerf_synthetic_lego",),
        (FEW_SCENES.format("One", ""),),
    ),
    Curve(
        "kbench/scenes-1-20",
        "Four scenes from 1 to 20 views, nested, the same 8 targets",
        "scene",
        ("fox", "llff_flower", "mydesk", "strecha_castle_p30"),
    ),
    Curve(
        "kbench/scenes-1-100",
        "One room from 1 to 100 views, nested, the same 8 targets",
        "scene",
        ("mydesk",),
        (FEW_SCENES.format("One", ""), VIDEO),
    ),
)


def choose_cases(scene: Scene, counts: Sequence[int]) -> list[Case]:
    """The cases of one scene; see the module's docstring."""
    ids, pools = list(scene.views), usable_views(scene)
    targets = [pools.targets[i] for i in choose_spread(len(pools.targets), TARGETS)]
    candidates = [i for i in pools.references if i not in targets]
    if len(candidates) < max(counts):
        raise ValueError(f"{scene.name} has {len(candidates)} views for {max(counts)} references")
    poses = describe_poses([view.camera for view in scene.views.values()])
    order = order_references(poses, candidates, targets, max(counts))
    return nested_cases(scene.name, [ids[i] for i in order], [ids[i] for i in targets], counts)


def freeze_curve(curve: Curve, data_dir: Path) -> FrozenProtocol:
    """One protocol as files, from the scenes on disk."""
    root = resolve_root(ROOT, data_dir)
    chosen = choose_at_hand(root, curve.scenes, lambda scene: choose_cases(scene, curve.counts))
    return chosen.freeze(draft_curve(curve), HEADER)


def draft_curve(curve: Curve) -> Draft:
    """The protocol but for its cases."""
    problems = [problem for name in curve.scenes if (problem := NOTES[name].problem)]
    return Draft(
        name=curve.name,
        title=curve.title,
        level=curve.level,
        regime="many-view",
        data=Data(f"real-{curve.level}s", "transforms", ROOT, revision=""),
        counts=curve.counts,
        preparation=describe_preparation(256),
        metrics=("psnr", "ssim", "lpips-alex"),
        optional_metrics=("lpips-vgg",),
        sources=(*(NOTES[name].source for name in curve.scenes), RULE),
        problems=(
            *curve.problems,
            "From 1 reference the scale of a scene is not observable; cameras are given and no scale is searched.",
            *problems,
            SQUARE_CROP,
        ),
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Parses the command line and writes the files."""
    run_builder(
        arguments,
        description="Write protocols/kbench/*.yaml and their indices.",
        out=HERE,
        freeze=lambda data_dir: (freeze_curve(curve, data_dir) for curve in CURVES),
    )


if __name__ == "__main__":
    main()
