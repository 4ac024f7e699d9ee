"""A program that is asked over files, and everything that it can get wrong."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kaleido_bench.authoring import render_yaml
from kaleido_bench.data.cameras import Cameras
from kaleido_bench.errors import BenchError
from kaleido_bench.predict.adapters import Adapter, ReferenceViews, TargetCameras, build_adapter, resolve_model
from kaleido_bench.predict.adapters.external import PATIENCE
from tests.cli.conftest import Kbench, kbench, start_kbench

__all__ = ["kbench"]  # the fixture

PROGRAM = """
import json, sys
from pathlib import Path
import numpy as np
from PIL import Image
print("loading weights", sys.argv[1:])
for line in sys.stdin:
    folder = Path(line.strip())
    case = json.loads((folder / "case.json").read_text())
    shown = np.asarray(Image.open(folder / case["references"][0]["image"]))
    assert shown.shape == (case["height"], case["width"], 3)
    Path("cases.jsonl").open("a").write(json.dumps(case) + "\\n")
    noise = np.random.default_rng(case["seed"]).integers(0, 256, (len(case["targets"]), *shown.shape), np.uint8)
    for target, image in zip(case["targets"], noise):
        Image.fromarray(image).save(folder / target["image"])
    print("done", flush=True)
"""

REFERENCES = ReferenceViews(
    ("a", "b/c"),
    np.arange(2 * 4 * 6 * 3, dtype=np.uint8).reshape(2, 4, 6, 3),
    Cameras(np.stack([np.eye(4), 2 * np.eye(4)]), np.repeat(np.eye(3)[None], 2, 0), 6, 4),
)
TARGETS = TargetCameras(
    "fox-r2", ("t/0", "t/1", "t/2"), Cameras(np.eye(4)[None].repeat(3, 0), np.eye(3)[None].repeat(3, 0), 6, 4)
)


def write_method(folder: Path, program: str = PROGRAM, **fields: Any) -> Path:
    """A program and the file that says how it is started."""
    (folder / "answer.py").write_text(program)
    known = {
        "name": "noise",
        "version": "1",
        "command": [sys.executable, "answer.py", "on {device}"],
        "generative": True,
        "training_data": [],
        "files": ["answer.py"],
        **fields,
    }
    path = folder / "method.yaml"
    path.write_text(render_yaml({key: value for key, value in known.items() if value != "left out"}))
    return path


def build(path: Path, **args: str) -> Adapter:
    return build_adapter(resolve_model(f"external@{path}"), args, "cpu")


def ask(adapter: Adapter, seed: int = 0) -> np.ndarray:
    return adapter.predict(REFERENCES, TARGETS, np.random.default_rng(seed))


def test_a_program_is_started_once_and_asked_twice(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    adapter = build(write_method(tmp_path), steps="3")
    first, second = ask(adapter, 1), ask(adapter, 2)
    assert first.shape == (3, 4, 6, 3) and first.dtype == np.uint8
    assert not np.array_equal(first, second) and np.array_equal(first, ask(adapter, 1))
    said = capfd.readouterr()
    assert said.err.count("loading weights ['on cpu']") == 1 and said.out == ""
    case = json.loads((tmp_path / "cases.jsonl").read_text().splitlines()[0])
    assert (case["item"], case["width"], case["height"], case["settings"]) == ("fox-r2", 6, 4, {"steps": "3"})
    assert [view["id"] for view in case["references"]] == ["a", "b/c"]
    assert case["references"][1]["c2w"] == (2 * np.eye(4)).tolist() and case["targets"][2]["image"] == "targets/2.png"


def test_a_program_may_print_anything(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    noisy = before_done("sys.stdout.buffer.write(bytes([255, 254, 0, 10]))")
    assert ask(build(write_method(tmp_path, noisy))).shape == (3, 4, 6, 3)
    assert r"\xff\xfe" in capfd.readouterr().err


def test_a_program_that_does_not_end_goes_before_its_worker_does() -> None:
    """A worker process is killed after ten seconds (`execution/local.py`); what it then waits for would stay."""
    assert PATIENCE < 10


def test_a_program_ends_with_its_adapter(tmp_path: Path) -> None:
    ending = PROGRAM + 'Path("ended").touch()\n'
    adapter = build(write_method(tmp_path, ending))
    ask(adapter)
    assert not (tmp_path / "ended").exists()
    del adapter
    assert (tmp_path / "ended").exists()


def test_what_moves_a_pixel_is_in_the_fingerprint(tmp_path: Path) -> None:
    def fingerprint(program: str = PROGRAM, args: dict[str, str] | None = None, **fields: Any) -> str:
        return build(write_method(tmp_path, program, **fields), **(args or {})).describe().fingerprint

    others = [
        fingerprint(PROGRAM + "\n"),
        fingerprint(version="2"),
        fingerprint(name="other"),
        fingerprint(command=[sys.executable, "answer.py", "--fast"]),
        fingerprint(args={"steps": "3"}),
    ]
    assert len({fingerprint(), *others}) == 1 + len(others)
    assert fingerprint() == fingerprint(parameters=7, training_data=["co3d"])  # costs and what it saw move none


def before_done(line: str) -> str:
    """The program, with one more line in each answer."""
    return PROGRAM.replace('    print("done"', f'    {line}\n    print("done"')


WRONG: dict[str, tuple[Callable[[Path], Path], str]] = {
    "no file": (lambda folder: folder / "absent.yaml", r"absent\.yaml: no such file; .*docs/adapters\.md"),
    "a field too many": (lambda folder: write_method(folder, comand=["x"]), r"comand.*Did you mean 'command'"),
    "a field too few": (lambda folder: write_method(folder, generative="left out"), r"generative"),
    "no such program": (lambda folder: write_method(folder, command=["nobody-has-this"]), r"'nobody-has-this' cannot"),
    "it ends": (lambda folder: write_method(folder, "raise SystemExit(3)"), r"fox-r2: the program ended with 3"),
    "it is killed": (
        lambda folder: write_method(folder, "import os\nos.kill(os.getpid(), 9)"),
        r"fox-r2: the program was killed by SIGKILL \(out of memory, perhaps\)",
    ),
    "a file too many": (
        lambda folder: write_method(folder, before_done("(folder / 'targets/3.png').touch()")),
        r"method\.yaml, fox-r2, targets/3\.png: not one of the files that were asked for",
    ),
    "a broken image": (
        lambda folder: write_method(folder, before_done("(folder / 'targets/1.png').write_bytes(b'x')")),
        r"method\.yaml, fox-r2, targets/1\.png: .*Write each target whole",
    ),
    "it answers nothing": (
        lambda folder: write_method(folder, "for _ in open(0): print('done', flush=True)"),
        r"targets/0\.png: no such file after the program said it was done",
    ),
    "another size": (
        lambda folder: write_method(folder, PROGRAM.replace("fromarray(image)", "fromarray(image[1:])")),
        r"method\.yaml, fox-r2, targets/0\.png: 6x3 pixels with 3 channels; expected 6x4",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_can_be_wrong(name: str, tmp_path: Path) -> None:
    write, message = WRONG[name]
    with pytest.raises(BenchError, match=message) as caught:
        ask(build(write(tmp_path)))
    assert "\n" not in str(caught.value)


def test_a_file_that_it_names_and_does_not_have(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"weights\.bin: no such file; .*Correct 'files'"):
        build(write_method(tmp_path, files=["weights.bin"])).describe()


def test_workers_and_one_process_make_the_same_run(kbench: Kbench, tmp_path: Path) -> None:
    path = write_method(tmp_path)
    words = ("predict", "quickstart", "--model", f"external@{path}", "--limit", 2, "--out")
    made: list[dict[str, bytes]] = []
    for workers in (1, 2):
        out = tmp_path / f"runs{workers}"
        ended = kbench(*words, out, "--workers", workers)
        assert ended.code == 0, ended.err
        made.append({str(image.relative_to(out)): image.read_bytes() for image in out.rglob("*.png")})
    assert made[0] == made[1] and len(made[0]) == 6
    write_method(tmp_path, PROGRAM + "# changed\n")
    again = kbench(*words, tmp_path / "runs1")
    assert again.code == 2 and "fingerprint" in again.err


def test_an_interrupt_ends_a_program_at_work_in_a_worker(tmp_path: Path) -> None:
    """Workers ignore the interrupt that their parent sees to; what they start must not inherit that."""
    path = write_method(tmp_path, "import os, time\nopen('pid', 'a').write(f'{os.getpid()}\\n')\ntime.sleep(60)")
    words = ("run", "quickstart", "--model", f"external@{path}", "--out", tmp_path / "runs", "--workers", 2)
    process = start_kbench(*words)
    pid = tmp_path / "pid"
    wait_until(lambda: pid.exists() and pid.read_text().count("\n") == 2, process)
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=30)  # until nobody holds its output any more
    assert process.returncode == 130


def test_an_interrupt_of_kbench_alone_leaves_no_program_behind(tmp_path: Path) -> None:
    """`kill -INT` reaches one process, and a program that hangs does not see that nobody asks any more."""
    path = write_method(tmp_path, "import os, time\nopen('pid', 'a').write(f'{os.getpid()}\\n')\ntime.sleep(60)")
    words = ("run", "quickstart", "--model", f"external@{path}", "--out", tmp_path / "runs", "--workers", 2)
    process = start_kbench(*words)
    pid = tmp_path / "pid"
    wait_until(lambda: pid.exists() and pid.read_text().count("\n") == 2, process)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130
    for number in map(int, pid.read_text().split()):
        with pytest.raises(ProcessLookupError):
            os.kill(number, 0)


def wait_until(there: Callable[[], bool], process: subprocess.Popen[str], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not there():
        assert process.poll() is None and time.monotonic() < end, process.communicate()
        time.sleep(0.05)


def test_a_bare_name_is_refused(kbench: Kbench) -> None:
    ended = kbench("run", "quickstart", "--model", "external")
    assert ended.code == 2 and "expected external@FILE. Name the file that says how it is started." in ended.err
