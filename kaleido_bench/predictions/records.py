"""What lies in a run folder as JSON: run.json with its sessions and the adapter's card, and case.json."""

from __future__ import annotations

from typing import Literal, NamedTuple

from pydantic import Field, JsonValue

from kaleido_bench.cases import ViewId
from kaleido_bench.items import Deviations
from kaleido_bench.protocol import ProtocolName
from kaleido_bench.records import Record, Sha256


class Session(Record):
    """One call that made predictions: the circumstances, none of which may change a number."""

    started: str = Field(description="UTC, ISO 8601")
    command: tuple[str, ...]
    device: str
    precision: str
    versions: dict[str, str] = Field(description="package -> version")
    git_commit: str | None = Field(description="of the harness, null outside a checkout")
    git_dirty: bool | None
    deviations: Deviations = Deviations()


MemoryKind = Literal["device", "host growth"]
"""All that torch allocated on the device; or how far the process grew while it predicted, weights not counted."""


class Cost(NamedTuple):
    """What one prediction took, beside its seconds.

    Args:
        fit_seconds: of fit alone, by the wall clock; 0 for a method without one.
        peak_memory: in bytes, of the kind `memory_kind`; both None where it was not measured.
        device, precision: as `Session` has them, of the worker that predicted.
    """

    fit_seconds: float = 0.0
    peak_memory: int | None = None
    memory_kind: MemoryKind | None = None
    device: str | None = None
    precision: str | None = None


class AdapterRecord(Record):
    """The adapter's card."""

    name: str = Field(min_length=1)
    variant: str | None
    weights_sha256: str | None
    settings: dict[str, JsonValue]
    training_data: tuple[str, ...] | None = Field(description="() is none, null is unknown")
    generative: bool | None = Field(default=None, description="its samples differ; null in runs before it was recorded")
    parameters: int | None = Field(default=None, ge=0, description="learned numbers; 0 is none, null is unknown")
    function_evaluations: int | None = Field(
        default=None, ge=0, description="passes through its network for one answer; 0 is no network, null is unknown"
    )

    @property
    def deterministic(self) -> bool:
        """It is known to answer every sample of a case alike."""
        return self.generative is False


class RunRecord(Record):
    """`run.json`."""

    schema_version: Literal[1] = 1
    protocol: ProtocolName
    protocol_version: int
    protocol_hash: Sha256
    convention: str
    model: str = Field(description="as named on the command line: kaleido@tiny")
    adapter: AdapterRecord
    fingerprint: str = Field(min_length=1, description="of the adapter: code version, weights and settings")
    seed: int
    sessions: tuple[Session, ...] = Field(description="the calls that made predictions, in order")

    @property
    def deviations(self) -> Deviations:
        """Those of the last call that made predictions."""
        return self.sessions[-1].deviations if self.sessions else Deviations()


class PredictionRecord(Record):
    """`case.json`: one finished prediction."""

    schema_version: Literal[1] = 1
    item: str
    case: str
    sample: int
    scale: float | None
    seed: int
    seconds: float = Field(ge=0, description="of predict (and fit), by the wall clock")
    fit_seconds: float = Field(default=0, ge=0, description="of fit alone, where the method has one")
    peak_memory: int | None = Field(default=None, ge=0, description="bytes; null where it was not measured")
    memory_kind: MemoryKind | None = Field(default=None, description="what peak_memory is of")
    device: str | None = Field(default=None, description="what it was computed on; null before it was recorded")
    precision: str | None = None
    width: int
    height: int
    fingerprint: str
    protocol_hash: Sha256
    sha256: dict[ViewId, Sha256] = Field(description="view id -> sha256 of its PNG")
