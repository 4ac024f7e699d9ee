"""A protocol before it is frozen: what distinguishes it from others, as a record, and the fields of its file from that.

Whoever writes protocols with a script fills a `Draft`; `describe_draft` puts its fields in the order of the file, for
`authoring.freeze_protocol`. What has a default here is what the field does nearly everywhere; the file says it all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from pydantic import JsonValue

from kaleido_bench.cases import Case

STRICT = "strict-novel"
GIVEN: Mapping[str, JsonValue] = {"policy": "given"}


class Data(NamedTuple):
    """The data set of a protocol."""

    name: str
    reader: str
    root: str
    revision: str


class Pending(NamedTuple):
    """Where the view ids are that the user has to bring, and what is known of them."""

    completed_by: str
    entry: str
    obtain: str
    scenes: int | None
    targets: tuple[int, ...] | None
    scene_names: tuple[str, ...] = ()  # of the scenes that are known by name


class Draft(NamedTuple):
    """A protocol before it is frozen; the fields are those of `kaleido_bench.protocol.Protocol`."""

    name: str
    title: str
    level: str
    regime: str
    data: Data
    preparation: Mapping[str, JsonValue]
    metrics: tuple[str, ...]
    sources: tuple[str, ...]
    problems: tuple[str, ...] = ()
    optional_metrics: tuple[str, ...] = ()
    convention: str = "kbench-v1"
    cases: tuple[Case, ...] = ()  # none where the ids are pending
    counts: tuple[int, ...] | str | None = None  # None: those of the cases
    pending: Pending | None = None
    cameras: Mapping[str, JsonValue] = GIVEN
    targets: str = STRICT
    index_of: str | None = None  # the protocol whose index it shares
    samples: int = 1
    seed: int = 0


def describe_draft(draft: Draft) -> dict[str, JsonValue]:
    """The fields of the protocol, in the order of the file; `index` is among them only where its ids are pending."""
    counts = draft.counts or tuple(sorted({len(case.references) for case in draft.cases}))
    return {
        "schema_version": 1,
        "name": draft.name,
        "version": 1,
        "title": draft.title,
        "level": draft.level,
        "regime": draft.regime,
        "dataset": {**draft.data._asdict()},
        **({} if draft.pending is None else {"index": _describe_pending(draft.pending)}),
        "reference_counts": counts if isinstance(counts, str) else list(counts),
        "preparation": dict(draft.preparation),
        "cameras": dict(draft.cameras),
        "convention": draft.convention,
        "metrics": list(draft.metrics),
        "optional_metrics": list(draft.optional_metrics),
        "samples": draft.samples,
        "seed": draft.seed,
        "targets": draft.targets,
        "sources": list(draft.sources),
        "known_problems": list(draft.problems),
    }


def _describe_pending(pending: Pending) -> dict[str, JsonValue]:
    return {
        "ids": "pending",
        "completed_by": pending.completed_by,
        "entry": pending.entry,
        "obtain": pending.obtain,
        "expected": {
            "scenes": pending.scenes,
            "targets": None if pending.targets is None else list(pending.targets),
            **({"scene_names": list(pending.scene_names)} if pending.scene_names else {}),
        },
    }


def describe_preparation(
    width: int | None,
    height: int | None = None,
    *,
    fit: str = "cover-crop",
    filter: str = "lanczos",
    background: str = "white",
    alpha: str = "composite",
) -> dict[str, JsonValue]:
    """The fields of a preparation to width x height pixels, or to a square; None keeps the size of the files.

    By default: Pillow's Lanczos, then the central crop, and what is transparent is white.
    """
    return {
        "size": None if width is None else [width, height or width],
        "fit": fit,
        "filter": filter,
        "antialias": filter != "nearest",
        "background": background,
        "alpha": alpha,
    }
