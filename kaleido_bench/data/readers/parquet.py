"""Scenes in Parquet files, one row a view, read through Hugging Face `datasets`.

Columns: scene, view, image (the bytes of the image file), mask (bytes or null; optional), K (3x3), c2w (4x4, OpenCV
axes), width, height. Any number of files may lie directly below the root, with any number of scenes in each.
`datasets` turns them into memory-mapped Arrow files once; from there a row is read when somebody asks for it.
"""

# pyarrow and datasets carry no types.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import contextlib
import functools
import os
import tempfile
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa
import pyarrow.parquet as pq

from kaleido_bench.data.cameras import build_camera
from kaleido_bench.data.scenes import Scene, View, build_scene, read_image_file, read_mask_file
from kaleido_bench.errors import BenchError

if TYPE_CHECKING:
    import datasets

_MATRIX = pa.list_(pa.list_(pa.float64()))
SCHEMA = pa.schema(
    [
        pa.field("scene", pa.string(), nullable=False),
        pa.field("view", pa.string(), nullable=False),
        pa.field("image", pa.binary(), nullable=False),
        pa.field("mask", pa.binary()),
        pa.field("K", _MATRIX, nullable=False),
        pa.field("c2w", _MATRIX, nullable=False),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
    ]
)
_REQUIRED = tuple(name for name in SCHEMA.names if name != "mask")
_SMALL_COLUMNS = ["scene", "view", "K", "c2w", "width", "height"]

# Views in a row group: few enough that writing holds little, enough that a file of thousands has a small footer.
_ROW_GROUP = 16


class ParquetReader:
    """Reads a folder of Parquet files.

    Args:
        cache_dir: where `datasets` keeps its Arrow files; None is its own default, which HF_HOME moves.
    """

    def __init__(self, cache_dir: Path | None = None) -> None:
        self._cache_dir = cache_dir

    def scene_names(self, root: Path) -> list[str]:
        """All scenes of all files below `root`. Reads the scene columns, no image."""
        return sorted(set[str]().union(*(_scenes_of(path) for path in _parquet_files(root))))

    def load_scene(self, root: Path, name: str) -> Scene:
        """The cameras of all rows of the scene; images stay in the memory-mapped files.

        Raises:
            BenchError: `datasets` is not installed; no such scene; a column missing; a camera that is not one.
        """
        paths = [path for path in _parquet_files(root) if name in _scenes_of(path)]
        if not paths:
            raise BenchError(
                root, f"no scene {name!r}", expected="a scene of its Parquet files", fix="Fetch the data set."
            )
        table = _open_files(paths, self._cache_dir)
        return build_scene(name, _build_views(table, name, root), root)


def write_parquet_scenes(scenes: Iterable[Scene], path: Path) -> None:
    """Write scenes into one Parquet file, which appears whole or not at all. Images are copied byte for byte, in turn.

    Raises:
        BenchError: an image is missing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    try:
        # Images are compressed already; compressing them again only costs time.
        with pq.ParquetWriter(temporary, SCHEMA, compression="none") as writer:
            for scene in scenes:
                views = list(scene.views.values())
                for start in range(0, len(views), _ROW_GROUP):
                    rows = [_to_row(scene.name, view) for view in views[start : start + _ROW_GROUP]]
                    writer.write_table(pa.Table.from_pylist(rows, SCHEMA))
        Path(temporary).replace(path)
    finally:
        Path(temporary).unlink(missing_ok=True)


def _to_row(scene: str, view: View) -> dict[str, object]:
    return {
        "scene": scene,
        "view": view.id,
        "image": read_image_file(view),
        "mask": read_mask_file(view),
        "K": view.camera.K.tolist(),
        "c2w": view.camera.c2w.tolist(),
        "width": view.camera.width,
        "height": view.camera.height,
    }


def _parquet_files(root: Path) -> list[Path]:
    paths = sorted(root.glob("*.parquet")) if root.is_dir() else []
    if not paths:
        raise BenchError(root, "no Parquet files", expected="*.parquet in this folder", fix="Check root and reader.")
    return paths


def _scenes_of(path: Path) -> set[str]:
    try:
        with pq.ParquetFile(path) as file:
            missing = [name for name in _REQUIRED if name not in file.schema_arrow.names]
            if missing:
                raise BenchError(
                    path,
                    f"no column {', '.join(missing)}",
                    expected=f"the columns {', '.join(_REQUIRED)}",
                    fix="Write it with write_parquet_scenes.",
                )
            return set(cast(list[str], file.read(["scene"]).column("scene").unique().to_pylist()))
    except (pa.ArrowException, OSError) as error:
        raise BenchError(
            path, f"unreadable ({error})", expected="a Parquet file", fix="Fetch the file again."
        ) from None


def _open_files(paths: list[Path], cache_dir: Path | None) -> datasets.Dataset:
    try:
        import datasets  # here, because it is an extra, and slow to import
    except ImportError:
        raise BenchError(
            "the parquet reader",
            "datasets is not installed",
            expected="the parquet extra",
            fix="Run: pip install 'kaleido-bench[parquet]'",
        ) from None
    with _no_progress_bars():
        table = datasets.Dataset.from_parquet(
            [str(path) for path in paths],
            cache_dir=cast(str, cache_dir and str(cache_dir)),  # None is allowed, whatever the annotation says
            keep_in_memory=False,
        )
    for column in ("image", "mask"):
        # Data sets on the Hub declare images as such; decoding is our own work, because we hash and check the bytes.
        if isinstance(table.features.get(column), datasets.Image):
            table = table.cast_column(column, datasets.Image(decode=False))
    return table


@contextlib.contextmanager
def _no_progress_bars() -> Generator[None]:
    import datasets

    enabled = datasets.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if enabled:
            datasets.enable_progress_bars()


def _build_views(table: datasets.Dataset, name: str, root: Path) -> Iterator[View]:
    images = table.select_columns(["image"])
    masks = table.select_columns(["mask"]) if "mask" in table.column_names else None
    has_mask = [] if masks is None else masks.with_format("arrow")[:]["mask"].is_valid().to_pylist()
    for index, row in enumerate(cast(Iterable[dict[str, Any]], table.select_columns(_SMALL_COLUMNS))):
        if row["scene"] != name:
            continue
        source = f"{root}, scene {name}, view {row['view']}"
        yield View(
            row["view"],
            build_camera(row["c2w"], row["K"], row["width"], row["height"], where=source),
            functools.partial(_read_cell, images, "image", index),
            functools.partial(_read_cell, masks, "mask", index) if masks is not None and has_mask[index] else None,
            source,
        )


def _read_cell(table: datasets.Dataset, column: str, index: int) -> bytes:
    cell: Any = table[index][column]
    return cell["bytes"] if isinstance(cell, dict) else cell
