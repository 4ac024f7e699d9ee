"""The reports say what is there: planted giants, planted overflows, and the attention that the model really pays."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from reference_model.attention import attend_across, attend_windows
from reference_model.blocks import TemporalAttention
from reference_model.checkpoint import write_checkpoint
from reference_model.config import ModelConfig
from reference_model.diagnostics import (
    main,
    map_attention,
    measure_activations,
    measure_giants,
    name_checkpoints,
    seen_tokens,
    split_kinds,
)
from reference_model.figures import load_attention
from reference_model.model import Kaleido, Views
from reference_model.overflow import find_overflow, run_eagerly
from reference_model.presets import smoke
from reference_model.train import Run, train
from reference_model.training.schedule import Budget
from reference_model.training.steps import WorldSource

REFERENCES, VIEWS, SIZE = 2, 4, 32


def build(**changes: object) -> Kaleido:
    """A random model, also where training starts at zero."""
    torch.manual_seed(0)
    model = Kaleido(dataclasses.replace(smoke().model, **changes)).eval()
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.2)
    return model


def run(model: Kaleido) -> Tensor:
    poses = torch.eye(4).repeat(1, VIEWS, 1, 1)
    poses[..., :3, 3] = torch.randn(1, VIEWS, 3, generator=torch.Generator().manual_seed(1))
    k = torch.tensor([[40.0, 0, 16], [0, 40.0, 16], [0, 0, 1]]).expand(1, VIEWS, 3, 3)
    tokens = torch.randn(1, VIEWS, 16, 192, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        return model(tokens, torch.tensor([0.7]), Views(poses, k, REFERENCES, SIZE, SIZE))


@pytest.mark.parametrize("layout", ["decoder-only", "encoder-decoder"])
def test_magnitudes_are_told_apart_by_kind_of_token(layout: str) -> None:
    """A giant planted in one channel of the registers shows there alone, after the block that makes it."""
    model = build(registers=2, layout=layout)
    block = model.stack()[-1]

    def plant(module: object, inputs: object, output: tuple[Tensor, object]) -> tuple[Tensor, object]:
        output[0][:, :, -1, 3] = 1e6
        return output

    block.register_forward_hook(plant)
    rows = measure_activations(model, REFERENCES, lambda: run(model))
    last = {row.kind: row for row in rows if row.layer == rows[-1].layer}
    expected = {"target", "register"} | ({"reference"} if layout == "decoder-only" else set())
    assert set(last) == expected
    assert last["register"].largest == 1e6
    assert (last["register"].tokens, last["register"].channels) == (0.5, 1)  # one of two registers a view
    assert last["target"].tokens == 0 == last["target"].channels
    assert all(row.largest < 1e4 for row in rows if row is not last["register"])
    assert all(0 < row.median < row.largest for row in rows)


def test_a_giant_is_a_hundred_times_the_median() -> None:
    """Of ten tokens with values of 1 one has 99 in a channel, two have 101 in another: large, and giants."""
    size = torch.ones(1, 2, 5, 8)
    size[0, 0, 0, 2], size[0, 0, 1, 3], size[0, 1, 4, 3] = 99, 101, 101
    assert measure_giants(size) == (101.0, 1.0, pytest.approx(0.2), 1)


def test_every_token_is_of_one_kind() -> None:
    """Two references and one target of three patches and two registers each."""
    x = torch.arange(15.0).reshape(1, 3, 5, 1)
    kinds = {kind: part.flatten().tolist() for kind, part in split_kinds(x, "blocks.0", 2, 2, encoded=False).items()}
    assert kinds == {"reference": [0, 1, 2, 5, 6, 7], "target": [10, 11, 12], "register": [3, 4, 8, 9, 13, 14]}
    assert list(split_kinds(x[:, :2], "encoder.0", 2, 0, encoded=True)) == ["reference"]
    assert list(split_kinds(x[:, 2:], "blocks.0", 2, 0, encoded=True)) == ["target"]


def test_the_layer_that_overflows_is_named() -> None:
    """float16 ends at 65,504: a weight of 300 on inputs of 300 passes it, and the layer behind is not blamed."""
    model = build()
    assert find_overflow(model, lambda: run(model)) is None
    module = model.stack()[1].mlp.up
    with torch.no_grad():
        module.weight.mul_(1e5)

    def half() -> Tensor:
        with torch.autocast("cpu", torch.float16):
            return run(model)

    found = find_overflow(model, half)
    assert found is not None
    assert found.layer == "blocks.1.mlp.up"
    assert 0 < found.share <= 1
    assert "blocks.1.mlp.up" in str(found)


def test_in_bfloat16_too() -> None:
    """Its range is that of float32: only what passes 3.4e38 overflows."""
    model = build()
    with torch.no_grad():
        model.stack()[0].spatial.out.weight.fill_(3e38)

    def half() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return run(model)

    found = find_overflow(model, half)
    assert found is not None
    assert found.layer == "blocks.0.spatial.out"


def test_a_weight_that_is_no_number_is_named_first() -> None:
    model = build()
    with torch.no_grad():
        model.stack()[1].temporal.qkv.weight[0, 0] = torch.nan
    found = find_overflow(model, lambda: run(model))
    assert found is not None
    assert found.layer == "weights of blocks.1.temporal.qkv.weight"


@pytest.mark.parametrize(
    "changes", [{}, {"window": 2, "registers": 1}, {"window": 2, "window_rule": "grid"}, {"kv_heads": 1}]
)
@pytest.mark.parametrize("view", [1, 3])
def test_the_map_is_the_attention_that_is_paid(changes: dict[str, object], view: int) -> None:
    """Against attention itself: with values that say which token they come from, its output is the weights."""
    model, patch = build(**changes), 5
    maps = map_attention(model, view, patch, lambda: run(model))
    assert [found.layer for found in maps] == ["blocks.0.temporal", "blocks.1.temporal"]
    seen: list[Tensor] = []

    def look(module: TemporalAttention, inputs: tuple, output: object) -> None:
        x, actions, window, references = inputs[:4]
        q, k, _ = module.project(x, actions)
        _, v, n, kv, c = k.shape
        rows: list[Tensor] = []
        for first in range(0, v * n, c):  # as many one-hot tokens at a time as a head has channels
            one_hot = torch.zeros(1, v * n, kv, c)
            for j in range(first, min(first + c, v * n)):
                one_hot[0, j, :, j - first] = 1
            values = one_hot.reshape(1, v, n, kv, c)
            if window is None:
                out = attend_across(q, k, values, references)
            else:
                out = attend_windows(q, k, values, references, window)
            rows.append(out[0, view, patch].mean(0))
        seen.append(torch.cat(rows)[: v * n].reshape(v, n))

    for block in model.stack():
        block.temporal.register_forward_hook(look)
    run(model)
    for found, expected in zip(maps, seen, strict=True):
        assert found.weights.sum() == pytest.approx(1, abs=1e-5)
        assert torch.allclose(found.weights, expected, atol=1e-5)
        if view < REFERENCES:
            assert found.weights[REFERENCES:].sum() == 0


def test_a_reference_sees_no_target() -> None:
    assert seen_tokens(None, 0, 0, torch.Size((4, 5)), 2).sum(1).tolist() == [5, 5, 0, 0]
    assert seen_tokens(None, 2, 0, torch.Size((4, 5)), 2).all()


def test_compiled_modules_are_run_eagerly_and_left_as_they_were() -> None:
    model = build()
    marker = lambda *args: None  # noqa: E731
    model.stack()[0]._compiled_call_impl = marker  # pyright: ignore[reportAttributeAccessIssue]
    with run_eagerly(model):
        assert run(model).isfinite().all()
    assert model.stack()[0]._compiled_call_impl is marker


def save(folder: Path, **changes: object) -> Path:
    model = build(**changes)
    write_checkpoint(
        folder, model.state_dict(), dataclasses.replace(smoke(), model=model.config), {"training_data": []}
    )
    return folder


SMALL = ["--sizes", "16", "32", "--scenes", "1", "--references", "1", "--targets", "1", "--device", "cpu"]


def test_the_command_writes_figures_for_several_checkpoints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    both = [str(save(tmp_path / name, registers=registers)) for name, registers in (("without", 0), ("with", 2))]
    out = tmp_path / "out"
    assert main([*both, "--out", str(out), *SMALL]) == 0
    numbers = {"activations.json", "attention-with.npz", "attention-without.npz"}
    figures = {"activations.png", "attention-with.png", "attention-without.png"}
    assert {path.name for path in out.iterdir()} == numbers | figures
    report = json.loads((out / "activations.json").read_text())
    assert set(report) == {"with", "without"}
    assert {row["kind"] for row in report["with"]["32"]} == {"reference", "target", "register"}
    assert {row["kind"] for row in report["without"]["16"]} == {"reference", "target"}
    assert "with at 32 px, register: largest" in capsys.readouterr().out
    stored = load_attention(out / "attention-with.npz")
    assert stored.weights.sum((1, 2)) == pytest.approx(1, abs=1e-5) and len(stored.layers) == len(stored.weights) == 2


def test_numbers_are_drawn_on_another_machine_than_they_were_measured_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    words, out = [str(save(tmp_path / "a")), "--out", str(tmp_path / "out"), *SMALL], tmp_path / "out"
    with monkeypatch.context() as patch:
        find = importlib.util.find_spec
        patch.setattr(importlib.util, "find_spec", lambda name: None if name == "matplotlib" else find(name))
        patch.setitem(sys.modules, "matplotlib", None)  # and an import fails
        assert main(words) == 0
    assert "no figure was drawn" in capsys.readouterr().out
    assert {path.name for path in out.iterdir()} == {"activations.json", "attention-a.npz"}
    assert main(["--out", str(out)]) == 0  # drawn later, from the files alone
    apart = {path.name: path.read_bytes() for path in out.glob("*.png")}
    assert set(apart) == {"activations.png", "attention-a.png"}
    assert main(words) == 0
    assert {path.name: path.read_bytes() for path in out.glob("*.png")} == apart
    with pytest.raises(FileNotFoundError, match=r"activations\.json is not there"):
        main(["--out", str(tmp_path / "nothing")])


def test_checkpoints_of_one_name_are_told_apart() -> None:
    assert name_checkpoints(["runs/a/final", "/runs/b/final", "tiny"]) == ["runs-a-final", "runs-b-final", "tiny"]


def test_the_command_fails_and_names_the_layer_where_a_model_overflows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    model = build()
    with torch.no_grad():
        model.stack()[1].mlp.down.weight.fill_(3e38)
    write_checkpoint(tmp_path / "bad", model.state_dict(), smoke(), {"training_data": []})
    words = [str(tmp_path / "bad"), "--out", str(tmp_path / "out"), "--sizes", "16", "--scenes", "1"]
    assert main([*words, "--references", "1", "--targets", "1", "--device", "cpu"]) == 1
    assert "bad at 16 px: blocks.1.mlp.down" in capsys.readouterr().out
    assert isinstance(model.config, ModelConfig)


def test_a_run_that_diverges_says_where(tmp_path: Path) -> None:
    """The trainer asks for the layer as soon as its log sees that the loss is no number."""
    wild = dataclasses.replace(smoke(), train=dataclasses.replace(smoke().train, learning_rate=1e30, warmup_steps=1))
    with pytest.raises(RuntimeError, match=r"the loss is (nan|inf|[\d.e+]+); .*(weights of|blocks|embed|time)"):
        train(wild, WorldSource(None, "cpu"), Run(tmp_path / "out", Budget(steps=20)))
