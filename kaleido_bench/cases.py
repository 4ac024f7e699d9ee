"""Cases and their index: which views of which scene are given, and which are asked for. Explicit ids, frozen, hashed.

A rule ("every 8th image") is evaluated once, when a protocol is written, and never again: rules meet other orderings,
other file counts and other versions of a data set, and then two people compare different cases under one name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Literal, cast

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, field_validator, model_validator

from kaleido_bench.data.scenes import Pin
from kaleido_bench.errors import BenchError
from kaleido_bench.records import (
    Record,
    RefusedError,
    SafePath,
    Sha256,
    canonical_json,
    parse_json_record,
    read_bytes,
    refuse_dots,
    sha256_hex,
)
from kaleido_bench.view_runs import pack_views, unpack_views

__all__ = ["Case", "CaseId", "CaseIndex", "SceneName", "ViewId", "canonical_json", "load_index", "render_index"]

CaseId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$", max_length=120)]
"""A case's name; it becomes a folder. `~` is free for the sample and the scale of a work item."""

ViewId = Annotated[SafePath, AfterValidator(refuse_dots)]
"""A view's name: the image path below the scene, without `images/` in front and without its suffix."""

SceneName = Annotated[SafePath, AfterValidator(refuse_dots)]
"""A scene's name: its path below the root of the data set."""


class Case(Record):
    """One question: given these reference views of a scene, what do these target views show?"""

    id: CaseId = Field(description="file-name safe and unique in the index; by custom <scene>-r<number of references>")
    scene: SceneName = Field(description="path of the scene below the root of the data set")
    references: tuple[ViewId, ...] = Field(description="ids of the views an adapter is given, in this order")
    targets: tuple[ViewId, ...] = Field(description="ids of the views it is asked for, in this order")

    @model_validator(mode="after")
    def _check_views(self) -> Case:
        for role, views in (("references", self.references), ("targets", self.targets)):
            if not views:
                raise RefusedError(
                    f"case '{self.id}' has no {role}",
                    expected=f"at least one view in {role}",
                    fix="Add one or drop the case.",
                )
            for view in find_repeated(views):
                raise RefusedError(
                    f"case '{self.id}' names the view '{view}' twice in {role}",
                    expected="each view once",
                    fix="Remove the second one.",
                )
        return self


def default_case_id(scene: str, references: int) -> str:
    """A case's name by custom: `<scene>-r<number of references>`, with `/` in the scene's name written `_`."""
    return f"{scene.replace('/', '_')}-r{references}"


def _read_compact(value: object) -> object:
    """A case written as a list, `[id,] scene, references, targets` with packed views (see kaleido_bench.view_runs)."""
    if isinstance(value, dict):
        # Behind a validator, pydantic's strict mode no longer knows that a list is how a file writes a tuple.
        fields = cast("dict[str, object]", value)
        return {key: tuple(cast("list[object]", v)) if isinstance(v, list) else v for key, v in fields.items()}
    if not isinstance(value, list):
        return value
    parts = [part for part in cast("list[object]", value) if isinstance(part, str)]
    if len(parts) not in (3, 4) or len(parts) != len(cast("list[object]", value)):
        raise RefusedError(
            f"the case {str(cast('object', value))[:60]}",
            expected="[scene, references, targets] or [id, scene, references, targets], each a text",
            fix="Correct it, or write the case as an object.",
        )
    scene, references, targets = parts[-3], unpack_views(parts[-2]), unpack_views(parts[-1])
    name = parts[0] if len(parts) == 4 else default_case_id(scene, len(references))
    return {"id": name, "scene": scene, "references": references, "targets": targets}


class CaseIndex(Record):
    """All cases of a protocol, and the sha256 of the images and cameras they use, so that changed data is noticed."""

    schema_version: Literal[1]
    cases: tuple[Annotated[Case, BeforeValidator(_read_compact)], ...]
    image_sha256: dict[SceneName, dict[ViewId, Sha256]] = Field(
        description="scene -> view id -> sha256 of the image file; may be {}"
    )
    camera_sha256: dict[SceneName, dict[ViewId, Sha256]] = Field(
        description="scene -> view id -> sha256 of the camera by kaleido_bench.data.cameras.hash_camera; may be {}"
    )
    mask_sha256: dict[SceneName, dict[ViewId, Sha256]] = Field(
        default={}, description="scene -> view id -> sha256 of the mask file; left out where nothing is frozen"
    )

    @field_validator("cases")
    @classmethod
    def _check_cases(cls, cases: tuple[Case, ...]) -> tuple[Case, ...]:
        if not cases:
            raise RefusedError("an index without cases", expected="at least one case", fix="Add the cases.")
        # Two names that differ only in case are one folder on macOS and Windows.
        for name in find_repeated(case.id.lower() for case in cases):
            ids = [case.id for case in cases if case.id.lower() == name]
            raise RefusedError(
                f"the case ids {ids} are one name",
                expected="ids that differ in more than case",
                fix="Rename all but one.",
            )
        return cases

    def pin(self, scene: str, view: str) -> Pin:
        """What is frozen of a view."""
        return Pin(
            self.image_sha256.get(scene, {}).get(view),
            self.camera_sha256.get(scene, {}).get(view),
            self.mask_sha256.get(scene, {}).get(view),
        )

    def canonical(self) -> dict[str, object]:
        """The index as plain values in canonical order: cases by id. Views keep their order: it may matter.

        Masks came later: an index that freezes none is what it was without the field.
        """
        plain = self.model_dump(mode="json", exclude=None if self.mask_sha256 else {"mask_sha256"})
        return {**plain, "cases": [case.model_dump(mode="json") for case in _sorted_cases(self)]}


def find_repeated(names: Iterable[str]) -> list[str]:
    """The names that occur more than once, in order of first appearance."""
    found = list(names)
    if len(set(found)) == len(found):  # counting is ten times slower, and almost never needed
        return []
    return [name for name, count in Counter(found).items() if count > 1]


def load_index(path: Path, expected_sha256: str) -> CaseIndex:
    """Reads a case index and checks that it is the frozen one.

    Args:
        path: the JSON file.
        expected_sha256: sha256 of the file's bytes, from the protocol.

    Raises:
        BenchError: the file is missing, has another hash, or is not an index.
    """
    data = read_bytes(path, what="the case index that the protocol names", fix="Restore it, or correct 'index.file'.")
    found = sha256_hex(data)
    if found != expected_sha256:
        raise BenchError(
            path,
            f"sha256 {found}",
            expected=f"sha256 {expected_sha256}, as the protocol says",
            fix="Restore the frozen index; a changed one is a new version of the protocol, with this hash in it.",
        )
    return parse_json_record(data, CaseIndex, where=str(path))


def render_index(index: CaseIndex, *, compact: bool = False) -> bytes:
    """The index as the bytes to freeze: JSON, one case a line and one scene's hashes a line, in canonical order.

    Args:
        index: what to write.
        compact: cases as lists with packed views (see kaleido_bench.view_runs), for indices of thousands of cases. The
            protocol's hash is the same in either form.
    """
    write = _compact_line if compact else _case_line
    parts = [
        f'"camera_sha256":{{\n{_lines(index.camera_sha256)}\n}}',
        '"cases":[\n' + ",\n".join(write(case) for case in _sorted_cases(index)) + "\n]",
        f'"image_sha256":{{\n{_lines(index.image_sha256)}\n}}',
        *([f'"mask_sha256":{{\n{_lines(index.mask_sha256)}\n}}'] if index.mask_sha256 else []),
        f'"schema_version":{_line(index.schema_version)}',
    ]
    return ("{" + ",\n".join(parts) + "}\n").encode()


def _case_line(case: Case) -> str:
    return _line(case.model_dump(mode="json"))


def _compact_line(case: Case) -> str:
    name = [] if case.id == default_case_id(case.scene, len(case.references)) else [case.id]
    return _line([*name, case.scene, pack_views(case.references), pack_views(case.targets)])


def _sorted_cases(index: CaseIndex) -> list[Case]:
    return sorted(index.cases, key=lambda case: case.id)


def _lines(hashes: Mapping[str, Mapping[str, str]]) -> str:
    return ",\n".join(f"{_line(scene)}:{_line(views)}" for scene, views in sorted(hashes.items()))


def _line(value: object) -> str:
    return canonical_json(value).decode().rstrip("\n")
