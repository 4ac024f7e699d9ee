"""Getting the weights of learned metrics: torchvision's checkpoint, downloaded and checked, becomes a pinned trunk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from kaleido_bench.downloads import TIMEOUT, Pin, Report, Wanted, download
from kaleido_bench.score.metrics.weights import WEIGHTS, WeightsFile, find_weights, write_trunk


class Fetched(NamedTuple):
    """Weights that are there now, and whether they were before."""

    file: WeightsFile
    was_there: bool


def fetch_weights(
    name: str,
    folder: Path,
    *,
    mirrors: Sequence[str] = (),
    keep_checkpoint: bool = False,
    report: Report | None = None,
    timeout: float = TIMEOUT,
) -> Fetched:
    """Get the weights `name` into `folder`, unless they are there and right.

    Args:
        mirrors: addresses of folders that hold torchvision's checkpoints, tried before torchvision's own.
        keep_checkpoint: leave torchvision's checkpoint beside the trunk, which is the smaller part of it.
        report: told the bytes.
        timeout: seconds without a byte after which a connection is lost.

    Raises:
        BenchError: no such weights, no mirror has them, or what came is not what is pinned.
    """
    here = {"KBENCH_WEIGHTS": str(folder), "KBENCH_CACHE": str(folder)}
    found = find_weights(name, here)
    if isinstance(found, WeightsFile):
        return Fetched(found, was_there=True)
    spec = WEIGHTS[name]
    checkpoint = folder / spec.checkpoint
    download(
        Wanted(
            urls=(*(f"{mirror.rstrip('/')}/{spec.checkpoint}" for mirror in mirrors), spec.source),
            target=checkpoint,
            pin=Pin(spec.checkpoint_sha256),
            manual=f"Get {spec.source} elsewhere, then: `kbench weights fetch {name} --from {spec.checkpoint} "
            f"--cache {folder}`.",
        ),
        report,
        timeout=timeout,
    )
    made = convert_checkpoint(name, checkpoint, folder)
    if not keep_checkpoint:
        checkpoint.unlink()
    return Fetched(made, was_there=False)


def convert_checkpoint(name: str, checkpoint: Path, folder: Path) -> WeightsFile:
    """Make the trunk `name` in `folder` from torchvision's checkpoint. Raises BenchError as `write_trunk`."""
    path = write_trunk(name, checkpoint, folder)
    found = find_weights(name, {"KBENCH_WEIGHTS": str(path.parent), "KBENCH_CACHE": str(path.parent)})
    assert isinstance(found, WeightsFile)
    return found
