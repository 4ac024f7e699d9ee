"""A run goes on from its state on disk exactly, wherever it was cut off."""

from __future__ import annotations

import contextlib
import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from reference_model import checkpoint
from reference_model.checkpoint import hash_checkpoint, load_checkpoint, read_shards, write_shards
from reference_model.config import Preset
from reference_model.presets import smoke
from reference_model.stored import VERSION
from reference_model.train import Run, train
from reference_model.training.resuming import find_state, read_header
from reference_model.training.schedule import Budget
from reference_model.training.settings import override
from reference_model.training.steps import StepViews, Stream, WorldSource


def test_a_run_that_was_cut_off_goes_on_exactly(tmp_path: Path, worlds: WorldSource) -> None:
    """Also across its change of stage, and with the loss of every step."""
    whole: list[dict[str, object]] = []
    parts: list[dict[str, object]] = []
    train(smoke(), worlds, Run(tmp_path / "whole", Budget(steps=24)), whole.append)
    stop = Asked(after=7)
    assert not train(smoke(), Watched(worlds, stop), Run(tmp_path / "parts", Budget(steps=24)), parts.append, stop)
    assert parts[-1]["stopped"] == 7
    card = load_checkpoint(tmp_path / "parts")[2]  # the weights of then can be used
    assert card["steps"] == 7 and "held_out_psnr" not in card
    assert train(smoke(), worlds, Run(tmp_path / "parts", Budget(steps=24)), parts.append)
    assert hash_checkpoint(tmp_path / "parts") == hash_checkpoint(tmp_path / "whole")
    kept = [next(line["loss"] for line in lines if "loss" in line) for lines in (whole, parts)]
    assert kept[0] == kept[1]
    card = load_checkpoint(tmp_path / "parts")[2]
    assert card["steps"] == 24 and card["flops"] == load_checkpoint(tmp_path / "whole")[2]["flops"]
    train(smoke(), worlds, Run(tmp_path / "parts", Budget(steps=24)), parts.append)
    assert parts[-1]["done"] == 24 and parts[-2].get("step") is None  # nothing is done twice


class Asked:
    """To stop, when the stream has been asked for so many steps."""

    def __init__(self, after: int) -> None:
        self.after, self.asked = after, False


class Watched:
    """A source that counts the steps asked of it."""

    def __init__(self, source: WorldSource, stop: Asked) -> None:
        self.source, self.stop = source, stop
        self.describe, self.score = source.describe, source.score

    def open(self, preset: Preset, stage: int, piece: int, device: str) -> Stream:
        stream, stop = self.source.open(preset, stage, piece, device), self.stop

        class Counting:
            def step(self, step: int) -> StepViews:
                stop.asked = step + 1 >= stop.after
                return stream.step(step)

        return Counting()


class Killed(BaseException):
    """As a process is killed: nothing is cleaned up."""


def kill_at(monkeypatch: pytest.MonkeyPatch, moment: int) -> list[str]:
    """From the `moment`-th change of the disk on, nothing is written any more; what was, by name."""
    made: list[str] = []

    def count(owner: object, name: str) -> None:
        change = getattr(owner, name)

        def once(*words: object, **settings: object) -> object:
            if len(made) == moment:
                raise Killed(made[-1] if made else "at once")
            made.append(name)
            return change(*words, **settings)

        monkeypatch.setattr(owner, name, once)

    for owner, names in (
        (Path, ("rename", "replace", "unlink", "rmdir", "write_text")),
        (shutil, ("rmtree",)),
        (checkpoint, ("save_file",)),
    ):
        for name in names:
            count(owner, name)
    return made


def test_killed_at_any_moment_of_writing_a_run_goes_on_exactly(
    tmp_path: Path, worlds: WorldSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each change of the disk in turn, at the first state and over an older one, and once more while it goes on:
    every time the run ends as the one that nobody touched, and nothing of the killed ones is left.
    """
    preset = override(smoke(), ['train.stages=[{"image_size": 16, "scenes": 1, "share": 1}]'])
    monkeypatch.setattr(WorldSource, "score", lambda *_: [{"references": 1.0}])

    def go(out: Path) -> None:
        train(preset, worlds, Run(out, Budget(steps=2), save_steps=1), lambda _: None)

    go(tmp_path / "whole")
    expected, moments = list_bytes(tmp_path / "whole"), 0
    hashes: dict[object, str] = {2: hash_checkpoint(tmp_path / "whole")}
    while True:
        out = tmp_path / str(moments)
        with monkeypatch.context() as patched:
            made = kill_at(patched, moments)
            try:
                go(out)
            except Killed:
                pass
            else:
                break
        if (out / "card.json").is_file():  # then it is the card of the weights beside it
            assert hashes.setdefault(load_checkpoint(out)[2]["steps"], hash_checkpoint(out)) == hash_checkpoint(out)
        before = find_state(out)
        with monkeypatch.context() as patched, contextlib.suppress(Killed):
            kill_at(patched, 5)
            go(out)
        assert before is None or find_state(out), f"the state is lost after {made}"
        go(out)
        assert list_bytes(out) == expected, f"killed after {made}"
        moments += 1
    assert moments > 20


def test_a_full_disk_leaves_what_was_there(
    tmp_path: Path, worlds: WorldSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the state and of the weights; the half that was written makes room again."""
    small = override(smoke(), ['train.stages=[{"image_size": 16, "scenes": 1, "share": 1}]'])
    monkeypatch.setattr(WorldSource, "score", lambda *_: [])
    for full in ("state", "model"):
        out = tmp_path / full
        train(small, worlds, Run(out, Budget(steps=1)), lambda _: None)
        before = list_bytes(out)

        def save(tensors: object, path: Path, full: str = full) -> None:
            if path.name.startswith(full):
                path.write_bytes(b"half")
                raise SafetensorError("No space left on device")
            save_file(tensors, path)

        with monkeypatch.context() as patched:
            patched.setattr(checkpoint, "save_file", save)
            with pytest.raises(OSError, match=rf"{full}-00001.safetensors: No space left on device"):
                train(small, worlds, Run(out, Budget(steps=2)), lambda _: None)
        after = list_bytes(out)
        assert after.keys() == before.keys()
        assert all(after[name] == before[name] for name in before if name.startswith("state") is (full == "state"))
        assert read_header(out / "state", small, worlds.describe()).spent.steps == (1 if full == "state" else 2)
        train(small, worlds, Run(out, Budget(steps=2)), lambda _: None)
        assert load_checkpoint(out)[2]["steps"] == 2 and "held_out_psnr" in load_checkpoint(out)[2]


def list_bytes(out: Path) -> dict[str, bytes]:
    """Of a run's folder, but for the seconds that it took, and the code, which someone may be editing."""
    files = {path.relative_to(out).as_posix(): path for path in out.rglob("*") if path.is_file()}
    read = {name: path.read_bytes() for name, path in files.items()}
    clock = rb'"(seconds|seconds_preparing|code_sha256)": [^,\n]+'
    return {name: re.sub(clock, b"", data) for name, data in read.items()}


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("state.json", b"{", r"state\.json is not what a run wrote .*delete .*state to begin anew"),
        ("state.json", b'{"steps": 3}', r"state\.json is not what a run wrote \('seconds'\)"),
        ("state-00001-of-00001.safetensors", b"cut", r"state-00001-of-00001\.safetensors: .*it was cut off or changed"),
        ("state-00001-of-00001.safetensors", None, "0 of 1 weight files are there"),
    ],
)
def test_a_state_that_was_changed_is_named(
    tmp_path: Path, worlds: WorldSource, name: str, data: bytes | None, message: str
) -> None:
    train(smoke(), worlds, Run(tmp_path, Budget(steps=1)), lambda _: None)
    path = tmp_path / "state" / name
    if data is None:
        path.unlink()
    else:
        path.write_bytes(data)
    with pytest.raises(ValueError, match=message):
        train(smoke(), worlds, Run(tmp_path, Budget(steps=2)), lambda _: None)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("model.strange", r"model\.strange is no part of this model"),
        ("averaged.head.weight", r"lacks averaged\.head"),
        ("optimizer1.0.exp_avg", "what optimizer 1 remembers is not whole"),
        ("optimizer0.", "what optimizer 0 remembers is not whole"),
    ],
)
def test_a_state_of_other_tensors_is_refused(tmp_path: Path, worlds: WorldSource, name: str, message: str) -> None:
    train(smoke(), worlds, Run(tmp_path, Budget(steps=1)), lambda _: None)
    tensors = read_shards(tmp_path / "state", "state")
    kept = {other: tensor for other, tensor in tensors.items() if not other.startswith(name)}
    if len(kept) == len(tensors):
        kept[name] = torch.zeros(1)
    write_shards(tmp_path / "state", "state", kept.items())
    with pytest.raises(ValueError, match=message):
        train(smoke(), worlds, Run(tmp_path, Budget(steps=2)), lambda _: None)


def test_a_run_of_later_code_is_not_called_broken(tmp_path: Path, worlds: WorldSource) -> None:
    train(smoke(), worlds, Run(tmp_path, Budget(steps=1)), lambda _: None)
    path = tmp_path / "state/state.json"
    path.write_text(path.read_text().replace(f'\\"version\\": {VERSION}', '\\"version\\": 99'))
    with pytest.raises(
        ValueError, match=rf"state\.json: a preset of version 99: this code reads 1 to {VERSION}"
    ) as said:
        train(smoke(), worlds, Run(tmp_path, Budget(steps=2)), lambda _: None)
    assert "delete" not in str(said.value)


def test_a_folder_of_another_run_is_refused(tmp_path: Path, worlds: WorldSource) -> None:
    train(smoke(), worlds, Run(tmp_path, Budget(steps=1)))
    other = override(smoke(), ["model.mlp_width=64", "train.seed=4"])
    with pytest.raises(ValueError, match=r"another preset: it differs in model\.mlp_width, train\.seed"):
        train(other, worlds, Run(tmp_path, Budget(steps=1)))


def test_a_run_goes_on_whatever_is_said_of_windows_it_has_not(tmp_path: Path, worlds: WorldSource) -> None:
    train(smoke(), worlds, Run(tmp_path, Budget(steps=1)))
    idle = override(smoke(), ["model.window_from=512"])
    assert read_header(tmp_path / "state", idle, worlds.describe()).spent.steps == 1
    with pytest.raises(ValueError, match=r"differs in model\.window, model\.window_from"):
        read_header(tmp_path / "state", override(idle, ["model.window=2"]), worlds.describe())
