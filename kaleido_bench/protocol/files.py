"""Protocols by file or by name, and those whose view ids the user has to bring."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from kaleido_bench.cases import load_index
from kaleido_bench.errors import BenchError
from kaleido_bench.protocol.loaded import LoadedProtocol, build_protocol, check_convention
from kaleido_bench.protocol.records import PendingIndex, Protocol
from kaleido_bench.records import load_yaml_record, suggest
from kaleido_bench.shipped import find_protocols


def load_protocol(path_or_name: Path | str) -> LoadedProtocol:
    """Loads a protocol and its frozen index, and checks that they fit together.

    Args:
        path_or_name: a YAML file, or the name of a shipped protocol.

    Raises:
        BenchError: no such protocol; or it, its index, or both together are wrong. It names `file:line`.
        PendingError: its view ids are not at hand (a BenchError too).
    """
    protocol, path = read_protocol(path_or_name)
    if isinstance(protocol.index, PendingIndex):
        raise PendingError(protocol, protocol.index)
    index = load_index(path.parent / protocol.index.file, protocol.index.sha256)
    return build_protocol(protocol, index, path=path)


class ProtocolFile(NamedTuple):
    """A protocol's record and its file."""

    protocol: Protocol
    path: Path


def read_protocol(path_or_name: Path | str) -> ProtocolFile:
    """Reads a protocol's record without its cases: quick, and possible where the ids are pending.

    Raises:
        BenchError: no such protocol, or its fields are wrong; the message names `file:line`.
    """
    path = _resolve(path_or_name)
    protocol = load_yaml_record(path, Protocol, what="a protocol file", fix=_find_near(path))
    if isinstance(protocol.index, PendingIndex):  # else `build_protocol` checks what needs the cases too
        check_convention(protocol, path)
    return ProtocolFile(protocol, path)


class PendingError(BenchError):
    """A protocol whose view ids are not at hand was to be used; the message names the command that completes it."""

    def __init__(self, protocol: Protocol, index: PendingIndex) -> None:
        super().__init__(
            f"protocol '{protocol.name}'",
            "its view ids are pending",
            expected=f"the ids of {index.entry}, from {index.obtain}",
            fix=f"With that as FILE, run `{completing_command(protocol.name, index)}`.",
        )


def completing_command(name: str, index: PendingIndex) -> str:
    """The command that makes an ordinary protocol of a pending one."""
    file = f"{name.replace('/', '-')}.yaml"
    return f"kbench import-split {index.completed_by} FILE --protocol {name} -o {file}"


def _find_near(path: Path) -> str:
    """What to do where there is no such file: protocols that ship are found by name, wherever they are installed."""
    parts = path.with_suffix("").parts
    tails = ["/".join(parts[start:]) for start in range(len(parts))]
    named = next((tail for tail in tails if tail in find_protocols()), None)
    if named is not None:
        return f"The protocol that ships is named '{named}', without a path and .yaml."
    return "Correct the path; protocols that ship are named without .yaml, see `kbench list protocols`."


def _resolve(path_or_name: Path | str) -> Path:
    path = Path(path_or_name)
    if path.suffix in (".yaml", ".yml") or path.is_file():
        return path
    shipped = find_protocols()
    name = str(path_or_name)
    if name not in shipped:
        raise BenchError(
            f"protocol '{name}'",
            "no protocol of that name and no such file",
            expected="a YAML file or the name of a shipped protocol",
            fix=suggest(name, shipped, otherwise="See `kbench list protocols`."),
        )
    return shipped[name]
