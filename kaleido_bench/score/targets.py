"""Are the targets what a protocol froze? Asked before predicting, so that nobody waits hours to be told."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from kaleido_bench.items import WorkItem
from kaleido_bench.protocol import LoadedProtocol
from kaleido_bench.views import ViewReader

# Hashing files releases the interpreter; it waits for disks as much as for the processor.
_THREADS = 4


def check_targets(loaded: LoadedProtocol, data_dir: Path | None, items: Iterable[WorkItem]) -> None:
    """Hash the image files of all targets of some items; decode those of which no hash is frozen.

    Raises:
        BenchError: one is missing, cannot be read, or is not the frozen one.
    """
    reader = ViewReader(loaded, data_dir)
    views = dict.fromkeys((item.case.scene, view) for item in items for view in item.case.targets)
    scenes, names = [scene for scene, _ in views], [view for _, view in views]
    with ThreadPoolExecutor(_THREADS) as pool:
        for _ in pool.map(reader.check_image, scenes, names):
            pass
