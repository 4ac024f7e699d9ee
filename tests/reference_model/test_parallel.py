"""Runs by two processes (gloo on the processor; torchrun starts them) against the same run by one."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist

from reference_model.checkpoint import read_card, read_shards
from reference_model.config import Preset
from reference_model.inference import load_model
from reference_model.model import Kaleido
from reference_model.presets import smoke
from reference_model.train import CONSULT, Run, train
from reference_model.training.progress import DivergedError
from reference_model.training.resuming import read_header
from reference_model.training.schedule import Budget
from reference_model.training.settings import override
from reference_model.training.steps import StepViews, Stream, WorldSource

PROCESSES, STEPS = 2, 12
ROOT = Path(__file__).parents[2]


def preset_of(*, sharded: bool) -> Preset:
    return override(smoke(), ["train.pieces=2", f"train.sharded={str(sharded).lower()}"])


def whole_run(out: Path) -> Run:
    return Run(out, Budget(steps=STEPS))


class AtOnce:
    """Asks a run to stop as soon as it looks: after CONSULT steps."""

    asked = True


class InScoring:
    """Asks a run to stop while its weights are scored. Only the first process is asked, as by `kbench train`."""

    def __init__(self, out: Path, rank: int) -> None:
        self.out, self.rank = out, rank

    @property
    def asked(self) -> bool:
        return self.rank == 0 and (self.out / "card.json").is_file() and read_card(self.out)["steps"] == STEPS


def train_pair(rank: int, out: Path) -> None:
    """One of two processes that hold half of the model each: a run, stopped and begun again, twice."""
    torch.set_num_threads(1)
    source, said = WorldSource(None, "cpu"), []
    for number, stop in enumerate((AtOnce(), InScoring(out, rank), None)):
        store = f"file://{out.parent / f'store{number}'}"
        dist.init_process_group("gloo", init_method=store, rank=rank, world_size=PROCESSES)
        os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(PROCESSES)}
        done = train(preset_of(sharded=True), source, whole_run(out), said.append, stop)
        assert done is (stop is None)
        if rank == 0 and number == 0:
            shutil.copytree(out, out.parent / "stopped")
    fail_pair(rank, source, out.parent)
    diverge_pair(rank, source, out.parent)
    time_pair(rank, source, out.parent)
    assert bool(said) is (rank == 0)
    if rank == 0:
        assert [line["resumed"] for line in said if "resumed" in line] == [CONSULT, STEPS], said
        assert [line["stopped"] for line in said if "stopped" in line] == [CONSULT, STEPS], said
        assert "held_out_psnr" in read_card(out)


class Failing:
    """A source of which the second process cannot read a step's views."""

    def __init__(self, source: WorldSource, rank: int) -> None:
        self.source, self.rank, self.describe = source, rank, source.describe

    def open(self, preset: Preset, stage: int, piece: int, device: str) -> Stream:
        stream, rank = self.source.open(preset, stage, piece, device), self.rank

        class Breaking:
            def step(self, step: int) -> StepViews:
                if step == 3 and rank == 1:
                    raise FileNotFoundError("0002.png is gone")
                return stream.step(step)

        return Breaking()


def fail_pair(rank: int, source: WorldSource, folder: Path) -> None:
    """Both halves end with what one of them says, and the state of the last step is written by both."""
    dist.init_process_group("gloo", init_method=f"file://{folder / 'store3'}", rank=rank, world_size=PROCESSES)
    kind = FileNotFoundError if rank == 1 else ValueError
    run = Run(folder / "broken", Budget(steps=STEPS))
    with pytest.raises(kind, match=r"^0002\.png is gone$"):
        train(preset_of(sharded=True), Failing(source, rank), run, lambda _: None)  # type: ignore[arg-type]
    dist.barrier()
    assert read_header(folder / "broken/state", preset_of(sharded=True), source.describe()).spent.steps == 3
    dist.destroy_process_group()


class Darkened:
    """A source whose images are no numbers in one step of the second process."""

    def __init__(self, source: WorldSource, rank: int) -> None:
        self.source, self.rank, self.describe = source, rank, source.describe

    def open(self, preset: Preset, stage: int, piece: int, device: str) -> Stream:
        stream, rank = self.source.open(preset, stage, piece, device), self.rank

        class Dark:
            def step(self, step: int) -> StepViews:
                views = stream.step(step)
                return views._replace(images=views.images * torch.nan) if step == 3 and rank == 1 else views

        return Dark()


def diverge_pair(rank: int, source: WorldSource, folder: Path) -> None:
    """Both halves end, and say of which step and of whose data; neither waits for the other."""
    dist.init_process_group("gloo", init_method=f"file://{folder / 'store4'}", rank=rank, world_size=PROCESSES)
    found = "^step 4: the loss is nan; .*; its data hold NaN or infinity"
    with pytest.raises(DivergedError, match=found):
        train(preset_of(sharded=True), Darkened(source, rank), Run(folder / "dark", Budget(steps=5)), lambda _: None)  # type: ignore[arg-type]
    dist.destroy_process_group()


def time_pair(rank: int, source: WorldSource, folder: Path) -> None:
    """A run of minutes, by two clocks of which the second is ten times as fast: only the first one's counts."""
    dist.init_process_group("gloo", init_method=f"file://{folder / 'store5'}", rank=rank, world_size=PROCESSES)
    clock = SimpleNamespace(monotonic=lambda: (1 + 9 * rank) * time.monotonic())
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("reference_model.training.progress.time", clock)
        assert train(preset_of(sharded=True), source, Run(folder / "timed", Budget(minutes=1 / 60)), lambda _: None)
    if rank == 0:
        card = read_card(folder / "timed")
        assert float(str(card["seconds"])) >= 1 and int(str(card["steps"])) % CONSULT == 0


def launch(*arguments: str) -> subprocess.Popen[str]:
    """`torchrun --nproc-per-node 2 -m reference_model.train smoke ...`"""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(PROCESSES)]
    command += ["-m", "reference_model.train", "smoke", "--device", "cpu", "--steps", str(STEPS), *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """As torchrun gives its processes: another number of threads sums in another order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> Path:
    """The run by one process."""
    out = tmp_path_factory.mktemp("alone")
    assert train(preset_of(sharded=False), WorldSource(None, "cpu"), whole_run(out))
    return out


@pytest.fixture(scope="module")
def in_shares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run by two processes with half of the model each, interrupted; beside it `stopped`, as it was then."""
    out = tmp_path_factory.mktemp("sharded") / "run"
    torch.multiprocessing.spawn(train_pair, (out,), nprocs=PROCESSES)
    return out


def list_files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def assert_close(out: Path, expected: Path, limits: dict[str, float]) -> None:
    """The same files, and in the state the same tensors: each group's difference at most this share of how far it has
    moved from where the run began.
    """
    assert list_files(out) == list_files(expected)
    found, known = (read_shards(folder / "state", "state") for folder in (out, expected))
    assert {name: tensor.shape for name, tensor in found.items()} == {name: x.shape for name, x in known.items()}
    torch.manual_seed(smoke().train.seed)
    start = Kaleido(smoke().model).state_dict()
    for group, limit in limits.items():
        apart = moved = 0.0
        for name, tensor in known.items():
            if name.startswith(group):
                begun = start.get(name.removeprefix(group), torch.zeros(()))
                apart += float((found[name] - tensor).double().square().sum())
                moved += float((tensor - begun).double().square().sum())
        assert moved > 0 and (apart / moved) ** 0.5 <= limit, f"{group} {(apart / moved) ** 0.5}"
    written = [read_shards(folder, "model") for folder in (out, expected)]
    assert [(name, x.shape, x.dtype) for name, x in written[0].items()] == [
        (name, x.shape, x.dtype) for name, x in written[1].items()
    ]


def test_two_processes_make_the_run_of_one(tmp_path: Path, alone: Path) -> None:
    """To the last bit, though interrupted as a user would and begun again: a step is a sum over two pieces, and that
    has no order. (More pieces than processes: up to the rounding of sums.)
    """
    arguments = ("--out", str(tmp_path / "run"), "--set", "train.pieces=2")
    first = launch(*arguments)
    assert first.stdout is not None
    said = ""
    for line in first.stdout:
        said += line
        if '"step": 1,' in line:
            first.send_signal(signal.SIGTERM)
    assert first.wait(60) != 0 and f'"stopped": {CONSULT}' in said, said
    assert list_files(tmp_path / "run") == list_files(alone)  # the weights of then can be used
    output, errors = (second := launch(*arguments)).communicate(timeout=120)
    assert second.returncode == 0, errors
    assert f'"resumed": {CONSULT}' in output and output.count('"done"') == 1  # one process speaks for both
    assert_close(tmp_path / "run", alone, {"model.": 0, "averaged.": 0, "optimizer0.": 0, "optimizer1.": 0})


def test_two_halves_make_the_run_of_one(in_shares: Path, alone: Path) -> None:
    """A sharded run, interrupted. Norms are summed in another order; Muon, which works in bfloat16 on what differs by a
    last bit, makes of it tenths of a percent of the way (0.4 % was measured after 12 steps).
    """
    limits = {"model.": 0.03, "averaged.": 0.03, "optimizer0.": 0.01, "optimizer1.": 0.01}
    assert_close(in_shares, alone, limits)
    assert load_model(in_shares).preset == preset_of(sharded=True)


def test_one_process_goes_on_with_what_two_halves_began(in_shares: Path, alone: Path) -> None:
    """The state on disk does not tell how many processes wrote it."""
    said: list[dict[str, object]] = []
    out = in_shares.parent / "stopped"
    assert train(preset_of(sharded=True), WorldSource(None, "cpu"), whole_run(out), said.append)
    assert {"resumed": CONSULT} in said
    assert_close(out, alone, {"model.": 0.03, "averaged.": 0.03, "optimizer0.": 0.01, "optimizer1.": 0.01})


def test_pieces_that_processes_do_not_divide_are_one_clear_error(tmp_path: Path) -> None:
    process = launch("--out", str(tmp_path / "run"), "--set", "train.pieces=1")
    _, errors = process.communicate(timeout=120)
    assert process.returncode != 0
    assert errors.count("pieces=1 a step among 2 processes: expected a multiple; --set train.pieces=2") == 1, errors
    assert "reference_model/train.py" not in errors  # a message, no trace
    assert not (tmp_path / "run").exists()


def test_the_benchmark_of_several_gpus_reports_and_compares(tmp_path: Path) -> None:
    """At toy size: its times mean nothing here; that replicas and shares lose alike does."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(PROCESSES)]
    command += [str(ROOT / "benchmarks" / "parallel.py"), "shares", "--device", "cpu", "--steps", "2"]
    command += ["--eager", "--counts", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    labels = ["replicas", "shares", "recomputed"]
    assert [row["row"] for row in rows] == labels
    told = [line.split("s  ", 1)[1] for line in done.stderr.splitlines() if " s  " in line]  # of one process
    assert [line for line in told if line.endswith("the first step")] == [
        f"{label}: the first step" for label in labels
    ]
    assert sum(line.startswith("first step with") for line in told) == 2 * len(labels)
    assert all(row["largest_difference"] < 1e-3 and row["processes"] == PROCESSES for row in rows)
