"""Split files in the layouts that are published, small.

`benchmark.zip`: Stability-AI/stable-virtual-camera, benchmark/README.md (the entries and what each holds) and
docs/CLI_USAGE.md (the files of a scene). ReconFusion's: the files that ReconfusionParser of seva/data_io.py reads.
pixelSplat's index: dcharatan/pixelsplat, assets/evaluation_index_re10k.json.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def split_members(
    entry: str,
    *,
    scenes: Sequence[str],
    counts: Sequence[int],
    targets: Sequence[int] | None = None,
    frames: int | None = None,
    above: str = "",
) -> dict[str, str]:
    """The members of one entry: `<entry>/<scene>/train_test_split_<P>.json`, and `transforms.json` where it has one.

    Args:
        entry: folder in the archive.
        scenes: below it.
        counts: numbers of references.
        targets: of a case, one for each of `counts`; 4 by custom.
        frames: number of frames that a transforms.json lists; None: there is none, as in most entries.
        above: a folder that holds all entries.
    """
    members: dict[str, str] = {}
    for scene in scenes:
        for position, count in enumerate(counts):
            number = 4 if targets is None else targets[position]
            ids = {"train_ids": list(range(count)), "test_ids": list(range(count, count + number))}
            members[f"{above}{entry}/{scene}/train_test_split_{count}.json"] = json.dumps(ids)
        if frames is not None:
            listed = [{"file_path": f"images/{frame:04d}.png", "transform_matrix": []} for frame in range(frames)]
            members[f"{above}{entry}/{scene}/transforms.json"] = json.dumps({"frames": listed})
    return members


def write_zip(path: Path, members: Mapping[str, str]) -> Path:
    """A zip archive of these members."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, text in members.items():
            file.writestr(name, text)
    return path


def write_index(path: Path, scenes: Mapping[str, Any]) -> Path:
    """An evaluation index: scene -> (context, target), or None."""
    entries = {
        scene: None if entry is None else {"context": entry[0], "target": entry[1]} for scene, entry in scenes.items()
    }
    path.write_text(json.dumps(entries))
    return path
