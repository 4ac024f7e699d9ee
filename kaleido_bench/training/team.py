"""One process for each GPU, through torchrun, and what they say heard by one.

The first process prints its lines as JSON, its own number first: only it is asked to stop, at a step's end, and the
others follow. torchrun itself would kill them after half a minute, states half written or not.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import IO, NamedTuple, cast

from kaleido_bench.errors import BenchError, IncompleteError
from kaleido_bench.training.calls import Prepared, Report, Tell
from kaleido_bench.training.running import BREAKING_OFF, STOPPED, STOPPING, heed_signals, say_next

ERROR = "kbench: error: "
"""How the line begins in which a process says what is wrong."""


class Team(NamedTuple):
    """This process among those that torchrun started: which, and of how many."""

    rank: int
    size: int


def find_team() -> Team:
    """A team of one where torchrun did not start this process."""
    return Team(int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")))


def introduce(report: Report) -> None:
    """The first process of a team says whom to ask."""
    team = find_team()
    if team.size > 1 and team.rank == 0:
        report({"pid": os.getpid()})


def count_processes(gpus: str, device: str) -> int:
    """How many processes `--gpus` asks for, `all` or a number. On the CPU it is so many processes.

    Raises:
        BenchError: no such number, or more than there are GPUs.
    """
    count = None if gpus == "all" else int(gpus) if gpus.isascii() and gpus.isdigit() else 0
    if device == "cpu" and count:
        return count
    if device not in ("auto", "cuda"):
        raise BenchError(
            "--gpus",
            f"{gpus!r} beside --device {device}",
            expected="--device cuda, which is all of them",
            fix="Drop one.",
        )
    import torch

    here = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if count == 0 or (count or 1) > here:
        raise BenchError(
            "--gpus",
            f"{gpus!r}, and {here} CUDA GPUs on this machine",
            expected=f"all, or a number from 1 to {here}" if here else "a machine with CUDA GPUs",
            fix="`kbench doctor` lists the devices.",
        )
    return count or here


def check_pieces(prepared: Prepared, processes: int) -> None:
    """Raises BenchError where the processes cannot share a step's pieces evenly."""
    pieces = prepared.preset.train.pieces
    if pieces % processes:
        raise BenchError(
            "--gpus",
            f"{processes} processes for the {pieces} pieces of a step",
            expected=f"a divisor of {pieces}",
            fix=f"Add --set train.pieces={processes}: as many pieces are the same run on any GPUs that divide them.",
        )


def write_command(words: Sequence[str], processes: int) -> list[str]:
    """torchrun, and what it starts."""
    team = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes))
    return [sys.executable, *team, "-m", "kaleido_bench", "train", *words, "--json"]


def launch(words: Sequence[str], processes: int, out: Path, report: Report, tell: Tell) -> bool:
    """Run `kbench train WORDS --json`, in the folder `out`, as a team. Whether it is done; else it was asked to stop.

    Raises:
        IncompleteError: a process of it failed. What it said was handed on.
    """
    each = str(max(1, (os.cpu_count() or 1) // processes))
    heard = Heard(report)
    with (
        heed_signals(lambda: ask_to_stop(heard, tell)) as signals,
        subprocess.Popen(
            write_command(words, processes),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # the terminal's Ctrl-C is for this process alone
            env={"OMP_NUM_THREADS": each, **os.environ},
        ) as running,
    ):
        heard.group = running.pid
        listener = threading.Thread(target=pass_on, args=(cast("IO[str]", running.stderr), tell, heard))
        listener.start()
        try:
            for line in cast("IO[str]", running.stdout):
                heard.take(line)
            code = running.wait()
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(running.pid, signal.SIGKILL)
            raise
        finally:
            listener.join()
    if heard.last == "done":
        return True
    if heard.last == "stopped" or signals.asked:
        return False
    cause, then = heard.cause or "What it said is above.", say_next(out)
    raise IncompleteError(
        f"one of {processes} processes failed (torchrun ended with {code}). {cause}"
        + ("" if then in cause else f" {then[0].upper()}{then[1:]}.")
    )


class Heard:
    """What the first process has said: its number, and whether it came to an end. `group` is torchrun's, `broken_off`
    whether that was ended before the first process had said its number.
    """

    def __init__(self, report: Report) -> None:
        self.report, self.group, self.pid, self.last, self.cause = report, 0, 0, "", ""
        self.broken_off = False

    def take(self, line: str) -> None:
        """A line of its standard output."""
        try:
            fields = cast("dict[str, object]", json.loads(line))
        except ValueError:
            return
        pid = fields.get("pid")
        if isinstance(pid, int):
            self.pid = pid
            return
        self.last = next((name for name in ("done", "stopped") if name in fields), "")
        self.report(fields)


def ask_to_stop(heard: Heard, tell: Tell) -> None:
    """Ask the first process, or end all where it has not begun. Raises KeyboardInterrupt where none is there."""
    if not heard.group:
        raise KeyboardInterrupt
    heard.broken_off = not heard.pid
    tell(BREAKING_OFF if heard.broken_off else STOPPING)
    with contextlib.suppress(ProcessLookupError):
        if heard.pid:
            os.kill(heard.pid, signal.SIGINT)
        else:
            os.killpg(heard.group, signal.SIGTERM)


def pass_on(lines: IO[str], tell: Tell, heard: Heard) -> None:
    """Hand on what the processes say on standard error, until one of them has failed or all were asked to stop:
    what torchrun adds then is about processes, not about the run.
    """
    for line in lines:
        text, ended = line.rstrip(), bool(heard.cause) or heard.broken_off or heard.last == "stopped"
        if text.startswith(ERROR):
            heard.cause = heard.cause or text.removeprefix(ERROR)
        elif text and not ended and text != STOPPING and not text.startswith(STOPPED):
            tell(text)
