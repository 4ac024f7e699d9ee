"""Writes protocols/quickstart.yaml and its index from the embedded scenes. Deterministic: same scenes, same bytes.

    python protocols/build_quickstart.py [SCENES_DIR] [--out protocols]

Targets are 3 views of each scene, evenly spread over its order and away from its ends. References are chosen among the
others by farthest-point sampling of poses, from the view nearest to the mean target pose; 1, 3 and 5 are prefixes of
that order.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from builders.at_hand import choose_at_hand, run_builder  # noqa: E402

from kaleido_bench.authoring import FrozenProtocol  # noqa: E402
from kaleido_bench.cases import Case  # noqa: E402
from kaleido_bench.data.readers import build_reader  # noqa: E402
from kaleido_bench.data.scenes import Scene  # noqa: E402
from kaleido_bench.drafts import Data, Draft, describe_preparation  # noqa: E402
from kaleido_bench.errors import BenchError  # noqa: E402
from kaleido_bench.splits import choose_spread, describe_poses, nested_cases, order_references  # noqa: E402

COUNTS = (1, 3, 5)
TARGETS = 3
HEADER = "Written by protocols/build_quickstart.py. Do not edit: change the script, raise the version, run it again."
SCENES = HERE.parent / "kaleido_bench" / "embedded" / "scenes" / "quickstart"


def choose_cases(scene: Scene) -> list[Case]:
    """The cases of one scene; see the module's docstring."""
    ids = list(scene.views)
    targets = choose_spread(len(ids), TARGETS)
    candidates = [i for i in range(len(ids)) if i not in targets]
    if len(candidates) < max(COUNTS):
        raise BenchError(
            f"scene {scene.name}",
            f"{len(ids)} views",
            expected=f"{max(COUNTS) + TARGETS} or more: {max(COUNTS)} references and {TARGETS} targets",
            fix="Render more views.",
        )
    poses = describe_poses([view.camera for view in scene.views.values()])
    order = order_references(poses, candidates, targets, max(COUNTS))
    return nested_cases(scene.name, [ids[i] for i in order], [ids[i] for i in targets], COUNTS)


def freeze_quickstart(scenes_dir: Path) -> FrozenProtocol:
    """The protocol as files, from the scenes on disk."""
    names = build_reader("transforms").scene_names(scenes_dir)
    return choose_at_hand(scenes_dir, names, choose_cases).freeze(QUICKSTART, HEADER)


QUICKSTART = Draft(
    name="quickstart",
    title="Held-out procedural scenes from 1, 3 and 5 views",
    level="object",
    regime="few-view",
    data=Data("quickstart", "transforms", "package:quickstart", revision=""),
    counts=COUNTS,
    preparation=describe_preparation(128, fit="none"),
    metrics=("psnr", "ssim"),
    optional_metrics=("lpips-alex", "lpips-vgg"),
    sources=(
        "scenes: rendered by this project from a procedural generator; they ship with the package, Apache-2.0",
        "split: ours (protocols/build_quickstart.py): 3 targets evenly spread; references by farthest-point "
        "sampling of poses from the view nearest to the mean target; 1, 3 and 5 are nested",
    ),
    problems=(
        "Small and synthetic: it shows that everything works, and ranks nothing.",
        "The reference model was trained on scenes of the same generator, with other seeds.",
    ),
)
"""But for its cases."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Parses the command line and writes the files."""
    run_builder(
        arguments,
        description="Write protocols/quickstart.yaml and its index.",
        out=HERE,
        freeze=lambda scenes_dir: [freeze_quickstart(scenes_dir)],
        scenes=SCENES,
    )


if __name__ == "__main__":
    main()
