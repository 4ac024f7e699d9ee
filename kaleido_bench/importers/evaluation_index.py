"""pixelSplat's evaluation index: `{scene: {"context": [...], "target": [...]} | null}`.

MVSplat, DepthSplat, LVSM, MVSplat360 and latentSplat publish theirs in the same layout, latentSplat with a list of
entries where a scene has several. `null` (latentSplat:
an empty list) is a scene that its makers found no pair of views in. Source:
dcharatan/pixelsplat, src/dataset/view_sampler/view_sampler_evaluation.py and
src/scripts/generate_evaluation_index.py.
"""

from __future__ import annotations

from pydantic import JsonValue

from kaleido_bench.errors import BenchError
from kaleido_bench.importers import PublishedSplit, Question
from kaleido_bench.importers.archives import Archive, read_json
from kaleido_bench.importers.ids import read_ids


class EvaluationIndex:
    """Reads one JSON file of pixelSplat's layout."""

    def read_split(self, archive: Archive, entry: str | None) -> PublishedSplit:
        """The questions of a file; `entry` is its name, where the archive holds more than one.

        Raises:
            BenchError: not one JSON file of this layout, or it asks nothing.
        """
        name = _find_file(archive, entry)
        value = read_json(archive, name)
        if not isinstance(value, dict):
            raise BenchError(
                archive.where(name),
                "no mapping of scenes",
                expected='{scene: {"context": [...], "target": [...]} or null}',
                fix="Check the kind.",
            )
        questions: list[Question] = []
        for scene, found in value.items():
            entries = found if isinstance(found, list) else [found]
            questions += [_read_entry(each, scene, archive.where(name)) for each in entries if each is not None]
        if not questions:
            raise BenchError(archive.where(name), "no entry that is not null", expected="one or more", fix="Check it.")
        return PublishedSplit(tuple(questions), {}, nulls=sum(not each for each in value.values()))


def _find_file(archive: Archive, entry: str | None) -> str:
    names = [name for name in archive.names if not name or name.endswith(".json")]
    if entry is not None and names != [""]:
        names = [name for name in names if name.rpartition("/")[2] == entry.rpartition("/")[2]]
    if len(names) != 1:
        raise BenchError(
            archive.path, f"{len(names)} JSON files to choose from", expected="one", fix="Name the file itself."
        )
    return names[0]


def _read_entry(value: JsonValue, scene: str, where: str) -> Question:
    if not isinstance(value, dict) or not {"context", "target"} <= set(value):
        raise BenchError(
            where,
            f"scene {scene} has no context and target",
            expected='{"context": [...], "target": [...]} or null',
            fix="Check the kind.",
        )
    here = f"{where}, {scene}"
    return Question(scene, read_ids(value["context"], here), read_ids(value["target"], here), here)
