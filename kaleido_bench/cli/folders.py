"""From folders on the command line to run folders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kaleido_bench.errors import BenchError
from kaleido_bench.predictions import find_runs


def find_all_runs(folders: Sequence[Path]) -> list[Path]:
    """The run folders in and below `folders`, each once, in the order given.

    Raises:
        BenchError: there is none in one of them.
    """
    found: dict[Path, Path] = {}  # by where they really are: one run may be spelt in two ways
    for folder in folders:
        below = find_runs(folder)
        if not below:
            raise BenchError(
                folder, "no run in it", expected="a run folder, or a folder of runs", fix="See `kbench list runs`."
            )
        for path in below:
            found.setdefault(path.resolve(), path)
    return list(found.values())
