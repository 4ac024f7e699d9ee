from __future__ import annotations

import subprocess
import sys

import pytest

from kaleido_bench.errors import BenchError
from kaleido_bench.predict.execution.devices import check_device, resolve_device


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:x", "", "cpu:0"])
def test_a_misspelt_device_is_refused(device: str) -> None:
    with pytest.raises(BenchError, match="--device"):
        check_device(device)


def test_gpus_are_dealt_out_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [resolve_device("auto", worker) for worker in range(3)] == ["cuda:0", "cuda:1", "cuda:0"]
    assert resolve_device("cuda:1", 0) == "cuda:1"
    with pytest.raises(BenchError, match="not on this machine"):
        resolve_device("cuda:2")


def test_without_a_gpu_auto_is_the_cpu_and_cuda_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto") == "cpu"
    with pytest.raises(BenchError, match="not on this machine"):
        resolve_device("cuda")


def test_the_cpu_needs_no_torch() -> None:
    code = (
        "import sys; from kaleido_bench.predict.execution.devices import resolve_device; "
        "resolve_device('cpu'); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
