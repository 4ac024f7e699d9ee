"""torchvision beside a CPU build of torch: whatever a plain import does here, ours works."""

from __future__ import annotations

import subprocess
import sys

import pytest

from kaleido_bench.errors import BenchError
from kaleido_bench.score.metrics.oracles import import_repaired


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_imports_where_the_plain_import_may_fail() -> None:
    pytest.importorskip("torch")
    plain = run_python("import torchvision")
    ours = run_python(
        "from kaleido_bench.score.metrics.oracles import import_repaired, repair_torchvision\n"
        "vision = import_repaired('torchvision')\n"
        "lpips, torchmetrics = import_repaired('lpips'), import_repaired('torchmetrics')\n"
        "import torch\n"
        "assert vision.models.squeezenet1_1(weights=None)(torch.rand(1, 3, 64, 64)).shape == (1, 1000)\n"
        "print('repaired' if repair_torchvision() else 'untouched')\n"
    )
    assert ours.returncode == 0, ours.stderr
    if plain.returncode == 0:
        assert ours.stdout.strip() == "untouched"
    else:
        assert "torchvision::nms does not exist" in plain.stderr
        assert ours.stdout.strip() == "repaired"


def test_a_missing_operator_still_raises_when_called() -> None:
    """The repair declares what is missing; it does not pretend to compute it."""
    done = run_python(
        "from kaleido_bench.score.metrics.oracles import import_repaired, repair_torchvision\n"
        "vision = import_repaired('torchvision')\n"
        "import torch\n"
        "try:\n"
        "    vision.ops.nms(torch.rand(2, 4), torch.rand(2), 0.5)\n"
        "except (RuntimeError, NotImplementedError):\n"
        "    print('raised')\n"
        "else:\n"
        "    print('raised' if repair_torchvision() is None else 'silent')\n"
    )
    assert done.stdout.strip() == "raised", done.stderr


def test_the_harness_imports_none_of_them() -> None:
    done = run_python(
        "import sys\n"
        "from kaleido_bench.score.metrics import lpips, oracles, psnr, ssim\n"
        "print(sorted({'torchvision', 'lpips', 'torchmetrics', 'skimage'} & set(sys.modules)))\n"
    )
    assert done.stdout.strip() == "[]", done.stderr


def test_names_the_extra_of_a_missing_package() -> None:
    with pytest.raises(BenchError, match=r"no_such_oracle is not installed; .* pip install"):
        import_repaired("no_such_oracle")
