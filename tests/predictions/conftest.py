"""A run over two small scenes, with one prediction in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kaleido_bench.items import WorkItem, plan_items
from kaleido_bench.predictions import (
    AdapterRecord,
    Run,
    Session,
    create_run,
    write_prediction,
)
from kaleido_bench.protocol import LoadedProtocol

SIZE = (16, 12)
CARD = AdapterRecord(name="mean", variant=None, weights_sha256=None, settings={}, training_data=())
SESSION = Session(
    started="2025-01-01T00:00:00Z",
    command=("kbench", "run"),
    device="cpu",
    precision="float32",
    versions={"torch": "2.13.0"},
    git_commit=None,
    git_dirty=None,
)


@pytest.fixture
def loaded(protocol_files: Any) -> LoadedProtocol:
    return protocol_files.load()


@pytest.fixture
def run(tmp_path: Path, loaded: LoadedProtocol) -> Run:
    return create_run(tmp_path / "runs", loaded, model="mean", adapter=CARD, fingerprint="f1")


@pytest.fixture
def item(loaded: LoadedProtocol) -> WorkItem:
    return plan_items(loaded)[1]


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (2, 12, 16, 3), dtype=np.uint8)


@pytest.fixture
def written(run: Run, item: WorkItem, images: np.ndarray) -> Path:
    write_prediction(run, item, images, seed=5, seconds=1.5)
    return run.item_folder(item)
