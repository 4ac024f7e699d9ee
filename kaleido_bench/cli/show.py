"""`kbench show`: one protocol in full."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, NamedTuple, cast

import typer

from kaleido_bench.cli.options import Json
from kaleido_bench.cli.printing import format_rows, print_json

if TYPE_CHECKING:
    from kaleido_bench.protocol import LoadedProtocol


def show(
    protocol: Annotated[
        str, typer.Argument(metavar="PROTOCOL", help="A file, or a name from `kbench list protocols`.")
    ],
    json: Json = False,
) -> None:
    """One protocol in full. Cases, counts, hash, convention, sources, known problems."""
    from kaleido_bench.protocol import load_protocol

    loaded = load_protocol(protocol)
    if json:
        print_json(describe(loaded))
    else:
        typer.echo(render(loaded))


def describe(loaded: LoadedProtocol) -> dict[str, object]:
    """The protocol, what follows from it, and its cases."""
    from kaleido_bench.conventions import load_convention

    return {
        **loaded.protocol.model_dump(mode="json"),
        "hash": loaded.hash,
        "convention_hash": load_convention(loaded.protocol.convention).hash,
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
    """How many views the cases use, and how many images and cameras of them the index has the sha256 of."""

    views: int
    images: int
    cameras: int


def count_pinned(loaded: LoadedProtocol) -> Pinned:
    """What of the data cannot change unnoticed."""
    used = {(case.scene, view) for case in loaded.cases for view in (*case.references, *case.targets)}
    pins = [loaded.index.pin(scene, view) for scene, view in used]
    return Pinned(len(used), sum(pin.image is not None for pin in pins), sum(pin.camera is not None for pin in pins))


def render(loaded: LoadedProtocol) -> str:
    """The protocol as text for people."""
    protocol = loaded.protocol
    facts = describe(loaded)
    dataset, pinned = protocol.dataset, count_pinned(loaded)
    head = {
        "title": protocol.title,
        "version": f"{protocol.version}, hash {loaded.hash}",
        "level": f"{protocol.level}, {protocol.regime}",
        "data": f"{dataset.name} at {dataset.root}, reader {dataset.reader}, revision {dataset.revision}",
        "pinned": f"{pinned.images} images and {pinned.cameras} cameras of {pinned.views} views, by sha256",
        "references": ", ".join(loaded.reference_labels),
        "counts": _pairs(count(loaded)),
        "preparation": _pairs(protocol.preparation.model_dump(mode="json")),
        "cameras": _pairs(protocol.cameras.model_dump(mode="json")),
        "convention": f"{protocol.convention}, hash {facts['convention_hash']}",
        "metrics": ", ".join(
            [*protocol.metrics, *(f"{name} (where its weights are)" for name in protocol.optional_metrics)]
        ),
        "samples": f"{protocol.samples} a case, seed {protocol.seed}",
        "targets": protocol.targets,
    }
    cases = [
        [case.id, case.scene, str(len(case.references)), str(len(case.targets)), _few(case.references)]
        for case in loaded.cases
    ]
    return "\n".join(
        [
            protocol.name,
            *(f"  {key:<12} {value}" for key, value in head.items()),
            *_section("sources", protocol.sources),
            *_section("known problems", protocol.known_problems),
            "",
            format_rows([["case", "scene", "references", "targets", "reference ids"], *cases]),
        ]
    )


def _pairs(record: Mapping[str, object]) -> str:
    return ", ".join(f"{key} {_plain(value)}" for key, value in record.items())


def _plain(value: object) -> str:
    if isinstance(value, list | tuple):
        return "x".join(map(str, cast("Sequence[object]", value)))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)


def _section(title: str, lines: tuple[str, ...]) -> list[str]:
    return ["", f"  {title}", *(f"    - {line}" for line in lines)] if lines else []


def _few(ids: tuple[str, ...], limit: int = 6) -> str:
    return " ".join(ids[:limit]) + (f" and {len(ids) - limit} more" if len(ids) > limit else "")
