"""Splits as a folder a scene: `<entry>/<scene>/train_test_split_<P>.json` with `train_ids` and `test_ids`.

P is the number of reference views, and the ids count the frames of the scene's `transforms.json`. Where the archive has
none, its authors' rule holds: they count `sorted(image_paths)`. Sources: Stability-AI/stable-virtual-camera,
benchmark/README.md, docs/CLI_USAGE.md and `ReconfusionParser` in seva/data_io.py. That parser bears the name of
ReconFusion's published splits, whose layout it reads; their own archive was not at hand.
"""

from __future__ import annotations

import re
from typing import NamedTuple, cast

from pydantic import JsonValue

from kaleido_bench.errors import BenchError
from kaleido_bench.importers import PublishedSplit, Question
from kaleido_bench.importers.archives import Archive, read_json
from kaleido_bench.importers.ids import read_ids
from kaleido_bench.records import suggest

_SPLIT = re.compile(r"train_test_split_(?P<count>\d+)\.json")
_ANY_SPLIT = re.compile(r"train_test_split_[^/]*\.json")


class _Found(NamedTuple):
    scene: str
    file: str  # its last part
    name: str  # of the member


class SplitFolders:
    """Reads SEVA's benchmark.zip and archives of its layout."""

    def read_split(self, archive: Archive, entry: str | None) -> PublishedSplit:
        """The questions of one entry. Files of another form of name (`train_test_split_1-from32.json`) are skipped.

        Raises:
            BenchError: no such entry, a split file that is damaged or says another number of references than its name.
        """
        found = _find_files(archive, entry or "")
        questions: list[Question] = []
        skipped: list[str] = []
        for file in found:
            match = _SPLIT.fullmatch(file.file)
            if match is None:
                skipped.append(file.name)
                continue
            questions.append(_read_question(archive, file, int(match["count"])))
        if not questions:
            raise BenchError(
                archive.path,
                f"no train_test_split_<number>.json in {entry}",
                expected="one a scene and number of reference views",
                fix="Check the archive.",
            )
        scenes = {question.scene for question in questions}
        folders = {file.scene: file.name.rpartition("/")[0] for file in found}
        frames = {
            scene: _read_frames(archive, f"{folders[scene]}/transforms.json")
            for scene in sorted(scenes)
            if f"{folders[scene]}/transforms.json" in set(archive.names)
        }
        return PublishedSplit(tuple(questions), frames, skipped=tuple(skipped))


def list_entries(archive: Archive) -> list[str]:
    """The entries of an archive, as far as they can be told: the folders above those that hold split files."""
    folders = {name.rpartition("/")[0] for name in archive.names if _ANY_SPLIT.fullmatch(name.rpartition("/")[2])}
    return sorted({folder.rpartition("/")[0] for folder in folders})


def _find_files(archive: Archive, entry: str) -> list[_Found]:
    """The split files below an entry, which may itself stand below one folder of the archive (`benchmark/`)."""
    pattern = re.compile(rf"(?P<above>(?:[^/]+/)*?)(?:{re.escape(entry)}/)(?P<scene>.+)/(?P<file>{_ANY_SPLIT.pattern})")
    matches = [match for name in archive.names if (match := pattern.fullmatch(name))]
    if not matches:
        entries = list_entries(archive)
        raise BenchError(
            archive.path,
            f"no entry '{entry}' with split files",
            expected=f"{entry}/<scene>/train_test_split_<P>.json",
            fix=suggest(entry, entries, otherwise=f"It holds: {', '.join(entries[:8]) or 'no split file at all'}."),
        )
    above = min({match["above"] for match in matches}, key=lambda text: (len(text), text))
    return [_Found(match["scene"], match["file"], match[0]) for match in matches if match["above"] == above]


def _read_question(archive: Archive, file: _Found, count: int) -> Question:
    where = archive.where(file.name)
    value = read_json(archive, file.name)
    if not isinstance(value, dict) or not {"train_ids", "test_ids"} <= set(value):
        raise BenchError(
            where,
            "no train_ids and test_ids",
            expected='{"train_ids": [...], "test_ids": [...]}',
            fix="Check the kind.",
        )
    references, targets = (read_ids(value[key], f"{where}, {key}") for key in ("train_ids", "test_ids"))
    if len(references) != count:
        raise BenchError(
            where, f"{len(references)} train_ids", expected=f"{count}, as its name says", fix="Fetch the archive again."
        )
    return Question(file.scene, references, targets, where)


def _read_frames(archive: Archive, name: str) -> tuple[str, ...]:
    value = read_json(archive, name)
    frames = cast("JsonValue", value.get("frames")) if isinstance(value, dict) else None
    paths = (
        [frame.get("file_path") if isinstance(frame, dict) else None for frame in frames or ()]
        if isinstance(frames, list)
        else []
    )
    if not paths or not all(isinstance(path, str) for path in paths):
        raise BenchError(
            archive.where(name),
            "no list of frames with a file_path",
            expected="a transforms.json",
            fix="Fetch it again.",
        )
    return tuple(cast("list[str]", paths))
