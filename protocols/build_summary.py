"""Writes summary.json, from which `kbench list protocols` is quick: `python protocols/build_summary.py [--out DIR]`.

Run it after any other builder here; build_all.py does.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from kaleido_bench.catalogue import SUMMARY, render_summary

FOLDER = Path(__file__).resolve().parent


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes the summary of a folder of protocols."""
    parser = argparse.ArgumentParser(description="Write the summary of the protocols.")
    parser.add_argument("--out", type=Path, default=FOLDER, help="the folder of protocols")
    out = parser.parse_args(arguments).out
    (out / SUMMARY).write_bytes(render_summary(out))


if __name__ == "__main__":
    main()
