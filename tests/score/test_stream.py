"""Scoring as a stream: nothing about its batches, threads and processes moves a byte, every truth is read once, and one
run's trouble is not another's."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch

from kaleido_bench.data.scenes import PreparedView
from kaleido_bench.errors import BenchError, IncompleteError
from kaleido_bench.items import Deviations, plan_items
from kaleido_bench.predictions import Run, create_run, write_prediction
from kaleido_bench.score import share, stream
from kaleido_bench.score.metrics import lpips
from kaleido_bench.score.results.rows import Scores
from kaleido_bench.score.scoring import Task, score_runs
from kaleido_bench.views import ViewReader
from tests.score.desk import CARD, CONVENTION, LPIPS, Desk, noise, read_scores, set_up

OTHER = CONVENTION.model_copy(
    update={"name": "other", "ssim": CONVENTION.ssim.model_copy(update={"border": "reflect"})}
)


def add_run(desk: Desk, model: str) -> Run:
    """Another model's predictions: those of the first, inverted."""
    run = create_run(desk.run.path.parents[1], desk.loaded, model=model, adapter=CARD, fingerprint="e" * 64)
    for item in plan_items(desk.loaded):
        write_prediction(run, item, 255 - noise(item), seed=1, seconds=0.5)
    return run


def score_all(desk: Desk, tasks: list[Task], **options: int) -> list[Scores | BenchError | IncompleteError]:
    return score_runs(tasks, desk.loaded, data_dir=desk.data_dir, **options)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, weights_dir: Path) -> bytes:
    """The scores of a run by itself."""
    desk = set_up(tmp_path_factory.mktemp("plain"), replace=[LPIPS])
    desk.score()
    return read_scores(desk)


@pytest.mark.parametrize("options", [{"batch": 1}, {"batch": 64}, {"batch": 3}, {"workers": 2}], ids=str)
def test_batches_and_processes_move_no_byte(tmp_path: Path, plain: bytes, options: dict[str, int]) -> None:
    desk = set_up(tmp_path, replace=[LPIPS])
    assert desk.score(**options).scored == 4
    assert read_scores(desk) == plain


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_move_no_byte_and_are_given_back(
    tmp_path: Path, plain: bytes, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "_count_threads", lambda device: threads)
    before = torch.get_num_threads()
    desk = set_up(tmp_path, replace=[LPIPS])
    desk.score()
    assert read_scores(desk) == plain
    assert torch.get_num_threads() == before


def test_the_way_of_a_gpu_gives_the_same_on_a_processor(
    tmp_path: Path, plain: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads that decode ahead of batches, and blocks that are filled up: the same functions, tried without a GPU."""
    monkeypatch.setattr(stream._Stream, "score_on_threads", stream._Stream.score_on_device)
    monkeypatch.setattr(lpips, "block_length", lambda size, device: 3)
    desk = set_up(tmp_path, replace=[LPIPS])
    desk.score(batch=5)
    assert read_scores(desk) == plain


def test_several_runs_and_conventions_read_every_truth_once(
    tmp_path: Path, plain: bytes, weights_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = set_up(tmp_path, replace=[LPIPS])
    second = add_run(desk, "inverse")
    read: Counter[tuple[str, str]] = Counter()
    computed: list[int] = []
    load, compute = ViewReader.load_view, lpips.Lpips._block_features

    def count_load(self: ViewReader, scene: str, view: str) -> PreparedView:
        read[scene, view] += 1
        return load(self, scene, view)

    def count_features(self: lpips.Lpips, images: torch.Tensor, count: int) -> lpips.Features:
        computed.append(len(images))
        return compute(self, images, count)

    monkeypatch.setattr(ViewReader, "load_view", count_load)
    monkeypatch.setattr(lpips.Lpips, "_block_features", count_features)
    monkeypatch.setattr(stream, "_count_threads", lambda device: 1)
    tasks = [Task(run, each, Deviations()) for run in (desk.run, second) for each in (CONVENTION, OTHER)]
    outcomes = score_all(desk, tasks)
    assert [outcome.scored for outcome in outcomes if isinstance(outcome, Scores)] == [4, 4, 4, 4]
    # Two scenes of two targets, each met by two runs from one and from three reference views.
    assert set(read.values()) == {1} and len(read) == 4
    # The truths once, and sixteen predictions under each of two conventions.
    assert sum(computed) == 4 + 2 * 16
    assert read_scores(desk) == plain
    alone = set_up(tmp_path / "alone", replace=[LPIPS])
    alone.score(convention=OTHER)
    assert alone.run.scores("other").read_bytes() == desk.run.scores("other").read_bytes()


def test_features_are_let_go_with_their_last_use(tmp_path: Path, weights_dir: Path) -> None:
    desk = set_up(tmp_path, replace=[LPIPS])
    networks = {}
    scorers = share.build_scorers(CONVENTION, ("lpips-alex",), (), "cpu", networks)
    images = torch.rand(2, 3, 40, 40)
    (network,) = networks.values()
    first = scorers.score(images, images.flip(-1), names=["a", "b"])["lpips-alex"]
    assert len(network._kept._features) == 2 and network._kept._bytes > 0
    assert torch.equal(scorers.score(images, images.flip(-1), names=["a", "b"])["lpips-alex"], first)
    scorers.forget(["a", "b"])
    assert (network._kept._features, network._kept._bytes) == ({}, 0)
    assert desk.score().scored == 4


def test_without_room_a_truth_is_made_again(tmp_path: Path, plain: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "_TRUTH_BYTES", 0)
    monkeypatch.setattr(lpips, "_KEPT_BYTES", 0)
    desk = set_up(tmp_path, replace=[LPIPS])
    desk.score()
    assert read_scores(desk) == plain


def test_what_is_wrong_with_one_run_stops_that_run_alone(tmp_path: Path) -> None:
    """In two processes, whose errors travel."""
    desk = set_up(tmp_path)
    second = add_run(desk, "inverse")
    path = second.predictions / "arc-r3" / "0005.png"
    path.write_bytes(path.read_bytes()[:99])
    fine, broken = score_all(desk, [Task(run, CONVENTION, Deviations()) for run in (desk.run, second)], workers=2)
    assert isinstance(fine, Scores) and fine.scored == 4
    assert isinstance(broken, BenchError) and "arc-r3/0005.png: truncated" in str(broken)
    assert not second.scores("kbench-v1").exists()


@pytest.mark.parametrize("batch", [1, 64])
def test_a_convention_that_cannot_score_stops_itself_alone(tmp_path: Path, weights_dir: Path, batch: int) -> None:
    """A border cut off leaves 30 px, and AlexNet needs 31."""
    desk = set_up(tmp_path, replace=[LPIPS])
    cut = CONVENTION.model_copy(update={"name": "cut", "crop_border": 1})
    tasks = [Task(desk.run, each, Deviations()) for each in (CONVENTION, cut)]
    fine, small = score_all(desk, tasks, batch=batch)
    assert isinstance(fine, Scores) and fine.scored == 4
    assert isinstance(small, BenchError) and "images 30 px on the short side" in str(small)


def test_a_truth_that_is_not_right_stops_all_that_need_it(tmp_path: Path) -> None:
    desk = set_up(tmp_path)
    second = add_run(desk, "inverse")
    path = desk.data_dir / "scenes" / "bow" / "images" / "0005.png"
    path.write_bytes(path.read_bytes()[:99])
    for outcome in score_all(desk, [Task(run, CONVENTION, Deviations()) for run in (desk.run, second)]):
        assert isinstance(outcome, BenchError) and "0005.png" in str(outcome)


def test_a_process_that_dies_says_so_and_what_it_had_scored_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = set_up(tmp_path)
    monkeypatch.setattr(share, "_work", die_in_the_middle)
    with pytest.raises(IncompleteError, match=r"a process that scored ended with 7; what it had scored is kept"):
        desk.score(workers=2)
    monkeypatch.undo()
    scores = desk.score()
    assert scores.reused >= 1 and scores.scored + scores.reused == 4


def die_in_the_middle(connection: share.Connection, task: share.Share) -> None:
    import os

    share.score_share(task, lambda views, done: os._exit(7))


def test_a_share_is_split_into_neighbours(desk: Desk) -> None:
    wanted = [share.Wanted(desk.run, item, (1, 1), {}, {}) for item in plan_items(desk.loaded)]
    for count in (1, 2, 3, 9):
        shares = share.split_evenly(wanted, count)
        assert [each for part in shares for each in part] == wanted
        assert len(shares) == min(count, 4) and all(shares)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_agrees_with_the_processor_whatever_the_batch(tmp_path: Path, weights_dir: Path) -> None:
    found = {}
    for name, options in {"cpu": {}, "cuda": {"device": "cuda"}, "one": {"device": "cuda", "batch": 1}}.items():
        desk = set_up(tmp_path / name, replace=[LPIPS])
        found[name] = (desk.score(**options).rows, read_scores(desk))
    assert found["one"][1] == found["cuda"][1]
    bars = {"psnr": 1e-5, "ssim": 1e-6, "lpips-alex": 1e-5}
    for on_cpu, on_gpu in zip(found["cpu"][0], found["cuda"][0], strict=True):
        assert on_cpu[:7] == on_gpu[:7]
        assert on_gpu.value == pytest.approx(on_cpu.value, abs=bars[on_cpu.metric] + 1e-6)
