"""A small data set, a protocol over it and a run whose predictions are noise: what the tests of scoring score."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from kaleido_bench.conventions import load_convention
from kaleido_bench.data.images import decode_image
from kaleido_bench.items import Deviations, WorkItem, plan_items
from kaleido_bench.predictions import AdapterRecord, Run, create_run, write_prediction
from kaleido_bench.protocol import LoadedProtocol, load_protocol
from kaleido_bench.score.results.building import build_result
from kaleido_bench.score.results.records import Result
from kaleido_bench.score.results.rows import Scores
from kaleido_bench.score.scoring import score_run
from tests.predict.tiny import HEIGHT, WIDTH, write_data, write_protocol

CONVENTION = load_convention("kbench-v1")
CARD = AdapterRecord(name="noise", variant=None, weights_sha256=None, settings={}, training_data=None)
LPIPS = ("metrics: [psnr, ssim]", "metrics: [psnr, ssim]\noptional_metrics: [lpips-alex, lpips-vgg]")


class Desk(NamedTuple):
    """A data directory, a protocol over it, and a run whose predictions are noise."""

    data_dir: Path
    loaded: LoadedProtocol
    run: Run

    def score(self, **options: Any) -> Scores:
        merged = {"convention": CONVENTION, "data_dir": self.data_dir, "deviations": Deviations(), **options}
        return score_run(self.run, self.loaded, **merged)

    def result(self, **options: Any) -> Result:
        deviations = options.get("deviations") or Deviations()
        convention = options.get("convention") or CONVENTION
        return build_result(self.run.record, self.loaded, convention, deviations, self.score(**options))

    def item(self, key: str) -> WorkItem:
        return next(item for item in plan_items(self.loaded) if item.key == key)

    def path(self, name: str) -> Path:
        return self.run.predictions / name


def noise(item: WorkItem) -> np.ndarray:
    """Predictions that depend on the item alone."""
    rng = np.random.default_rng(list(item.key.encode()))
    return rng.integers(0, 256, (len(item.case.targets), HEIGHT, WIDTH, 3), np.uint8)


def set_up(
    folder: Path, *, replace: Sequence[tuple[str, str]] = (), predict: Sequence[str] | None = None, **options: Any
) -> Desk:
    data_dir = folder / "data"
    if not data_dir.exists():
        write_data(data_dir, ("arc", "bow"))
    path = write_protocol(folder / "tiny.yaml", **{"scenes": ("arc", "bow"), **options})
    text = path.read_text()
    for old, new in replace:
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)
    loaded = load_protocol(path)
    run = create_run(folder / "runs", loaded, model="noise", adapter=CARD, fingerprint="f" * 64)
    for item in plan_items(loaded):
        if predict is None or item.key in predict:
            write_prediction(run, item, noise(item), seed=1, seconds=0.5)
    return Desk(data_dir, loaded, run)


def predict_truth(desk: Desk, key: str, views: int = 2) -> None:
    """Make the first predictions of an item equal to the ground truth."""
    item = desk.item(key)
    paths = [desk.data_dir / "scenes" / item.case.scene / "images" / f"{view}.png" for view in item.case.targets]
    truths = np.stack([decode_image(path.read_bytes(), path) for path in paths])
    images = np.concatenate([truths[:views], noise(item)[views:]])
    write_prediction(desk.run, item, images, seed=1, seconds=0.5)


def read_scores(desk: Desk) -> bytes:
    return desk.run.scores("kbench-v1").read_bytes()
