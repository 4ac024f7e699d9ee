"""A program of one's own, in any language and environment: `external@FILE` starts it and asks it over files.

FILE is a short YAML file (`ExternalMethod`). Its command is started once, in FILE's folder, with the first case. For
each case it is given one line on its standard input, the path of a folder that holds

    case.json               cameras, names and sizes; see `describe_case`
    references/0.png, ...   the prepared reference views, 8-bit RGB

and it writes `targets/0.png`, ... there, 8-bit RGB of `width` x `height`, one for each target in its order, and then
the line `done` on its standard output. Other lines are passed on to standard error. It ends when its standard input
does. Nothing of a target but its camera is in the folder, and nothing that the program writes is executed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import IO, Annotated

import numpy as np
from jaxtyping import UInt8
from pydantic import Field

from kaleido_bench.data.cameras import Cameras
from kaleido_bench.data.images import encode_png
from kaleido_bench.errors import BenchError
from kaleido_bench.predict.adapters.interface import (
    AdapterCard,
    Capabilities,
    ReferenceViews,
    TargetCameras,
    build_card,
)
from kaleido_bench.predict.adapters.saved import read_saved_image
from kaleido_bench.records import Record, load_yaml_record, read_bytes

DONE = "done"
"""The line that ends an answer."""

PATIENCE = 5.0
"""Seconds that a program has to end after its last case, before it is ended. Less than a worker process has, which
would leave the program behind (`execution/local.py`)."""


class ExternalMethod(Record):
    """How a program is started, and what must be known of it."""

    name: str = Field(min_length=1, description="the method's name on its card")
    version: str = Field(
        min_length=1, description="raised whenever a change moves a pixel; another one is another method"
    )
    command: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        min_length=1, description="program and words, started in the folder of this file; {device} is cpu, cuda:0, ..."
    )
    generative: bool = Field(description="whether two seeds give two answers; if not, it is asked for one sample")
    training_data: tuple[str, ...] | None = Field(description="names of the data sets it saw; [] none, null unknown")
    files: tuple[str, ...] = Field(
        default=(), description="code and weights, below this folder: hashed into its identity"
    )
    max_references: Annotated[int, Field(ge=1)] | None = Field(default=None, description="the most it takes; null: any")
    parameters: Annotated[int, Field(ge=0)] | None = Field(default=None, description="learned numbers; null: unknown")
    function_evaluations: Annotated[int, Field(ge=0)] | None = Field(
        default=None, description="network passes for one target (NFE); null: unknown"
    )


class External:
    """Asks a program. It is started with the first case and told to end when the adapter goes."""

    def __init__(self, path: Path, method: ExternalMethod, settings: Mapping[str, str], device: str) -> None:
        self.capabilities = Capabilities(False, method.generative, method.max_references)
        self._path, self._method, self._settings, self._device = path, method, dict(settings), device
        self._process: subprocess.Popen[str] | None = None

    def describe(self) -> AdapterCard:
        """The card. The fingerprint covers the command, the version, the settings and the bytes of `files`."""
        method, folder = self._method, self._path.parent
        content = hashlib.sha256()
        for name in sorted(method.files):
            data = read_bytes(folder / name, what=f"a file that {self._path} names", fix="Correct 'files'.")
            content.update(f"{name} {hashlib.sha256(data).hexdigest()}\n".encode())
        return build_card(
            "external",
            variant=method.name,
            code_version=method.version,
            settings={
                **self._settings,
                "command": shlex.join(method.command),
                "version": method.version,
                "files_sha256": content.hexdigest(),
            },
            training_data=method.training_data,
            parameters=method.parameters,
            function_evaluations=method.function_evaluations,
        )

    def predict(
        self, references: ReferenceViews, targets: TargetCameras, generator: np.random.Generator
    ) -> UInt8[np.ndarray, "target height width 3"]:
        seed = int(generator.integers(2**63))
        size = (targets.cameras.width, targets.cameras.height)
        with tempfile.TemporaryDirectory(prefix="kbench-") as name:
            folder = Path(name)
            write_case(folder, describe_case(references, targets, seed, self._settings), references)
            self._ask(folder, targets.item)
            self._check_names(folder, targets)
            return np.stack([self._read(folder, targets.item, place, size) for place in range(len(targets.ids))])

    def _ask(self, folder: Path, item: str) -> None:
        self._process = self._process or self._start()
        asked, answers = self._process.stdin, self._process.stdout
        assert asked is not None and answers is not None
        with contextlib.suppress(BrokenPipeError):  # it ended, which the missing answer says too
            print(folder, file=asked, flush=True)
        for line in answers:
            if line.strip() == DONE:
                return
            sys.stderr.write(line)
        code = self._process.wait()
        self._process = None
        raise BenchError(
            f"{self._path}, {item}",
            f"the program {_describe_end(code)} and gave no answer",
            expected=f"the line {DONE!r} on its standard output after each case",
            fix="What it said is above; flush the line, and read cases until standard input ends.",
        )

    def _start(self) -> subprocess.Popen[str]:
        command = [word.replace("{device}", self._device) for word in self._method.command]
        try:
            with _interruptible():
                process = subprocess.Popen(
                    command,
                    cwd=self._path.parent,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    encoding="utf-8",
                    errors="backslashreplace",  # what it prints may be anything
                )
        except OSError as error:
            raise BenchError(
                self._path,
                f"the command {command[0]!r} cannot be started ({error.strerror})",
                expected="a program, by its name or its path from that folder",
                fix="Correct 'command'.",
            ) from None
        assert process.stdin is not None
        weakref.finalize(self, _end, process, process.stdin)
        return process

    def _check_names(self, folder: Path, targets: TargetCameras) -> None:
        expected = {f"targets/{place}.png" for place in range(len(targets.ids))}
        found = {path.relative_to(folder).as_posix() for path in (folder / "targets").glob("*")}
        wrong = [
            *((name, "no such file after the program said it was done") for name in sorted(expected - found)),
            *((name, "not one of the files that were asked for") for name in sorted(found - expected)),
        ]
        for name, what in wrong[:1]:
            raise BenchError(
                f"{self._path}, {targets.item}, {name}",
                what,
                expected=f"one PNG for each target, targets/0.png to targets/{len(targets.ids) - 1}.png",
                fix="Write them, and nothing else, into the folder of the case, and then the line 'done', once.",
            )

    def _read(self, folder: Path, item: str, place: int, size: tuple[int, int]) -> UInt8[np.ndarray, "height width 3"]:
        """One image. What is wrong with it is said of the case: its folder is gone when somebody reads that."""
        try:
            return read_saved_image(folder / f"targets/{place}.png", size)
        except (BenchError, OSError) as error:
            found = error.found if isinstance(error, BenchError) else f"it cannot be read ({error.strerror})"
            raise BenchError(
                f"{self._path}, {item}, targets/{place}.png",
                found,
                expected=f"{size[0]}x{size[1]} pixels with 3 channels of 8 bits, as PNG",
                fix="Write each target whole, with the width and the height of case.json, before the line 'done'.",
            ) from None


def _describe_end(code: int) -> str:
    if code >= 0:
        return f"ended with {code}"
    return f"was killed by {signal.Signals(-code).name}" + (" (out of memory, perhaps)" if code == -9 else "")


@contextlib.contextmanager
def _interruptible() -> Generator[None]:
    """What is started inside heeds Ctrl-C. A worker process does not, and would pass that on to what it starts."""
    ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    if not ignored or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _end(process: subprocess.Popen[str], asked: IO[str]) -> None:
    """Tell the program that nothing follows, and end it where it does not listen."""
    with contextlib.suppress(BrokenPipeError):
        asked.close()
    try:
        process.wait(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    assert process.stdout is not None
    process.stdout.close()


def describe_case(
    references: ReferenceViews, targets: TargetCameras, seed: int, settings: Mapping[str, str]
) -> dict[str, object]:
    """What a program is told: `c2w` camera to world in OpenCV axes, K in pixels (first pixel's centre at 0.5, 0.5).

    Args:
        references, targets: as an adapter is given them.
        seed: 0 to 2^63 - 1; all randomness comes from it.
        settings: what `--model-arg` said.
    """
    return {
        "schema_version": 1,
        "item": targets.item,
        "seed": seed,
        "settings": dict(settings),
        "width": targets.cameras.width,
        "height": targets.cameras.height,
        "references": _describe_views("references", references.ids, references.cameras),
        "targets": _describe_views("targets", targets.ids, targets.cameras),
    }


def _describe_views(folder: str, ids: tuple[str, ...], cameras: Cameras) -> list[dict[str, object]]:
    return [
        {"id": name, "image": f"{folder}/{place}.png", "c2w": c2w.tolist(), "K": K.tolist()}
        for place, (name, c2w, K) in enumerate(zip(ids, cameras.c2w, cameras.K, strict=True))
    ]


def write_case(folder: Path, case: Mapping[str, object], references: ReferenceViews) -> None:
    """The files of a case, and an empty folder for its answer."""
    for name in ("references", "targets"):
        (folder / name).mkdir()
    for place, image in enumerate(references.images):
        (folder / f"references/{place}.png").write_bytes(encode_png(image))
    (folder / "case.json").write_text(json.dumps(case))


def build(variant: str | None, args: Mapping[str, str], device: str) -> External:
    path = Path(variant or "").expanduser().resolve()
    method = load_yaml_record(
        path, ExternalMethod, what="a YAML file that says how a program is started", fix="See docs/adapters.md."
    )
    return External(path, method, args, device)
