"""View lists as short text: `"0 5 12..57"` for 0, 5 and 12 to 57. Explicit still: every id is written, in order.

Published indices ask for every frame of a window, so that RealEstate10K's video index names 434,102 targets. Runs of
numbered ids make a file of that a few hundred kilobytes, one line a case, which a person can read and git can compare.
No view id holds a space or two dots, so the text is never ambiguous. Hashes are taken over the ids, not over the text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from kaleido_bench.records import RefusedError

SHORTEST_RUN = 3
"""Consecutive ids that become a run; two are as short written out."""

LONGEST_RUN = 100_000
"""Ids in a run. No scene of the field has as many frames; a slip of the pen could ask for billions."""

_RUN = re.compile(r"([0-9]+)\.\.([0-9]+)")


def pack_views(views: Sequence[str]) -> str:
    """View ids as text; `unpack_views` gives them back.

    Args:
        views: ids, one or more. Consecutive decimal numbers become runs where they are written alike: without leading
            zeros, or padded to one width.
    """
    parts: list[str] = []
    start = 0
    while start < len(views):
        stop = start + 1
        while stop < len(views) and views[stop] == _next_id(views[stop - 1]):
            stop += 1
        if stop - start >= SHORTEST_RUN:
            parts.append(f"{views[start]}..{views[stop - 1]}")
        else:
            parts += views[start:stop]
        start = stop
    return " ".join(parts)


def unpack_views(text: str) -> tuple[str, ...]:
    """The view ids of a packed list, in order.

    Raises:
        RefusedError: a run that is no run of numbers, runs backwards or is too long; doubled spaces.
    """
    views: list[str] = []
    for part in text.split(" "):
        if ".." in part:
            views += _unpack_run(part)
        elif part:
            views.append(part)
        else:
            raise RefusedError(
                f"the view list {text[:60]!r} has a space too many",
                expected="view ids and runs with one space between them",
                fix="Remove it.",
            )
    return tuple(views)


def _next_id(view: str) -> str | None:
    """The id that continues a run after this one; None where it is no number, or padded and out of digits."""
    if not (view.isascii() and view.isdigit()):
        return None
    following = str(int(view) + 1).zfill(len(view))
    return None if len(following) > len(view) and view.startswith("0") and len(view) > 1 else following


def _unpack_run(part: str) -> list[str]:
    match = _RUN.fullmatch(part)
    if match is not None:
        first, last = match.groups()
        count = int(last) - int(first) + 1
        padded = first.startswith("0") and len(first) > 1
        alike = len(first) == len(last) if padded else not last.startswith("0") or last == "0"
        if alike and 1 <= count <= LONGEST_RUN:
            width = len(first) if padded else 0
            return [str(number).zfill(width) for number in range(int(first), int(last) + 1)]
    raise RefusedError(
        f"the run {part[:60]!r}",
        expected=f"FIRST..LAST, numbers written alike, ascending, at most {LONGEST_RUN} of them",
        fix="Correct it, or write the ids out.",
    )
