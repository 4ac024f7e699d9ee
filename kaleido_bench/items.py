"""What a protocol asks a method for: its work items, which of them a call makes, and the seed of each. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from pydantic import Field

from kaleido_bench.cases import Case
from kaleido_bench.errors import BenchError
from kaleido_bench.protocol import LoadedProtocol, ScaleSweepCameras, format_scale
from kaleido_bench.records import Record, nearest, sha256_hex


class WorkItem(NamedTuple):
    """One prediction to make: a case, one of its samples, and the scale under an oracle sweep."""

    case: Case
    sample: int
    scale: float | None

    @property
    def key(self) -> str:
        """Its folder: `<case>`, `<case>~s1` for the second sample, `<case>~x0.5` under a scale."""
        sample = f"~s{self.sample}" if self.sample else ""
        scale = "" if self.scale is None else f"~x{format_scale(self.scale)}"
        return f"{self.case.id}{sample}{scale}"


class Deviations(Record):
    """What a call left out of its protocol. Anything here makes a result partial."""

    limit: int | None = Field(default=None, ge=1, description="only the first so many items")
    scenes: tuple[str, ...] | None = Field(default=None, min_length=1, description="only these scenes")
    reference_counts: tuple[int, ...] | None = Field(default=None, min_length=1, description="only these counts")
    samples: int | None = Field(
        default=None, ge=1, description="so many samples a case instead of the protocol's number"
    )

    @property
    def any(self) -> bool:
        """Whether there is one."""
        return any(value is not None for value in (self.limit, self.scenes, self.reference_counts, self.samples))


def plan_items(loaded: LoadedProtocol, samples: int | None = None, *, deterministic: bool = False) -> list[WorkItem]:
    """All predictions a protocol asks a method for, in the order of its index.

    Args:
        loaded: the protocol.
        samples: so many a case instead of the protocol's number (a deviation).
        deterministic: the method draws nothing. Its samples would be copies of the first, which is all it is asked for:
            counted several times over they would show a spread of 0 that nobody measured.
    """
    cameras = loaded.protocol.cameras
    scales = cameras.scales if isinstance(cameras, ScaleSweepCameras) else (None,)
    count = 1 if deterministic else samples or loaded.protocol.samples
    return [WorkItem(case, sample, scale) for case in loaded.cases for sample in range(count) for scale in scales]


def select_items(loaded: LoadedProtocol, deviations: Deviations, *, deterministic: bool = False) -> list[WorkItem]:
    """The predictions that a call with deviations makes. `deterministic` is as in `plan_items`.

    Raises:
        BenchError: it names a scene or a reference count that the protocol does not have.
    """
    _check_choice("--scenes", deviations.scenes or (), {case.scene for case in loaded.cases})
    counts = {len(case.references) for case in loaded.cases}
    _check_choice("--references", map(str, deviations.reference_counts or ()), {str(count) for count in counts})
    items = [
        item
        for item in plan_items(loaded, deviations.samples, deterministic=deterministic)
        if (deviations.scenes is None or item.case.scene in deviations.scenes)
        and (deviations.reference_counts is None or len(item.case.references) in deviations.reference_counts)
    ]
    return items[: deviations.limit]


def _check_choice(option: str, chosen: Iterable[str], known: set[str]) -> None:
    for name in chosen:
        if name not in known:
            near = nearest(name, known)
            raise BenchError(
                option,
                f"'{name}'",
                expected="one of " + ", ".join(sorted(known, key=lambda word: (len(word), word))),
                fix=f"Did you mean '{near}'?" if near else "Choose among these.",
            )


def item_seed(protocol_hash: str, item: WorkItem, seed: int) -> int:
    """The seed of one prediction: 64 bits of a sha256 over protocol, case, sample and the protocol's seed.

    It depends on nothing that differs between two honest runs (order, number of workers, what was there before), and
    not on the scale, so that an oracle sweep compares scales under the same noise.
    """
    text = f"{protocol_hash}\n{item.case.id}\n{item.sample}\n{seed}\n"
    return int(sha256_hex(text.encode())[:16], 16)
