"""`kbench weights fetch`: from a checkpoint on a server to the trunk that a convention pins."""

from __future__ import annotations

import hashlib
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from kaleido_bench.cli.app import build_app
from kaleido_bench.errors import BenchError
from kaleido_bench.score.metrics import weights
from kaleido_bench.score.metrics.fetching import convert_checkpoint, fetch_weights
from kaleido_bench.score.metrics.weights import WEIGHTS, find_weights
from tests.serving import Served, serve

SQUEEZE, VGG = "squeezenet1_1_features", "vgg16_features"
OFFLINE = "http://nowhere.invalid"  # reserved never to resolve


class Checkpoint(NamedTuple):
    path: Path
    sha256: str


Pretend = Callable[[str, Path, str], Checkpoint]


@pytest.fixture
def squeeze(weights_dir: Path, tmp_path: Path) -> Path:
    """A checkpoint with the pinned tensors and a classifier. Its own bytes are not those of torchvision's."""
    state = load_file(weights_dir / "lpips" / f"{SQUEEZE}.safetensors")
    path = tmp_path / "squeeze.pth"
    torch.save({**state, "classifier.1.weight": torch.zeros(10, 512, 1, 1)}, path)
    return path


@pytest.fixture
def vgg(tmp_path: Path) -> Path:
    path = tmp_path / "vgg.pth"
    torch.save({"features.0.weight": torch.ones(4, 3, 3, 3), "classifier.0.bias": torch.zeros(2)}, path)
    return path


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch) -> Pretend:
    """Let a file be the checkpoint of some weights: its name ends in its own hash, as torchvision's does."""

    def replace(name: str, path: Path, server: str = OFFLINE) -> Checkpoint:
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        checkpoint = f"{name}-{sha256[:8]}.pth"
        spec = WEIGHTS[name]._replace(checkpoint=checkpoint, source=f"{server}/{checkpoint}")
        monkeypatch.setattr(weights, "WEIGHTS", {**WEIGHTS, name: spec})
        monkeypatch.setattr("kaleido_bench.score.metrics.fetching.WEIGHTS", weights.WEIGHTS)
        return Checkpoint(path, sha256)

    return replace


def kbench(*words: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(build_app(), ["weights", *map(str, words)], prog_name="kbench")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def test_the_names_of_torchvisions_files_pin_them() -> None:
    assert {name: spec.checkpoint_sha256 for name, spec in WEIGHTS.items()} == {
        "alexnet_features": "7be5be79",
        "squeezenet1_1_features": "b8a52dc0",
        "vgg16_features": "397923af",
    }
    assert all(spec.source == f"https://download.pytorch.org/models/{spec.checkpoint}" for spec in WEIGHTS.values())


def test_a_checkpoint_cut_off_in_the_middle_becomes_the_pinned_trunk(
    tmp_path: Path, squeeze: Path, pretend: Pretend
) -> None:
    data, cache = squeeze.read_bytes(), tmp_path / "cache"
    sha256 = hashlib.sha256(data).hexdigest()
    with serve({f"/{SQUEEZE}-{sha256[:8]}.pth": Served(data, cut=1_000_000)}) as server:
        pretend(SQUEEZE, squeeze, server.url)
        fetched = fetch_weights(SQUEEZE, cache)
        assert [asked for _, asked in server.requests] == [None, "bytes=1000000-"]
        assert fetched.file.sha256 == WEIGHTS[SQUEEZE].accepted[0] and not fetched.was_there
        assert fetch_weights(SQUEEZE, cache).was_there and len(server.requests) == 2
    assert [path.name for path in cache.iterdir()] == [f"{SQUEEZE}.safetensors"]


def test_other_tensors_under_the_right_hash_are_refused(tmp_path: Path, squeeze: Path, pretend: Pretend) -> None:
    """The pin of the trunk is asked of what comes out, whatever the checkpoint's name says."""
    state = torch.load(squeeze, weights_only=True)
    state["features.0.bias"][0] += 1
    torch.save(state, squeeze)
    checkpoint = pretend(SQUEEZE, squeeze, OFFLINE)
    with (
        serve({f"/{SQUEEZE}-{checkpoint.sha256[:8]}.pth": Served(squeeze.read_bytes())}) as server,
        pytest.raises(BenchError, match=r"its features have sha256 \w+; expected sha256 9b5919c1"),
    ):
        fetch_weights(SQUEEZE, tmp_path / "cache", mirrors=[server.url])
    assert not (tmp_path / "cache" / f"{SQUEEZE}.safetensors").exists()


def test_weights_that_nobody_pinned_record_their_own_hash(tmp_path: Path, vgg: Path, pretend: Pretend) -> None:
    checkpoint = pretend(VGG, vgg, OFFLINE)
    found = convert_checkpoint(VGG, vgg, tmp_path / "cache")
    record = weights.Origin.model_validate_json((tmp_path / "cache" / f"{VGG}.json").read_text())
    assert (record.checkpoint_sha256, record.sha256) == (checkpoint.sha256, found.sha256)
    assert found.sha256 == hashlib.sha256(found.path.read_bytes()).hexdigest()
    found.path.write_bytes(found.path.read_bytes() + b" ")
    with pytest.raises(BenchError, match=f"expected sha256 {record.sha256}, as {VGG}.json recorded"):
        find_weights(VGG, {"KBENCH_WEIGHTS": str(tmp_path / "cache")})


def test_another_vgg_is_refused(tmp_path: Path, vgg: Path) -> None:
    with pytest.raises(BenchError, match=r"sha256 \w+; expected a sha256 that begins with 397923af"):
        convert_checkpoint(VGG, vgg, tmp_path)


class Runs:
    """What a pickle can do to who loads it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("kind", ["program", "text", "tensor"])
def test_nothing_in_a_checkpoint_is_run(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "squeezenet1_1-b8a52dc0.pth"
    if kind == "program":
        path.write_bytes(pickle.dumps({"features.0.weight": Runs(tmp_path / "ran")}))
    elif kind == "text":
        path.write_text("<html>")
    else:
        torch.save(torch.zeros(3), path)
    with pytest.raises(BenchError, match="not a checkpoint of tensors") as caught:
        convert_checkpoint(SQUEEZE, path, tmp_path / "cache")
    assert "\n" not in str(caught.value) and not (tmp_path / "ran").exists()


def test_the_command_fetches_lists_and_verifies(
    tmp_path: Path, squeeze: Path, pretend: Pretend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KBENCH_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setenv("KBENCH_CACHE", str(tmp_path / "none"))
    checkpoint = pretend(SQUEEZE, squeeze, OFFLINE)
    with serve({f"/models/{SQUEEZE}-{checkpoint.sha256[:8]}.pth": Served(squeeze.read_bytes())}) as server:
        code, out, _ = kbench("fetch", SQUEEZE, "--mirror", f"{server.url}/models/", "--keep-checkpoint")
    assert code == 0 and WEIGHTS[SQUEEZE].accepted[0] in out
    kept = tmp_path / "weights" / "lpips" / f"{SQUEEZE}-{checkpoint.sha256[:8]}.pth"
    assert hashlib.sha256(kept.read_bytes()).hexdigest() == checkpoint.sha256
    assert "was here" in kbench("fetch", SQUEEZE)[1]
    assert kbench("verify", SQUEEZE)[0] == 0
    code, _, err = kbench("list")
    assert code == 0 and f"kbench weights fetch {VGG}" in err and f"fetch {SQUEEZE}" not in err
    code, _, err = kbench("fetch", SQUEEZE, "--cache", tmp_path / "other", "--from", squeeze)
    assert code == 0 and f"KBENCH_WEIGHTS is {tmp_path / 'other'}" in err


def test_without_a_network_the_error_says_what_to_do(tmp_path: Path, vgg: Path, pretend: Pretend) -> None:
    checkpoint = pretend(VGG, vgg, OFFLINE)
    cache, name = tmp_path / "cache", f"{VGG}-{checkpoint.sha256[:8]}.pth"
    code, out, err = kbench("fetch", VGG, "--cache", cache)
    assert (code, out, err.count("\n")) == (2, "", 1)
    for part in (cache / name, f"{OFFLINE}/{name}", f"`kbench weights fetch {VGG} --from {name} --cache {cache}`"):
        assert str(part) in err


def test_what_cannot_be_got_does_not_hide_the_rest(
    tmp_path: Path, weights_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(weights_dir / "lpips", tmp_path / "w")
    offline = {name: spec._replace(source=f"{OFFLINE}/{spec.checkpoint}") for name, spec in WEIGHTS.items()}
    monkeypatch.setattr(weights, "WEIGHTS", offline)
    monkeypatch.setattr("kaleido_bench.score.metrics.fetching.WEIGHTS", offline)
    code, out, err = kbench("fetch", "--all", "--cache", tmp_path / "w")
    assert code == 2 and out.count("was here") == 2 and f"1 failed ({VGG}), 2 finished" in err
    assert not list((tmp_path / "w").glob("*.part"))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), "no name"),
        ((VGG, "--all"), "both names and --all"),
        (("vgg",), "expected one of alexnet_features"),
        (("--all", "--from", "x"), "one name"),
    ],
)
def test_a_call_that_is_wrong(words: tuple[str, ...], expected: str) -> None:
    code, _, err = kbench("fetch", *words)
    assert code == 2 and expected in err and err.count("\n") == 1


def test_importing_downloads_nothing_and_needs_no_torchvision() -> None:
    """Every module of the package imports without a socket and without torchvision."""
    program = """
import pkgutil, socket, sys, importlib
def refuse(*args, **options): raise AssertionError("a socket was opened")
socket.socket.connect = refuse; socket.create_connection = refuse; socket.getaddrinfo = refuse
import kaleido_bench
for module in pkgutil.walk_packages(kaleido_bench.__path__, "kaleido_bench."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
assert "torch" in sys.modules, "the metrics were imported"
wrong = {"torchvision", "lpips", "torchmetrics", "skimage", "requests", "httpx"} & set(sys.modules)
assert not wrong, wrong
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
