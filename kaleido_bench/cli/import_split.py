"""`kbench import-split`: a published split file becomes a protocol."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kaleido_bench.cli.options import Data, Json
from kaleido_bench.errors import BenchError, IncompleteError

if TYPE_CHECKING:
    from kaleido_bench.importers.archives import Archive
    from kaleido_bench.importers.completion import Completed

KINDS = "seva, reconfusion, viewcrafter, 4dim or pixelsplat; mipnerf360, long-lrm, srn or rtmv over the data itself"


def import_split(
    kind: Annotated[str, typer.Argument(metavar="KIND", help=f"Whose layout: {KINDS}.", show_default=False)],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The published zip, folder or JSON file.")],
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", metavar="PROTOCOL.yaml|DIR", help="The protocol to write; a folder: all that FILE completes."
        ),
    ],
    protocol: Annotated[
        str | None, typer.Option("--protocol", metavar="NAME", help="The pending protocol to complete.")
    ] = None,
    like: Annotated[
        str | None,
        typer.Option("--like", metavar="NAME", help="Take data set and preparation of this protocol instead."),
    ] = None,
    entry: Annotated[
        str | None, typer.Option("--entry", metavar="ENTRY", help="Which split of FILE, with --like.")
    ] = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """Make a protocol of a published split file. Checked against what is known of it; the ids are frozen and hashed."""
    from kaleido_bench.cli.printing import print_rows
    from kaleido_bench.importers.archives import open_archive

    if like is not None and protocol is not None:
        raise BenchError("--like", "beside --protocol", expected="one of the two", fix="Leave one out.")
    archive = open_archive(file)
    if out.suffix not in (".yaml", ".yml"):
        rows = _complete_all(kind, archive, out, protocol)
    elif like is not None:
        rows = [_describe(_import_like(kind, archive, like, entry, data, out), out)]
    elif protocol is not None:
        rows = [_complete_one(kind, archive, protocol, out)]
    else:
        raise BenchError(
            "import-split",
            "neither --protocol nor --like",
            expected="the pending protocol that FILE completes, or one over the same data",
            fix="See `kbench list protocols`; or give a folder as -o to complete all that FILE holds.",
        )
    print_rows(rows, as_json=json, empty=f"no pending protocol is completed by {kind}")
    if missing := [str(row["protocol"]) for row in rows if row.get("problem")]:
        raise IncompleteError(f"{len(missing)} of {len(rows)} are not completed: {', '.join(missing)}")


def _import_like(kind: str, archive: Archive, like: str, entry: str | None, data: Path | None, out: Path) -> Completed:
    from kaleido_bench.importers.completion import import_like, write_completed
    from kaleido_bench.protocol import load_protocol

    completed = import_like(load_protocol(like), archive, kind, entry, data, name=out.stem, out=out)
    write_completed(completed, out)
    return completed


def _complete_one(kind: str, archive: Archive, name: str, out: Path) -> dict[str, object]:
    from kaleido_bench.importers.completion import complete_pending, count_known_scenes, write_completed
    from kaleido_bench.protocol import PendingIndex, read_protocol

    record = read_protocol(name).protocol
    if not isinstance(record.index, PendingIndex):
        raise BenchError(
            f"protocol '{record.name}'", "its ids are there", expected="a pending protocol", fix="Use it as it is."
        )
    completed = complete_pending(record, record.index, archive, kind, out=out)
    write_completed(completed, out)
    return {**_describe(completed, out), "known scenes": count_known_scenes(completed, record.index.expected)}


def _complete_all(kind: str, archive: Archive, folder: Path, only: str | None) -> list[dict[str, object]]:
    """Every pending protocol of this kind: what was written, or why it was not."""
    from kaleido_bench.importers import build_importer
    from kaleido_bench.protocol import PendingIndex, read_protocol
    from kaleido_bench.shipped import find_protocols

    build_importer(kind)  # an unknown kind is a wrong call, not an empty list
    rows: list[dict[str, object]] = []
    for name, path in find_protocols().items():
        if only is not None and name != only:
            continue
        index = read_protocol(path).protocol.index
        if not isinstance(index, PendingIndex) or index.completed_by != kind:
            continue
        try:
            rows.append(_complete_one(kind, archive, name, folder / f"{name.replace('/', '-')}.yaml"))
        except BenchError as error:
            problem = f"{error.found}; expected {error.expected}"
            rows.append({**dict.fromkeys(_COLUMNS), "protocol": name, "problem": problem})
    return rows


_COLUMNS = ("protocol", "references", "scenes", "cases", "targets", "hash", "file", "problem", "known scenes")


def _describe(completed: Completed, out: Path) -> dict[str, object]:
    loaded = completed.loaded
    return {
        "protocol": loaded.protocol.name,
        "references": list(loaded.reference_labels),
        "scenes": len({case.scene for case in loaded.cases}),
        "cases": len(loaded.cases),
        "targets": sum(len(case.targets) for case in loaded.cases),
        "hash": loaded.hash[:12],
        "file": str(out),
        "problem": None,
        "known scenes": None,
    }
