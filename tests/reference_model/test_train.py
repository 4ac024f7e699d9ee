"""The loop: that it learns, repeats, averages, and writes what inference reads."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from reference_model.checkpoint import hash_checkpoint, load_checkpoint, read_card, read_shards, write_card
from reference_model.config import Preset
from reference_model.flops import forward_flops
from reference_model.held_out import HELD_OUT_SEED, Heed, heed_nothing, render_batch
from reference_model.inference import load_model, render_views
from reference_model.inputs import Inputs
from reference_model.model import Kaleido
from reference_model.presets import small, smoke
from reference_model.train import Run, main, train
from reference_model.training.parallel import Team
from reference_model.training.progress import DivergedError
from reference_model.training.resuming import read_header
from reference_model.training.schedule import Budget
from reference_model.training.settings import drop_video, override
from reference_model.training.steps import Source, StepViews, Stream, WorldSource
from reference_model.view_sampling import draw_reference_count


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


class Opened:
    """A source that notes what is opened: stage and piece."""

    def __init__(self, source: Source) -> None:
        self.source, self.noted = source, list[tuple[int, int]]()
        self.describe = source.describe

    def open(self, preset: Preset, stage: int, piece: int, device: str) -> Stream:
        self.noted.append((stage, piece))
        return self.source.open(preset, stage, piece, device)

    def score(
        self, model: Kaleido, inputs: Inputs, preset: Preset, device: str, heed: Heed = heed_nothing
    ) -> list[dict[str, float]]:
        return []


class AskedInScoring:
    """Asks a run to stop once the weights of so many steps are written, which are then being scored."""

    def __init__(self, out: Path, steps: int) -> None:
        self.out, self.steps = out, steps

    @property
    def asked(self) -> bool:
        return (self.out / "card.json").is_file() and read_card(self.out)["steps"] == self.steps


def test_one_signal_ends_the_scoring_of_a_finished_run(tmp_path: Path, worlds: WorldSource) -> None:
    """Its weights are written; the same command scores them, and trains no step for it."""
    said: list[dict[str, object]] = []
    run = Run(tmp_path, Budget(steps=4))
    assert not train(smoke(), worlds, run, said.append, AskedInScoring(tmp_path, 4))
    assert said[-1] == {"stopped": 4, "state": str(tmp_path), "next": "the same command scores the weights"}
    weights = hash_checkpoint(tmp_path)
    assert "held_out_psnr" not in read_card(tmp_path)
    assert train(smoke(), worlds, run, said.append)
    assert hash_checkpoint(tmp_path) == weights and said[-1]["done"] == 4
    assert [row["references"] for row in said if "nearest" in row] == [1, 3]  # of the second call alone
    assert len(read_card(tmp_path)["held_out_psnr"]) == 2  # type: ignore[arg-type]


def test_the_streams_of_a_stage_are_opened_once(tmp_path: Path, worlds: WorldSource) -> None:
    """And not anew at every step, which would draw worlds ahead and throw them away; a resumed run opens those of its
    stage alone. The FLOPs of a step are those of the stage that is open.
    """
    halves, first = override(smoke(), ["train.pieces=2"]), Opened(worlds)
    train(halves, first, Run(tmp_path, Budget(steps=6)), lambda _: None)
    assert first.noted == [(0, 0), (0, 1), (1, 0), (1, 1)]
    resumed = Opened(worlds)
    train(halves, resumed, Run(tmp_path, Budget(steps=8)), lambda _: None)
    assert resumed.noted == [(1, 0), (1, 1)]
    sizes = [16] * 3 + [32] * 5
    assert load_checkpoint(tmp_path)[2]["flops"] == sum(
        3 * 4 * forward_flops(halves.model, references_at(step), 4 - references_at(step), (size // 8) ** 2)
        for step, size in enumerate(sizes)
    )


def test_the_command_leaves_video_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Preset] = []
    monkeypatch.setattr("reference_model.train.train", lambda preset, *_, **__: not asked.append(preset))
    for option in ([], ["--no-video"]):
        words = ["train", "small", "--steps", "1", "--device", "cpu", "--out", str(tmp_path), *option]
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit, match="0"):
            main()
    assert asked == [small(), drop_video(small())]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["smok", "--steps", "1"], "no preset 'smok': expected one of large, latent"),
        (["smoke", "--steps", "0"], "expected exactly one of minutes, steps or flops, above 0 and finite"),
        (["smoke", "--flops", "inf"], "above 0 and finite"),
        (["smoke", "--steps", "1", "--save-steps", "0"], "save_steps 0: expected 1 or more"),
        (["smoke", "--steps", "1", "--device", "tpu"], "device 'tpu': expected cpu, cuda or cuda:N"),
        (["smoke", "--steps", "1", "--device", "cuda:99"], "device 'cuda:99': . CUDA GPUs are here"),
        (["smoke", "--steps", "1", "--set", "model.codec=jpeg"], "codec 'jpeg': expected pixels, taef2"),
        (["smoke", "--steps", "1", "--set", "model.width=wide"], "width 'wide': expected a value of type int"),
        (["smoke", "--steps", "1", "--photographs", __file__], "test_train.py: .*expected a file packed by"),
        (["smoke", "--steps", "1", "--init", "tiny"], "tiny is of another model: it differs in width, depth"),
    ],
)
def test_a_wrong_command_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
) -> None:
    given = ["train", *words, "--out", str(tmp_path / "run")]
    monkeypatch.setattr(sys, "argv", given if "--device" in words else [*given, "--device", "cpu"])
    with pytest.raises(SystemExit, match=message) as ended:
        main()
    assert "\n" not in str(ended.value) and not (tmp_path / "run").exists()


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


def test_a_run_can_begin_with_other_weights(tmp_path: Path, worlds: WorldSource) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    train(smoke(), worlds, Run(first, Budget(steps=3)))
    still = override(smoke(), ["train.learning_rate=0.0"])
    train(still, worlds, Run(second, Budget(steps=1), initial=first))
    for name, weights in read_weights(first).items():
        assert torch.equal(weights, read_weights(second)[name]), name
    begun_with, card = hash_checkpoint(first), read_card(first)
    assert read_card(second)["initial_sha256"] == begun_with and read_card(second)["initial_card"] == card
    train(smoke(), worlds, Run(first, Budget(steps=4)))  # those weights have changed; what the run began with has not
    train(still, worlds, Run(second, Budget(steps=2), initial=first))
    assert read_card(second)["initial_sha256"] == begun_with != hash_checkpoint(first)
    assert read_card(second)["initial_card"] == card != read_card(first)
    with pytest.raises(ValueError, match="began without --init"):
        train(smoke(), worlds, Run(first, Budget(steps=5), initial=second))
    with pytest.raises(ValueError, match="another model"):
        train(override(smoke(), ["model.depth=3"]), worlds, Run(tmp_path / "third", Budget(steps=1), initial=first))


def test_the_card_keeps_what_the_first_weights_had_seen(tmp_path: Path, worlds: WorldSource) -> None:
    """A benchmark on data of the run before is not zero-shot after it either, however many runs lie between."""
    train(smoke(), worlds, Run(tmp_path / "0", Budget(steps=1)))
    write_card(tmp_path / "0", read_card(tmp_path / "0") | {"training_data": ["my-captures"]})
    for number in (1, 2):
        begun = tmp_path / str(number - 1)
        train(smoke(), worlds, Run(tmp_path / str(number), Budget(steps=1), initial=begun))
    seen = ["reference_model.worlds", "my-captures"]
    assert read_card(tmp_path / "1")["training_data"] == read_card(tmp_path / "2")["training_data"] == seen
    assert load_model(tmp_path / "2").training_data == tuple(seen)


def test_weights_go_on_at_another_size_and_length(tmp_path: Path, worlds: WorldSource) -> None:
    train(smoke(), worlds, Run(tmp_path / "first", Budget(steps=1)))
    larger = ["model.image_size=40", "model.max_views=5", "train.learning_rate=0.0",
              'train.stages=[{"image_size": 40, "scenes": 1, "share": 1}]']  # fmt: skip
    train(override(smoke(), larger), worlds, Run(tmp_path / "second", Budget(steps=1), initial=tmp_path / "first"))
    for name, weights in read_weights(tmp_path / "first").items():
        assert torch.equal(weights, read_weights(tmp_path / "second")[name]), name


def read_weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_checkpoint(folder)[0]


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


class Slow:
    """A source whose first step takes a minute by the clock, as compiling does, and each after it three seconds."""

    def __init__(self, source: Source, clock: list[float]) -> None:
        self.source, self.clock, self.sizes = source, clock, list[int]()
        self.describe, self.score = source.describe, source.score

    def open(self, preset: Preset, stage: int, piece: int, device: str) -> Stream:
        self.stream = self.source.open(preset, stage, piece, device)
        return self

    def step(self, step: int) -> StepViews:
        self.clock[0] += 3 if self.sizes else 60
        views = self.stream.step(step)
        self.sizes.append(views.images.shape[-1])
        return views


def test_compiling_takes_no_stage_s_share_of_the_minutes(
    tmp_path: Path, worlds: WorldSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two minutes one is compiled; a first stage of a fifth has a fifth of the other, and both are all there is."""
    clock = [0.0]
    monkeypatch.setattr("reference_model.training.progress.time.monotonic", lambda: clock[0])
    monkeypatch.setattr(WorldSource, "score", lambda *_: [])
    stages = '[{"image_size": 16, "scenes": 1, "share": 0.2}, {"image_size": 32, "scenes": 1, "share": 0.8}]'
    source = Slow(worlds, clock)
    train(override(smoke(), [f"train.stages={stages}"]), source, Run(tmp_path, Budget(minutes=2)), lambda _: None)
    assert source.sizes.count(16) == 1 + 4 and source.sizes.count(32) == 16  # 12 of 60 seconds, and 48
    card = read_card(tmp_path)
    assert card["seconds"] == 120 and card["seconds_preparing"] == 60 + 3  # the first step of each stage


class Slipped:
    """A source whose images of one step are multiplied."""

    def __init__(self, source: Source, step: int, factor: float) -> None:
        self.source, self.at, self.factor = source, step, factor
        self.describe, self.score = source.describe, source.score

    def open(self, preset: Preset, stage: int, piece: int, device: str) -> Stream:
        self.stream = self.source.open(preset, stage, piece, device)
        return self

    def step(self, step: int) -> StepViews:
        views = self.stream.step(step)
        return views._replace(images=views.images * self.factor) if step == self.at else views


@pytest.mark.parametrize(
    ("factor", "found"),
    [
        (float("nan"), r"the loss is nan; .*; its data hold NaN or infinity: tokens"),
        (1e30, "the loss is inf; .*; no layer makes it of finite numbers: look at its images and poses"),
        (1e3, r"the loss is nan; .*; embed: [\d.]+ % of its output is NaN or infinite, from inputs .* 1.*e\+03"),
    ],
)
def test_one_bad_step_is_named_with_its_number_and_cause(
    tmp_path: Path, worlds: WorldSource, monkeypatch: pytest.MonkeyPatch, factor: float, found: str
) -> None:
    """Though it is seen steps later, when weights that had followed it would all be no numbers. The layer `embed` is
    made to overflow early.
    """

    def overflow(module: torch.nn.Module, given: tuple[torch.Tensor], made: torch.Tensor) -> torch.Tensor:
        return made.masked_fill((given[0].abs() > 1e2).any(-1, keepdim=True), torch.inf) if factor == 1e3 else made

    monkeypatch.setattr(Kaleido, "__init__", lambda self, config, build=Kaleido.__init__: (
        build(self, config), self.embed.register_forward_hook(overflow))[1] and None)  # fmt: skip
    small = override(smoke(), ['train.stages=[{"image_size": 16, "scenes": 1, "share": 1}]'])
    with pytest.raises(DivergedError, match="^step 4: " + found):
        train(small, Slipped(worlds, 3, factor), Run(tmp_path, Budget(steps=40), save_steps=6), lambda _: None)
    assert not (tmp_path / "state").exists()
