"""The tables of published numbers: their rules, a sample of their cells against the facts, and when one compares."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from kaleido_bench.conventions import find_conventions
from kaleido_bench.errors import BenchError
from kaleido_bench.protocol import read_protocol
from kaleido_bench.publish.reported import (
    COLUMNS,
    EXTERNAL,
    UNKNOWN,
    Reported,
    judge_reported,
    load_external,
    load_reported,
)
from kaleido_bench.shipped import find_protocols

ROWS = load_reported()


def find(protocol: str, method: str, references: int | None, metric: str = "psnr") -> list[str]:
    asked = (protocol, method, references, metric)
    return [row.text for row in ROWS if (row.protocol, row.method, row.references, row.metric) == asked]


def test_every_protocol_is_ours_or_declared() -> None:
    external = {each.name for each in load_external()}
    known = set(find_protocols()) | external
    assert {row.protocol for row in ROWS} <= known
    assert external == {row.protocol for row in ROWS if row.protocol.startswith(EXTERNAL)}


def test_every_convention_is_ours_or_unknown() -> None:
    assert {row.convention for row in ROWS} <= {*find_conventions(), UNKNOWN}


def test_no_number_is_there_twice_without_saying_why() -> None:
    keys = Counter((row.protocol, row.method, row.references, row.metric, row.resolution, row.note) for row in ROWS)
    assert [key for key, count in keys.items() if count > 1] == []


def test_how_many_there_are() -> None:
    # Held, so that a lost line is noticed: 1205 numbers in nine tables, 49 protocols that we have not.
    assert len(ROWS) == 1205 and len(load_external()) == 49
    assert Counter(row.confidence for row in ROWS) == {"Q": 1033, "P": 172}


# Cells of reported-results.md and kaleido.md, chosen across all tables.
CELLS = [
    ("seva/omniobject3d-o", "SEVA", 3, "psnr", "30.30"),
    ("seva/tnt-l", "Long-LRM", 32, "ssim", ".590"),
    ("seva/re10k-p", "LVSM", 2, "lpips", ".098"),
    ("seva/dl3dv-o-1", "SEVA", 1, "lpips-alex", ".484"),
    ("seva/mipnerf360-r", "CAT3D", 3, "psnr", "15.15"),
    ("seva/wildrgbd-oh", "SEVA", 3, "psnr", "17.28"),
    ("seva/wildrgbd-oh", "SEVA", 6, "psnr", "18.91"),
    ("seva/llff-r-1", "Kaleido 3.1B", 1, "psnr", "15.34"),
    ("seva/llff-r", "Kaleido 3.1B", 3, "psnr", "20.71"),
    ("seva/mipnerf360-r", "Kaleido 3.1B", 6, "psnr", "18.03"),
    ("seva/mipnerf360-r-1", "Kaleido 3.1B", 1, "psnr", "13.74"),
    ("seva/mipnerf360-r", "Kaleido 3.1B", 3, "psnr", "16.78"),
    ("external/seva-tnt-o", "Kaleido 3.1B", 3, "psnr", "13.20"),
    ("external/seva-tnt-o", "Kaleido 3.1B", 6, "psnr", "14.61"),
    ("external/seva-trajectory-dtu", "SEVA + temporal", 3, "lpips-alex", ".156"),
    ("seva/dtu-r", "RayDer-L", 3, "psnr", "17.92"),
    ("gso/eschernet", "EscherNet 6DoF", 10, "lpips-alex", ".030"),
    ("nerf-synthetic/eschernet", "Instant-NGP", 10, "psnr", "22.96"),
    ("nerf-synthetic/eschernet", "EscherNet 6DoF", 100, "ssim", ".796"),
    ("external/eschernet-gso30-3d", "EscherNet 6DoF", 5, "chamfer", ".0176"),
    ("reconfusion/dtu", "Zip-NeRF", 6, "psnr", "8.84"),
    ("reconfusion/mipnerf360", "CAT3D", 9, "lpips", ".460"),
    ("reconfusion/co3d", "MVGD", 9, "psnr", "24.77"),
    ("reconfusion/llff", "SEVA, 3DGS fitted to its samples", 3, "psnr", "21.88"),
    ("re10k/pixelsplat-2v", "GS-LRM", 2, "lpips-vgg", ".114"),
    ("acid/pixelsplat-2v", "MVGD", 2, "psnr", "29.98"),
    ("re10k/lagernvs-2v", "LagerNVS", 2, "psnr", "31.39"),
    ("dl3dv/lagernvs-6v", "LagerNVS", 6, "lpips-vgg", ".068"),
    ("external/rayzer-dl3dv-even", "RayZer", 16, "psnr", "24.36"),
    ("dl3dv/long-lrm", "MVP", 256, "psnr", "29.67"),
    ("external/lvsm-gso", "LVSM enc-dec", 4, "ssim", ".933"),
    ("nerf-synthetic/dense", "3DGS", 100, "psnr", "33.308"),
    ("external/re10k-long-200", "VMem", 1, "psnr", "14.91"),
    ("external/raysaspixels-tnt", "Kaleido 3.1B", None, "fvd", "245.09"),
]


@pytest.mark.parametrize(("protocol", "method", "references", "metric", "text"), CELLS)
def test_cells_are_those_of_the_facts(protocol: str, method: str, references: int, metric: str, text: str) -> None:
    assert text in find(protocol, method, references, metric)


def row_of(**changes: object) -> Reported:
    """A row that compares with results under gso/eschernet, but for what is changed."""
    row = Reported("gso/eschernet", "a method", 3, "psnr", "20.1", "eschernet", "256x256", (), "a paper", "Q", "")
    return row._replace(**changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "reasons"),
    [
        ({}, ()),
        ({"confidence": "P"}, ("from a secondary source",)),
        ({"convention": "unknown"}, ("convention unknown",)),
        ({"convention": "lvsm"}, ("convention lvsm, ours eschernet",)),
        ({"resolution": "unknown"}, ("resolution unknown",)),
        ({"resolution": "512x512"}, ("at 512x512, ours 256x256",)),
        ({"flags": ("fitted",)}, ()),
        ({"references": 4}, ("4 references",)),
        ({"references": None}, ("unknown number of references",)),
        ({"flags": ("scale-sweep",)}, ("oracle: best of a sweep over scales",)),
        (
            {"flags": ("predicted-poses", "test-time-tuning")},
            ("cameras were predicted", "tuned on each test scene"),
        ),
    ],
)
def test_why_a_number_does_not_compare(changes: dict[str, object], reasons: tuple[str, ...]) -> None:
    assert judge_reported(row_of(**changes), read_protocol("gso/eschernet").protocol) == reasons


def test_a_sweep_compares_with_a_sweep_only() -> None:
    swept = read_protocol("seva/llff-r-1").protocol
    seva = {"convention": "seva", "resolution": "576x576", "references": 1}
    assert judge_reported(row_of(**seva, flags=("scale-sweep",)), swept) == (
        "convention seva is published in part (5 fields unknown)",
    )
    assert "scale not swept, ours is" in judge_reported(row_of(**seva), swept)
    assert "whether the scale was swept is not stated" in judge_reported(
        row_of(**seva, flags=("scale-sweep-unknown",)), swept
    )


GOOD = "gso/eschernet,m,3,psnr,20.1,eschernet,256x256,,a paper,Q,"


@pytest.mark.parametrize(
    ("line", "word"),
    [
        (GOOD.replace("psnr", "pnsr"), "the metric 'pnsr'"),
        (GOOD.replace("20.1", "201"), "the value '201'"),
        (GOOD.replace("20.1", "20,1"), "another number of cells"),
        (GOOD.replace(",3,", ",three,"), "the references 'three'"),
        (GOOD.replace(",Q,", ",X,"), "the confidence 'X'"),
        (GOOD.replace("256x256,,", "256x256,lucky,"), "the flags 'lucky'"),
        (GOOD.replace("256x256", "256"), "the resolution '256'"),
        (GOOD.replace("a paper", ""), "no method or no source"),
        (GOOD.replace("gso/eschernet", "external/nobody"), "the external protocol 'external/nobody'"),
    ],
)
def test_a_wrong_cell_is_refused(line: str, word: str, tmp_path: Path) -> None:
    (tmp_path / "external.csv").write_text("name,title\n")
    (tmp_path / "a.csv").write_text(f"{','.join(COLUMNS)}\n{GOOD}\n{line}\n")
    with pytest.raises(BenchError) as caught:
        load_reported(tmp_path)
    assert word in str(caught.value) and "a.csv:3" in str(caught.value)


def test_other_columns_are_refused(tmp_path: Path) -> None:
    (tmp_path / "external.csv").write_text("name,title\n")
    (tmp_path / "a.csv").write_text("protocol,method\n")
    with pytest.raises(BenchError, match="the columns"):
        load_reported(tmp_path)


def test_a_good_table_is_read(tmp_path: Path) -> None:
    (tmp_path / "external.csv").write_text("name,title\n")
    (tmp_path / "a.csv").write_text(f"{','.join(COLUMNS)}\n{GOOD}\n")
    assert load_reported(tmp_path) == (row_of(method="m"),)
