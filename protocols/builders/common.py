"""What the families share: a draft as files, its strict-novel twin, and reading the published files."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from kaleido_bench.authoring import FrozenProtocol, freeze_protocol
from kaleido_bench.cases import Case, default_case_id
from kaleido_bench.drafts import STRICT, Draft, describe_draft, describe_preparation

HEADER = "Written by protocols/build_catalogue.py. Do not edit: change the builder, raise the version, run it again."

UNPINNED = (
    "Images and cameras are not pinned: the data set is not at hand where this index was written. `kbench lint` with "
    "the data says whether every view is there."
)


class Leak(NamedTuple):
    """Targets that are references too."""

    targets: int
    of: int
    cases: int


def count_leak(cases: Iterable[Case]) -> Leak:
    """How many targets the model is shown."""
    shown = [len(set(case.references) & set(case.targets)) for case in cases]
    return Leak(sum(shown), sum(len(case.targets) for case in cases), sum(count > 0 for count in shown))


def with_twin(draft: Draft) -> list[Draft]:
    """An as-published draft that leaks and its strict-novel twin; a draft that does not leak alone.

    The leaky one says in its problems how much leaks, counted here.
    """
    cases = list(draft.cases)
    leak = count_leak(cases)
    if leak.targets == 0:
        return [draft._replace(targets=STRICT)]
    share = f"{leak.targets:,} of {leak.of:,} targets ({100 * leak.targets / leak.of:.1f} %)"
    what = (
        f"Leak: {share} are references too, in {leak.cases:,} of {len(cases):,} cases. {draft.name}-{STRICT} drops "
        "them."
    )
    novel = tuple(
        case.model_copy(update={"targets": tuple(view for view in case.targets if view not in case.references)})
        for case in cases
    )
    kept = tuple(case for case in novel if case.targets)
    lost = len(novel) - len(kept)
    twin = draft._replace(
        name=f"{draft.name}-{STRICT}",
        title=f"{draft.title}, targets that are references removed",
        cases=kept,
        targets=STRICT,
        index_of=None if draft.index_of is None else f"{draft.index_of}-{STRICT}",
        problems=(
            f"Ours, not published: {draft.name} without the {leak.targets:,} targets that are references. Compare its "
            "numbers with other strict-novel ones only.",
            *((f"{lost:,} cases have no target left and are dropped.",) if lost else ()),
            *draft.problems,
        ),
    )
    return [draft._replace(targets="as-published", problems=(what, *draft.problems)), twin]


def freeze_draft(draft: Draft) -> FrozenProtocol:
    """The draft as files."""
    fields = describe_draft(draft._replace(problems=(*draft.problems, UNPINNED)))
    return freeze_protocol(fields, draft.cases, {}, header=HEADER, compact=True, index_name=draft.index_of)


prepare = partial(describe_preparation, background="none", alpha="drop")
"""A preparation; by default what pixelSplat and its successors do: Pillow's Lanczos, then the central crop."""


def load_json(path: Path) -> object:
    """A published JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


class Entry(NamedTuple):
    """One question of a published evaluation index."""

    scene: str
    number: int  # its place among the scene's entries
    context: tuple[int, ...]
    target: tuple[int, ...]
    scored: tuple[int, ...]  # the targets that count, all of them but in MVSplat360's RE10K lists


def load_entries(path: Path) -> list[Entry]:
    """The entries of an evaluation index in pixelSplat's form: scene -> entry, null, or a list of entries."""
    entries: list[Entry] = []
    index = load_json(path)
    assert isinstance(index, dict)
    for scene, found in index.items():
        for number, entry in enumerate(found if isinstance(found, list) else [found] if found else []):
            scored = entry.get("target_quantify", entry["target"])
            entries.append(Entry(scene, number, tuple(entry["context"]), tuple(entry["target"]), tuple(scored)))
    return entries


def count_null(path: Path) -> int:
    """Scenes of an evaluation index without an entry."""
    index = load_json(path)
    assert isinstance(index, dict)
    return sum(not entry for entry in index.values())


def position_cases(entries: Sequence[Entry], *, scored: bool = False) -> tuple[Case, ...]:
    """Cases whose view ids are positions, one an entry; a scene with several entries numbers its cases."""
    per_scene: dict[str, int] = {}
    for entry in entries:
        per_scene[entry.scene] = per_scene.get(entry.scene, 0) + 1
    return tuple(
        make_case(
            entry.scene,
            [str(view) for view in entry.context],
            [str(view) for view in (entry.scored if scored else entry.target)],
            number=entry.number if per_scene[entry.scene] > 1 else None,
        )
        for entry in entries
    )


def make_case(scene: str, references: Sequence[str], targets: Sequence[str], *, number: int | None = None) -> Case:
    """A case under its customary name, with a number where a scene has several of a kind."""
    name = default_case_id(scene, len(references))
    return Case(
        id=name if number is None else f"{name}-{number:02d}",
        scene=scene,
        references=tuple(references),
        targets=tuple(targets),
    )
