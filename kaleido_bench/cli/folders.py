"""From folders on the command line to runs and stored results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from kaleido_bench.errors import BenchError
from kaleido_bench.predictions import find_runs


def find_all_runs(folders: Sequence[Path]) -> list[Path]:
    """The run folders in and below `folders`, each once, in the order given.

    Raises:
        BenchError: there is none in one of them.
    """
    return _find_all(folders, find_runs, "no run in it", "a run folder, or a folder of runs")


def find_all_results(folders: Sequence[Path]) -> list[Path]:
    """Run folders, and the files of results that are stored as leaderboards have them; as `find_all_runs`."""
    from kaleido_bench.publish.boards import find_files

    return _find_all(
        folders,
        lambda folder: [*find_runs(folder), *find_files(folder)],
        "no run and no stored result in it",
        "a run folder, a folder of runs, or <protocol>/results/<model>.json",
    )


def check_folder(folder: Path, option: str) -> None:
    """Refuse a folder to write to that is a file, or lies in one. Raises BenchError naming the option."""
    there = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    if not there.is_dir():
        raise BenchError(option, f"{there} is a file", expected="a folder, there or not", fix="Name another.")


def _find_all(folders: Sequence[Path], find: Callable[[Path], list[Path]], lack: str, expected: str) -> list[Path]:
    found: dict[Path, Path] = {}  # by where they really are: one run may be spelt in two ways
    for folder in folders:
        below = find(folder)
        if not below:
            raise BenchError(folder, lack, expected=expected, fix="See `kbench list runs`.")
        for path in below:
            found.setdefault(path.resolve(), path)
    return list(found.values())
