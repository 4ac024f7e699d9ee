"""A checked call carried out in this process, which may be one of a team: signals heeded, errors said."""

from __future__ import annotations

import signal
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from kaleido_bench.errors import BenchError, IncompleteError
from kaleido_bench.training.calls import Prepared, Report, Tell

STOPPING = "stopping: this step is finished and the state written; once more breaks off at once"
BREAKING_OFF = "stopping: no step has begun, and nothing is lost"
"""What is said when a run is asked to stop; of a team, also before its first process listens."""

STOPPED = "kbench: stopped"
"""How the line begins that says that it has, and what the same command does then."""


class Signals:
    """Whether SIGINT or SIGTERM has asked the run to end; `heed` is called at the first."""

    def __init__(self, heed: Callable[[], None]) -> None:
        self.asked, self._heed = False, heed

    def ask(self, *_: object) -> None:
        """The first time it is noted; a second time the run is broken off, and goes on from its last state."""
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        self._heed()


@contextmanager
def heed_signals(heed: Callable[[], None]) -> Generator[Signals]:
    """Inside, SIGINT and SIGTERM ask and do not break off."""
    signals = Signals(heed)
    before = {number: signal.signal(number, signals.ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def say_next(out: Path) -> str:
    """What the same command does after a run in this folder has failed."""
    from reference_model.training.resuming import find_state

    if find_state(out) is None:
        return "the same command begins anew: no state was written yet"
    return "the same command goes on from the last state"


def say_stopped(out: Path) -> str:
    """The line after a run in this folder was stopped."""
    from reference_model.training.resuming import find_state

    if find_state(out) is None:
        return f"{STOPPED} before the first step. The same command begins anew."
    return f"{STOPPED}. The same command goes on from there."


def train(prepared: Prepared, report: Report, tell: Tell) -> bool:
    """Train in this process, one of a team where torchrun started it. Whether it is done; else it was asked to stop.

    Raises:
        BenchError: the data turned out wrong.
        IncompleteError: the loss diverged, or the folder cannot be written, as on a full disk.
    """
    import torch

    from reference_model.train import train as train_model
    from reference_model.training.posed import PosedSource
    from reference_model.training.progress import DivergedError

    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        with heed_signals(lambda: tell(STOPPING)) as signals:
            return train_model(prepared.preset, prepared.source, prepared.run, report, signals)
    except DivergedError as error:
        raise IncompleteError(f"training stopped: {error}") from error
    except (ValueError, FileNotFoundError) as error:
        raise BenchError(
            "kbench train", str(error), expected="data and settings that a step can be made of", fix="Correct them."
        ) from error
    except OSError as error:
        raise IncompleteError(
            f"training stopped: {error}. When it can be written, {say_next(prepared.run.out)}"
        ) from error
    finally:
        torch.set_float32_matmul_precision(precision)
        if isinstance(prepared.source, PosedSource):
            prepared.source.close()
