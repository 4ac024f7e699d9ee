"""What `kbench train` was asked, and a call that was found right."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from kaleido_bench.training.data import Background

if TYPE_CHECKING:
    from reference_model.config import Preset
    from reference_model.train import Run
    from reference_model.training.posed import PosedSource
    from reference_model.training.steps import WorldSource

Report = Callable[[dict[str, object]], None]
"""Takes the trainer's lines, as fields."""

Tell = Callable[[str], None]
"""Takes a line for the person."""


@dataclass(frozen=True)
class DataCall:
    """Posed scenes instead of the worlds.

    Attributes:
        root, reader, ordered, background: see `data.ReaderScenes`.
        name: as protocols name the data set.
        fit, span, held_out: see `reference_model.training.posed`.
        memory: of decoded images, in GiB and in each process.
    """

    root: str
    reader: str
    name: str
    ordered: bool | None
    background: Background
    fit: str
    span: int | None
    held_out: int
    memory: float


@dataclass(frozen=True)
class TrainCall:
    """What `kbench train` was asked.

    Attributes:
        video: whether the preset's stages of video stay.
    """

    preset: str
    settings: tuple[str, ...]
    video: bool
    out: Path
    minutes: float | None
    steps: int | None
    flops: float | None
    device: str
    photographs: Path | None
    initial: Path | None
    data: DataCall | None
    save_steps: int
    compiled: bool
    tensorboard: bool


class Prepared(NamedTuple):
    """A call that was found right.

    Attributes:
        resumes: the steps that a run in its folder has behind it; None where there is none.
    """

    preset: Preset
    source: WorldSource | PosedSource
    run: Run
    resumes: int | None
