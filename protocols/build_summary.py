"""Writes summary.json, from which `kbench list protocols` is quick: `python protocols/build_summary.py`.

Run it after any other builder here.
"""

from __future__ import annotations

from pathlib import Path

from kaleido_bench.catalogue import SUMMARY, render_summary

FOLDER = Path(__file__).resolve().parent

if __name__ == "__main__":
    (FOLDER / SUMMARY).write_bytes(render_summary(FOLDER))
