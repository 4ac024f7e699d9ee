"""A folder of results: what is in it, and what is wrong with it.

    leaderboards/<protocol>/results/<model>.json     one result a model
    leaderboards/reported/*.csv                      what others published (see `reported.py`); no results

A file here has left its rows and predictions behind. It is held to today's protocol and convention and to itself
(`score/results/agreement.py`), and to the other files: one label is one set of weights, and one set of weights was
trained on one list of data sets. `adding.py` takes nothing in that this would find fault with.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from pydantic import JsonValue

from kaleido_bench.conventions import load_convention
from kaleido_bench.errors import BenchError
from kaleido_bench.predictions import run_folder
from kaleido_bench.protocol import LoadedProtocol, load_protocol
from kaleido_bench.records import short_hash
from kaleido_bench.score.results.agreement import Difference, find_disagreements
from kaleido_bench.score.results.records import Result, load_result, render_result
from kaleido_bench.shipped import find_protocols
from kaleido_bench.suites import find_completed, replace_pending

RESULTS = "results"
"""The folder of a protocol's results."""

LISTED = 5
"""So many differences of one file are named; more follow from these as a rule."""


class Fault(NamedTuple):
    """Something wrong with a file, on one line."""

    file: str
    found: str
    expected: str
    fix: str

    def __str__(self) -> str:
        return f"{self.file}: {self.found}; expected {self.expected}. {self.fix}"


class Entry(NamedTuple):
    """A result and its file."""

    path: Path
    result: Result


class Board(NamedTuple):
    """All results of one protocol, by the names of their files."""

    loaded: LoadedProtocol
    entries: tuple[Entry, ...]

    @property
    def name(self) -> str:
        """The protocol's."""
        return self.loaded.protocol.name


class Boards(NamedTuple):
    """A folder of results as it was read. With a fault, `boards` holds what could be read."""

    boards: tuple[Board, ...]
    faults: tuple[Fault, ...]
    files: int


class Shelf:
    """Protocols by name, each loaded once: those that ship, and the user's own and completed ones."""

    def __init__(self, completed: Path | None) -> None:
        self._completed = completed
        self._shipped = find_protocols()
        self._mine = {} if completed is None else {name: path for name, (path, _) in find_completed(completed).items()}
        self._loaded: dict[str, LoadedProtocol] = {}

    def load(self, name: str) -> LoadedProtocol:
        """The protocol of a name. Raises BenchError where there is none, or its view ids are not at hand."""
        if name not in self._loaded:
            self._loaded[name] = load_protocol(self._find(name))
        return self._loaded[name]

    def name_of(self, folder: Path) -> str:
        """The protocol whose folder this is: the longest end of its path that is a name, else its last part."""
        parts = folder.resolve().parts
        names = ["/".join(parts[start:]) for start in range(1, len(parts))]
        known = (name for name in names if name in self._mine or name in self._shipped)
        return next(known, folder.resolve().name)

    def _find(self, name: str) -> Path:
        if name in self._shipped:
            (found,) = replace_pending([name], self._completed)
            return self._shipped[name] if found == name else Path(found)
        if name not in self._mine:
            raise BenchError(
                f"protocol '{name}'",
                "none of that name ships" + ("" if self._completed is None else f" or is in {self._completed}"),
                expected="a name of `kbench list protocols`, or of your own protocols",
                fix="Of one of your own, give the folder of its YAML file: --completed DIR.",
            )
        return self._mine[name]


# Reading


def find_files(folder: Path) -> list[Path]:
    """The result files at or below a path: itself, those of a `results` folder, or of all below; sorted."""
    if folder.is_file():
        return [folder] if folder.parent.name == RESULTS else []
    return [path for path in _list_stored(folder) if path.suffix == ".json"]


def _list_stored(folder: Path) -> list[Path]:
    """What lies in a `results` folder at or below a path; sorted. Not below hidden folders: `.git` has branches."""
    inside = list(folder.glob("*")) if folder.name == RESULTS else list[Path]()
    found = sorted({*inside, *folder.glob(f"**/{RESULTS}/*")})
    return [path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts[:-1])]


def name_file(result: Result) -> str:
    """The file of a result: its model's label, as the folder of a run has it."""
    return f"{run_folder(Path(), 'any', result.model.model).name}.json"


def place_file(root: Path, result: Result) -> Path:
    """Where a result belongs."""
    return root / result.protocol.name / RESULTS / name_file(result)


def read_boards(root: Path, shelf: Shelf) -> Boards:
    """Read and check all results below a folder.

    Raises:
        BenchError: there is no such folder.
    """
    if not root.is_dir():
        raise BenchError(
            root, "no such folder", expected="a folder of results", fix="Name it, or make it: `kbench leaderboard add`."
        )
    faults: list[Fault] = list(_find_strangers(root))
    boards: list[Board] = []
    files = find_files(root)
    folders = dict.fromkeys(path.parent for path in files)
    for folder in folders:
        found = _read_board(folder, [path for path in files if path.parent == folder], shelf)
        faults += found.faults
        boards += found.boards
    names = [board.name for board in boards]
    for name in sorted({name for name in names if names.count(name) > 1}):
        faults.append(Fault(str(root), f"two folders of the protocol {name}", "one", "Put their results together."))
    faults += _compare_boards([entry for board in boards for entry in board.entries])
    return Boards(tuple(boards), tuple(faults), len(files))


def load_entry(path: Path, shelf: Shelf) -> Result:
    """One stored result.

    Raises:
        BenchError: it cannot be read, or there is something wrong with it; the first fault is named.
    """
    loaded = shelf.load(shelf.name_of(path.parents[1]))
    entry = Entry(path, load_result(path))
    for fault in check_entry(entry, loaded):
        raise BenchError(fault.file, fault.found, expected=fault.expected, fix=fault.fix)
    return entry.result


def _read_board(folder: Path, files: Sequence[Path], shelf: Shelf) -> Boards:
    """Read and check the results of one protocol."""
    try:
        loaded = shelf.load(shelf.name_of(folder.parent))
    except BenchError as error:
        return Boards((), (Fault(str(folder), error.found, error.expected, error.fix),), len(files))
    entries: list[Entry] = []
    faults: list[Fault] = []
    for path in files:
        try:
            entry = Entry(path, load_result(path))
        except BenchError as error:
            faults.append(Fault(error.where, error.found, error.expected, error.fix))
            continue
        entries.append(entry)
        faults += check_entry(entry, loaded)
    return Boards((Board(loaded, tuple(entries)),), tuple(faults), len(files))


def check_entry(entry: Entry, loaded: LoadedProtocol) -> list[Fault]:
    """What is wrong with one file, by itself."""
    path, result = entry
    faults = [*check_result(result, loaded, str(path))]
    if path.name != name_file(result):
        fix = "Rename it, or add the run again: `kbench leaderboard add`."
        faults.append(Fault(str(path), f"a result of {result.model.model}", name_file(result), fix))
    if path.read_bytes() != render_result(result):
        fix = "Add the run again: `kbench leaderboard add`."
        faults.append(Fault(str(path), "not written as kbench writes it", "the bytes of a run's result.json", fix))
    return faults


def check_result(result: Result, loaded: LoadedProtocol, where: str) -> list[Fault]:
    """What is wrong with a result as far as it can be told without its run; at most `LISTED` faults and a count."""
    found = list(find_disagreements(result, loaded, load_convention(loaded.protocol.convention)))
    faults = [_describe(each, where) for each in found[:LISTED]]
    if len(found) > LISTED:
        more = f"{len(found) - LISTED} more such differences"
        faults.append(Fault(where, more, "none", "Correct those named first."))
    return faults


def _describe(difference: Difference, where: str) -> Fault:
    again = "Score the run again and add it: `kbench score RUN`, `kbench leaderboard add RUN`."
    found, expected = show_value(difference.found), show_value(difference.expected)
    return Fault(where, f"{difference.field} is {found}", expected, again)


def show_value(value: JsonValue) -> str:
    """A value as messages have it: JSON, and not too much of it."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 120 else f"{text[:117]}..."


def _find_strangers(root: Path) -> Iterator[Fault]:
    """What lies among results and is none: nobody would read it."""
    for path in _list_stored(root):
        if path.suffix != ".json" or not path.is_file():
            yield Fault(str(path), "no result", "only <model>.json here", "Remove it.")


def _compare_boards(entries: Sequence[Entry]) -> Iterator[Fault]:
    """What results of different protocols say of one model, against each other."""
    weights: dict[str, Entry] = {}
    training: dict[str, Entry] = {}
    for entry in entries:
        model = entry.result.model
        first = weights.setdefault(model.model, entry)
        if first.result.model.weights_sha256 != model.weights_sha256:
            found, expected = (short_hash(each) for each in (model.weights_sha256, first.result.model.weights_sha256))
            yield Fault(
                str(entry.path),
                f"{model.model} has the weights {found}",
                f"{expected}, as in {first.path}",
                "Add the runs of one model, or give each its own label.",
            )
        if model.weights_sha256 is None:
            continue
        first = training.setdefault(model.weights_sha256, entry)
        if first.result.model.training_data != model.training_data:
            yield Fault(
                str(entry.path),
                f"training_data is {list_names(model.training_data)}",
                f"{list_names(first.result.model.training_data)}, as the same weights say in {first.path}",
                "Say the same of the same weights: their runs follow from the model's card.",
            )


def list_names(names: Sequence[str] | None) -> str:
    """Data sets as messages have them; None is unknown."""
    return "unknown" if names is None else ", ".join(names) or "none"
