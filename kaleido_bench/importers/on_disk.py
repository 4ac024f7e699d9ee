"""Splits that are a rule over files: every 8th image, the first N renders. The data set itself is the published file.

Such a rule is a split only once it has met the files: it depends on how many there are and on their names. So the
protocol stays pending until somebody points `kbench import-split` at the data, and is then frozen like any other. Each
rule is carried out once, here, beside its source.
"""

from __future__ import annotations

import importlib.resources
import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import PurePosixPath
from typing import NamedTuple

import numpy as np

from kaleido_bench.errors import BenchError
from kaleido_bench.importers import PublishedSplit, Question, ViewRef
from kaleido_bench.importers.archives import Archive, read_json
from kaleido_bench.records import suggest
from kaleido_bench.splits import choose_every
from kaleido_bench.view_runs import unpack_views

HOLD_OUT_EVERY = 8
IMAGES = frozenset({".jpg", ".jpeg", ".png", ".exr"})

Rule = Callable[[Archive], list[Question]]


class RulesOnDisk(NamedTuple):
    """Reads one data set's folder by named rules."""

    rules: Mapping[str, Rule]

    def read_split(self, archive: Archive, entry: str | None) -> PublishedSplit:
        """The questions of one rule.

        Raises:
            BenchError: no rule of that name, or no file that it is about.
        """
        if entry is None or entry not in self.rules:
            raise BenchError(
                f"split {entry!r}",
                "no such rule over this data set",
                expected=f"one of {', '.join(self.rules)}",
                fix=suggest(entry or "", self.rules, otherwise="Use one of these."),
            )
        questions = self.rules[entry](archive)
        if not questions:
            raise BenchError(
                archive.path,
                "no scene in the layout that the rule is about",
                expected="the folder that holds the scenes' folders",
                fix="See docs/readers.md for the layout; point FILE at the root of the data set.",
            )
        return PublishedSplit(tuple(questions), frames={})


# ----- Mip-NeRF 360, every 8th image


def build_mipnerf360() -> RulesOnDisk:
    """Mip-NeRF 360: targets are every 8th of the images sorted by name.

    Source: google-research/multinerf@5b4d4f6 (llffhold 8); nerfbaselines/nerfbaselines@cde53bda36e6,
    nerfbaselines/datasets/mipnerf360.py and mipnerf360_sparse.py.
    """
    return RulesOnDisk({"dense": _read_mipnerf360_dense, "sparse": _read_mipnerf360_sparse})


def _read_mipnerf360_dense(archive: Archive) -> list[Question]:
    questions: list[Question] = []
    for scene, views in _list_images(archive, "images").items():
        targets, rest = _hold_out(views)
        questions.append(Question(scene, rest, targets, archive.where(f"{scene}/images")))
    return questions


def _read_mipnerf360_sparse(archive: Archive) -> list[Question]:
    """References are `linspace(0, len(train) - 1, n, dtype=int)` of the other images: truncated, not rounded."""
    questions: list[Question] = []
    for scene, views in _list_images(archive, "images").items():
        targets, rest = _hold_out(views)
        for count in (12, 24):
            if len(rest) < count:
                raise BenchError(
                    archive.where(f"{scene}/images"),
                    f"{len(views)} images",
                    expected=f"at least {count} beside every 8th",
                    fix="Fetch the scene again.",
                )
            places = np.linspace(0, len(rest) - 1, count, dtype=int)
            references = tuple(rest[int(place)] for place in places)
            questions.append(Question(scene, references, targets, archive.where(f"{scene}/images")))
    return questions


# ----- Long-LRM, the "L" split


def build_long_lrm() -> RulesOnDisk:
    """Long-LRM: targets are every 8th frame, references 16 or 32 listed ones chosen by k-means.

    Source: arthurhero/Long-LRM@d92dd5166991, data/dataset.py (target_uniform_every 8 over all frames) and
    data/{dl3dv,tnt}_fold_8_kmeans_input_idx.json, re-encoded in embedded/splits/long-lrm.json.
    """
    return RulesOnDisk({name: partial(_read_long_lrm, dataset=name) for name in ("dl3dv", "tnt")})


def load_long_lrm() -> dict[str, dict[str, list[str]]]:
    """Data set -> scene -> [16 references, 32 references], packed (see kaleido_bench.view_runs)."""
    file = importlib.resources.files("kaleido_bench") / "embedded" / "splits" / "long-lrm.json"
    return json.loads(file.read_text(encoding="utf-8"))


def _read_long_lrm(archive: Archive, dataset: str) -> list[Question]:
    questions: list[Question] = []
    for scene, packed in load_long_lrm()[dataset].items():
        name = f"{scene}/opencv_cameras.json"
        if name not in archive.names:
            continue
        value = read_json(archive, name)
        frames = value.get("frames") if isinstance(value, dict) else None
        if not isinstance(frames, list) or not frames:
            raise BenchError(archive.where(name), "no list of frames", expected="'frames'", fix="Prepare it again.")
        targets = choose_every(len(frames), HOLD_OUT_EVERY)
        for references in packed:
            views = [int(view) for view in unpack_views(references)]
            if max(views) >= len(frames):
                raise BenchError(
                    archive.where(name),
                    f"{len(frames)} frames",
                    expected=f"more than {max(views)}, which the published list names",
                    fix="Prepare the scene as Long-LRM does, without leaving frames out.",
                )
            questions.append(Question(scene, tuple(views), tuple(targets), archive.where(name)))
    return questions


# ----- rendered objects: the first views given


def build_srn() -> RulesOnDisk:
    """ShapeNet of SRN: references 64, or 64 and 104, all other views targets.

    Source: sxyu/pixel-nerf@91a044bdd62a, README.md (-P '64', -P '64 104'), eval/eval.py (source views are no targets).
    """
    return RulesOnDisk({"pixelnerf": _read_srn})


def _read_srn(archive: Archive) -> list[Question]:
    questions: list[Question] = []
    for scene, views in _list_images(archive, "rgb").items():
        for references in (("000064",), ("000064", "000104")):
            if lacking := sorted(set(references) - set(views)):
                raise BenchError(
                    archive.where(f"{scene}/rgb"), f"no view {lacking[0]}", expected="it", fix="Fetch the object again."
                )
            targets = tuple(view for view in views if view not in references)
            questions.append(Question(scene, references, targets, archive.where(f"{scene}/rgb")))
    return questions


def build_rtmv() -> RulesOnDisk:
    """RTMV as EscherNet asks: the first N of views 0 to 9, views 10 to 19.

    Source: kxhit/EscherNet@569240f81d72, eval_eschernet.py, metrics/eval_2D_NVS.py (RTMV: start_id 10 of 20).
    """
    return RulesOnDisk({"eschernet": _read_rtmv})


def _read_rtmv(archive: Archive) -> list[Question]:
    scenes = sorted({name.partition("/")[0] for name in archive.names if name.endswith("/00000.json")})
    targets = tuple(f"{number:05d}" for number in range(10, 20))
    questions: list[Question] = []
    for scene in scenes:
        for count in (1, 2, 3, 5, 10):
            references = tuple(f"{number:05d}" for number in range(count))
            questions.append(Question(scene, references, targets, archive.where(scene)))
    for question in questions:
        for view in (*question.references, *question.targets):
            if f"{question.scene}/{view}.json" not in archive.names:
                raise BenchError(
                    question.where, f"no view {view}", expected="views 00000 to 00019", fix="Fetch it again."
                )
    return questions


# ----- the files


class _HeldOut(NamedTuple):
    targets: tuple[ViewRef, ...]
    rest: tuple[ViewRef, ...]


def _hold_out(views: Sequence[str]) -> _HeldOut:
    places = set(choose_every(len(views), HOLD_OUT_EVERY))
    return _HeldOut(
        tuple(view for place, view in enumerate(views) if place in places),
        tuple(view for place, view in enumerate(views) if place not in places),
    )


def _list_images(archive: Archive, folder: str) -> dict[str, list[str]]:
    """Scene -> stems of the images in `<scene>/<folder>/`, sorted by file name as the rules sort them."""
    found: defaultdict[str, list[PurePosixPath]] = defaultdict(list)
    for name in archive.names:
        path = PurePosixPath(name)
        if len(path.parts) == 3 and path.parts[1] == folder and path.suffix.lower() in IMAGES:
            found[path.parts[0]].append(path)
    return {scene: [path.stem for path in sorted(paths)] for scene, paths in sorted(found.items())}
