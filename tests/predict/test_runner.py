from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from kaleido_bench.data.normalisation import normalise_cameras
from kaleido_bench.errors import BenchError, IncompleteError
from kaleido_bench.items import Deviations, plan_items
from kaleido_bench.predict.adapters import (
    Adapter,
    Capabilities,
    ReferenceViews,
    TargetCameras,
    build_adapter,
    build_card,
    resolve_model,
)
from kaleido_bench.predict.execution.local import InProcess, ModelRequest, Workers
from kaleido_bench.predict.inputs import InputReader
from kaleido_bench.predict.runner import (
    Engine,
    PredictPlan,
    Report,
    Task,
    check_answer,
    plan_predictions,
    predict_item,
    predict_run,
)
from kaleido_bench.predict.sessions import describe_session
from kaleido_bench.predictions import (
    AdapterRecord,
    create_run,
    load_prediction,
    load_prediction_record,
    open_run,
)
from kaleido_bench.protocol import load_protocol
from kaleido_bench.views import ViewReader
from tests.predict.tiny import HEIGHT, WIDTH, install_toys, write_data, write_protocol, write_scene

SIZE = (WIDTH, HEIGHT)
CARD = AdapterRecord(name="toy", variant=None, weights_sha256=None, settings={}, training_data=None)
SESSION = describe_session(["kbench", "run"], "cpu", Deviations(), datetime(2026, 1, 1, tzinfo=UTC))


@pytest.fixture
def toys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Adapters of another package, found by this process and by its workers."""
    folder = install_toys(tmp_path / "site")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", f"{folder}:{Path.cwd()}")


def start(tmp_path: Path, adapter: Adapter, *, out: str = "runs", **options: object) -> Task:
    """A task on tiny data: two scenes with 1 and 3 references."""
    data_dir = tmp_path / "data"
    if not data_dir.exists():
        write_data(data_dir, ("arc", "bow"))
    path = write_protocol(tmp_path / "tiny.yaml", **{"scenes": ("arc", "bow"), **options})  # type: ignore[arg-type]
    loaded = load_protocol(path)
    run = create_run(tmp_path / out, loaded, model="toy", adapter=CARD, fingerprint=adapter.describe().fingerprint)
    return Task(run, loaded, data_dir)


def predict(task: Task, engine: Engine) -> tuple[int, int]:
    outcome = predict_run(task, engine, items=plan_items(task.loaded), session=SESSION, watch=unwatched)
    return outcome.done, outcome.reused


@contextmanager
def unwatched(plan: PredictPlan) -> Iterator[Report]:
    yield lambda done: None


def read_pngs(task: Task) -> dict[str, bytes]:
    root = task.run.predictions
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*.png"))}


def request(name: str, **args: str) -> ModelRequest:
    return ModelRequest(resolve_model(name), args, "cpu")


def build(name: str, **args: str) -> Adapter:
    return build_adapter(resolve_model(name), args, "cpu")


class Recorder:
    """Keeps what it is asked, and answers black."""

    capabilities = Capabilities(per_scene=False, generative=False, max_references=None)

    def __init__(self, answer: object = None) -> None:
        self.answer = answer
        self.asked: list[tuple[ReferenceViews, TargetCameras]] = []

    def describe(self):
        return build_card("recorder", code_version="1")

    def predict(self, references: ReferenceViews, targets: TargetCameras, generator: np.random.Generator):
        self.asked.append((references, targets))
        if self.answer is not None:
            return self.answer
        return np.zeros((len(targets.ids), targets.cameras.height, targets.cameras.width, 3), np.uint8)


def test_a_second_call_finds_everything_there(tmp_path: Path) -> None:
    task = start(tmp_path, Recorder())
    assert predict(task, InProcess(Recorder())) == (4, 0)
    before = (task.run.path / "run.json").read_bytes()
    assert predict(task, InProcess(Recorder())) == (0, 4)
    assert (task.run.path / "run.json").read_bytes() == before


def test_each_call_that_predicts_is_recorded(tmp_path: Path) -> None:
    task = start(tmp_path, Recorder())
    items = plan_items(task.loaded)
    first = predict_run(task, InProcess(Recorder()), items=items[:1], session=SESSION, watch=unwatched)
    again = predict_run(
        task._replace(run=first.run), InProcess(Recorder()), items=items, session=SESSION, watch=unwatched
    )
    assert len(again.run.record.sessions) == 2
    assert open_run(task.run.path).record == again.run.record


def test_what_a_method_says_it_computes_in_stands_before_what_torch_does(tmp_path: Path) -> None:
    """In run.json and in each case.json, and so among the notes of an efficiency table."""
    data_dir, card = tmp_path / "data", CARD.model_copy(update={"settings": {"precision": "bfloat16"}})
    write_data(data_dir, ("arc",))
    loaded = load_protocol(write_protocol(tmp_path / "tiny.yaml", scenes=("arc",)))
    task = Task(create_run(tmp_path / "runs", loaded, model="toy", adapter=card, fingerprint="f"), loaded, data_dir)
    predict(task, InProcess(Recorder()))
    run = open_run(task.run.path)
    said = {load_prediction_record(run, item).precision for item in plan_items(loaded)}
    assert len(said) == 1 and str(*said).startswith("bfloat16 by the method's setting, else ")
    assert run.record.sessions[0].precision == f"bfloat16 by the method's setting, else {SESSION.precision}"


def test_only_what_is_missing_or_damaged_is_predicted_again(tmp_path: Path) -> None:
    task = start(tmp_path, Recorder())
    predict(task, InProcess(Recorder()))
    (task.run.predictions / "arc-r3" / "0004.png").unlink()
    damaged = task.run.predictions / "bow-r1" / "0005.png"
    damaged.write_bytes(damaged.read_bytes()[:-20])
    plan = plan_predictions(task, plan_items(task.loaded))
    assert [item.key for item in plan.missing] == ["arc-r3", "bow-r1"]
    assert len(plan.problems) == 2 and "0004.png: missing" in plan.problems[0]
    again = Recorder()
    assert predict(task, InProcess(again)) == (2, 2)
    assert [targets.item for _, targets in again.asked] == ["arc-r3", "bow-r1"]


def test_an_adapter_gets_references_and_target_cameras_of_the_protocols_size(tmp_path: Path) -> None:
    recorder = Recorder()
    task = start(tmp_path, recorder, size=(20, 16))
    predict(task, InProcess(recorder))
    references, targets = recorder.asked[1]
    assert (targets.item, targets.ids) == ("arc-r3", ("0004", "0005"))
    assert references.ids == ("0000", "0001", "0002")
    assert references.images.shape == (3, 16, 20, 3) and references.images.dtype == np.uint8
    assert references.cameras.K[0, :2, 2].tolist() == targets.cameras.K[1, :2, 2].tolist() == [10.0, 8.0]


def test_no_target_image_is_read(tmp_path: Path) -> None:
    task = start(tmp_path, Recorder())
    for path in (tmp_path / "data").rglob("000[45].png"):
        path.unlink()
    assert predict(task, InProcess(Recorder())) == (4, 0)


def test_cameras_are_normalised_by_the_protocols_rule(tmp_path: Path) -> None:
    given, normalised = Recorder(), Recorder()
    predict(start(tmp_path, given, out="a"), InProcess(given))
    policy = "{policy: normalised, rule: first-reference}"
    predict(start(tmp_path, normalised, out="b", cameras=policy), InProcess(normalised))
    for before, after in zip(given.asked, normalised.asked, strict=True):
        expected = normalise_cameras(before[0].cameras, before[1].cameras, "first-reference")
        np.testing.assert_array_equal(after[0].cameras.c2w, expected.references.c2w)
        np.testing.assert_array_equal(after[1].cameras.c2w, expected.targets.c2w)
    assert not np.array_equal(given.asked[0][0].cameras.c2w, normalised.asked[0][0].cameras.c2w)


def test_a_scale_sweep_asks_once_for_each_scale(tmp_path: Path) -> None:
    recorder = Recorder()
    task = start(tmp_path, recorder, cameras="{policy: scale-sweep, scales: [0.5, 2]}", counts=(1,), scenes=("arc",))
    predict(task, InProcess(recorder))
    (half, _), (double, targets) = recorder.asked
    assert [targets.item for _, targets in recorder.asked] == ["arc-r1~x0.5", "arc-r1~x2"]
    np.testing.assert_allclose(4 * half.cameras.c2w[:, :3, 3], double.cameras.c2w[:, :3, 3])
    np.testing.assert_array_equal(half.cameras.c2w[:, :3, :3], double.cameras.c2w[:, :3, :3])
    assert np.linalg.norm(targets.cameras.c2w[0, :3, 3]) == pytest.approx(8)


def test_samples_differ_and_an_item_is_the_same_whatever_was_done_before_it(tmp_path: Path, toys: None) -> None:
    task = start(tmp_path, build("toy"), samples=2)
    predict(task, InProcess(build("toy")))
    backwards = start(tmp_path, build("toy"), samples=2, out="backwards")
    items = plan_items(backwards.loaded)[::-1]
    predict_run(backwards, InProcess(build("toy")), items=items, session=SESSION, watch=unwatched)
    pngs = read_pngs(task)
    assert read_pngs(backwards) == pngs
    assert len(pngs) == 16 and len(set(pngs.values())) == 16


def test_a_method_that_spoils_what_it_is_given_spoils_it_for_nobody_else(tmp_path: Path, toys: None) -> None:
    honest = Recorder()
    for spoil in ({}, {"spoil": "1"}):
        task = start(tmp_path, build("toy", **spoil), out=f"spoil{len(spoil)}")
        reader = InputReader(task.loaded, task.data_dir)
        for item in plan_items(task.loaded):
            predict_item(task, build("toy", **spoil), reader, item)
            predict_item(task, honest, reader, item)
    half = len(honest.asked) // 2
    for (references, targets), (again, targets_again) in zip(honest.asked[:half], honest.asked[half:], strict=True):
        assert np.array_equal(references.images, again.images) and references.images.any()
        assert np.array_equal(references.cameras.c2w, again.cameras.c2w)
        assert np.array_equal(targets.cameras.K, targets_again.cameras.K)


def test_a_per_scene_method_is_fitted_before_each_answer(tmp_path: Path, toys: None) -> None:
    task = start(tmp_path, build("scene-toy"))
    predict(task, InProcess(build("scene-toy")))
    reader = InputReader(task.loaded, task.data_dir)
    for item in plan_items(task.loaded):
        references = reader.read(item).references
        expected = int(references.images.mean()) + len(references.ids)
        assert (load_prediction(task.run, item, SIZE) == expected).all()


def test_more_references_than_a_method_takes(tmp_path: Path, toys: None) -> None:
    task = start(tmp_path, build("scene-toy"), counts=(4,))
    with pytest.raises(BenchError, match="4 reference views; expected at most 3"):
        predict(task, InProcess(build("scene-toy")))


def test_per_scene_without_fit(tmp_path: Path) -> None:
    recorder = Recorder()
    recorder.capabilities = Capabilities(per_scene=True, generative=False, max_references=None)
    with pytest.raises(BenchError, match="says per_scene and has no fit"):
        predict(start(tmp_path, recorder), InProcess(recorder))


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (np.zeros((2, HEIGHT, WIDTH, 3)), rf"float64 \[2, {HEIGHT}, {WIDTH}, 3\];"),
        (np.full((2, HEIGHT, WIDTH, 3), np.nan, np.float32), r"float32 .* with 7680 values NaN or infinite"),
        (np.zeros((1, HEIGHT, WIDTH, 3), np.uint8), r"uint8 \[1, "),
        (np.zeros((2, WIDTH, HEIGHT, 3), np.uint8), rf"uint8 \[2, {WIDTH}, {HEIGHT}, 3\]"),
        (np.zeros((2, HEIGHT, WIDTH, 4), np.uint8), r"uint8 .*, 4\];"),
        ([1, 2], "a list"),
    ],
)
def test_an_answer_that_is_not_what_was_asked_for(tmp_path: Path, answer: object, found: str) -> None:
    recorder = Recorder(answer)
    task = start(tmp_path, recorder)
    with pytest.raises(BenchError, match=rf"toy, arc-r1: predict returned {found}"):
        predict(task, InProcess(recorder))
    assert list(task.run.predictions.iterdir()) == []


def test_a_right_answer_passes_unchanged(tmp_path: Path) -> None:
    recorder = Recorder()
    predict(start(tmp_path, recorder, counts=(1,), scenes=("arc",)), InProcess(recorder))
    answer = np.full((2, HEIGHT, WIDTH, 3), 7, np.uint8)
    assert check_answer(answer, recorder.asked[0][1], "toy") is answer


def test_seconds_are_recorded(tmp_path: Path, toys: None) -> None:
    adapter = build("toy", sleep="0.05")
    task = start(tmp_path, adapter, counts=(1,), scenes=("arc",))
    predict(task, InProcess(adapter))
    seconds = json.loads((task.run.predictions / "arc-r1" / "case.json").read_text())["seconds"]
    assert 0.05 <= seconds < 1


def test_mixed_sizes_without_a_size_in_the_protocol(tmp_path: Path) -> None:
    data_dir = write_data(tmp_path / "data", ("arc",))
    transforms = json.loads((data_dir / "scenes/arc/transforms.json").read_text())
    transforms["frames"][5].update(w=20, h=10)
    (data_dir / "scenes/arc/transforms.json").write_text(json.dumps(transforms))
    recorder = Recorder()
    task = start(tmp_path, recorder, scenes=("arc",))
    text = (tmp_path / "tiny.yaml").read_text()
    text = text.replace(f"size: [{WIDTH}, {HEIGHT}], fit: cover-crop", "size: null, fit: none")
    (tmp_path / "native.yaml").write_text(text)
    native = Task(task.run, load_protocol(tmp_path / "native.yaml"), data_dir)
    with pytest.raises(BenchError, match=r"case arc-r1: targets of 2 sizes \(20x10, 40x32\)"):
        plan_predictions(native, plan_items(native.loaded))


def test_an_image_other_than_the_frozen_one(tmp_path: Path) -> None:
    recorder = Recorder()
    frozen = {"arc": {"0000": "0" * 64}}
    with pytest.raises(BenchError, match=r"0000\.png: the image differs from the one the protocol froze"):
        predict(start(tmp_path, recorder, image_sha256=frozen), InProcess(recorder))


@pytest.mark.parametrize("view", ["0000", "0005"], ids=["reference", "target"])
def test_a_camera_other_than_the_frozen_one(tmp_path: Path, view: str) -> None:
    recorder = Recorder()
    frozen = {"arc": {view: "0" * 64}}
    with pytest.raises(BenchError, match=rf"{view}\.png: the camera differs from the one the protocol froze"):
        predict(start(tmp_path, recorder, camera_sha256=frozen), InProcess(recorder))
    assert recorder.asked == []


def test_references_are_decoded_once_for_neighbouring_cases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from kaleido_bench.predict import inputs

    loads: list[str] = []
    load_view = ViewReader.load_view
    monkeypatch.setattr(ViewReader, "load_view", lambda *args: loads.append(args[2]) or load_view(*args))
    predict(start(tmp_path, Recorder(), scenes=("arc",)), InProcess(Recorder()))
    assert loads == ["0000", "0001", "0002"]
    monkeypatch.setattr(inputs, "CACHE_BYTES", 1)
    loads.clear()
    recorder = Recorder()
    predict(start(tmp_path, recorder, scenes=("arc",), counts=(1, 2, 3), out="small"), InProcess(recorder))
    assert loads == ["0000", "0001", "0000", "0001", "0002"]
    assert len(recorder.asked[2][0].images) == 3


def test_one_worker_and_two_write_the_same_bytes(tmp_path: Path, toys: None) -> None:
    here = start(tmp_path, build("toy"), out="here")
    predict(here, InProcess(build("toy")))
    for count in (1, 2):
        there = start(tmp_path, build("toy"), out=f"workers-{count}")
        reports: list[int] = []
        Workers(request("toy"), count).execute(there, plan_items(there.loaded), reports.append)
        assert reports == [1, 2, 3, 4]
        assert read_pngs(there) == read_pngs(here)


def test_a_killed_worker_ends_with_a_message_and_the_same_call_finishes(tmp_path: Path, toys: None) -> None:
    task = start(tmp_path, build("toy"))
    die = {"die": str(tmp_path / "died"), "at": "arc-r3"}
    with pytest.raises(IncompleteError, match=r"arc-r3: the worker process .* was killed by SIGKILL .* run the same"):
        predict(task, Workers(request("toy", **die), 2))
    done, reused = predict(task, Workers(request("toy", **die), 2))
    assert done >= 1 and done + reused == 4
    whole = start(tmp_path, build("toy"), out="whole")
    predict(whole, InProcess(build("toy")))
    assert read_pngs(task) == read_pngs(whole)


def test_errors_cross_from_a_worker(tmp_path: Path, toys: None) -> None:
    task = start(tmp_path, build("toy"))
    with pytest.raises(RuntimeError, match=r"in a worker process(.|\n)*ValueError: the toy broke"):
        predict(task, Workers(request("toy", **{"raise": "bow-r1"}), 2))
    (tmp_path / "data/scenes/bow/images/0000.png").unlink()
    with pytest.raises(BenchError, match=r"0000\.png: no such image") as caught:
        predict(task, Workers(request("toy"), 2))
    assert caught.value.fix == "Fetch the data set again."


@pytest.mark.parametrize(("set_before", "expected"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_threads_of_workers_do_not_spin_unless_told(
    tmp_path: Path, toys: None, monkeypatch: pytest.MonkeyPatch, set_before: str | None, expected: str
) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    if set_before is not None:
        monkeypatch.setenv("OMP_WAIT_POLICY", set_before)
    with pytest.raises(RuntimeError, match=f"threads wait {expected}"):
        predict(start(tmp_path, build("toy")), Workers(request("toy", waits="arc-r1"), 1))
    assert os.environ.get("OMP_WAIT_POLICY") == set_before


def test_a_scene_that_is_missing(tmp_path: Path) -> None:
    recorder = Recorder()
    task = start(tmp_path, recorder)
    write_scene(tmp_path / "other" / "scenes" / "arc")
    with pytest.raises(BenchError, match="bow"):
        predict(Task(task.run, task.loaded, tmp_path / "other"), InProcess(recorder))


def test_predicting_imports_no_torch_by_itself() -> None:
    import subprocess

    code = "import kaleido_bench.predict.execution.local, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
