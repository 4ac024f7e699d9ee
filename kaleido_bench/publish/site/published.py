"""What others published, as lines of a table: one method at one number of references, made in one way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from kaleido_bench.protocol import Protocol
from kaleido_bench.publish.reported import FLAGS, Reported, judge_reported


class PublishedLine(NamedTuple):
    """Numbers of one method that were printed together.

    Args:
        values: metric -> the number as printed.
        reasons: why it does not compare with a result under our protocol; none where it does.
        secondary: nobody here has read it in the paper or repository itself.
    """

    method: str
    references: int | None
    values: dict[str, str]
    convention: str
    resolution: str
    made: tuple[str, ...]
    source: str
    secondary: bool
    note: str
    reasons: tuple[str, ...]


def group_published(rows: Sequence[Reported], protocol: Protocol | None) -> tuple[PublishedLine, ...]:
    """The rows of one protocol as lines, by number of references and method.

    Args:
        protocol: ours of that name; None of one that this project has not.
    """
    lines: list[PublishedLine] = []
    open_lines: dict[tuple[object, ...], list[PublishedLine]] = {}
    for row in rows:
        reasons = judge_reported(row, protocol) if protocol is not None else ()
        made = tuple(FLAGS[flag] for flag in row.flags)
        line = PublishedLine(
            method=row.method,
            references=row.references,
            values={},
            convention=row.convention,
            resolution=row.resolution,
            made=made,
            source=row.source,
            secondary=row.confidence != "Q",
            note=row.note,
            reasons=reasons,
        )
        # Another number under the same name, printed elsewhere, gets a line of its own.
        twins = open_lines.setdefault(tuple(value for value in line if not isinstance(value, dict)), [])
        free = next((twin for twin in twins if row.metric not in twin.values), None)
        if free is None:
            twins.append(line)
            lines.append(line)
            free = line
        free.values[row.metric] = row.text
    return tuple(sorted(lines, key=lambda line: (line.references or 0, line.method.lower(), line.source, line.note)))


def list_metrics(lines: Sequence[PublishedLine]) -> tuple[str, ...]:
    """The metrics that some line has, in the order of `ORDER`."""
    found = {metric for line in lines for metric in line.values}
    return tuple(sorted(found, key=lambda metric: (ORDER.index(metric) if metric in ORDER else len(ORDER), metric)))


ORDER = ("psnr", "ssim", "lpips", "lpips-alex", "lpips-vgg", "fid", "fvd")
"""In which metrics stand beside each other; others follow by name."""

LOWER_IS_BETTER = ("lpips", "fid", "fvd", "rotation-error", "translation-error", "chamfer")
"""How the names of such metrics begin."""


def published_arrow(metric: str) -> str:
    """Which way a published metric is better."""
    return "↓" if metric.startswith(LOWER_IS_BETTER) else "↑"
