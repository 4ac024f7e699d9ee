"""Every layout of the field runs end to end: read, predicted by `nearest`, written, read again as truth and scored."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from kaleido_bench.cases import Case
from kaleido_bench.conventions import load_convention
from kaleido_bench.data.images import decode_image
from kaleido_bench.data.readers import build_reader
from kaleido_bench.data.scenes import read_image_file
from kaleido_bench.items import Deviations, plan_items
from kaleido_bench.predict.adapters import build_adapter, resolve_model
from kaleido_bench.predict.execution.local import InProcess
from kaleido_bench.predict.runner import PredictPlan, Report, Task, predict_run
from kaleido_bench.predict.sessions import describe_session
from kaleido_bench.predictions import AdapterRecord, create_run, load_prediction
from kaleido_bench.score.scoring import score_run
from tests.conftest import ProtocolFiles
from tests.data.readers.layouts import LAYOUTS, Layout

CARD = AdapterRecord(name="nearest", variant=None, weights_sha256=None, settings={}, training_data=None)
SESSION = describe_session(["kbench", "run"], "cpu", Deviations(), datetime(2026, 1, 1, tzinfo=UTC))
AS_STORED = {
    "size": None,
    "fit": "none",
    "filter": "lanczos",
    "antialias": True,
    "background": "white",
    "alpha": "composite",
}
ONE_OF_EACH = list({layout.reader: layout for layout in LAYOUTS}.values())


@contextmanager
def unwatched(plan: PredictPlan) -> Iterator[Report]:
    yield lambda done: None


@pytest.mark.parametrize("layout", ONE_OF_EACH, ids=lambda layout: layout.reader)
def test_a_layout_is_predicted_and_scored(layout: Layout, protocol_files: ProtocolFiles, tmp_path: Path) -> None:
    if layout.reader.startswith(("colmap", "mipnerf360")):
        pytest.importorskip("pycolmap")
    layout.write(tmp_path / "data", layout.views())
    references, targets = layout.ids[:2], layout.ids[:1:-1]  # the last two, the last first
    loaded = protocol_files.load(
        cases=[Case(id="a-r2", scene=layout.scene, references=references, targets=targets)],
        dataset={"name": "a", "reader": layout.reader, "root": "data", "revision": "r1"},
        reference_counts=[2],
        preparation=AS_STORED,
        optional_metrics=[],
    )
    adapter = build_adapter(resolve_model("nearest"), {}, "cpu")
    run = create_run(
        tmp_path / "runs", loaded, model="nearest", adapter=CARD, fingerprint=adapter.describe().fingerprint
    )
    (item,) = plan_items(loaded)
    predict_run(Task(run, loaded, tmp_path), InProcess(adapter), items=[item], session=SESSION, watch=unwatched)

    views = build_reader(layout.reader).load_scene(tmp_path / "data", layout.scene).views
    camera = views[targets[0]].camera
    predicted = load_prediction(run, item, (camera.width, camera.height))
    stored = [decode_image(read_image_file(views[name]), name)[:, :, :3] for name in references]
    assert predicted.shape == (2, camera.height, camera.width, 3)
    assert all(any((image == reference).all() for reference in stored) for image in predicted)
    scores = score_run(run, loaded, data_dir=tmp_path, convention=load_convention("kbench-v1"))
    psnr = {row.view: row.value for row in scores.rows if row.metric == "psnr"}
    assert set(psnr) == set(targets)  # the protocol's targets, and no other view
    for image, name in zip(predicted, targets, strict=True):
        truth = decode_image(read_image_file(views[name]), name)[:, :, :3]
        error = np.mean((image.astype(float) - truth) ** 2) / 255**2
        assert psnr[name] == pytest.approx(-10 * np.log10(error), abs=1e-4)
