"""What every test may rely on: where real data and weights are, and what happens when they are not."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from kaleido_bench.authoring import render_yaml
from kaleido_bench.cases import Case, CaseIndex, render_index
from kaleido_bench.drafts import describe_preparation
from kaleido_bench.protocol import LoadedProtocol, load_protocol
from kaleido_bench.records import sha256_hex

# Triton decides at its import whether kernels are interpreted (tests/reference_model/test_kernels.py), and PyTorch may
# import it at any time: say so before anything does, where there is no GPU.
if not Path("/dev/nvidiactl").exists():
    os.environ.setdefault("TRITON_INTERPRET", "1")

# Cores are shared here and in CI: a slow example is not a wrong one.
settings.register_profile("shared-machine", deadline=None)
settings.load_profile("shared-machine")

_BESIDE = Path(__file__).resolve().parents[2] / "shared" / "data"
if _BESIDE.is_dir():
    os.environ.setdefault("KBENCH_DATA", str(_BESIDE))
    os.environ.setdefault("KBENCH_WEIGHTS", str(_BESIDE / "weights"))


def _find_folder(variable: str, needed: str) -> Path:
    """The folder a variable names; without it a test skips on a desk and fails in CI, where the data has to be."""
    value = os.environ.get(variable)
    if value and (Path(value) / needed).is_dir():
        return Path(value)
    reason = f"{variable} names no folder with {needed}/ in it (it is {value!r})"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """KBENCH_DATA, with the real scenes below `scenes/`."""
    return _find_folder("KBENCH_DATA", "scenes")


@pytest.fixture(scope="session")
def weights_dir() -> Path:
    """KBENCH_WEIGHTS, with the LPIPS weights below `lpips/`."""
    return _find_folder("KBENCH_WEIGHTS", "lpips")


def protocol_fields() -> dict[str, Any]:
    """The fields of a valid protocol over two scenes, but for `index`."""
    return {
        "schema_version": 1,
        "name": "tiny",
        "version": 1,
        "title": "Two scenes",
        "level": "object",
        "regime": "few-view",
        "dataset": {"name": "tiny", "reader": "transforms", "root": "scenes", "revision": "r1"},
        "reference_counts": [1, 2],
        "preparation": describe_preparation(16, 12),
        "cameras": {"policy": "given"},
        "convention": "kbench-v1",
        "metrics": ["psnr", "ssim"],
        "optional_metrics": ["lpips-alex"],
        "samples": 1,
        "seed": 7,
        "targets": "strict-novel",
        "sources": ["a test"],
        "known_problems": [],
    }


def protocol_cases() -> list[Case]:
    """The cases that go with `protocol_fields`: scenes a and b, 1 and 2 references, targets t/0 and t/1."""
    return [
        Case(id=f"{scene}-r{count}", scene=scene, references=("v0", "v1")[:count], targets=("t/0", "t/1"))
        for scene in ("a", "b")
        for count in (1, 2)
    ]


class ProtocolFiles:
    """Writes a small protocol and its index, with whatever a test wants changed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(
        self, *, cases: Sequence[Case] | None = None, replace: Sequence[tuple[str, str]] = (), **fields: Any
    ) -> Path:
        """Writes protocol and index and gives the YAML's path.

        Args:
            cases: instead of `protocol_cases`.
            replace: (old, new) in the text of the YAML, each of which must occur.
            fields: over those of `protocol_fields`; None leaves one out.
        """
        index = render_index(
            CaseIndex(schema_version=1, cases=tuple(cases or protocol_cases()), image_sha256={}, camera_sha256={})
        )
        (self.folder / "index.json").write_bytes(index)
        merged = {**protocol_fields(), "index": {"file": "index.json", "sha256": sha256_hex(index)}, **fields}
        text = render_yaml({key: value for key, value in merged.items() if value is not None})
        for old, new in replace:
            assert old in text, old
            text = text.replace(old, new, 1)
        path = self.folder / "tiny.yaml"
        path.write_text(text)
        return path

    def load(self, **changes: Any) -> LoadedProtocol:
        """`write`, then load."""
        return load_protocol(self.write(**changes))


@pytest.fixture
def protocol_files(tmp_path: Path) -> ProtocolFiles:
    """A writer of small protocols in the test's folder."""
    return ProtocolFiles(tmp_path)
