"""Writing protocols."""

from __future__ import annotations

import string

from hypothesis import given
from hypothesis import strategies as st

from kaleido_bench.authoring import WIDTH, render_yaml
from kaleido_bench.yaml_lines import parse_yaml

TEXT = st.text(string.ascii_letters + string.digits + " '\"#:-{}[],&*!|>%@`~äé€", max_size=300)
SCALARS = st.none() | st.booleans() | st.integers(-(10**6), 10**6) | st.floats(-1e6, 1e6) | TEXT
KEYS = st.from_regex(r"[a-z][a-z_]{0,10}", fullmatch=True)
FIELDS = st.recursive(
    st.dictionaries(KEYS, SCALARS | st.lists(SCALARS, max_size=4), min_size=1, max_size=4),
    lambda inner: st.dictionaries(KEYS, inner | SCALARS, min_size=1, max_size=3),
    max_leaves=6,
)


@given(FIELDS)
def test_what_is_written_is_what_is_read(fields: dict[str, object]) -> None:
    assert parse_yaml(render_yaml(fields), "x").value == fields  # type: ignore[arg-type]


def test_words_that_yaml_takes_for_something_else_are_quoted() -> None:
    words = ["true", "No", "null", "1", "1e3", "2024-01-01", "~", "a: b", "a #b", "", " x", "0x1f", "on"]
    assert parse_yaml(render_yaml({"words": list(words)}), "x").value == {"words": words}


def test_long_text_is_folded_and_short_lists_stay_on_a_line() -> None:
    text = render_yaml({"sizes": [1, 2], "names": ["psnr", "ssim"], "sources": ["many words " * 40 + "end"]})
    assert "sizes: [1, 2]\nnames: [psnr, ssim]\nsources:\n  - >-\n" in text
    assert max(map(len, text.splitlines())) <= WIDTH
