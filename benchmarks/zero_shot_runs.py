"""How `zero_shot.py` asks: `kbench run` with one model and some protocols."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from zero_shot_protocols import GSO, LEGO

from kaleido_bench.predict.adapters import label_model, resolve_model


class Setting(NamedTuple):
    """A model as kbench is told of it."""

    model: str
    steps: int | None  # of the sampler; None: it has none
    told: bool = True  # in words of the command; renders know without

    @property
    def args(self) -> dict[str, str]:
        return {"steps": str(self.steps)} if self.told and self.steps not in (None, 1) else {}

    @property
    def label(self) -> str:
        return label_model(resolve_model(self.model), self.args)

    @property
    def method(self) -> str:
        """As tables call it."""
        return name_steps(self.steps) if self.steps else self.model


def name_steps(steps: int) -> str:
    return f"{steps} step{'s' * (steps != 1)}"


NEAREST = Setting("nearest", None)


class Ask(NamedTuple):
    """Protocols with one selection of their cases."""

    protocols: tuple[str, ...]
    words: tuple[str, ...] = ()


SHIPPED = (
    Ask(("real/objects-masked", "real/scenes-few", "real/llff-few"), ("--references", "3")),
    Ask(("kbench/objects-1-20",), ("--references", "5", "--scenes", f"{GSO},{LEGO}")),
)


class Bench(NamedTuple):
    """Where everything lies."""

    out: Path
    device: str
    workers: int

    def run(self, ask: Ask, setting: Setting) -> None:
        """`kbench run`; its tables go to out/log.txt."""
        words = [
            "--model",
            setting.model,
            "--data",
            str(self.out / "data"),
            "--out",
            str(self.out / "runs"),
            *ask.words,
        ]
        for key, value in setting.args.items():
            words += ["--model-arg", f"{key}={value}"]
        workers = 1 if setting == NEAREST else self.workers
        words += ["--device", self.device, "--workers", str(workers)]
        begun = time.monotonic()
        with (self.out / "log.txt").open("a") as log:
            command = [sys.executable, "-m", "kaleido_bench", "run", *ask.protocols, *words]
            ended = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False)
        if ended.returncode:
            raise SystemExit(f"kbench run {' '.join(ask.protocols)} --model {setting.model}: see {log.name}")
        names = ", ".join(Path(name).stem for name in ask.protocols)
        print(f"{names}: {setting.label}, {time.monotonic() - begun:.0f} s", flush=True)

    def folder(self, protocol: str, setting: Setting) -> Path:
        return self.out / "runs" / protocol / setting.label
