"""Other people's metric code, imported so that it works beside a CPU build of torch.

torchvision's wheel on PyPI is built for CUDA. Beside a CPU build of torch its extension `_C.so` does not load (it links
libcudart and libtorch_cuda), so the operators it would have defined are missing, and `import torchvision` ends in
`RuntimeError: operator torchvision::nms does not exist`. Every package that imports torchvision falls with it: lpips,
timm, and torchmetrics too, which catches ImportError and not RuntimeError.

`import_repaired` first loads the extension the way torchvision does. Only where that fails, it declares the schema of
the operators that torchvision names at import time. torchvision then imports: its models, transforms and Python
fallbacks work; an operator that has no kernel (nms, deform_conv2d, decode_png) still raises when it is called, as it
must. Call it before anything has tried `import torchvision`: a failed import leaves half of torchvision behind.

Nothing in the harness needs these packages: the metrics are its own. They are the oracles of its tests and benchmarks.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import torch

from kaleido_bench.errors import BenchError

# The operators that torchvision registers shapes for while it is imported (torchvision/_meta_registrations.py).
_NMS = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_NEEDED_AT_IMPORT = {"nms": f"nms{_NMS}", "qnms": f"qnms{_NMS}"}


def import_repaired(name: str) -> ModuleType:
    """Import the package `name` (lpips, torchmetrics, torchvision, ...) with torchvision repaired where it is broken.

    Raises:
        BenchError: the package is not installed.
    """
    repair_torchvision()
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise BenchError(
            f"import {name}",
            f"the package {error.name} is not installed",
            expected="the extra 'oracles'",
            fix="Install it: pip install 'kaleido-bench[oracles]'.",
        ) from error


@functools.cache
def repair_torchvision() -> torch.library.Library | None:
    """Make `import torchvision` work. Call it before the first import of torchvision; calling it again does nothing.

    Returns:
        The library that holds the declared operators, or None where nothing was to be repaired (torchvision is absent,
        is already imported, or its extension loads). The cache keeps the library alive: its operators go when it does.
    """
    specification = importlib.util.find_spec("torchvision")
    if specification is None or specification.origin is None:
        return None
    if "torchvision" in sys.modules or _load_extension(Path(specification.origin).parent):
        return None
    library = torch.library.Library("torchvision", "FRAGMENT")
    for operator, schema in _NEEDED_AT_IMPORT.items():
        if not hasattr(torch.ops.torchvision, operator):
            library.define(schema)  # pyright: ignore[reportUnknownMemberType]
    return library


def _load_extension(package: Path) -> bool:
    """Whether torchvision's own operators load (loading them twice is harmless, so torchvision may do it again)."""
    extensions = sorted(package.glob("_C*.so")) + sorted(package.glob("_C*.pyd"))
    for path in extensions:
        try:
            torch.ops.load_library(path)  # pyright: ignore[reportUnknownMemberType]
        except OSError:
            continue
        return True
    return False
