"""The loop, its optimizer, its checkpoints, and the weights that ship."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import nn

from reference_model import checkpoint
from reference_model.checkpoint import (
    find_checkpoint,
    hash_checkpoint,
    load_checkpoint,
    read_shards,
    write_checkpoint,
    write_shards,
)
from reference_model.config import Preset
from reference_model.flops import forward_flops
from reference_model.held_out import HELD_OUT_SEED, Batch, nearest_reference, psnr, render_batch
from reference_model.inference import load_model, render_views
from reference_model.model import Kaleido
from reference_model.optim import BatchedMuon
from reference_model.presets import smoke, tiny
from reference_model.recording import Loss, RecordedFunction, StepTensors, build_stepper
from reference_model.sampler import Sampling
from reference_model.train import Run, build_loss, train
from reference_model.training.claim import check_free, claim
from reference_model.training.gradients import Gradients
from reference_model.training.parallel import Team
from reference_model.training.progress import DivergedError, Log, Spent, Step
from reference_model.training.resuming import find_state, read_header
from reference_model.training.schedule import Budget, learning_rate, stage_at
from reference_model.training.settings import override
from reference_model.training.steps import StepViews, Stream, WorldSource
from reference_model.view_sampling import draw_reference_count


def test_batched_muon_is_pytorchs_muon() -> None:
    torch.manual_seed(0)
    ours = [nn.Parameter(torch.randn(shape)) for shape in [(64, 32), (64, 32), (32, 96)]]
    theirs = [nn.Parameter(p.detach().clone()) for p in ours]
    started = [p.detach().clone() for p in ours]
    a = BatchedMuon(ours, lr=0.01, weight_decay=0.1)
    b = torch.optim.Muon(theirs, lr=0.01, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    for _ in range(5):
        for p, q in zip(ours, theirs, strict=True):
            p.grad = torch.randn_like(p)
            q.grad = p.grad.clone()
        a.step()
        b.step()
    for p, q, start in zip(ours, theirs, started, strict=True):
        moved = (q - start).norm()
        assert (p - q).norm() < 0.02 * moved  # both orthogonalise in bfloat16
        assert moved > 0.1


def test_the_rate_warms_up_stays_and_falls_to_zero() -> None:
    config = dataclasses.replace(tiny().train, learning_rate=2.0, warmup_steps=10, decay_share=0.4)
    assert learning_rate(config, 0.0, 0) == pytest.approx(0.2)
    assert learning_rate(config, 0.3, 50) == 2.0
    assert learning_rate(config, 0.8, 50) == pytest.approx(1.0)
    assert learning_rate(config, 1.0, 50) == 0.0


def test_stages_follow_the_share_of_the_budget() -> None:
    assert [stage_at(tiny().train.stages, x) for x in (0.0, 0.44, 0.46, 1.0)] == [0, 0, 1, 1]


def test_a_budget_is_one_of_three() -> None:
    assert Budget(minutes=2).progress(30, 0, 0) == 0.25
    assert Budget(steps=8).progress(0, 2, 0) == 0.25
    assert Budget(flops=1e3).progress(0, 0, 250) == 0.25
    for wrong in ({}, {"steps": 0}, {"steps": 3, "minutes": 1}):
        with pytest.raises(ValueError, match="exactly one"):
            Budget(**wrong)


@pytest.fixture(scope="module")
def worlds() -> WorldSource:
    return WorldSource(None, "cpu")


def test_training_learns_repeats_and_writes_what_inference_reads(tmp_path: Path, worlds: WorldSource) -> None:
    preset = override(smoke(), ["train.seed=3"])
    for name in ("a", "b"):
        assert train(preset, worlds, Run(tmp_path / name, Budget(steps=12)))
    assert hash_checkpoint(tmp_path / "a") == hash_checkpoint(tmp_path / "b")
    weights, read, card = load_checkpoint(tmp_path / "a")
    assert read == preset and card["steps"] == 12
    fresh = Kaleido(preset.model)
    assert any(not torch.equal(weights[name], tensor) for name, tensor in fresh.state_dict().items())
    loaded = load_model(tmp_path / "a")
    batch = render_batch(HELD_OUT_SEED, 1, 3, 32, "cpu")
    images = render_views(
        loaded,
        batch.images[0, :2],
        batch.c2w[0, :2],
        batch.intrinsics[0, :2],
        batch.c2w[0, 2:],
        batch.intrinsics[0, 2:],
    )
    assert images.shape == (1, 3, 32, 32) and images.min() >= 0 and images.max() <= 1


def test_checkpoints_are_sharded_and_a_missing_shard_is_named(tmp_path: Path) -> None:
    weights = {f"w{i}": torch.randn(100).to(torch.bfloat16) for i in range(6)}
    write_checkpoint(tmp_path, weights, smoke(), {"training_data": []}, max_shard_bytes=450)
    shards = sorted(path.name for path in tmp_path.glob("*.safetensors"))
    assert shards == [f"model-{i:05d}-of-00003.safetensors" for i in (1, 2, 3)]
    assert all((tmp_path / name).stat().st_size < 16 * 2**20 for name in shards)
    read, _, _ = load_checkpoint(tmp_path)
    assert all(torch.equal(read[name], tensor.float()) for name, tensor in weights.items())
    (tmp_path / shards[1]).unlink()
    with pytest.raises(ValueError, match="2 of 3"):
        load_checkpoint(tmp_path)


def test_an_unknown_checkpoint_names_those_that_ship() -> None:
    with pytest.raises(FileNotFoundError, match="tiny"):
        find_checkpoint("huge")


def test_the_shipped_weights_are_small_and_say_where_they_come_from() -> None:
    folder = find_checkpoint("tiny")
    assert sum(path.stat().st_size for path in folder.glob("*.safetensors")) <= 16 * 2**20
    loaded = load_model("tiny")
    assert loaded.training_data == ("reference_model.worlds",)
    assert loaded.preset.model == tiny().model


@pytest.fixture(scope="module")
def held_out() -> Batch:
    """Two held-out worlds of eight views: what kaleido@tiny is judged on."""
    return render_batch(HELD_OUT_SEED + 1, 2, 8, 128, "cpu")


class Rendered(NamedTuple):
    """Of the last two views of each world."""

    predicted: torch.Tensor
    truth: torch.Tensor
    nearest: torch.Tensor


def render_held_out(held_out: Batch, references: int, steps: int = 1) -> Rendered:
    kept = [*range(references), 6, 7]
    batch = Batch(*(x[:, kept] for x in held_out))
    loaded = load_model("tiny")
    out = [
        render_views(
            loaded, batch.images[i, :references], batch.c2w[i, :references], batch.intrinsics[i, :references],
            batch.c2w[i, references:], batch.intrinsics[i, references:],
            sampling=Sampling(steps),
        )
        for i in range(2)
    ]  # fmt: skip
    return Rendered(torch.stack(out), batch.images[:, references:], nearest_reference(batch, references))


@pytest.fixture(scope="module")
def from_five(held_out: Batch) -> Rendered:
    return render_held_out(held_out, 5)


def test_the_shipped_weights_beat_the_nearest_view_on_worlds_they_never_saw(from_five: Rendered) -> None:
    gain = psnr(from_five.predicted, from_five.truth).mean() - psnr(from_five.nearest, from_five.truth).mean()
    assert gain > 2.0, f"kaleido@tiny is {gain:.2f} dB from the nearest view"


def test_more_references_help(held_out: Batch, from_five: Rendered) -> None:
    from_one = render_held_out(held_out, 1)
    assert psnr(from_five.predicted, from_five.truth).mean() > psnr(from_one.predicted, from_one.truth).mean() + 0.5


def test_rendering_does_not_depend_on_the_world_frame_or_its_unit(held_out: Batch) -> None:
    loaded = load_model("tiny")
    batch = Batch(*(x[1:, :4] for x in held_out))
    frame = torch.tensor([[0.0, -1, 0, 5], [1, 0, 0, -3], [0, 0, 1, 2], [0, 0, 0, 1]])
    moved = frame @ batch.c2w[0]
    moved[:, :3, 3] *= 40.0
    both = [
        render_views(loaded, batch.images[0, :3], c[:3], batch.intrinsics[0, :3], c[3:], batch.intrinsics[0, 3:])
        for c in (batch.c2w[0], moved)
    ]
    assert (both[0] - both[1]).abs().max() < 2e-3


def test_images_of_another_size_are_refused() -> None:
    loaded = load_model("tiny")
    with pytest.raises(ValueError, match="128x128"):
        render_views(loaded, torch.rand(1, 3, 64, 64), *(torch.eye(n)[None] for n in (4, 3, 4, 3)))


def test_the_shipped_model_renders_what_it_rendered(held_out: Batch) -> None:
    """When this fails and the change is meant: raise CODE_VERSION in kaleido_bench/predict/adapters/kaleido.py, or old
    predictions will be taken for new ones; then write the golden file again with what the message prints.
    """
    golden = Path(__file__).parents[1] / "golden" / "kaleido_tiny.npy"
    rendered = render_held_out(held_out, 3, steps=2)
    small = torch.nn.functional.avg_pool2d(rendered.predicted.flatten(0, 1), 16).numpy()
    if not golden.exists():
        np.save(golden, small)
        pytest.fail(f"{golden} was missing and has been written: look at it, then commit it")
    np.testing.assert_allclose(small, np.load(golden), atol=2e-3)


class Zeroed:
    """A stepper whose gradients are begun anew, and then added up over two calls."""

    def __init__(self, loss: Loss, gradients: Gradients, *, recorded: bool) -> None:
        self.gradients, self.stepper = gradients, build_stepper(loss, gradients, recorded=recorded)

    def __call__(self, tensors: StepTensors, references: int) -> torch.Tensor:
        self.gradients.zero()
        self.stepper(tensors, references)
        return self.stepper(tensors, references)


@pytest.mark.parametrize("layout", ["decoder-only", "encoder-decoder"])
def test_a_recorded_step_is_the_step(layout: str) -> None:
    """On CUDA the recording, of blocks that are not compiled; here the plain twin's promise: gradients are added to
    what is there. Without references too, where an encoder has no gradient.
    """
    preset = dataclasses.replace(smoke(), model=dataclasses.replace(smoke().model, layout=layout))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = Kaleido(preset.model).to(device)
    torch.nn.init.normal_(model.head.weight, std=0.1)
    weights, loss = list(model.parameters()), build_loss(model, preset)
    plain, stepper = (Zeroed(loss, Gradients(weights), recorded=recorded) for recorded in (False, device == "cuda"))
    generator = torch.Generator().manual_seed(0)

    def draw() -> StepTensors:
        tokens, noise = (torch.randn(2, 4, 16, 192, generator=generator).to(device) for _ in range(2))
        poses = torch.eye(4, device=device).repeat(2, 4, 1, 1)
        k = torch.tensor([[40.0, 0, 16], [0, 40, 16], [0, 0, 1]], device=device).expand(2, 4, 3, 3)
        t = torch.rand(2, generator=generator).to(device)
        return StepTensors(tokens, noise, t, poses, k, torch.zeros(2, 4, device=device), None)

    for references in (1, 2, 1, 0, 1, 0):
        step = draw()
        expected = plain(step, references)
        grads = [torch.zeros_like(w) if w.grad is None else w.grad.clone() for w in weights]
        assert torch.allclose(stepper(step, references), expected, rtol=1e-4)
        found = [torch.zeros_like(w) if w.grad is None else w.grad for w in weights]
        assert sum(float(g.abs().sum()) for g in grads) > 0
        for a, b in zip(grads, found, strict=True):
            assert torch.allclose(a, b, atol=2e-3 * float(a.abs().max()) + 1e-7)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs need a GPU")
def test_a_recorded_function_is_the_function() -> None:
    """At other values than it was recorded with; an answer is not overwritten by the next; other shapes are refused."""
    layer = nn.Linear(8, 8).cuda().requires_grad_(False)
    first, second = torch.randn(2, 4, 8, device="cuda").unbind(0)
    recorded = RecordedFunction(lambda x: layer(x).relu(), torch.zeros(4, 8, device="cuda"))
    answers = [recorded(x) for x in (first, second)]
    for answer, x in zip(answers, (first, second), strict=True):
        assert torch.allclose(answer, layer(x).relu())
    with pytest.raises(ValueError, match=r"recorded for \(4, 8\), called with \(5, 8\)"):
        recorded(torch.zeros(5, 8, device="cuda"))


def test_weights_are_written_before_they_are_scored(
    tmp_path: Path, worlds: WorldSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_off(*args: object, **settings: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(WorldSource, "score", cut_off)
    with pytest.raises(KeyboardInterrupt):
        train(smoke(), worlds, Run(tmp_path / "cut", Budget(steps=1)))
    weights, preset, card = load_checkpoint(tmp_path / "cut")
    assert preset == smoke() and card["steps"] == 1 and weights


def read_weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_checkpoint(folder)[0]


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


def list_bytes(out: Path) -> dict[str, bytes]:
    """Of a run's folder, but for the seconds that it took, and the code, which someone may be editing."""
    files = {path.relative_to(out).as_posix(): path for path in out.rglob("*") if path.is_file()}
    read = {name: path.read_bytes() for name, path in files.items()}
    return {name: re.sub(rb'"(seconds|code_sha256)": [^,\n]+', b"", data) for name, data in read.items()}


def test_one_run_at_a_time_is_at_a_folder(tmp_path: Path, worlds: WorldSource) -> None:
    with claim(tmp_path / "run"):
        with pytest.raises(
            ValueError, match=r"another run is training in .*run: wait for it, stop it, or give another"
        ):
            train(smoke(), worlds, Run(tmp_path / "run", Budget(steps=1)), lambda _: None)
        with pytest.raises(ValueError, match="another run"):
            check_free(tmp_path / "run")
        check_free(tmp_path / "other")
    assert list((tmp_path / "run").iterdir()) == [] and not (tmp_path / "other").exists()
    check_free(tmp_path / "run")
    train(smoke(), worlds, Run(tmp_path / "run", Budget(steps=1)), lambda _: None)
    check_free(tmp_path / "run")


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


def test_a_folder_of_another_run_is_refused(tmp_path: Path, worlds: WorldSource) -> None:
    train(smoke(), worlds, Run(tmp_path, Budget(steps=1)))
    other = override(smoke(), ["model.mlp_width=64", "train.seed=4"])
    with pytest.raises(ValueError, match=r"another preset: it differs in model\.mlp_width, train\.seed"):
        train(other, worlds, Run(tmp_path, Budget(steps=1)))


def test_a_run_can_begin_with_other_weights(tmp_path: Path, worlds: WorldSource) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    train(smoke(), worlds, Run(first, Budget(steps=3)))
    still = override(smoke(), ["train.learning_rate=0.0"])
    train(still, worlds, Run(second, Budget(steps=1), initial=first))
    for name, weights in read_weights(first).items():
        assert torch.equal(weights, read_weights(second)[name]), name
    assert load_checkpoint(second)[2]["initial_sha256"] == hash_checkpoint(first)
    begun_with = hash_checkpoint(first)
    train(smoke(), worlds, Run(first, Budget(steps=4)))  # those weights have changed; what the run began with has not
    train(still, worlds, Run(second, Budget(steps=2), initial=first))
    assert load_checkpoint(second)[2]["initial_sha256"] == begun_with != hash_checkpoint(first)
    with pytest.raises(ValueError, match="began without --init"):
        train(smoke(), worlds, Run(first, Budget(steps=5), initial=second))
    with pytest.raises(ValueError, match="another model"):
        train(override(smoke(), ["model.depth=3"]), worlds, Run(tmp_path / "third", Budget(steps=1), initial=first))


def test_pieces_are_one_run_however_they_are_shared(worlds: WorldSource, tmp_path: Path) -> None:
    """Two pieces of 2 scenes are 4 scenes; pieces that do not divide are refused."""
    halves = override(smoke(), ["train.pieces=2"])
    lines: list[dict[str, object]] = []
    train(halves, worlds, Run(tmp_path, Budget(steps=1)), lines.append)
    assert load_checkpoint(tmp_path)[2]["flops"] == 3 * 4 * forward_flops(
        halves.model, references_at(0), 4 - references_at(0), 4
    )
    with pytest.raises(ValueError, match="3 pieces"):
        override(smoke(), ["train.pieces=3"])
    assert list(Team(1, 2, "cpu").take_pieces(4)) == [2, 3]
    with pytest.raises(ValueError, match="expected a multiple"):
        Team(0, 3, "cpu").take_pieces(4)


def references_at(step: int) -> int:
    return draw_reference_count(step, 0, 4)


def test_a_spike_is_named_with_its_step_and_layer(tmp_path: Path) -> None:
    lines: list[dict[str, object]] = []
    log = Log(["first", "second"], "cpu", 1, Spent(steps=80), Budget(steps=100), lines.append)
    for number in range(20):
        odd = number == 12
        loss, norms = (9.0 if odd or number == 5 else 1.0), [1.0, 50.0 if odd else 1.0]
        log.add(Step(torch.tensor(loss), torch.tensor(norms), int(number != 5), 64, 0.1, 1e9))
    assert lines[0] == {"spike": 93, "loss": 9.0, "layer": "second", "gradient_times_median": 50.0}
    assert lines[1]["step"] == 100 and lines[1]["progress"] == 1.0
    assert log.spent.flops == 20e9


def test_the_average_forgets_the_beginning_at_once(tmp_path: Path, worlds: WorldSource) -> None:
    """After the first step nine tenths of it are the new weights, whatever the preset's decay."""
    train(override(smoke(), ["train.ema_decay=0.999"]), worlds, Run(tmp_path, Budget(steps=1)), lambda _: None)
    torch.manual_seed(smoke().train.seed)
    start, state = Kaleido(smoke().model).state_dict(), read_shards(tmp_path / "state", "state")
    for name, begun in start.items():
        torch.testing.assert_close(state[f"averaged.{name}"], begun.lerp(state[f"model.{name}"], 0.9))
    assert any(not torch.equal(begun, state[f"model.{name}"]) for name, begun in start.items())


def test_a_run_that_diverged_is_not_written_over_a_good_one(tmp_path: Path, worlds: WorldSource) -> None:
    """Long before the line of its hundredth step would say so."""
    wild = override(smoke(), ["train.learning_rate=1e30", "train.warmup_steps=0"])
    with pytest.raises(DivergedError, match=r"^step 2: the loss is .*; .*(overflow|layer|weights)"):
        train(wild, worlds, Run(tmp_path, Budget(steps=40), save_steps=1), lambda _: None)
    assert read_header(tmp_path / "state", wild, worlds.describe()).spent.steps == 1
    assert load_checkpoint(tmp_path)[2]["steps"] == 1


@pytest.mark.parametrize(
    ("loss", "norm", "message"),
    [
        (float("nan"), 1.0, "the loss is nan"),
        (3e4, 1.0, "the loss is 15000"),
        (1.0, float("inf"), "a gradient is no number"),
    ],
)
def test_what_is_no_number_is_not_saved(loss: float, norm: float, message: str) -> None:
    log = Log(["first"], "cpu", 1, Spent(steps=30), Budget(steps=100), lambda _: None)
    log.check()
    log.add(Step(torch.tensor(1.0), torch.tensor([1.0]), 1, 64, 0.1, 1e9))
    log.check()
    log.add(Step(torch.tensor(loss), torch.tensor([norm]), 1, 64, 0.1, 1e9))
    with pytest.raises(DivergedError, match=f"step 32: {message}"):
        log.check()


def test_large_tensors_are_cut_into_files_of_bounded_size(tmp_path: Path) -> None:
    tensors = {"large": torch.randn(50, 64), "scalar": torch.tensor(3.0), "small": torch.randn(3)}
    write_shards(tmp_path, "state", tensors.items(), limit=4000)
    sizes = [path.stat().st_size for path in tmp_path.glob("state-*-of-*.safetensors")]
    assert len(sizes) == 4 and max(sizes) < 4600
    read = read_shards(tmp_path, "state")
    assert read.keys() == tensors.keys() and all(torch.equal(read[name], t) for name, t in tensors.items())
