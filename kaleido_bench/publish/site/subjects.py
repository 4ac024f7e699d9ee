"""What there is to make pages of: each protocol with its results, and with what others published on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from kaleido_bench.protocol import LoadedProtocol, PendingIndex, Protocol, load_protocol, read_protocol
from kaleido_bench.publish.boards import Board
from kaleido_bench.publish.reported import ExternalProtocol, Reported
from kaleido_bench.publish.site.published import PublishedLine, group_published
from kaleido_bench.publish.site.tables import order_results
from kaleido_bench.score.results.records import Result
from kaleido_bench.shipped import find_protocols


class Subject(NamedTuple):
    """One protocol.

    Args:
        loaded: None where its view ids are pending.
        results: in the order of the page.
        files: model -> the name and the bytes of its result file.
    """

    protocol: Protocol
    loaded: LoadedProtocol | None
    results: tuple[Result, ...]
    files: dict[str, ResultFile]
    published: tuple[PublishedLine, ...]


class ResultFile(NamedTuple):
    """A result as it is stored."""

    name: str
    data: bytes


class Elsewhere(NamedTuple):
    """A protocol that others have and this project has not."""

    external: ExternalProtocol
    published: tuple[PublishedLine, ...]


class Subjects(NamedTuple):
    """All pages' subjects: protocols with results first, then those with published numbers alone; each by name."""

    measured: tuple[Subject, ...]
    unmeasured: tuple[Subject, ...]
    elsewhere: tuple[Elsewhere, ...]


def load_subjects(
    boards: Sequence[Board], reported: Sequence[Reported], external: Sequence[ExternalProtocol]
) -> Subjects:
    """Read what pages are made of. Raises BenchError where a protocol cannot be loaded."""
    by_protocol: dict[str, list[Reported]] = {}
    for row in reported:
        by_protocol.setdefault(row.protocol, []).append(row)
    measured = [_build_measured(board, by_protocol.get(board.name, [])) for board in boards]
    names = sorted((by_protocol.keys() & find_protocols().keys()) - {board.name for board in boards})
    return Subjects(
        tuple(sorted(measured, key=lambda subject: subject.protocol.name)),
        tuple(_load_unmeasured(name, by_protocol[name]) for name in names),
        tuple(Elsewhere(each, group_published(by_protocol.get(each.name, []), None)) for each in external),
    )


def _build_measured(board: Board, rows: Sequence[Reported]) -> Subject:
    protocol = board.loaded.protocol
    results = order_results([entry.result for entry in board.entries])
    files = {entry.result.model.model: ResultFile(entry.path.name, entry.path.read_bytes()) for entry in board.entries}
    return Subject(protocol, board.loaded, tuple(results), files, group_published(rows, protocol))


def _load_unmeasured(name: str, rows: Sequence[Reported]) -> Subject:
    protocol = read_protocol(name).protocol
    loaded = None if isinstance(protocol.index, PendingIndex) else load_protocol(name)
    return Subject(protocol, loaded, (), {}, group_published(rows, protocol))
