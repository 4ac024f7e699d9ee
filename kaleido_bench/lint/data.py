"""What can be wrong with a protocol's data, as far as its cases use it: checked with the data set and without a model.

Cameras are read for every view; image files of views that the index pins, and of pairs whose cameras are nearly the
same.
"""

from __future__ import annotations

import io
import math
from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise, product
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float64
from PIL import Image

from kaleido_bench.cases import Case, CaseIndex
from kaleido_bench.data.cameras import hash_camera
from kaleido_bench.data.readers import Reader, build_reader, resolve_root
from kaleido_bench.data.scenes import Scene, find_view, hash_image, hash_mask, read_image_file
from kaleido_bench.errors import BenchError
from kaleido_bench.lint.findings import Finding, Severity, few, sort_findings
from kaleido_bench.lint.protocols import find_unknown_views
from kaleido_bench.protocol import LoadedProtocol
from kaleido_bench.splits import describe_poses

SORTED_BY_USERS = "seva"
"""The reader of scenes that users convert themselves, and whose ids count the views."""

NEAR_DISTANCE = 0.02
"""Two camera centres this near are nearly the same; in units of the scene's radius, the root mean square distance of
its cameras in the case from their mean. Ours: of 50 frames evenly along a line, neighbours are 0.07 radii apart."""

NEAR_ANGLE = 1.0
"""Degrees between viewing directions that are nearly the same. Ours."""

NEAR_HASH = 4
"""Of 64 bits of the difference hash. Ours, well below the 10 that its author calls a different image
(https://www.hackerfactor.com/blog/index.php?/archives/529-Kind-of-Like-That.html)."""

SAME_POSE = 1e-9
"""Radii. What is left of rounding between two copies of one pose."""

MIXED_INTRINSICS = 1e-3
"""Relative difference of focal lengths that is no rounding."""


def lint_data(loaded: LoadedProtocol, data_dir: Path) -> list[Finding]:
    """All checks of a protocol against its data set, errors first. Missing data is an error too: nothing was checked.

    Args:
        loaded: the protocol.
        data_dir: the folder of the data sets.
    """
    dataset = loaded.protocol.dataset
    try:
        reader, root = build_reader(dataset.reader), resolve_root(dataset.root, data_dir)
    except BenchError as error:
        return [Finding("no-data", Severity.ERROR, None, str(error))]
    groups: defaultdict[str, list[Case]] = defaultdict(list)
    for case in loaded.cases:
        groups[case.scene].append(case)
    findings: list[Finding] = []
    outside: list[bool] = []
    for name, cases in groups.items():
        scene = _load_scene(reader, root, name, findings)
        if scene is None:
            continue
        findings += find_unsorted(scene) if dataset.reader == SORTED_BY_USERS else []
        unknown = find_unknown_views(cases, {name: scene.views})
        findings += unknown
        wrong = {finding.case for finding in unknown}
        whole = [case for case in cases if case.id not in wrong]
        findings += find_changed(scene, whole, loaded.index)
        findings += find_mixed(scene, whole)
        findings += [finding for case in whole for finding in find_degenerate(scene, case)]
        findings += [finding for case in whole for finding in find_near_duplicates(scene, case)]
        outside += [each for case in whole for each in find_outside(scene, case)]
    return sort_findings([*findings, *_describe_outside(outside)])


def _load_scene(reader: Reader, root: Path, name: str, findings: list[Finding]) -> Scene | None:
    """A scene; what makes it unreadable (no camera, a pose that is not rigid, a broken file) is a finding."""
    try:
        return reader.load_scene(root, name)
    except BenchError as error:
        findings.append(Finding("unreadable-scene", Severity.ERROR, None, f"scene '{name}': {error}"))
        return None


def find_changed(scene: Scene, cases: Sequence[Case], index: CaseIndex) -> list[Finding]:
    """Views whose image file, camera or mask file is not the one that the index froze; each kind of change once."""
    changed: defaultdict[str, list[str]] = defaultdict(list)
    for name in dict.fromkeys(view for case in cases for view in (*case.references, *case.targets)):
        pin, view = index.pin(scene.name, name), find_view(scene, name)
        try:
            if pin.image is not None and hash_image(view) != pin.image:
                changed["images"].append(name)
            if pin.mask is not None and hash_mask(view) != pin.mask:
                changed["masks"].append(name)
        except BenchError as error:
            changed[f"files that cannot be read ({error.where}: {error.found})"].append(name)
        if pin.camera is not None and hash_camera(view.camera) != pin.camera:
            changed["cameras"].append(name)
    return [
        Finding("not-the-pinned", Severity.ERROR, None, f"scene '{scene.name}': {what} other than frozen: {few(views)}")
        for what, views in changed.items()
    ]


def find_unsorted(scene: Scene) -> list[Finding]:
    """Views out of the order of their paths, where ids count views of a data set that its user converted.

    SEVA's ids count `sorted(image_paths)` (Stability-AI/stable-virtual-camera, benchmark/README.md): a transforms.json
    in another order gives every id another image, and nothing else would notice.
    """
    sources = [view.source for view in scene.views.values()]
    wrong = next((at for at, (one, other) in enumerate(pairwise(sources)) if one > other), None)
    if wrong is None:
        return []
    names = [Path(source).name for source in sources[wrong : wrong + 2]]
    message = (
        f"scene '{scene.name}': views are not sorted by path ({names[0]} before {names[1]}), and the ids count them"
    )
    return [Finding("views-not-sorted", Severity.WARNING, None, message)]


def find_mixed(scene: Scene, cases: Sequence[Case]) -> list[Finding]:
    """Sizes and focal lengths that differ between the views that a scene's cases use."""
    used = dict.fromkeys(view for case in cases for view in (*case.references, *case.targets))
    cameras = [scene.views[view].camera for view in used]
    if not cameras:
        return []
    findings: list[Finding] = []
    sizes = sorted({(camera.width, camera.height) for camera in cameras})
    if len(sizes) > 1:
        listed = ", ".join(f"{width}x{height}" for width, height in sizes[:4])
        findings.append(Finding("mixed-sizes", Severity.WARNING, None, f"scene '{scene.name}': images of {listed}"))
    # Relative to the image, so that a size is not reported twice.
    focal = np.array([[camera.K[0, 0] / camera.width, camera.K[1, 1] / camera.height] for camera in cameras])
    spread = float((focal.max(axis=0) / focal.min(axis=0) - 1).max())
    if spread > MIXED_INTRINSICS:
        message = f"scene '{scene.name}': focal lengths that differ by {spread:.1%}".replace("%", " %")
        findings.append(Finding("mixed-intrinsics", Severity.NOTE, None, message))
    return findings


def find_degenerate(scene: Scene, case: Case) -> list[Finding]:
    """Cases whose references share one centre (no parallax), and views of one case that share one pose."""
    findings: list[Finding] = []
    ids = list(dict.fromkeys((*case.references, *case.targets)))
    poses = _poses(scene, ids)
    at = {view: position for position, view in enumerate(ids)}
    references = poses[[at[view] for view in case.references]]
    spread = float(np.linalg.norm(references[:, :3] - references[0, :3], axis=1).max())
    if len(case.references) > 1 and spread <= SAME_POSE:
        message = f"all {len(case.references)} references stand in one point: no parallax"
        findings.append(Finding("no-baseline", Severity.WARNING, case.id, message))
    rounded: defaultdict[tuple[float, ...], list[str]] = defaultdict(list)
    for view, pose in zip(ids, poses, strict=True):
        rounded[tuple(pose.round(9))].append(view)
    for twins in rounded.values():
        if len(twins) > 1:
            message = f"the views {', '.join(twins[:5])} have one pose"
            findings.append(Finding("same-pose", Severity.WARNING, case.id, message))
    return findings


def find_near_duplicates(scene: Scene, case: Case) -> list[Finding]:
    """Targets that are nearly a reference: nearly its camera, and nearly its image. A leak that ids do not show."""
    targets = [view for view in case.targets if view not in set(case.references)]
    if not targets:
        return []
    poses = _poses(scene, (*case.references, *targets))
    references, asked = poses[: len(case.references)], poses[len(case.references) :]
    near = _are_near(asked, references)
    findings: list[Finding] = []
    for row, column in product(*map(range, near.shape)):
        if near[row, column]:
            target, reference = targets[row], case.references[column]
            bits = _count_bits(scene, target, reference)
            if bits is not None and bits <= NEAR_HASH:
                message = (
                    f"target '{target}' is nearly reference '{reference}': {bits} of 64 bits of their hashes differ"
                )
                findings.append(Finding("near-duplicate", Severity.WARNING, case.id, message))
    return findings


def find_outside(scene: Scene, case: Case) -> list[bool]:
    """For each target, whether it extrapolates: outside the region that the references span.

    A target is inside where its centre lies in a ball whose diameter joins the centres of two references, and its
    viewing direction is no farther from that of some reference than two references' directions are from each other at
    most. The balls cover the convex hull of the centres: at a point inside a tetrahedron, two of the four corners are
    seen at 109.5 degrees or more apart, hence at more than the right angle of Thales. With one reference, every other
    target is outside. The definition is ours; it errs on the side of calling a target inside.
    """
    poses = _poses(scene, (*case.references, *case.targets))
    references, targets = poses[: len(case.references)], poses[len(case.references) :]
    between = _between(targets[:, :3], references[:, :3])
    widest = _angles(references[:, 3:], references[:, 3:]).max()
    turned = _angles(targets[:, 3:], references[:, 3:]).min(axis=1) > widest + 1e-6
    shown = np.array([view in set(case.references) for view in case.targets])
    return [bool(each) for each in (~between | turned) & ~shown]


def _describe_outside(outside: Sequence[bool]) -> list[Finding]:
    if not any(outside):
        return []
    share = f"{sum(outside) / len(outside):.1%}".replace("%", " %")
    message = f"{sum(outside)} of {len(outside)} targets ({share}) lie outside what their references span"
    return [Finding("extrapolation", Severity.NOTE, None, message)]


def _poses(scene: Scene, views: Sequence[str]) -> Float64[np.ndarray, "view 6"]:
    """Centres, in radii of these cameras about their mean, and unit viewing directions."""
    return describe_poses([scene.views[view].camera for view in views])


def _are_near(
    one: Float64[np.ndarray, "one 6"], other: Float64[np.ndarray, "other 6"]
) -> Bool[np.ndarray, "one other"]:
    distances = np.linalg.norm(one[:, None, :3] - other[None, :, :3], axis=2)
    return (distances <= NEAR_DISTANCE) & (_angles(one[:, 3:], other[:, 3:]) <= math.radians(NEAR_ANGLE))


def _angles(
    one: Float64[np.ndarray, "one 3"], other: Float64[np.ndarray, "other 3"]
) -> Float64[np.ndarray, "one other"]:
    return np.arccos(np.clip(one @ other.T, -1.0, 1.0))


def _between(
    points: Float64[np.ndarray, "point 3"], centres: Float64[np.ndarray, "centre 3"]
) -> Bool[np.ndarray, " point"]:
    """Whether two centres are seen at a right angle or more apart: Thales' ball over their segment."""
    inside = np.zeros(len(points), bool)
    for position, point in enumerate(points):
        towards = centres - point
        inside[position] = bool(((towards @ towards.T) <= 1e-12).any())
    return inside


def _count_bits(scene: Scene, one: str, other: str) -> int | None:
    """How many of 64 bits of two images' difference hashes differ; None where one of them cannot be read."""
    try:
        hashes = [_difference_hash(read_image_file(scene.views[view])) for view in (one, other)]
    except (BenchError, OSError):
        return None  # predicting will say what is wrong with the file
    return int((hashes[0] != hashes[1]).sum())


def _difference_hash(data: bytes) -> Bool[np.ndarray, "8 8"]:
    """Whether each of 8 x 8 patches is brighter than its left neighbour."""
    with Image.open(io.BytesIO(data)) as image:
        small = np.asarray(image.convert("L").resize((9, 8), Image.Resampling.BOX), np.int16)
    return small[:, 1:] > small[:, :-1]
