"""Writes the catalogue: every protocol of the field whose ids are known. Same files, same bytes.

    python protocols/build_catalogue.py SPLITS_DIR [--out protocols] [--only FAMILY]

SPLITS_DIR holds the published split files, one folder an `owner+repository` (what each file defines, and its commit, is
in the `sources` of the protocols written from it). Their facts, scene and view ids, are written in this project's own
index format; the files themselves are not part of the project. Rules that exist only in code (DTU, LLFF,
NeRF-Synthetic) are stated in the builder that carries them out, beside their source.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from builders import co3d, dl3dv, dtu, llff, nerf_synthetic, objects, on_disk, re10k  # noqa: E402
from builders.common import freeze_draft  # noqa: E402

from kaleido_bench.authoring import FrozenProtocol, write_protocol  # noqa: E402
from kaleido_bench.drafts import Draft  # noqa: E402

FAMILIES: dict[str, Callable[[Path], list[Draft]]] = {
    "re10k": re10k.build,
    "dl3dv": dl3dv.build,
    "co3d": co3d.build,
    "dtu": dtu.build,
    "llff": llff.build,
    "nerf-synthetic": nerf_synthetic.build,
    "objects": objects.build,
}


def freeze_family(family: str, splits: Path) -> list[FrozenProtocol]:
    """One family as files."""
    return [freeze_draft(draft) for draft in FAMILIES[family](splits)]


def write_pending(splits: Path, out: Path) -> None:
    """Writes the protocols that wait for the files of their data set, and the lists that one of their rules needs."""
    for pending in on_disk.build(splits):
        (out / pending.yaml_path).parent.mkdir(parents=True, exist_ok=True)
        (out / pending.yaml_path).write_bytes(pending.yaml_bytes)
        print(f"{out / pending.yaml_path}: pending")
    if out == HERE:
        (HERE.parent / on_disk.EMBEDDED).write_bytes(on_disk.render_long_lrm(splits))


def main(arguments: Sequence[str] | None = None) -> None:
    """Parses the command line and writes the files."""
    parser = argparse.ArgumentParser(description="Write the catalogue of protocols.")
    parser.add_argument("splits_dir", type=Path, help="the folder with the published split files")
    parser.add_argument("--out", type=Path, default=HERE, help="the folder of protocols")
    parser.add_argument("--only", choices=FAMILIES, help="one family")
    options = parser.parse_args(arguments)
    for family in [options.only] if options.only else FAMILIES:
        for frozen in freeze_family(family, options.splits_dir):
            write_protocol(options.out, frozen)
            print(f"{options.out / frozen.yaml_path}: {len(frozen.index_bytes):,} bytes of index")
    if not options.only:
        write_pending(options.splits_dir, options.out)


if __name__ == "__main__":
    main()
