"""View ids as split files write them, and the views they mean."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pydantic import JsonValue

from kaleido_bench.errors import BenchError
from kaleido_bench.importers import Question, ViewRef


def read_ids(value: JsonValue, where: str) -> tuple[ViewRef, ...]:
    """A list of ids: all numbers (positions among the scene's views) or all texts (ids of views).

    A text of digits is refused: `"12"` is the thirteenth view to one program and the view named 12 to another.

    Raises:
        BenchError: not a list, empty, negative, mixed, twice the same, or digits written as text.
    """
    if not isinstance(value, list) or not value:
        raise BenchError(where, f"{_show(value)}", expected="a list of view ids", fix="Check the file and the kind.")
    ids: list[ViewRef] = []
    for each in value:
        if isinstance(each, bool) or not isinstance(each, int | str):
            raise BenchError(
                where, f"the id {_show(each)}", expected="a whole number or a text", fix="Correct the file."
            )
        if isinstance(each, str) and (not each or each.isdigit()):
            raise BenchError(
                where,
                f"the id {_show(each)} as text",
                expected="a number (a position) or a view's name",
                fix="Write positions without quotes.",
            )
        if isinstance(each, int) and each < 0:
            raise BenchError(where, f"the id {each}", expected="a position from 0", fix="Correct the file.")
        ids.append(each)
    if len({type(each) for each in ids}) > 1:
        raise BenchError(where, "numbers and texts in one list", expected="one or the other", fix="Correct the file.")
    if len(set(ids)) != len(ids):
        twice = next(each for each in ids if ids.count(each) > 1)
        raise BenchError(where, f"the id {_show(twice)} twice", expected="each once", fix="Correct the file.")
    return tuple(ids)


def take_views(
    question: Question, refs: Sequence[ViewRef], views: Sequence[str] | None, numbering: Numbering | None
) -> tuple[str, ...]:
    """The view ids that an entry means.

    Args:
        question: the entry, for errors.
        refs: its references or its targets.
        views: the scene's views in the order that positions count; None where nothing says.
        numbering: how positions become ids where `views` is None.

    Raises:
        BenchError: a position beyond the last view, a name that is none, or no way to tell.
    """
    known = frozenset(views or ())
    taken: list[str] = []
    for ref in refs:
        if isinstance(ref, str):
            if views is not None and ref not in known:
                raise _no_view(question, f"no view '{ref}' among {len(known)}", "views of that scene")
            taken.append(ref)
        elif views is not None:
            if ref >= len(views):
                raise _no_view(question, f"the id {ref} of {len(views)} views", f"0 to {len(views) - 1}")
            taken.append(views[ref])
        elif numbering is not None:
            taken.append(numbering.name(ref))
        else:
            raise BenchError(
                question.where,
                f"the id {ref} counts the images of scene {question.scene}, and no list of them is at hand",
                expected="the data set on disk",
                fix="Pass --data DIR or set KBENCH_DATA.",
            )
    return tuple(taken)


def _no_view(question: Question, found: str, expected: str) -> BenchError:
    fix = "Check that the data set is whole and the file belongs to it."
    return BenchError(question.where, f"scene {question.scene}: {found}", expected=expected, fix=fix)


class Numbering(NamedTuple):
    """How view ids that are nothing but numbers write them: digits filled with zeros to `width` (1: not filled)."""

    width: int

    def name(self, number: int) -> str:
        """The id of a number."""
        return f"{number:0{self.width}d}"


POSITIONS = Numbering(1)
"""Of the readers whose view ids are positions (see docs/readers.md)."""


def infer_numbering(views: Iterable[str]) -> Numbering | None:
    """The numbering that all these ids follow; None where one of them is no number, or they differ."""
    ids = list(views)
    if not ids or not all(view.isascii() and view.isdigit() for view in ids):
        return None
    if all(view == str(int(view)) for view in ids):
        return POSITIONS
    return Numbering(len(ids[0])) if len({len(view) for view in ids}) == 1 else None


def _show(value: JsonValue) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
