"""LPIPS against numbers that others have published, to the digits they print."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from kaleido_bench.conventions import load_convention
from kaleido_bench.score.metrics.lpips import Lpips
from kaleido_bench.score.metrics.weights import WeightsFile, find_weights
from tests.score.conftest import as_tensor

ALEX = next(recipe for recipe in load_convention("kbench-v1").lpips if recipe.net == "alex")
TRUNKS = {"alex": "alexnet_features", "squeeze": "squeezenet1_1_features"}


def build(net: str, weights_dir: Path) -> Lpips:
    weights = find_weights(TRUNKS[net], {"KBENCH_WEIGHTS": str(weights_dir)})
    assert isinstance(weights, WeightsFile)
    trunk = {"name": TRUNKS[net], "sha256": None}
    return Lpips(
        ALEX.model_validate({**ALEX.model_dump(), "metric": f"lpips-{net}", "net": net, "trunk": trunk}), weights
    )


def test_the_seeded_doctest_of_torchmetrics(weights_dir: Path) -> None:
    """Lightning-AI/torchmetrics:src/torchmetrics/image/lpip.py prints [0.1024, 0.0938] of SqueezeNet.

    It draws images in [0, 1], moves them to [-1, 1] and says `normalize=False`; ours are given in [0, 1] and moved
    there by the recipe, which is torchmetrics' `normalize=True`.
    """
    generator = torch.Generator().manual_seed(42)
    first, second = (torch.rand(2, 3, 100, 100, generator=generator) for _ in range(2))
    found = build("squeeze", weights_dir).distance(first, second)
    assert [f"{value:.4f}" for value in found.tolist()] == ["0.1024", "0.0938"]


def test_the_mean_of_ten_in_the_functional_doctest_of_torchmetrics(weights_dir: Path) -> None:
    """functional/image/lpips.py prints 0.1005, the mean over ten pairs, drawn after `torch.manual_seed(42)`."""
    with torch.random.fork_rng():
        torch.manual_seed(42)
        first, second = torch.rand(10, 3, 100, 100), torch.rand(10, 3, 100, 100)
    assert f"{build('squeeze', weights_dir).distance(first, second).mean().item():.4f}" == "0.1005"


# richzhang/PerceptualSimilarity@082bb24f84c091ea94de2867d34c4544f68e0963 imgs/ (BSD-2-Clause), 64 px each.
EXAMPLES = {
    "ex_ref.png": "57aff3a0aeb6ebea151411f35b4487ea130aedcac6addd91c8c015969f9df097",
    "ex_p0.png": "f44901a99c82755cfe78cdbde66579ae06cd0ebbba4a2539aa35ef96bbe703db",
    "ex_p1.png": "6ada2a42a3378bfa408027ba2d54a827c6f2cec30a0506e4f140fddaca661022",
}


@pytest.fixture
def examples() -> list[torch.Tensor]:
    """The authors' example images: no part of this repository nor of the data beside it, and 27 kB to get."""
    folder = Path(os.environ.get("KBENCH_LPIPS_EXAMPLES") or Path(os.environ.get("KBENCH_DATA", "")) / "lpips_examples")
    if not all((folder / name).is_file() for name in EXAMPLES):
        pytest.skip(f"{', '.join(EXAMPLES)} of richzhang/PerceptualSimilarity are not in {folder}")
    for name, sha256 in EXAMPLES.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == sha256
    return [as_tensor(np.asarray(Image.open(folder / name).convert("RGB"))) for name in EXAMPLES]


# What the authors' test_network.py prints, with its 3 digits: of AlexNet as often quoted, of SqueezeNet as the
# lpips package gave on 2026-11-22 (0.7110476 and 0.1479016 with our trunk; AlexNet 0.7218807 and 0.1375656).
@pytest.mark.parametrize(("net", "expected"), [("alex", ["0.722", "0.138"]), ("squeeze", ["0.711", "0.148"])])
def test_the_authors_example_images(
    examples: list[torch.Tensor], weights_dir: Path, net: str, expected: list[str]
) -> None:
    reference, *others = examples
    distance = build(net, weights_dir).distance
    assert [f"{distance(reference, other).item():.3f}" for other in others] == expected
