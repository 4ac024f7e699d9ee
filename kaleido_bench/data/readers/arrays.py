"""Numbers on disk, as the readers find them: NumPy files, matrices in text files, projection matrices."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from kaleido_bench.data.cameras import invert_rigid
from kaleido_bench.data.readers.folders import FETCH_AGAIN, read_text, require_file
from kaleido_bench.errors import BenchError


class Decomposed(NamedTuple):
    """A projection matrix taken apart: K with K[2, 2] = 1 and positive focal lengths, and camera to world."""

    K: Float64[np.ndarray, "3 3"]
    c2w: Float64[np.ndarray, "4 4"]


def load_npz(path: Path, expected: str, get: str = FETCH_AGAIN) -> dict[str, np.ndarray]:
    """All arrays of an .npz file; pickled objects are refused.

    Raises:
        BenchError: it is missing, truncated, no .npz, or holds objects.
    """
    require_file(path, expected, get)
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (ValueError, EOFError, OSError, zipfile.BadZipFile, zlib.error, AttributeError, TypeError) as error:
        raise _unreadable(path, error, "an .npz file of plain numbers") from None


def load_npy(path: Path, expected: str, get: str = FETCH_AGAIN) -> Float64[np.ndarray, "*shape"]:
    """The array of an .npy file in float64; pickled objects are refused.

    Raises:
        BenchError: it is missing, truncated, no .npy of numbers.
    """
    require_file(path, expected, get)
    try:
        array = np.load(path, allow_pickle=False)
        return np.asarray(array, np.float64)
    except (ValueError, EOFError, OSError, TypeError) as error:
        raise _unreadable(path, error, "an .npy file of plain numbers") from None


def load_numbers(path: Path, count: int, expected: str, get: str = FETCH_AGAIN) -> Float64[np.ndarray, " count"]:
    """The numbers of a text file, whatever its lines.

    Raises:
        BenchError: it is missing, holds something else, or another count.
    """
    numbers = parse_numbers(read_text(path, expected, get), path)
    if len(numbers) != count:
        raise BenchError(path, f"{len(numbers)} numbers", expected=f"{count}: {expected}", fix="Fetch the file again.")
    return numbers


def parse_numbers(text: str, where: object) -> Float64[np.ndarray, " count"]:
    """Numbers between white space. Raises BenchError for anything else."""
    try:
        return np.array([float(word) for word in text.split()], np.float64)
    except ValueError as error:
        raise BenchError(where, str(error), expected="numbers", fix="Fetch the file again.") from None


def matrix_of(arrays: Mapping[str, np.ndarray], name: str, where: object) -> Float64[np.ndarray, "4 4"]:
    """One 4x4 matrix of an .npz file; 3x4 gets the row 0 0 0 1.

    Raises:
        BenchError: there is none of this name, it has another shape, or holds something that is no finite number.
    """
    if name not in arrays:
        known = ", ".join(sorted(arrays)[:4]) or "nothing"
        raise BenchError(where, f"no {name} (there is {known}, ...)", expected="one for each image", fix=FETCH_AGAIN)
    matrix = arrays[name]
    if matrix.shape == (3, 4) and matrix.dtype.kind in "fiu":
        matrix = np.vstack([matrix, [0.0, 0.0, 0.0, 1.0]])
    if matrix.shape != (4, 4) or matrix.dtype.kind not in "fiu" or not np.isfinite(matrix).all():
        raise BenchError(
            f"{where}, {name}",
            f"{matrix.dtype} of shape {'x'.join(map(str, matrix.shape))}, or NaN",
            expected="4x4 finite numbers",
            fix="Fetch the file again.",
        )
    return matrix.astype(np.float64)


def decompose_projection(P: Float64[np.ndarray, "3 4"], where: object) -> Decomposed:
    """P = s K [R | t] with an upper triangular K and a rotation R, by the RQ decomposition of its left 3x3.

    As `cv2.decomposeProjectionMatrix` followed by a division by K[2, 2] (lioryariv/idr:code/utils/rend_util.py), with
    the signs chosen so that focal lengths are positive and R is right-handed.

    Raises:
        BenchError: the left 3x3 is singular.
    """
    M = P[:, :3]
    if not np.isfinite(P).all() or abs(np.linalg.det(M)) < 1e-12 * max(np.abs(M).max(), 1e-300) ** 3:
        raise BenchError(where, "a singular projection matrix", expected="K [R | t]", fix="Fetch the file again.")
    # RQ of M by QR of its rows and columns reversed.
    q, r = np.linalg.qr(M[::-1].T)
    upper, orthogonal = r.T[::-1, ::-1], q.T[::-1]
    signs = np.diag(np.sign(np.diag(upper)))
    upper, orthogonal = upper @ signs, signs @ orthogonal
    c2w = np.eye(4)
    c2w[:3, :3] = orthogonal.T * np.sign(np.linalg.det(orthogonal))  # P is known up to its sign
    c2w[:3, 3] = -np.linalg.solve(M, P[:, 3])
    return Decomposed(upper / upper[2, 2], c2w)


def c2w_from_w2c(w2c: Float64[np.ndarray, "row 4"], where: object) -> Float64[np.ndarray, "4 4"]:
    """Camera to world from a world-to-camera matrix, 3x4 or 4x4; whether it is rigid, `build_camera` asks.

    Raises:
        BenchError: another shape, or a last row other than 0 0 0 1, which inverting would hide.
    """
    if w2c.shape == (3, 4):
        w2c = np.vstack([w2c, [0.0, 0.0, 0.0, 1.0]])
    if w2c.shape != (4, 4) or not np.allclose(w2c[3], [0, 0, 0, 1], rtol=0, atol=1e-8):
        found = f"last row {w2c[3].tolist()}" if w2c.shape == (4, 4) else f"shape {'x'.join(map(str, w2c.shape))}"
        raise BenchError(
            where,
            f"a world-to-camera matrix of {found}",
            expected="3x4, or 4x4 with the last row 0 0 0 1",
            fix="Check whether the matrix is transposed.",
        )
    return invert_rigid(w2c)


def _unreadable(path: Path, error: Exception, expected: str) -> BenchError:
    reason = str(error) or type(error).__name__
    return BenchError(path, f"unreadable ({reason})", expected=expected, fix="Fetch the file again.")
