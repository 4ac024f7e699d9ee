"""What others published: numbers transcribed from papers and repositories, beside the protocol they belong to.

They are data (`leaderboards/reported/*.csv`), never results: nothing here can be computed again. Each row says where it
was read, by whom to believe it, and under which convention, resolution and help it was made, because most published
numbers of one protocol's name cannot be compared with each other.
"""

from __future__ import annotations

import csv
import functools
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from kaleido_bench.conventions import load_convention
from kaleido_bench.errors import BenchError
from kaleido_bench.protocol import Protocol

COLUMNS = (
    "protocol",
    "method",
    "references",
    "metric",
    "value",
    "convention",
    "resolution",
    "flags",
    "source",
    "confidence",
    "note",
)

EXTERNAL = "external/"
"""Begins the name of a protocol that this project does not have; `external.csv` says what each is."""

UNKNOWN = "unknown"

AS_STORED = "as stored"
"""The resolution of images that are read as the data set has them."""

FLAGS: Mapping[str, str] = MappingProxyType(
    {
        "scale-sweep": "oracle: best of a sweep over scales",
        "scale-sweep-unknown": "whether the scale was swept is not stated",
        "predicted-poses": "cameras were predicted",
        "fitted": "rendered from a reconstruction fitted to the inputs or to samples",
        "test-time-tuning": "tuned on each test scene",
    }
)
"""How a number was made, beyond what its protocol says, and how that is put."""

HARMLESS = frozenset({"fitted"})
"""Flags that say what kind of method it is, and are no help that others lack."""

SMALL = frozenset({"quantise"})
"""What a convention may leave open and still compare: rounding or cutting to 8 bits moves PSNR by 0.03 dB at 31 dB."""

RANGES: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "psnr": (5.0, 50.0),
        "ssim": (0.0, 1.0),
        "lpips": (0.0, 1.0),
        "lpips-alex": (0.0, 1.0),
        "lpips-vgg": (0.0, 1.0),
        "fid": (0.0, 1000.0),
        "fvd": (0.0, 5000.0),
        "rotation-error": (0.0, 10.0),
        "translation-error": (0.0, 10.0),
        "chamfer": (0.0, 1.0),
        "volume-iou": (0.0, 1.0),
    }
)
"""Metrics and where their values can lie. `lpips` is of a net that nobody names."""

_RESOLUTION = re.compile(r"\d+x\d+")


class Reported(NamedTuple):
    """One published number."""

    protocol: str  # ours, or external/...
    method: str
    references: int | None
    metric: str
    text: str  # the value as printed
    convention: str  # one of ours, or unknown
    resolution: str  # WIDTHxHEIGHT, as stored, or unknown
    flags: tuple[str, ...]
    source: str
    confidence: str  # Q or P
    note: str

    @property
    def value(self) -> float:
        """The number."""
        return float(self.text)


class ExternalProtocol(NamedTuple):
    """A protocol that others have and we have not."""

    name: str
    title: str


def reported_folder() -> Path:
    """Where the tables are: inside an installed wheel, or beside the package in a checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "reported"
    return inside if inside.is_dir() else package.parent / "leaderboards" / "reported"


def load_reported(folder: Path | None = None) -> tuple[Reported, ...]:
    """All published numbers, file by file in order of name.

    Raises:
        BenchError: a row that breaks the tables' rules; the message names file and line.
    """
    return _load_reported(folder or reported_folder())


@functools.lru_cache(maxsize=2)
def _load_reported(folder: Path) -> tuple[Reported, ...]:
    known = {each.name for each in load_external(folder)}
    rows: list[Reported] = []
    for path in sorted(folder.glob("*.csv")):
        if path.name != "external.csv":
            rows += [_read_row(line, f"{path}:{number}", known) for number, line in _read_lines(path, COLUMNS)]
    return tuple(rows)


def load_external(folder: Path | None = None) -> tuple[ExternalProtocol, ...]:
    """The protocols of `external.csv`. Raises BenchError where the file breaks its rules."""
    path = (folder or reported_folder()) / "external.csv"
    return tuple(ExternalProtocol(**line) for _, line in _read_lines(path, ExternalProtocol._fields))


def judge_reported(row: Reported, protocol: Protocol) -> tuple[str, ...]:
    """Why a published number does not compare with a result of ours under a protocol; empty where it does.

    Args:
        row: the number.
        protocol: of the row's name.
    """
    size = protocol.preparation.size
    ours = AS_STORED if size is None else f"{size[0]}x{size[1]}"
    reasons: list[str] = []
    if row.confidence != "Q":
        reasons.append("from a secondary source")
    if row.convention == UNKNOWN:
        reasons.append("convention unknown")
    elif row.convention != protocol.convention:
        reasons.append(f"convention {row.convention}, ours {protocol.convention}")
    elif unset := [each.field for each in load_convention(row.convention).unset if each.field not in SMALL]:
        reasons.append(f"convention {row.convention} is published in part ({len(unset)} fields unknown)")
    if row.resolution == UNKNOWN:
        reasons.append("resolution unknown")
    elif row.resolution != ours:
        reasons.append(f"at {row.resolution}, ours {ours}")
    swept = protocol.cameras.policy == "scale-sweep"
    for flag in row.flags:
        if flag not in HARMLESS and not (flag == "scale-sweep" and swept):
            reasons.append(FLAGS[flag])
    if swept and not {"scale-sweep", "scale-sweep-unknown"} & set(row.flags):
        reasons.append("scale not swept, ours is")
    counts = protocol.reference_counts
    if not isinstance(counts, str) and row.references not in counts:
        reasons.append(f"{row.references or 'unknown number of'} references")
    return tuple(reasons)


def _read_lines(path: Path, columns: tuple[str, ...]) -> list[tuple[int, dict[str, str]]]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            if tuple(reader.fieldnames or ()) != columns:
                raise BenchError(
                    f"{path}:1", f"the columns {reader.fieldnames}", expected=", ".join(columns), fix="Correct it."
                )
            lines = [(reader.line_num, line) for line in reader]
    except (OSError, csv.Error, UnicodeDecodeError) as error:
        raise BenchError(path, f"cannot be read ({error})", expected="a CSV table", fix="Restore it.") from None
    for number, line in lines:
        if None in line or None in line.values():
            raise BenchError(
                f"{path}:{number}", "another number of cells", expected=f"{len(columns)}", fix="Correct it."
            )
    return lines


def _read_row(line: Mapping[str, str], where: str, external: set[str]) -> Reported:
    flags = tuple(flag for flag in line["flags"].split(";") if flag)
    references = line["references"]
    _check_row(line, where, flags, external)
    return Reported(
        line["protocol"],
        line["method"],
        int(references) if references else None,
        line["metric"],
        line["value"],
        line["convention"],
        line["resolution"],
        flags,
        line["source"],
        line["confidence"],
        line["note"],
    )


def _check_row(line: Mapping[str, str], where: str, flags: tuple[str, ...], external: set[str]) -> None:
    low, high = RANGES.get(line["metric"], (0.0, 0.0))
    problems = {
        f"the metric {line['metric']!r}": line["metric"] in RANGES,
        f"the value {line['value']!r}": re.fullmatch(r"\d*\.?\d+", line["value"]) is not None
        and low <= float(line["value"]) <= high,
        f"the references {line['references']!r}": re.fullmatch(r"([1-9]\d*)?", line["references"]) is not None,
        f"the flags {line['flags']!r}": set(flags) <= set(FLAGS),
        f"the confidence {line['confidence']!r}": line["confidence"] in ("Q", "P"),
        f"the resolution {line['resolution']!r}": line["resolution"] in (UNKNOWN, AS_STORED)
        or _RESOLUTION.fullmatch(line["resolution"]) is not None,
        "no method or no source": bool(line["method"] and line["source"]),
        f"the external protocol {line['protocol']!r}": not line["protocol"].startswith(EXTERNAL)
        or line["protocol"] in external,
    }
    for found, right in problems.items():
        if not right:
            raise BenchError(
                where, found, expected="what kaleido_bench.publish.reported knows", fix="Correct the cell."
            )
