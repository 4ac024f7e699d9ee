"""`kbench show`: one protocol in full, or one suite."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple, cast

import typer

from kaleido_bench.cli.options import CompletedFolder, Json
from kaleido_bench.cli.printing import fold_text, format_rows, print_json, terminal_width

if TYPE_CHECKING:
    from kaleido_bench.protocol import LoadedProtocol, Protocol
    from kaleido_bench.publish.reported import Reported
    from kaleido_bench.suites import Suite

CASES_SHOWN = 20
"""A catalogue protocol has up to twenty-five thousand cases; `--cases` prints them."""


def print_schema(wanted: bool) -> None:
    """Print the JSON Schema of protocol files and end, if wanted."""
    from kaleido_bench.protocol import Protocol

    if wanted:
        print_json(Protocol.model_json_schema())
        raise typer.Exit


def show(
    protocol: Annotated[
        str,
        typer.Argument(
            metavar="PROTOCOL", help="A file, or a name from `kbench list protocols` or `kbench list suites`."
        ),
    ],
    cases: Annotated[bool, typer.Option("--cases", help="Print every case, not the first few.")] = False,
    schema: Annotated[
        bool,
        typer.Option(
            "--schema",
            is_eager=True,
            callback=print_schema,
            help="Print the JSON Schema of protocol files instead, for an editor to check them with.",
        ),
    ] = False,
    json: Json = False,
    completed: CompletedFolder = None,
) -> None:
    """One protocol in full. Cases, counts, hash, convention, sources, known problems, published results."""
    from kaleido_bench.protocol import PendingIndex, load_protocol, read_protocol
    from kaleido_bench.suites import is_suite, load_suite, replace_pending

    if is_suite(protocol):
        suite = load_suite(protocol)
        if json:
            print_json(suite.model_dump(mode="json"))
        else:
            typer.echo(render_suite(suite, terminal_width(), completed))
        return
    (found,) = replace_pending([protocol], completed)
    record, path = read_protocol(found)
    pending = isinstance(record.index, PendingIndex)
    loaded = None if pending else load_protocol(found)
    if json:
        print_json({**describe(record, loaded), "file": str(path)})
    else:
        typer.echo(render(record, loaded, path, every_case=cases, width=terminal_width()))


def render_suite(suite: Suite, width: int | None = None, completed: Path | None = None) -> str:
    """A suite as text for people, within `width` columns. Pending protocols that `completed` has are called so."""
    from kaleido_bench.catalogue import list_catalogue
    from kaleido_bench.suites import replace_pending

    here = {
        name
        for name, found in zip(suite.protocols, replace_pending(suite.protocols, completed), strict=True)
        if name != found
    }
    listed = {each.name: each for each in list_catalogue()}
    rows = [
        [
            each.name,
            ",".join(each.references),
            str(each.scenes or "-"),
            "completed" if each.name in here else each.ids,
            each.title,
        ]
        for each in (listed[name] for name in suite.protocols)
    ]
    return f"{suite.name}: {suite.title}\n\n" + format_rows(
        [["protocol", "references", "scenes", "ids", "title"], *rows], width
    )


def describe(record: Protocol, loaded: LoadedProtocol | None) -> dict[str, object]:
    """The protocol, what follows from it, and its cases; `loaded` is None where its ids are pending."""
    from kaleido_bench.conventions import load_convention
    from kaleido_bench.protocol import PendingIndex, completing_command, fields_hash

    published = [{**each.row._asdict(), "not comparable because": list(each.reasons)} for each in _published(record)]
    fields: dict[str, object] = {
        **record.model_dump(mode="json"),
        "convention_hash": load_convention(record.convention).hash,
        "published": published,
    }
    if loaded is None:
        assert isinstance(record.index, PendingIndex)
        return {
            **fields,
            "ids": "pending",
            "hash": fields_hash(record),
            "complete_with": completing_command(record.name, record.index),
        }
    return {
        **fields,
        "ids": "frozen",
        "hash": loaded.hash,
        "counts": count(loaded),
        "pinned": count_pinned(loaded)._asdict(),
        "cases": [case.model_dump(mode="json") for case in loaded.cases],
    }


def count(loaded: LoadedProtocol) -> dict[str, int]:
    """How much there is to do."""
    from kaleido_bench.items import plan_items

    items = plan_items(loaded)
    return {
        "scenes": len({case.scene for case in loaded.cases}),
        "cases": len(loaded.cases),
        "predictions": len(items),
        "images": sum(len(item.case.targets) for item in items),
    }


class Pinned(NamedTuple):
    """How many views the cases use, and of how many of them the index has the sha256 of image, camera and mask file."""

    views: int
    images: int
    cameras: int
    masks: int


def count_pinned(loaded: LoadedProtocol) -> Pinned:
    """What of the data cannot change unnoticed."""
    used = {(case.scene, view) for case in loaded.cases for view in (*case.references, *case.targets)}
    pins = [loaded.index.pin(scene, view) for scene, view in used]
    images, cameras, masks = (sum(each is not None for each in column) for column in zip(*pins, strict=True))
    return Pinned(len(used), images, cameras, masks)


def render(
    record: Protocol, loaded: LoadedProtocol | None, path: Path, *, every_case: bool = False, width: int | None = None
) -> str:
    """The protocol of a file as text for people, within `width` columns; `loaded` is None where its ids are pending."""
    from kaleido_bench.conventions import load_convention

    dataset = record.dataset
    ids = _describe_pending(record) if loaded is None else _describe_index(loaded)
    counts = record.reference_counts
    head = {
        "title": record.title,
        "file": str(path),
        **ids,
        "level": f"{record.level}, {record.regime}",
        "data": f"{dataset.name} at {dataset.root}, reader {dataset.reader}, revision {dataset.revision}",
        "references": counts if isinstance(counts, str) else ", ".join(map(str, counts)),
        "preparation": _pairs(record.preparation.model_dump(mode="json")),
        "cameras": _pairs(record.cameras.model_dump(mode="json")),
        "convention": f"{record.convention}, hash {load_convention(record.convention).hash}",
        "metrics": ", ".join(
            [*record.metrics, *(f"{name} (where its weights are)" for name in record.optional_metrics)]
        ),
        "samples": f"{record.samples} a case, seed {record.seed}",
        "targets": record.targets,
        **_describe_next(record, path, pending=loaded is None),
    }
    return "\n".join(
        [
            record.name,
            *(_head_line(key, value, width) for key, value in head.items()),
            *_section("sources", record.sources, width),
            *_section("known problems", record.known_problems, width),
            *_section("scenes known by name", _scene_names(record), width),
            *_render_published(_published(record), width),
            *([] if loaded is None else _render_cases(loaded, every_case=every_case, width=width)),
        ]
    )


def _describe_index(loaded: LoadedProtocol) -> dict[str, str]:
    from kaleido_bench.protocol import IndexFile

    pinned, index = count_pinned(loaded), loaded.protocol.index
    origin = index.completed_from if isinstance(index, IndexFile) else None
    kinds = {"images": pinned.images, "cameras": pinned.cameras}
    kinds |= {"mask files": pinned.masks} if pinned.masks else {}
    ids = {} if origin is None else {"ids": f"read from {origin.file}, sha256 {origin.sha256}, by {origin.kind}"}
    return {
        "version": f"{loaded.protocol.version}, hash {loaded.hash}",
        **ids,
        "pinned": f"{', '.join(f'{count} {kind}' for kind, count in kinds.items())} of {pinned.views} views, by sha256",
        "counts": _pairs(count(loaded)),
    }


def _describe_pending(record: Protocol) -> dict[str, str]:
    """What is known, what is missing, and how to get it."""
    from kaleido_bench.protocol import PendingIndex, completing_command, fields_hash

    index = record.index
    assert isinstance(index, PendingIndex)
    known = {"scenes": index.expected.scenes or "not stated", "targets a case": index.expected.targets or "not stated"}
    return {
        "version": f"{record.version}, hash of its fields {fields_hash(record)}",
        "ids": f"PENDING: kbench has none; those of '{index.entry}' are read from what you bring",
        "obtain": index.obtain,
        "complete": completing_command(record.name, index),
        "expected": ", ".join(f"{key} {_plain(value)}" for key, value in known.items()),
    }


COPIED = ("file", "complete", "run")
"""Lines of the head that are to be copied: never folded."""


def _head_line(key: str, value: object, width: int | None) -> str:
    return fold_text(f"  {key:<12} {value}", None if key in COPIED else width, indent=15)


def _describe_next(record: Protocol, path: Path, *, pending: bool) -> dict[str, str]:
    """Where the data are to be had, and the command that runs it: by name where it ships, else by its file."""
    from kaleido_bench.data.datasets import DATASETS, how_to_get_as

    name, reader = record.dataset.name, record.dataset.reader
    get = {"get the data": how_to_get_as(name, reader)} if name in DATASETS else {}
    data = "" if record.dataset.root.startswith("package:") else " --data DIR"
    folder = " --completed DIR" if pending else ""
    return {**get, "run": f"kbench run {_say(record, path)} --model NAME{data}{folder}"}


def _say(record: Protocol, path: Path | None) -> str:
    """What names a protocol on the command line: its name where it ships, else its file."""
    from kaleido_bench.shipped import find_protocols

    ships = path is None or find_protocols().get(record.name) == path
    return record.name if ships else shlex.quote(str(path))


def _scene_names(record: Protocol) -> tuple[str, ...]:
    from kaleido_bench.protocol import PendingIndex

    return record.index.expected.scene_names if isinstance(record.index, PendingIndex) else ()


def _render_cases(loaded: LoadedProtocol, *, every_case: bool, width: int | None) -> list[str]:
    shown = loaded.cases if every_case else loaded.cases[:CASES_SHOWN]
    rows = [
        [case.id, case.scene, str(len(case.references)), str(len(case.targets)), _few(case.references)]
        for case in shown
    ]
    more = len(loaded.cases) - len(shown)
    return [
        "",
        format_rows([["case", "scene", "references", "targets", "reference ids"], *rows], width),
        *([f"and {more} more cases: `kbench show {_say(loaded.protocol, loaded.path)} --cases`"] if more else []),
    ]


class _Judged(NamedTuple):
    row: Reported
    reasons: tuple[str, ...]  # why it does not compare with a result of ours; none: it does


def _published(record: Protocol) -> list[_Judged]:
    from kaleido_bench.publish.reported import judge_reported, load_reported

    return [_Judged(row, judge_reported(row, record)) for row in load_reported() if row.protocol == record.name]


def _render_published(judged: Sequence[_Judged], width: int | None) -> list[str]:
    """Published numbers, one method and number of references a line, and whether they compare with ours."""
    if not judged:
        return []
    groups: dict[tuple[int | None, str, tuple[str, ...], str], dict[str, str]] = {}
    for each in judged:
        row = each.row
        cells = groups.setdefault((row.references, row.method, each.reasons, row.confidence), {})
        cells[row.metric] = f"{cells[row.metric]}-{row.text}" if row.metric in cells else row.text
    metrics = list(dict.fromkeys(each.row.metric for each in judged))
    rows = [
        [method, str(references or "-"), *(cells.get(metric, "-") for metric in metrics), confidence, _verdict(reasons)]
        for (references, method, reasons, confidence), cells in sorted(
            groups.items(), key=lambda item: (item[0][0] or 0, item[0][1].lower())
        )
    ]
    within = None if width is None else width - 4
    table = format_rows([["method", "references", *metrics, "mark", "compares with ours"], *rows], within)
    return [
        "",
        "  published (Q: read in the paper or repository; P: secondary)",
        *(f"    {line}" for line in table.split("\n")),
    ]


def _verdict(reasons: tuple[str, ...]) -> str:
    return f"no: {'; '.join(reasons)}" if reasons else "YES"


def _pairs(record: Mapping[str, object]) -> str:
    return ", ".join(f"{key} {_plain(value)}" for key, value in record.items())


def _plain(value: object) -> str:
    if isinstance(value, list | tuple):
        return "x".join(map(str, cast("Sequence[object]", value)))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)


def _section(title: str, lines: tuple[str, ...], width: int | None) -> list[str]:
    folded = (fold_text(f"    - {line}", width, indent=6) for line in lines)
    return ["", f"  {title}", *folded] if lines else []


def _few(ids: tuple[str, ...], limit: int = 6) -> str:
    return " ".join(ids[:limit]) + (f" and {len(ids) - limit} more" if len(ids) > limit else "")
