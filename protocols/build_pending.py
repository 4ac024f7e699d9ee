"""Writes the protocols whose view ids the user has to bring: `python protocols/build_pending.py [--out DIR]`.

What is known of them stands in builders/. `kbench import-split` completes them from what their authors published.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER))

from builders import reconfusion, seva, trajectories  # noqa: E402

from kaleido_bench.authoring import render_yaml  # noqa: E402
from kaleido_bench.drafts import describe_draft  # noqa: E402
from kaleido_bench.protocol import Protocol  # noqa: E402
from kaleido_bench.records import parse_yaml_record  # noqa: E402

HEADER = "# Written by protocols/build_pending.py. Do not edit: change the script, run it again.\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes every pending protocol below a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=FOLDER, help="the folder of protocols")
    out = parser.parse_args(arguments).out
    for draft in (*seva.build(), *reconfusion.build(), *trajectories.build()):
        text = HEADER + render_yaml(describe_draft(draft))
        parse_yaml_record(text, Protocol, where=draft.name)
        path = out / f"{draft.name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
