"""Suites on the command line: what is run of them, and what is not, by name."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from kaleido_bench.cli.console import say
from kaleido_bench.errors import BenchError, IncompleteError

if TYPE_CHECKING:
    from kaleido_bench.suites import Expanded


def expand(words: Sequence[str], completed: Path | None, data_dir: Path | None) -> Expanded:
    """What the words stand for. Of a suite, protocols without their data are left out, and named at the end.

    Raises:
        BenchError: a pending protocol that was asked for by its name, or a suite or folder that cannot be read.
    """
    from kaleido_bench.data.readers import resolve_root
    from kaleido_bench.protocol import read_protocol
    from kaleido_bench.suites import NotRun, expand_protocols

    wanted = expand_protocols(words, completed)
    kept: list[str] = []
    missing: list[NotRun] = []
    for name in wanted.protocols:
        if name in wanted.from_suites:
            try:
                resolve_root(read_protocol(name).protocol.dataset.root, data_dir)
            except BenchError as error:
                missing.append(NotRun(name, str(error)))
                continue
        kept.append(name)
    return wanted._replace(protocols=tuple(kept), not_run=(*wanted.not_run, *missing))


@contextmanager
def naming_not_run(wanted: Expanded) -> Generator[None]:
    """Do what is inside, then name what was not run, whatever happened; it makes the call incomplete (1)."""
    try:
        yield
    finally:
        for each in wanted.not_run:
            say(f"not run: {each.name}: {each.reason}")
    if wanted.not_run:
        total = len(wanted.protocols) + len(wanted.not_run)
        raise IncompleteError(f"not run: {len(wanted.not_run)} of {total} protocols, named above")
