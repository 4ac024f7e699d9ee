"""Suites: named lists of protocols. A suite adds no number of its own; it only says what is run together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from pydantic import Field, field_validator

from kaleido_bench.cases import find_repeated
from kaleido_bench.errors import BenchError
from kaleido_bench.protocol import PendingError, PendingIndex, Protocol, fields_hash, read_protocol
from kaleido_bench.records import Record, RefusedError, load_yaml_record, suggest
from kaleido_bench.shipped import find_protocols, find_suites


class Suite(Record):
    """A named list of protocols."""

    name: str = Field(min_length=1, description="its name on the command line, and its file's")
    title: str = Field(min_length=1)
    protocols: tuple[str, ...] = Field(min_length=1, description="names of shipped protocols, in the order to be run")

    @field_validator("protocols")
    @classmethod
    def _check_protocols(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in find_repeated(names):
            raise RefusedError(f"'{name}' is listed twice", expected="each protocol once", fix="Keep one.")
        return names


def is_suite(word: str) -> bool:
    """Whether a word on the command line is a suite's name: a protocol of that name, or a file, comes first."""
    return word in find_suites() and word not in find_protocols() and not Path(word).is_file()


def load_suite(name: str) -> Suite:
    """A shipped suite.

    Raises:
        BenchError: there is none of that name, or its file is wrong.
    """
    shipped = find_suites()
    if name not in shipped:
        raise BenchError(
            f"suite '{name}'",
            "no suite of that name",
            expected=f"one of {', '.join(shipped)}",
            fix=suggest(name, shipped, otherwise="See `kbench list suites`."),
        )
    return load_yaml_record(shipped[name], Suite, what="a suite", fix="See `kbench list suites`.")


class NotRun(NamedTuple):
    """A protocol of a suite that cannot be run, and why."""

    name: str
    reason: str


class Expanded(NamedTuple):
    """What words on the command line stand for."""

    protocols: tuple[str, ...]  # names and files
    not_run: tuple[NotRun, ...]
    from_suites: frozenset[str]  # those of `protocols` that no word names


def expand_protocols(words: Sequence[str], completed: Path | None) -> Expanded:
    """Suites as their protocols, and pending protocols as the completed ones that the user has.

    A pending protocol that is asked for by its own name and has not been completed is an error; one that a suite lists
    is named among those that are not run.

    Args:
        words: files, names of protocols, names of suites. A protocol wins over a suite of its name.
        completed: a folder of protocols made by `kbench import-split`, or None.

    Raises:
        BenchError: a pending protocol that was asked for by name, no such folder, or a file in it that is no protocol.
    """
    mine = find_completed(completed) if completed is not None else {}
    shipped = find_protocols()
    found: list[str] = []
    not_run: list[NotRun] = []
    asked: set[str] = set()
    for word in words:
        if is_suite(word):
            for name in load_suite(word).protocols:
                _add(name, mine, found, not_run)
        elif word in shipped:
            error = _add(word, mine, found, [])
            if error is not None:
                raise error
            asked.add(found[-1])
        else:
            found.append(word)  # a file, or a name that loading it will refuse
            asked.add(word)
    unique = tuple(dict.fromkeys(found))
    return Expanded(unique, tuple(dict.fromkeys(not_run)), frozenset(unique) - asked)


def replace_pending(words: Sequence[str], completed: Path | None) -> list[str]:
    """The same words, with the user's completed protocol in the place of each pending one that has been completed.

    What `expand_protocols` refuses, because it is to be run, stays as it is here: it is to be looked at.

    Raises:
        BenchError: as `expand_protocols`, but for pending protocols.
    """
    if completed is None:
        return list(words)
    mine, shipped = find_completed(completed), find_protocols()
    found: list[str] = []
    for word in words:
        pending = word not in shipped or _add(word, mine, found, []) is not None
        found += [word] if pending else []
    return found


def find_completed(folder: Path) -> dict[str, tuple[Path, Protocol]]:
    """The protocols below a folder of the user's, by their names.

    Raises:
        BenchError: no such folder, or a YAML file in it that is no protocol.
    """
    if not folder.is_dir():
        raise BenchError(
            "--completed",
            f"no such folder {folder}",
            expected="a folder of protocols",
            fix="Correct it or KBENCH_PROTOCOLS.",
        )
    records = [(path, read_protocol(path).protocol) for path in sorted(folder.rglob("*.yaml"))]
    return {record.name: (path, record) for path, record in records}


def _add(
    name: str, mine: dict[str, tuple[Path, Protocol]], found: list[str], not_run: list[NotRun]
) -> PendingError | None:
    """Adds a shipped protocol, or the user's completed one in its place."""
    record = read_protocol(name).protocol
    if not isinstance(record.index, PendingIndex):
        found.append(name)
        return None
    if name in mine:
        path, completed = mine[name]
        if fields_hash(completed) != fields_hash(record):
            raise BenchError(
                path,
                f"other fields than the pending protocol '{name}' of this version",
                expected="the fields it was completed with",
                fix="Run `kbench import-split` again.",
            )
        found.append(str(path))
        return None
    error = PendingError(record, record.index)
    not_run.append(NotRun(name, f"{error.found}; expected {error.expected}. {error.fix}"))
    return error
