"""Writes every shipped protocol again: `python protocols/build_all.py SPLITS_DIR DATA_DIR [--out DIR]`.

SPLITS_DIR holds the published split files (see build_catalogue.py), DATA_DIR has scenes/ in it. Same files, same bytes:
after a run of it `git status` is clean, or a builder says something new. Each script runs alone, too.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]  # the package where it is not installed, and the scripts beside this one

import build_catalogue  # noqa: E402
import build_kbench  # noqa: E402
import build_pending  # noqa: E402
import build_quickstart  # noqa: E402
import build_real  # noqa: E402
import build_summary  # noqa: E402


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the builders in their order: the summary last, because it counts what the others wrote."""
    parser = argparse.ArgumentParser(description="Write every shipped protocol again.")
    parser.add_argument("splits_dir", help="the folder with the published split files")
    parser.add_argument("data_dir", help="the folder with scenes/ in it")
    parser.add_argument("--out", default=str(HERE), help="the folder of protocols")
    options = parser.parse_args(arguments)
    out = ["--out", options.out]
    build_quickstart.main(out)
    build_real.main([options.data_dir, *out])
    build_kbench.main([options.data_dir, *out])
    build_catalogue.main([options.splits_dir, *out])
    build_pending.main(out)
    build_summary.main(out)


if __name__ == "__main__":
    main()
