"""Results of one protocol under one label, from different folders: in a table each has a name of its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kaleido_bench.score.results.records import Result


def tell_apart(results: Sequence[Result], paths: Sequence[Path]) -> list[Result]:
    """The results in their order; those that one row of a table would call alike say where they are from, as
    `nearest (runs-2)`.

    Args:
        paths: where each is from, no two the same.
    """
    groups: dict[tuple[str, str, str], list[int]] = {}
    for place, result in enumerate(results):
        groups.setdefault((result.protocol.hash, result.convention.hash, result.model.model), []).append(place)
    answer = list(results)
    for places in groups.values():
        if len(places) > 1:
            for place, end in zip(places, name_differences([paths[place] for place in places]), strict=True):
                answer[place] = relabel(results[place], f"{results[place].model.model} ({end})")
    return answer


def relabel(result: Result, label: str) -> Result:
    """The same result under another label."""
    return result.model_copy(update={"model": result.model.model_copy(update={"model": label})})


def name_differences(paths: Sequence[Path]) -> list[str]:
    """The shortest ends of different paths that differ, without what all of them end in: `a/t/m`, `b/t/m` are a, b."""
    parts = [path.resolve().parts for path in paths]
    while len({each[-1] for each in parts}) == 1 and min(map(len, parts)) > 1:
        parts = [each[:-1] for each in parts]
    for count in range(1, max(map(len, parts)) + 1):
        ends = ["/".join(each[-count:]) for each in parts]
        if len(set(ends)) == len(ends):
            return ends
    return [str(path) for path in paths]
