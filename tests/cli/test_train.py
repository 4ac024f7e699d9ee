"""`kbench train`: the toy preset on the CPU, stopped and gone on with, on a data set, in a team, and refused."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO, cast

import numpy as np
import pytest
import torch
from safetensors import SafetensorError

from kaleido_bench.cli import train as command
from kaleido_bench.cli.training_lines import Lines, describe, show
from kaleido_bench.errors import IncompleteError
from kaleido_bench.score.results.records import load_result
from kaleido_bench.training import team
from kaleido_bench.training.calls import TrainCall
from kaleido_bench.training.data import ReaderScenes
from kaleido_bench.training.running import BREAKING_OFF, STOPPING, say_stopped
from reference_model.checkpoint import find_checkpoint, load_checkpoint
from reference_model.presets import PRESETS, small
from reference_model.stored import from_json
from reference_model.training.claim import claim
from reference_model.training.settings import drop_video
from tests.cli.conftest import Kbench, start_kbench
from tests.data.readers.points import make_views
from tests.data.readers.scene_layouts import write_re10k
from tests.predict.tiny import write_data, write_protocol, write_scene

# One small stage, so that a step takes milliseconds.
QUICK = ("--device", "cpu", "--set", 'train.stages=[{"image_size": 16, "scenes": 2, "share": 1}]')


@pytest.fixture
def captures(tmp_path: Path) -> tuple[str, ...]:
    """The options that train on two scenes of six views."""
    write_data(tmp_path / "data", ("arc", "bow"))
    return ("--data", str(tmp_path / "data/scenes"), "--reader", "transforms", "--data-name", "tiny")


def wait_for(lines: IO[str], *fields: str) -> dict[str, object]:
    """The first of the trainer's JSON lines that has these fields."""
    for line in lines:
        with contextlib.suppress(ValueError):
            said: dict[str, object] = json.loads(line)
            if set(fields) <= set(said):
                return said
    raise AssertionError(f"it ended without {fields}")


def steps_of(state: Path) -> int:
    return json.loads((state / "state.json").read_text())["steps"]


def test_training_on_worlds_makes_weights_that_predict(kbench: Kbench, tmp_path: Path) -> None:
    out = tmp_path / "toy"
    ended = kbench("train", "smoke", "--steps", 2, "--out", out, *QUICK)
    assert ended.code == 0, ended.err
    assert ended.out == f"weights in {out}; try: kbench run quickstart --model kaleido@{out}\n"
    assert "toy: 186,944 parameters on cpu, PyTorch" in ended.err and "toy: step 1, 16 px, loss " in ended.err
    assert re.search(r"toy: held out, 3 references: [\d.]+ in 1, .* nearest view [\d.]+ dB", ended.err)
    assert load_checkpoint(out)[2]["training_data"] == ["reference_model.worlds"]
    again = kbench("train", "smoke", "--steps", 2, "--out", out, *QUICK)
    assert again.code == 0 and "goes on from step 2" in again.err and "toy: done after 2 steps" in again.err
    assert "held out" not in again.err  # nothing is done twice
    more = kbench("train", "smoke", "--steps", 3, "--out", out, *QUICK)
    assert more.code == 0 and "goes on from step 2" in more.err and load_checkpoint(out)[2]["steps"] == 3


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_run_goes_on_by_the_same_command(
    kbench: Kbench, tmp_path: Path, captures: tuple[str, ...], how: signal.Signals
) -> None:
    out, save = tmp_path / "run", 1 if how is signal.SIGKILL else 1000
    words = ("train", "smoke", "--steps", 60, "--out", out, "--save-steps", save, *QUICK, *captures)
    with start_kbench(*words, "--json") as running:
        said = wait_for(cast("IO[str]", running.stdout), "step")
        if how is signal.SIGKILL:
            wait_for(cast("IO[str]", running.stdout), "step")  # the twentieth: states were written
        running.send_signal(how)
        _, err = running.communicate(timeout=60)
    assert said["step"] == 1
    if how is signal.SIGINT:
        assert running.returncode == 130
        assert err.endswith("kbench: stopped. The same command goes on from there.\n")
    found = next(folder for folder in (out / "state", out / "state.old") if (folder / "state.json").exists())
    before = steps_of(found)
    assert 1 <= before < 60
    ended = kbench(*words)
    assert ended.code == 0 and f"goes on from step {before}" in ended.err, ended.err
    assert steps_of(out / "state") == load_checkpoint(out)[2]["steps"] == 60


def test_a_team_is_stopped_together_and_one_process_goes_on(
    kbench: Kbench, tmp_path: Path, captures: tuple[str, ...]
) -> None:
    """Two processes on the CPU: the way of several GPUs but for the transport."""
    words = ("train", "smoke", "--steps", 40, "--out", tmp_path / "run", "--set", "train.pieces=2", *QUICK, *captures)
    with start_kbench(*words, "--gpus", 2, "--json") as running:
        assert wait_for(cast("IO[str]", running.stdout), "parameters")["processes"] == 2
        wait_for(cast("IO[str]", running.stdout), "step")
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=90)
    assert running.returncode == 130, err
    assert err.count("stopping: ") == 1 and "Traceback" not in err and "torch.distributed" not in err
    before = steps_of(tmp_path / "run/state")
    assert 10 <= before < 40 and before % 10 == 0  # a team looks up every ten steps
    ended = kbench(*words)
    assert ended.code == 0 and f"goes on from step {before}" in ended.err, ended.err


TEAM = """
import json, os, signal, sys, time
if sys.argv[1] == "waits":
    def end(*_):
        print("Traceback\\nSignalException", file=sys.stderr, flush=True)
        sys.exit(1)
    signal.signal(signal.SIGTERM, end)
    print("a warning", file=sys.stderr, flush=True)
    time.sleep(60)
print(json.dumps({"pid": os.getpid()}), flush=True)
print("no JSON", flush=True)
if sys.argv[1] == "done":
    print(json.dumps({"done": 3, "weights": "x"}))
elif sys.argv[1] == "fails":
    for line in ("a warning", "kbench: error: 8 bytes that are no image", "kbench: error: again", "Traceback"):
        print(line, file=sys.stderr)
    sys.exit(1)
else:
    def stop(*_):
        print(json.dumps({"stopped": 2, "state": "x"}), flush=True)
        sys.exit(1)
    signal.signal(signal.SIGINT, stop)
    print(json.dumps({"step": 1}), flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("how", ["done", "fails", "stops"])
def test_how_a_team_ends(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, how: str) -> None:
    """With a process in torchrun's place that says what a team's first one says."""
    monkeypatch.setattr(team, "write_command", lambda words, _: [sys.executable, "-c", TEAM, *words])
    lines: list[dict[str, object]] = []
    told: list[str] = []

    def report(fields: dict[str, object]) -> None:
        lines.append(fields)
        if "step" in fields:
            os.kill(os.getpid(), signal.SIGINT)

    if how == "fails":
        said = r"one of 2 processes failed .* 8 bytes that are no image The same command "
        with pytest.raises(IncompleteError, match=said + r"begins anew: no state was written yet\.$"):
            team.launch([how], 2, tmp_path, report, told.append)
        assert told == ["a warning"] and lines == []
        (tmp_path / "state").mkdir()
        (tmp_path / "state/state.json").touch()
        with pytest.raises(IncompleteError, match=said + r"goes on from the last state\.$"):
            team.launch([how], 2, tmp_path, report, told.append)
    else:
        assert team.launch([how], 2, tmp_path, report, told.append) == (how == "done")
        assert told == ([] if how == "done" else [STOPPING])
        assert next(iter(lines[-1])) == ("done" if how == "done" else "stopped")


def test_a_team_that_is_stopped_before_it_began(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No process of it listens yet: all are ended, what torchrun says of that is kept back, and what comes is true."""
    monkeypatch.setattr(team, "write_command", lambda words, _: [sys.executable, "-c", TEAM, *words])
    told: list[str] = []

    def tell(line: str) -> None:
        told.append(line)
        if line == "a warning":
            os.kill(os.getpid(), signal.SIGTERM)

    out = tmp_path / "run"
    assert not team.launch(["waits"], 2, out, lambda _: None, tell)
    assert told == ["a warning", BREAKING_OFF]
    assert say_stopped(out) == "kbench: stopped before the first step. The same command begins anew."
    (out / "state").mkdir(parents=True)
    (out / "state/state.json").touch()
    assert say_stopped(out) == "kbench: stopped. The same command goes on from there."


def test_weights_say_what_they_were_trained_on(kbench: Kbench, tmp_path: Path, captures: tuple[str, ...]) -> None:
    """The result on the same data set is no zero-shot one, and says so; another model's beside it does not."""
    out = tmp_path / "toy"
    ended = kbench("train", "smoke", "--steps", 1, "--out", out, *QUICK, *captures, "--hold-out", 1, "--fit", "random")
    assert ended.code == 0, ended.err
    card = load_checkpoint(out)[2]
    assert card["training_data"] == ["tiny"] and card["held_out_psnr"]
    about = cast("dict[str, object]", card["data"])
    assert (about["reader"], about["scenes"], about["held_out"], about["fit"]) == ("transforms", 1, 1, "random")
    write_protocol(tmp_path / "tiny.yaml", counts=(1,))
    ran = kbench("run", tmp_path / "tiny.yaml", "--model", f"kaleido@{out}", "--model", "nearest",
                 "--data", tmp_path / "data", "--out", tmp_path / "runs", "--device", "cpu")  # fmt: skip
    assert ran.code == 0, ran.err
    note = "kaleido@toy: trained on tiny, this protocol's data set: not zero-shot"
    assert ran.out.count("not zero-shot") == 1 and note in ran.out
    notes = {path.parent.name: load_result(path).notes for path in (tmp_path / "runs").rglob("result.json")}
    assert sorted(notes.values()) == [(), (note,)] and notes["nearest"] == ()
    table = kbench("table", tmp_path / "runs", "--format", "md")
    assert table.code == 0 and note in table.out


def test_a_model_that_no_machine_of_this_size_trains_is_one_line(
    kbench: Kbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is built or any codec is looked for, whether or not steps are to be made."""
    monkeypatch.setattr("reference_model.training.cost.find_memory", lambda device: 16 * 2**30)
    for option in ([], ["--dry-run"]):
        ended = kbench("train", "large", "--steps", 1, "--out", tmp_path / "run", "--device", "cpu", *option)
        assert ended.code == 2 and ended.err.count("\n") == 1, ended.err
        assert "3,106,332,800 parameters on cpu: " in ended.err and "46.5 GiB, of which there are 16.0" in ended.err
    assert not (tmp_path / "run").exists()


def test_a_dry_run_prints_a_preset_that_can_be_trained(kbench: Kbench, tmp_path: Path) -> None:
    words = ("--steps", 5, "--out", tmp_path / "run", "--device", "cpu")
    ended = kbench("train", "tiny", *words, "--set", "train.view_rule=orbit", "--dry-run")
    assert ended.code == 0 and "5 steps on cpu, in " in ended.err and "begins anew" in ended.err
    assert re.search(
        r"7,853,760 parameters, 0\.12 GiB .* FLOPs a step, which take at least \d+ to \d+ s on this", ended.err
    )
    assert from_json(ended.out).train.view_rule == "orbit" and not (tmp_path / "run").exists()
    (tmp_path / "mine.json").write_text(ended.out)
    assert kbench("train", tmp_path / "mine.json", *words, "--dry-run").out == ended.out


BAD_CALLS = {
    "an unknown preset": (("smal", "--steps", 1), ["PRESET: 'smal'", "Did you mean 'small'?"]),
    "no budget": (("smoke",), ["neither --minutes nor --steps nor --flops"]),
    "two budgets": (("smoke", "--steps", 1, "--minutes", 1), ["--minutes and --steps"]),
    "a field there is not": (("smoke", "--steps", 1, "--set", "train.sede=1"), ["Did you mean 'train.seed'?"]),
    "a value it does not take": (("smoke", "--steps", 1, "--set", "model.width=65"), ["width 65 is not a multiple"]),
    "no such codec": (("smoke", "--steps", 1, "--dry-run", "--set", "model.codec=jpeg"), ["codec 'jpeg': expected"]),
    "a codec of other tokens": (
        ("smoke", "--steps", 1, "--dry-run", "--set", "model.token_channels=5"),
        ["codec pixels has 192 values in a token, the model takes 5"],
    ),
    "no such data": (
        ("smoke", "--steps", 1, "--data", "nowhere", "--reader", "transforms", "--data-name", "x"),
        ["--data: no such folder nowhere"],
    ),
    "data without a reader": (("smoke", "--steps", 1, "--data", "x"), ["without --reader"]),
    "data without a name": (
        ("smoke", "--steps", 1, "--data", "x", "--reader", "llff"),
        ["without --data-name", "zero-shot"],
    ),
    "a reader without data": (("smoke", "--steps", 1, "--reader", "llff"), ["--reader: without --data"]),
    "no such weights": (("smoke", "--steps", 1, "--init", "nowhere"), ["--init: no checkpoint 'nowhere'"]),
    "no such photographs": (("smoke", "--steps", 1, "--photographs", "no.npy"), ["--photographs: ", "no.npy"]),
    "another file for photographs": (
        ("smoke", "--steps", 1, "--photographs", __file__),
        ["--photographs: ", "test_train.py", "expected a file packed by", "Correct it, or leave it out."],
    ),
    "no end": (("smoke", "--minutes", "inf"), ["--minutes: inf; expected a number above 0"]),
    "video alone without video": (
        (
            "smoke",
            "--steps",
            1,
            "--no-video",
            "--set",
            'train.stages=[{"image_size": 16, "scenes": 2, "share": 1, "video": true}]',
        ),
        ["--no-video: all stages are video"],
    ),
    "pieces that do not divide": (("smoke", "--steps", 1, "--gpus", 2), ["2 processes for the 1 pieces", "pieces=2"]),
    "no number of GPUs": (("smoke", "--steps", 1, "--gpus", "two"), ["--gpus: 'two'"]),
}


@pytest.mark.parametrize("case", BAD_CALLS)
def test_a_wrong_call_is_one_line(kbench: Kbench, tmp_path: Path, case: str) -> None:
    words, said = BAD_CALLS[case]
    ended = kbench("train", *words, "--out", tmp_path / "run", "--device", "cpu")
    assert ended.code == 2 and ended.err.count("\n") == 1 and ended.err.startswith("kbench: error: "), ended.err
    assert all(text in ended.err for text in said), ended.err
    assert not (tmp_path / "run").exists() and ended.out == ""


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
@pytest.mark.parametrize("words", [("--device", "cuda"), ("--gpus", "all"), ("--gpus", 2, "--device", "cuda")])
def test_cuda_where_there_is_none(kbench: Kbench, tmp_path: Path, words: tuple[object, ...]) -> None:
    ended = kbench("train", "smoke", "--steps", 1, "--out", tmp_path / "run", *words)
    assert ended.code == 2 and "kbench doctor" in ended.err and ended.err.count("\n") == 1


def test_scenes_that_cannot_serve_the_preset(kbench: Kbench, tmp_path: Path) -> None:
    write_scene(tmp_path / "data/short", views=3)
    words = ("train", "smoke", "--steps", 1, "--out", tmp_path / "run", "--device", "cpu", "--data", tmp_path / "data",
             "--reader", "transforms", "--data-name", "x")  # fmt: skip
    short = kbench(*words)
    assert short.code == 2 and "takes 4 views, and none of 1 scenes has as many (the most: 3)" in short.err
    write_scene(tmp_path / "data/whole", views=4)
    video = ("--set", 'train.stages=[{"image_size": 16, "scenes": 2, "share": 1, "video": true}]')
    refused = kbench(*words, *video)
    assert refused.code == 2 and "no scene is an ordered capture" in refused.err
    assert "--ordered" in refused.err and "--no-video" in refused.err
    assert kbench(*words, *video, "--ordered").code == 0


def test_photographs_whose_package_is_missing(kbench: Kbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reference_model.worlds.photographs.SOURCES", {"no_such_package": ("a.png",)})
    ended = kbench("train", "smoke", "--steps", 1, "--out", tmp_path / "run", "--device", "cpu")
    assert ended.code == 2 and "no_such_package" in ended.err and "pip install" in ended.err


def test_a_folder_that_holds_another_run(kbench: Kbench, tmp_path: Path, captures: tuple[str, ...]) -> None:
    out = tmp_path / "run"
    assert kbench("train", "smoke", "--steps", 1, "--out", out, *QUICK, *captures).code == 0
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    seed = kbench("train", "smoke", "--steps", 1, "--out", out, *QUICK, *captures, "--set", "train.seed=1")
    assert seed.code == 2 and "differs in train.seed" in seed.err and "Name another folder" in seed.err
    worlds = kbench("train", "smoke", "--steps", 1, "--out", out, *QUICK)
    assert worlds.code == 2 and "holds a run on" in worlds.err
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_a_folder_that_another_run_is_at(kbench: Kbench, tmp_path: Path, captures: tuple[str, ...]) -> None:
    with claim(tmp_path / "run"):
        ended = kbench("train", "smoke", "--steps", 1, "--out", tmp_path / "run", *QUICK, *captures)
    assert ended.code == 2 and "--out: another run is training in " in ended.err and ended.err.count("\n") == 1
    assert list((tmp_path / "run").iterdir()) == []


def test_a_folder_that_cannot_be_written(
    kbench: Kbench, tmp_path: Path, captures: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, _: path != tmp_path)  # root may write anywhere
    ended = kbench("train", "smoke", "--steps", 1, "--out", tmp_path / "a/run", *QUICK, *captures)
    assert ended.code == 2 and f"--out: {tmp_path} cannot be written to" in ended.err and ended.err.count("\n") == 1
    assert not (tmp_path / "a").exists()


def test_a_full_disk_is_one_line(
    kbench: Kbench, tmp_path: Path, captures: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    words = ("train", "smoke", "--steps", 2, "--out", tmp_path / "run", *QUICK, *captures)
    with monkeypatch.context() as patched:
        patched.setattr("reference_model.checkpoint.save_file", full)
        ended = kbench(*words)
    assert ended.code == 1 and "No space left on device" in ended.err.splitlines()[-1]
    assert ended.err.endswith("the same command begins anew: no state was written yet\n")
    assert list((tmp_path / "run").iterdir()) == []
    assert kbench(*words).code == 0
    with monkeypatch.context() as patched:
        patched.setattr("reference_model.checkpoint.save_file", full)
        ended = kbench(*words, "--steps", 4)
    assert ended.code == 1 and ended.err.endswith(
        "When it can be written, the same command goes on from the last state\n"
    )
    assert kbench(*words, "--steps", 4).code == 0


def test_a_broken_image_is_one_line_and_mended_it_goes_on(
    kbench: Kbench, tmp_path: Path, captures: tuple[str, ...]
) -> None:
    words = ("train", "smoke", "--out", tmp_path / "run", *QUICK, *captures, "--memory", 0)
    assert kbench(*words, "--steps", 2).code == 0
    image = tmp_path / "data/scenes/arc/images/0002.png"
    whole = image.read_bytes()
    image.write_bytes(b"8 bytes.")
    ended = kbench(*words, "--steps", 60)
    assert ended.code == 2 and "0002.png: 8 bytes that are no image" in ended.err.splitlines()[-1]
    image.write_bytes(whole)
    steps = steps_of(tmp_path / "run/state")
    again = kbench(*words, "--steps", 60)
    assert (
        again.code == 0
        and f"goes on from step {steps}" in again.err
        and load_checkpoint(tmp_path / "run")[2]["steps"] == 60
    )


def test_a_run_that_diverges_is_incomplete(kbench: Kbench, tmp_path: Path, captures: tuple[str, ...]) -> None:
    ended = kbench("train", "smoke", "--steps", 40, "--out", tmp_path / "run", *QUICK, *captures,
                   "--set", "train.learning_rate=1e30", "--set", "train.warmup_steps=0")  # fmt: skip
    assert ended.code == 1 and "training stopped: step 2: the loss is " in ended.err


def test_the_words_for_a_team_mean_the_same_call(kbench: Kbench, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[TrainCall] = []
    monkeypatch.setattr(command, "run_call", lambda call, gpus, **_: calls.append(call))
    whole = ("train", "tiny", "--flops", "1e16", "--device", "cuda", "--out", "o", "--init", "tiny",
             "--photographs", "p",
             "--set", "train.seed=1", "--set", "train.view_rule=orbit", "--no-video", "--save-steps", 7, "--no-compile",
             "--tensorboard", "--data", "d", "--reader", "llff", "--data-name", "n", "--unordered",
             "--fit", "random", "--span", 9,
             "--background", "black", "--hold-out", 2, "--memory", 0.5)  # fmt: skip
    for words in (whole, ("train", "tiny", "--minutes", 3, "--device", "cpu")):
        assert kbench(*words).code == 0
        assert kbench("train", *command.write_words(calls[-1])).code == 0
        assert calls[-1] == calls[-2]


GUIDE = (Path(__file__).parents[2] / "docs/training.md").read_text()


def test_the_guide_s_commands_are_accepted(kbench: Kbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each as it stands, up to the moment when it would train: on the CPU, beside the data that it names."""
    monkeypatch.chdir(tmp_path)
    for number in range(6):
        write_scene(tmp_path / f"captures/scene{number}", views=8)
    write_re10k(tmp_path / "re10k/train", 2 * make_views())
    whole = GUIDE.replace("\\\n", " ").splitlines()
    lines = [re.sub(r"\s+# .*", "", line) for line in whole if line.startswith("kbench train ")]
    assert len(lines) > 10
    for line in lines:
        (words, *file) = line.split(" > ")
        if "--init runs/train/mine" in words:  # of what a command before it has trained
            shutil.copytree(find_checkpoint("tiny"), tmp_path / "runs/train/mine")
        ended = kbench(*shlex.split(words)[1:], "--device", "cpu", "--dry-run")
        assert ended.code == 0, f"{line}: {ended.err}"
        if file:
            Path(file[0]).write_text(ended.out)


def test_video_is_left_out_by_one_option(kbench: Kbench, tmp_path: Path) -> None:
    """Photographs do not serve `small`; the message says what helps, and it does."""
    write_scene(tmp_path / "captures/desk", views=8)
    words = ("train", "small", "--steps", 1, "--out", tmp_path / "run", "--device", "cpu", "--dry-run",
             "--data", tmp_path / "captures", "--reader", "transforms", "--data-name", "x")  # fmt: skip
    refused = kbench(*words)
    assert refused.code == 2 and refused.err.count("\n") == 1 and refused.out == ""
    assert "stage 1 of the preset (video)" in refused.err and "--no-video leaves the stages of video out" in refused.err
    ended = kbench(*words, "--no-video")
    assert ended.code == 0, ended.err
    preset = from_json(ended.out)
    assert preset == drop_video(small()) and not any(stage.video for stage in preset.train.stages)
    (tmp_path / "mine.json").write_text(ended.out)
    assert kbench("train", tmp_path / "mine.json", *words[2:]).out == ended.out
    ordered = kbench(*words, "--ordered")
    assert ordered.code == 0 and from_json(ordered.out) == small()
    short = kbench(*words, "--no-video", "--set", "model.max_views=9")
    assert short.code == 2 and "--no-video" not in short.err


def test_the_guide_s_program_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    scene = ReaderScenes(
        str(write_scene(tmp_path / "data/arc").parent), "transforms", ordered=None, background="white"
    )[0]
    monkeypatch.chdir(tmp_path)
    known = {"images": np.stack([scene.images[i] for i in range(6)]), "c2w": scene.c2w, "K": scene.intrinsics}
    exec(program.replace("steps=100", "steps=1"), known)
    assert load_checkpoint(tmp_path / "runs/train/desk")[2]["training_data"] == ["my-captures"]


def test_help_names_every_preset_and_needs_no_torch() -> None:
    code = (
        "import sys; from kaleido_bench.cli.app import build_app; from typer.testing import CliRunner; "
        "print(CliRunner().invoke(build_app(), ['train', '--help']).stdout, 'torch' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.rstrip().endswith("False") and all(name in said for name in PRESETS)


STEP = {"step": 100, "progress": 0.25, "seconds": 9, "eta_s": 200, "size": 64, "loss": 0.5, "lr": 1e-3,
        "steps_per_s": 20.5, "tflops": 193.0, "mfu": 0.195}  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        (STEP, "step 100, 64 px, loss 0.5000, 20.5 steps/s, 193 TFLOP/s, MFU 20 %, 3 min 20 s left"),
        ({**STEP, "mfu": None, "eta_s": None}, "step 100, 64 px, loss 0.5000, 20.5 steps/s"),
        (
            {"spike": 31, "loss": 4.25, "layer": "head.weight", "gradient_times_median": 7.4},
            "step 31: the loss leapt to 4.25, the gradient of head.weight to 7.4 times its median",
        ),
        ({"resumed": 5, "note": "the code has changed since"}, "goes on from step 5 (the code has changed since)"),
        (
            {"parameters": 1000, "device": "cuda", "processes": 4, "torch": "2.13"},
            "1,000 parameters on cuda in 4 processes, PyTorch 2.13",
        ),
        (
            {"references": 1.0, "nearest": 14.0, "steps_1": 17.5, "steps_4": 16.25},
            "held out, 1 reference: 17.50 in 1, 16.25 in 4 sampling steps, nearest view 14.00 dB",
        ),
        ({"stopped": 7, "state": "x", "next": "y"}, "stopped after step 7"),
        ({"pid": 7}, ""),
        ({"something": "new"}, '{"something": "new"}'),
    ],
)
def test_lines_in_words(fields: dict[str, object], text: str) -> None:
    assert describe(fields) == text


def test_plain_lines_are_few_and_the_newest_is_never_lost() -> None:
    said: list[str] = []
    times = iter([0.0, 1.0, 2.0, 12.0, 13.0, 14.0])
    lines = Lines("toy", said.append, lambda: next(times))
    for step in (1, 20, 100, 200, 300):
        lines.report({**STEP, "step": step})
    lines.report({"done": 300})
    assert [re.sub(r", 64 px.*", "", line) for line in said] == [
        "toy: step 1", "toy: step 200", "toy: step 300", "toy: done after 300 steps"
    ]  # fmt: skip


@pytest.mark.parametrize(("last", "share"), [({"resumed": 5}, "25%"), ({"done": 400}, "100%")])
def test_a_terminal_shows_a_bar(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], last: dict[str, object], share: str
) -> None:
    """Full at the end, though the last steps had no line of their own."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "160")
    with show("toy", as_json=False, silent=False) as report:
        report({**STEP})
        report(last)
    said = capsys.readouterr()
    assert said.out == "" and describe(last) in said.err
    assert share in said.err and "MFU 20 %, 3 min 20 s left" in said.err
