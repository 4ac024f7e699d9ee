"""Convention records."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaleido_bench.conventions import (
    LATER_FIELDS,
    UNHASHED_FIELDS,
    CapInfinite,
    Convention,
    MayBeUnset,
    fill_unset,
    find_conventions,
    list_caveats,
    load_convention,
    load_convention_file,
)
from kaleido_bench.errors import BenchError
from kaleido_bench.records import parse_yaml_record, sha256_hex

V1 = load_convention("kbench-v1")
TEXT = find_conventions()["kbench-v1"].read_text()


def reload(folder: Path, *replace: tuple[str, str]) -> Convention:
    text = TEXT
    for old, new in replace:
        assert old in text, old
        text = text.replace(old, new, 1)
    path = folder / "c.yaml"
    path.write_text(text)
    return load_convention_file(path)


def test_kbench_v1_is_what_its_name_promises() -> None:
    assert (V1.clamp, V1.quantise, V1.mask, V1.crop_border, V1.colour_correction) == (True, "round8", "none", 0, "none")
    assert (V1.psnr.aggregation, V1.psnr.channels, V1.psnr.data_range) == ("per-image", "rgb", 1.0)
    assert V1.infinite_psnr == CapInfinite(policy="cap", decibels=100.0)
    ssim = V1.ssim
    assert (ssim.window, ssim.window_size, ssim.sigma, ssim.border) == ("gaussian", 11, 1.5, "valid")
    assert (ssim.covariance, ssim.k1, ssim.k2, ssim.data_range, ssim.channels) == ("biased", 0.01, 0.03, 1.0, "rgb")
    assert [(recipe.metric, recipe.net, recipe.version, recipe.input_range, recipe.dtype) for recipe in V1.lpips] == [
        ("lpips-alex", "alex", "0.1", (-1.0, 1.0), "float32"),
        ("lpips-vgg", "vgg", "0.1", (-1.0, 1.0), "float32"),
    ]
    assert (V1.reduction, V1.missing) == ("view>scene>protocol", "fail")


def test_kbench_v1_is_frozen() -> None:
    """A number under kbench-v1 means this record. Another hash is another convention, and needs another name."""
    assert V1.hash == "b433d0d7e4f011513acc03f46e5836f77fd4c054978b674079908aa880f3a767"


def test_metrics_know_which_way_is_better() -> None:
    assert {metric.name: metric.higher_is_better for metric in V1.metrics.values()} == {
        "psnr": True,
        "ssim": True,
        "lpips-alex": False,
        "lpips-vgg": False,
        "psnr-fg": True,
        "ssim-fg": True,
    }


def test_the_weights_at_hand_are_the_pinned_ones(weights_dir: Path) -> None:
    alex = V1.lpips[0]
    for reference in (alex.trunk, alex.heads):
        assert sha256_hex((weights_dir / "lpips" / f"{reference.name}.safetensors").read_bytes()) == reference.sha256


def test_a_changed_copy_has_its_own_hash() -> None:
    assert V1.model_copy(update={"clamp": False}).hash != V1.hash


@pytest.mark.parametrize("field", sorted(UNHASHED_FIELDS))
def test_words_do_not_change_the_hash(field: str) -> None:
    changed = "other" if field in ("title", "quirk") else ("other",)
    assert V1.model_copy(update={field: changed}).hash == V1.hash


SCIENCE = [
    ("name: kbench-v1", "name: kbench-v2"),
    ("clamp: true", "clamp: false"),
    ("quantise: round8", "quantise: floor8"),
    ("quantise: round8", "quantise: round8\nquantise_of: both"),
    ("colour_correction: none", "colour_correction: affine"),
    ("crop_border: 0", "crop_border: 1"),
    ("mask: none", "mask: inside"),
    ("mask: none", "mask: none\nbackground: white"),
    ("mask: none", "mask: none\nbackground: [1, 2, 3]"),
    ("mask: none", "mask: none\nmask_source: files"),
    ("mask: none", "mask: none\nwithout_mask: all-pixels"),
    ("clamp: true", "dtype: bfloat16\nclamp: true"),
    ("aggregation: per-image", "aggregation: pooled"),
    ("decibels: 100.0", "decibels: 99.0"),
    ("policy: cap\n  decibels: 100.0", "policy: exclude"),
    ("window_size: 11", "window_size: 7"),
    ("window: gaussian", "window: uniform"),
    ("sigma: 1.5", "sigma: 1.4"),
    ("border: valid", "border: zero"),
    ("covariance: biased", "covariance: sample"),
    ("clip_variance: false", "clip_variance: true"),
    ("k1: 0.01", "k1: 0.02"),
    ("k2: 0.03", "k2: 0.04"),
    ("data_range: 1.0", "data_range: pair"),
    ("channels: rgb", "channels: gray"),
    ("net: alex", "net: squeeze"),
    ('version: "0.1"', 'version: "0.0"'),
    ("input_range: [-1.0, 1.0]", "input_range: [0.0, 1.0]"),
    ("dtype: float32", "dtype: bfloat16"),
    ("epsilon: 1.0e-10", "epsilon: 1.0e-8"),
    ("epsilon_place: after-root", "epsilon_place: inside-root"),
    ("sha256: 26dd", "sha256: 26de"),
    ("reduction: view>scene>protocol", "reduction: view>protocol"),
]


@pytest.mark.parametrize(("old", "new"), SCIENCE)
def test_every_scientific_field_changes_the_hash(tmp_path: Path, old: str, new: str) -> None:
    # The pairs that must go together are changed together.
    companions = {"window: uniform": [("sigma: 1.5", "sigma: null")]}.get(new, [])
    assert reload(tmp_path, (old, new), *companions).hash != V1.hash


LATER = {
    "quantise_of: prediction",
    "dtype: float32",
    "background: as-prepared",
    "mask_source: any",
    "without_mask: refuse",
}


@pytest.mark.parametrize("line", sorted(LATER))
def test_saying_what_was_always_meant_changes_no_hash(tmp_path: Path, line: str) -> None:
    assert {each.split(":")[0] for each in LATER} == set(LATER_FIELDS)
    assert reload(tmp_path, ("crop_border: 0", f"crop_border: 0\n{line}")).hash == V1.hash


@given(st.sets(st.sampled_from(range(len(TEXT.splitlines())))), st.text("# :x", max_size=4))
def test_comments_and_blank_lines_do_not_change_the_hash(lines: set[int], words: str) -> None:
    text = ""
    for number, line in enumerate(TEXT.splitlines(keepends=True)):
        # Only before a top-level key: inside folded text a '#' is text.
        text += f"\n#{words}\n" if number in lines and line[0].isalpha() else ""
        text += line
    assert parse_yaml_record(text, Convention, where="c.yaml").hash == V1.hash


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("quantise: round8", "quantise: rond8", ["'rond8'", "Did you mean 'round8'?"]),
        ("mask: none", "mask: zero-both\nbackground: white", ["zero-both on the background white", "Say mask: none"]),
        ("mask: none", "mask: none\nbackground: [0, 0, 300]", ["[0, 0, 300]", "'black'"]),
        ("metric: lpips-alex", "metric: psnr-fg", ["psnr-fg", "distinct names"]),
        ("quantise:", "quantize:", ["unknown key 'quantize'", "Did you mean 'quantise'?"]),
        ("  sigma: 1.5", "  sigma: null", ["gaussian with sigma None"]),
        ("window_size: 11", "window_size: 10", ["odd"]),
        ("metric: lpips-vgg", "metric: lpips-alex", ["distinct names"]),
        ("metric: lpips-vgg", "metric: psnr", ["distinct names"]),
        ("clamp: true", "clamp: null", ["the null fields ['clamp'] and the unset ones []", "why it is not known"]),
        ("missing: fail", "missing: fail\nunset: [{field: clamp, why: x}]", ["the unset ones ['clamp']"]),
        ("missing: fail", "missing: fail\nunset: [{field: k1, why: x}]", ["'k1'", "'ssim.border'"]),
        ("missing: fail", "missing: skip", ["'skip'", "'fail'"]),
        ("policy: cap", "policy: clip", ["'clip'", "'cap'"]),
    ],
)
def test_a_bad_convention_is_refused_with_its_line(tmp_path: Path, old: str, new: str, words: list[str]) -> None:
    with pytest.raises(BenchError) as caught:
        reload(tmp_path, (old, new))
    assert "c.yaml:" in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_what_may_be_left_out_is_not_hashed_at_its_meaning() -> None:
    """A field that came after kbench-v1 was frozen; written out, it is the same record."""
    text = TEXT.replace("quantise: round8", "quantise: round8\nquantise_of: prediction", 1)
    assert parse_yaml_record(text, Convention, where="c.yaml").hash == V1.hash


@pytest.mark.parametrize("path", get_args(MayBeUnset))
def test_what_is_unset_is_hashed_and_filled_from_kbench_v1(path: str) -> None:
    fields = V1.model_dump()
    *groups, name = path.split(".")
    (fields[groups[0]] if groups else fields)[name] = None
    vague = Convention.model_validate({**fields, "unset": [{"field": path, "why": "x"}]})
    assert vague.unset_fields == (path,)
    assert vague.hash != V1.hash
    assert fill_unset(vague) == V1
    assert fill_unset(vague).hash == V1.hash
    (caveat,) = list_caveats(vague)[:1]
    assert caveat.startswith(f"kbench-v1: {path} is unset, scored as kbench-v1 does (")


def test_kbench_v1_has_no_caveat() -> None:
    assert list_caveats(V1) == ()
    assert fill_unset(V1) is V1


def test_an_unknown_convention_names_the_nearest() -> None:
    with pytest.raises(BenchError, match=r"no convention is named 'kbench-v3'.*Did you mean 'kbench-v1'"):
        load_convention("kbench-v3")
