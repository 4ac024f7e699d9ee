"""What the writers of published layouts share."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

from tests.data.readers.points import TrueView


def write(path: Path, content: bytes | str | dict[str, Any] | list[Any]) -> None:
    """Bytes, text or JSON; the folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content if isinstance(content, str) else json.dumps(content))


def write_jgz(path: Path, rows: list[Any]) -> None:
    """Gzipped JSON."""
    write(path, gzip.compress(json.dumps(rows).encode()))


def nerfstudio_frames(views: list[TrueView], paths: list[str]) -> list[dict[str, Any]]:
    """https://docs.nerf.studio/quickstart/data_conventions.html: camera to world, OpenGL axes."""
    return [
        {"file_path": path, "transform_matrix": view.blender_c2w.tolist()}
        for view, path in zip(views, paths, strict=True)
    ]
