"""Interrupted, killed, run again, run by several: the product is the same bytes."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.cli.conftest import Kbench, start_kbench


def arguments(tiny: Path, out: str, *words: object) -> list[object]:
    return [tiny / "tiny.yaml", "--data", tiny / "data", "--out", tiny / out, "--model", "toy", *words]


def read_product(run: Path) -> dict[str, bytes]:
    """Everything of a run that must not depend on how it came about."""
    pngs = {path.relative_to(run).as_posix(): path.read_bytes() for path in sorted(run.rglob("*.png"))}
    return {**pngs, **{name: (run / name).read_bytes() for name in ("result.json", "protocol.json")}}


def read_times(runs: Path) -> dict[Path, int]:
    """When each file and folder was last written."""
    return {path: path.stat().st_mtime_ns for path in runs.rglob("*")}


def wait_for(process: subprocess.Popen[str], folder: Path, count: int) -> None:
    """Wait until `count` predictions are there."""
    deadline = time.monotonic() + 60
    while len(list(folder.glob("[!.]*")) if folder.is_dir() else []) < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def wait_until_gone(process: subprocess.Popen[str]) -> None:
    """Wait until none of a command's processes is left."""
    deadline = time.monotonic() + 20
    with pytest.raises(ProcessLookupError):
        while time.monotonic() < deadline:
            os.killpg(process.pid, 0)
            time.sleep(0.05)


@pytest.mark.parametrize("workers", [1, 2])
def test_killed_in_the_middle_and_run_again(tiny: Path, toys: Path, kbench: Kbench, workers: int) -> None:
    assert kbench("run", *arguments(tiny, "whole")).code == 0
    process = start_kbench("run", *arguments(tiny, "killed", "--workers", workers, "--model-arg", "sleep=0.3"))
    run = tiny / "killed/tiny/toy+sleep=0.3"
    wait_for(process, run / "predictions", 2)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    wait_until_gone(process)  # or a worker that is still dying keeps its leftovers
    assert process.returncode == -signal.SIGKILL
    assert not (run / "result.json").exists()
    ended = kbench("run", *arguments(tiny, "killed", "--workers", workers, "--model-arg", "sleep=0.3"))
    assert ended.code == 0, ended.err
    killed, whole = read_product(run), read_product(tiny / "whole/tiny/toy")
    # The label of the run is in its result; nothing else may differ.
    killed["result.json"] = killed["result.json"].replace(b'"toy+sleep=0.3"', b'"toy"')
    assert killed == whole
    assert list(run.rglob(".tmp.*")) == []


def test_killed_while_scoring_and_run_again(tiny: Path, kbench: Kbench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The scores of an item are on disk before the next item begins; what was scored is not scored again."""
    words = [tiny / "tiny.yaml", "--data", tiny / "data", "--model", "nearest"]
    assert kbench("run", *words, "--out", tiny / "whole").code == 0

    from kaleido_bench.score import share

    write_part, written = share.write_part, []

    def stop_after_two(*args: object) -> None:
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(args)
        write_part(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(share, "write_part", stop_after_two)
    assert kbench("run", *words, "--out", tiny / "killed").code == 130
    assert not (tiny / "killed/tiny/nearest/result.json").exists()
    assert len(list((tiny / "killed/tiny/nearest/scores").glob("*/*.json"))) == 2
    monkeypatch.setattr(share, "write_part", write_part)
    ended = kbench("run", *words, "--out", tiny / "killed")
    assert ended.code == 0, ended.err
    assert read_product(tiny / "killed/tiny/nearest") == read_product(tiny / "whole/tiny/nearest")


def test_a_second_call_does_no_work_and_says_so(tiny: Path, toys: Path, kbench: Kbench) -> None:
    first = kbench("run", *arguments(tiny, "runs", "--model", "mean"))
    assert first.code == 0 and "nothing to do" not in first.err
    before = read_times(tiny / "runs")
    second = kbench("run", *arguments(tiny, "runs", "--model", "mean"))
    assert second.code == 0
    assert "nothing to do: 8 of 8 predictions, scores and 2 results are there" in second.err
    assert second.out == first.out
    assert read_times(tiny / "runs") == before


def test_the_number_of_workers_leaves_no_trace(tiny: Path, toys: Path, kbench: Kbench) -> None:
    assert kbench("run", *arguments(tiny, "one")).code == 0
    assert kbench("run", *arguments(tiny, "two", "--workers", 2)).code == 0
    assert read_product(tiny / "one/tiny/toy") == read_product(tiny / "two/tiny/toy")


def test_a_dead_worker_ends_with_1_and_the_same_call_finishes(tiny: Path, toys: Path, kbench: Kbench) -> None:
    words = arguments(tiny, "runs", "--workers", 2, "--model-arg", f"die={tiny / 'died'}", "--model-arg", "at=bow-r1")
    ended = kbench("run", *words)
    assert ended.code == 1
    error = ended.err.splitlines()[-1]
    assert error.startswith("kbench: error: bow-r1: the worker process") and "SIGKILL" in error
    assert kbench("run", *words).code == 0


def test_an_interrupt_in_the_middle_ends_with_130(tiny: Path, toys: Path) -> None:
    process = start_kbench("run", *arguments(tiny, "runs", "--workers", 2, "--model-arg", "sleep=2"))
    wait_for(process, tiny / "runs/tiny/toy+sleep=2/predictions", 1)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert err.splitlines()[-1] == "kbench: interrupted. The same command finishes the rest."
    wait_until_gone(process)


def test_more_models_and_fewer_cases_reuse_what_is_there(tiny: Path, toys: Path, kbench: Kbench) -> None:
    partial = kbench("run", *arguments(tiny, "runs", "--references", "1", "--scenes", "bow"))
    assert partial.code == 0
    assert [path.name for path in (tiny / "runs/tiny/toy/predictions").iterdir()] == ["bow-r1"]
    kept = (tiny / "runs/tiny/toy/predictions/bow-r1/case.json").read_bytes()
    assert kbench("run", *arguments(tiny, "runs", "--model", "mean")).code == 0
    assert (tiny / "runs/tiny/toy/predictions/bow-r1/case.json").read_bytes() == kept
    assert kbench("run", *arguments(tiny, "whole")).code == 0
    assert read_product(tiny / "runs/tiny/toy") == read_product(tiny / "whole/tiny/toy")
