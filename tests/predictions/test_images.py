"""One prediction, written and read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kaleido_bench.errors import BenchError
from kaleido_bench.items import WorkItem
from kaleido_bench.predictions import (
    Run,
    check_prediction,
    load_prediction,
    load_prediction_record,
    write_prediction,
)
from tests.predictions.conftest import SIZE


def test_what_is_written_is_what_is_loaded(run: Run, item: WorkItem, images: np.ndarray, written: Path) -> None:
    assert check_prediction(run, item, SIZE).whole
    np.testing.assert_array_equal(load_prediction(run, item, SIZE), images)
    record = load_prediction_record(run, item)
    assert (record.item, record.case, record.sample, record.scale) == ("a-r2", "a-r2", 0, None)
    assert (record.seed, record.seconds, record.width, record.height) == (5, 1.5, 16, 12)
    assert (record.fingerprint, record.protocol_hash) == ("f1", run.record.protocol_hash)
    assert {path.relative_to(written).as_posix() for path in written.rglob("*.*")} == {
        "case.json",
        "t/0.png",
        "t/1.png",
    }
    assert (written / "case.json").stat().st_size < 1000


def test_writing_again_replaces(run: Run, item: WorkItem, images: np.ndarray, written: Path) -> None:
    write_prediction(run, item, 255 - images, seed=5, seconds=1.5)
    np.testing.assert_array_equal(load_prediction(run, item, SIZE), 255 - images)


@pytest.mark.parametrize(
    "change",
    [
        lambda images: images[:1],
        lambda images: images.astype(np.float32),
        lambda images: images[..., :1],
        lambda images: images[0],
    ],
)
def test_images_of_another_shape_are_refused(run: Run, item: WorkItem, images: np.ndarray, change: Any) -> None:
    with pytest.raises(BenchError, match=r"expected uint8 \[2, height, width, 3\], one image per target"):
        write_prediction(run, item, change(images), seed=5, seconds=1.0)
    assert not run.item_folder(item).exists()


def test_an_absent_prediction_is_no_problem_until_it_is_loaded(run: Run, item: WorkItem) -> None:
    state = check_prediction(run, item, SIZE)
    assert (state.present, state.problems, state.whole) == (False, (), False)
    with pytest.raises(BenchError, match="no such prediction"):
        load_prediction(run, item, SIZE)
