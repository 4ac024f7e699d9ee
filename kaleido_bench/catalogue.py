"""What `kbench list protocols` says of the shipped protocols, without loading them.

Loading a hundred protocols and their indices takes seconds. `protocols/summary.json` holds what a list says of each,
beside the sha256 of its YAML file (which names the sha256 of its index): a protocol whose file is another one is loaded
and counted anew, so that the list is never wrong, only slower.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from kaleido_bench.shipped import find_protocols, protocols_folder

if TYPE_CHECKING:
    from kaleido_bench.protocol import LoadedProtocol, Protocol

SUMMARY = "summary.json"


class ProtocolSummary(NamedTuple):
    """One protocol on one line."""

    name: str
    version: int
    level: str
    regime: str
    data: str  # name of the data set
    reader: str
    root: str
    references: tuple[str, ...]
    scenes: int | None  # None: not known before the ids are brought
    cases: int | None
    targets: int | None
    ids: str  # frozen or pending
    rule: str  # strict-novel or as-published
    convention: str
    hash: str
    title: str


def list_catalogue(folder: Path | None = None) -> list[ProtocolSummary]:
    """All shipped protocols. Raises BenchError where one that is not in the summary cannot be loaded."""
    root = folder or protocols_folder()
    known = _read_summary(root / SUMMARY)
    found: list[ProtocolSummary] = []
    for name, path in find_protocols(root).items():
        entry = known.get(name)
        if entry is not None and entry[0] == _sha256(path):
            found.append(entry[1])
        else:
            found.append(summarise_protocol(path))
    return found


def summarise_protocol(path: Path) -> ProtocolSummary:
    """Loads and counts one protocol. Raises BenchError."""
    from kaleido_bench.protocol import ALL_OTHERS, PendingIndex, fields_hash, load_protocol, read_protocol

    protocol = read_protocol(path).protocol
    if not isinstance(protocol.index, PendingIndex):
        return _summarise_loaded(load_protocol(path))
    expected = protocol.index.expected
    counts = protocol.reference_counts
    labels = (ALL_OTHERS,) if isinstance(counts, str) else tuple(map(str, counts))
    cases = targets = None
    if expected.scenes is not None:
        cases = expected.scenes * len(labels)
        targets = None if expected.targets is None else expected.scenes * sum(expected.targets)
    return _summary(protocol, labels, expected.scenes, cases, targets, ids="pending", digest=fields_hash(protocol))


def render_summary(root: Path) -> bytes:
    """The content of `summary.json`: one protocol a line, sorted by name."""
    lines = [
        json.dumps({"yaml_sha256": _sha256(path), **summarise_protocol(path)._asdict()}, ensure_ascii=False)
        for _, path in sorted(find_protocols(root).items())
    ]
    return ("[\n" + ",\n".join(lines) + "\n]\n").encode()


def _summarise_loaded(loaded: LoadedProtocol) -> ProtocolSummary:
    return _summary(
        loaded.protocol,
        loaded.reference_labels,
        len({case.scene for case in loaded.cases}),
        len(loaded.cases),
        sum(len(case.targets) for case in loaded.cases),
        ids="frozen",
        digest=loaded.hash,
    )


def _summary(
    protocol: Protocol,
    references: tuple[str, ...],
    scenes: int | None,
    cases: int | None,
    targets: int | None,
    *,
    ids: str,
    digest: str,
) -> ProtocolSummary:
    return ProtocolSummary(
        protocol.name,
        protocol.version,
        protocol.level,
        protocol.regime,
        protocol.dataset.name,
        protocol.dataset.reader,
        protocol.dataset.root,
        references,
        scenes,
        cases,
        targets,
        ids,
        protocol.targets,
        protocol.convention,
        digest,
        protocol.title,
    )


def _read_summary(path: Path) -> dict[str, tuple[str, ProtocolSummary]]:
    """The lines of the summary by name; nothing where there is none or it has other columns than this version's."""
    if not path.is_file():
        return {}
    known: dict[str, tuple[str, ProtocolSummary]] = {}
    for entry in json.loads(path.read_bytes()):
        if set(entry) != {"yaml_sha256", *ProtocolSummary._fields}:
            return {}
        digest = str(entry.pop("yaml_sha256"))
        entry["references"] = tuple(entry["references"])
        known[entry["name"]] = (digest, ProtocolSummary(**entry))
    return known


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
