"""From a published split file to an ordinary frozen protocol: a pending one completed, or one like another.

What is written has the fields of the protocol it comes from and says from which file its ids are. View ids are not
pinned: the published file has no hashes, and two people who import the same file must get the same protocol hash.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from kaleido_bench.atomic import write_bytes_atomic
from kaleido_bench.authoring import render_yaml
from kaleido_bench.cases import Case, CaseIndex, render_index
from kaleido_bench.data.readers import build_reader, resolve_root
from kaleido_bench.errors import BenchError
from kaleido_bench.importers import PublishedSplit, Question, build_importer
from kaleido_bench.importers.archives import Archive, hash_archive
from kaleido_bench.importers.ids import POSITIONS, Numbering, infer_numbering, take_views
from kaleido_bench.protocol import (
    CompletedFrom,
    ExpectedCounts,
    IndexFile,
    LoadedProtocol,
    PendingIndex,
    Protocol,
    build_protocol,
    completing_command,
)
from kaleido_bench.records import RefusedError, parse_yaml_record, sha256_hex

_NOT_IN_IDS = re.compile(r"[^A-Za-z0-9_.+-]")


class Completed(NamedTuple):
    """A protocol as two files, not yet written."""

    loaded: LoadedProtocol
    yaml_bytes: bytes
    index_bytes: bytes
    index_name: str


def complete_pending(protocol: Protocol, index: PendingIndex, archive: Archive, kind: str, *, out: Path) -> Completed:
    """An ordinary protocol with the fields of a pending one and the ids of a published file.

    Published ids are positions, which are the ids that the `seva` reader gives its views.

    Args:
        protocol: the pending protocol.
        index: its index.
        archive: the published file.
        kind: the importer that reads it.
        out: the YAML file to be written; its index goes beside it.

    Raises:
        BenchError: another importer than the protocol names, counts other than those known, ids that mean no view.
    """
    if kind != index.completed_by:
        raise BenchError(
            f"protocol '{protocol.name}'",
            f"the split kind '{kind}'",
            expected=f"'{index.completed_by}'",
            fix=f"Run `{completing_command(protocol.name, index)}`.",
        )
    split = _keep_counts(build_importer(kind).read_split(archive, index.entry), protocol.reference_counts)
    check_counts(split, index.expected, protocol.reference_counts, f"{archive.path}, {index.entry}")
    cases = _build_cases(split, _count_frames(split), POSITIONS)
    return _freeze(protocol, cases, CompletedFrom(kind=kind, file=archive.path.name, sha256=hash_archive(archive)), out)


def import_like(
    like: LoadedProtocol, archive: Archive, kind: str, entry: str | None, data_dir: Path | None, *, name: str, out: Path
) -> Completed:
    """A protocol with the ids of a published file, over the data set and with the preparation of another protocol.

    Ids that are positions are named by the data set's own list of views where it is at hand, otherwise as the other
    protocol numbers its views.

    Args:
        like: the protocol whose fields are taken.
        archive: the published file.
        kind: the importer that reads it.
        entry: the split's name inside it.
        data_dir: where the data sets are, or None.
        name: of the new protocol.
        out: the YAML file to be written.

    Raises:
        BenchError: an index of another data set, ids that mean no view, entries that are no cases.
    """
    split = build_importer(kind).read_split(archive, entry)
    known = {case.scene for case in like.cases}
    views = _Views(like.protocol, data_dir)
    asked = {question.scene for question in split.questions}
    if not asked & known and not views.at_hand:
        raise BenchError(
            archive.path,
            f"none of its {len(asked)} scenes ({sorted(asked)[0]}, ...) is in {like.protocol.name}",
            expected=f"an index over {like.protocol.dataset.name}",
            fix="Name a protocol over the same data set with --like, or pass --data.",
        )
    numbering = infer_numbering({view for case in like.cases for view in (*case.references, *case.targets)})
    cases = _build_cases(split, views.of, numbering)
    origin = CompletedFrom(kind=kind, file=archive.path.name, sha256=hash_archive(archive))
    counts = sorted({len(case.references) for case in cases})
    leaks = any(set(case.references) & set(case.targets) for case in cases)
    nulls = (f"{split.nulls} scenes of the published file are null and left out.",) if split.nulls else ()
    changes: dict[str, Any] = {
        "name": name,
        "version": 1,
        "title": f"{archive.path.name}, prepared like {like.protocol.name}",
        "reference_counts": tuple(counts),
        "targets": "as-published" if leaks else "strict-novel",
        "sources": (
            f"ids: {archive.path.name}, sha256 {origin.sha256}",
            # What they say of a split is of the other protocol's.
            *(f"of {like.protocol.name}, whose data these are: {source}" for source in like.protocol.sources),
        ),
        "known_problems": nulls,
    }
    return _freeze(like.protocol.model_copy(update=changes), cases, origin, out)


def count_known_scenes(completed: Completed, expected: ExpectedCounts) -> str | None:
    """How many of the scenes known by name are there, "10 of 10"; None where none is known.

    A name is there where it is a part of a scene's path or all of it. It is said and not asked for: the archive may
    name its folders otherwise than the paper.
    """
    if not expected.scene_names:
        return None
    scenes = {f"/{case.scene}/" for case in completed.loaded.cases}
    found = sum(any(f"/{name}/" in scene for scene in scenes) for name in expected.scene_names)
    return f"{found} of {len(expected.scene_names)}"


def write_completed(completed: Completed, out: Path) -> bool:
    """Writes index and YAML, each whole or not at all, the index first. Gives whether anything was to be written.

    Raises:
        BenchError: another file stands there.
    """
    wanted = {out.with_name(completed.index_name): completed.index_bytes, out: completed.yaml_bytes}
    missing = [path for path in wanted if not path.exists()]
    for path, data in wanted.items():
        if path not in missing and path.read_bytes() != data:
            raise BenchError(path, "another file stands there", expected="a new name", fix="Name another with -o.")
    out.parent.mkdir(parents=True, exist_ok=True)
    for path in missing:
        write_bytes_atomic(path, wanted[path])
    return bool(missing)


def _keep_counts(split: PublishedSplit, counts: Sequence[int] | str) -> PublishedSplit:
    """An entry may hold splits of several numbers of references, of which a protocol takes some."""
    if isinstance(counts, str):
        return split
    kept = tuple(question for question in split.questions if len(question.references) in counts)
    # With none left, those that were read say more than an empty list.
    return split._replace(questions=kept or split.questions)


def check_counts(
    split: PublishedSplit, expected: ExpectedCounts, reference_counts: Sequence[int] | str, where: str
) -> None:
    """Holds a split to what is known of it.

    Raises:
        BenchError: another number of scenes, of references or of targets, with what was found and what was expected.
    """
    by_count: dict[int, list[Question]] = {}
    for question in split.questions:
        by_count.setdefault(len(question.references), []).append(question)
    found = _Wrong(where)
    if isinstance(reference_counts, str):  # every scene has its own number, and there is one question of each
        scenes = {question.scene for question in split.questions}
        if expected.scenes is not None and len(scenes) != expected.scenes:
            found.refuse(f"{len(scenes)} scenes", f"{expected.scenes} scenes")
        return
    counts = list(reference_counts)
    for position, count in enumerate(counts):
        questions = by_count.get(count, [])
        scenes = {question.scene for question in questions}
        if not scenes:
            found.refuse(f"nothing with {count} references (it has {sorted(by_count)})", f"references {counts}")
        if expected.scenes is not None and len(scenes) != expected.scenes:
            found.refuse(f"{len(scenes)} scenes with {count} references", f"{expected.scenes} scenes")
        for question in questions:
            wanted = None if expected.targets is None else expected.targets[position]
            if wanted is not None and len(question.targets) != wanted:
                found.refuse(f"scene {question.scene} has {len(question.targets)} targets", f"{wanted} targets")


class _Wrong(NamedTuple):
    where: str

    def refuse(self, found: str, expected: str) -> None:
        raise BenchError(
            self.where,
            found,
            expected=f"{expected}, as the split is known",
            fix="Check that the file is whole and that its entry is the one meant.",
        )


class _Views:
    """The view ids of scenes in the order that positions count, where something lists them."""

    def __init__(self, protocol: Protocol, data_dir: Path | None) -> None:
        self._reader = build_reader(protocol.dataset.reader)
        self._root: Path | None = None
        # Without the data set, ids are taken at their word; `kbench lint --data` holds them to it later.
        with suppress(BenchError):
            self._root = resolve_root(protocol.dataset.root, data_dir)

    @property
    def at_hand(self) -> bool:
        """Whether the data set is on disk."""
        return self._root is not None

    def of(self, scene: str) -> tuple[str, ...] | None:
        """The view ids of a scene; None without the data set. Raises BenchError where the data set lacks the scene."""
        return None if self._root is None else tuple(self._reader.load_scene(self._root, scene).views)


def _count_frames(split: PublishedSplit) -> Callable[[str], tuple[str, ...] | None]:
    """The ids of scenes whose views are named by position, where the archive says how many there are."""

    def views(scene: str) -> tuple[str, ...] | None:
        return tuple(map(str, range(len(split.frames[scene])))) if scene in split.frames else None

    return views


def _build_cases(
    split: PublishedSplit, views: Callable[[str], tuple[str, ...] | None], numbering: Numbering | None
) -> list[Case]:
    repeated = Counter((question.scene, len(question.references)) for question in split.questions)
    seen: Counter[tuple[str, int]] = Counter()
    known: dict[str, tuple[str, ...] | None] = {}
    cases: list[Case] = []
    for question in split.questions:
        if question.scene not in known:
            known[question.scene] = views(question.scene)
        key = (question.scene, len(question.references))
        part = f"-{seen[key]}" if repeated[key] > 1 else ""
        seen[key] += 1
        references, targets = (
            take_views(question, refs, known[question.scene], numbering)
            for refs in (question.references, question.targets)
        )
        cases.append(_build_case(question, part, references, targets))
    return cases


def _build_case(question: Question, part: str, references: tuple[str, ...], targets: tuple[str, ...]) -> Case:
    name = f"{_NOT_IN_IDS.sub('_', question.scene)}-r{len(references)}{part}"
    try:
        return Case(id=name, scene=question.scene, references=references, targets=targets)
    except ValidationError as error:
        raise _refuse(error, question.where) from None


def _refuse(error: ValidationError, where: str) -> BenchError:
    """What a record says of the first value it refuses, in one line."""
    first = error.errors(include_url=False)[0]
    own = first.get("ctx", {}).get("error")
    if isinstance(own, RefusedError):
        return BenchError(where, own.found, expected=own.expected, fix=own.fix)
    found = f"{'.'.join(map(str, first['loc']))} is {str(first['input'])[:60]!r}"
    expected = "names that can be paths: letters, digits and _ . + - between slashes"
    return BenchError(where, found, expected=expected, fix="Rename it, in the file and in the data set.")


def _freeze(protocol: Protocol, cases: Sequence[Case], origin: CompletedFrom, out: Path) -> Completed:
    try:
        index = CaseIndex(schema_version=1, cases=tuple(cases), image_sha256={}, camera_sha256={})
    except ValidationError as error:
        raise _refuse(error, origin.file) from None
    index_bytes = render_index(index)
    file = IndexFile(file=f"{out.stem}.index.json", sha256=sha256_hex(index_bytes), completed_from=origin)
    fields: Mapping[str, Any] = protocol.model_copy(update={"index": file}).model_dump(mode="json")
    text = f"# Written by kbench import-split {origin.kind}. Do not edit: its index is frozen.\n" + render_yaml(fields)
    record = parse_yaml_record(text, Protocol, where=str(out))
    return Completed(build_protocol(record, index, path=None), text.encode(), index_bytes, file.file)
