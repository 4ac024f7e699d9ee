"""The table of data sets: complete, in one line each, and naming what the shipped protocols name."""

from __future__ import annotations

from pathlib import Path

import pytest
from ruamel.yaml import YAML

from kaleido_bench.data.datasets import DATASETS, datasets_of, how_to_get, how_to_get_as
from kaleido_bench.data.readers import READERS

PROTOCOLS = Path(__file__).resolve().parents[2] / "protocols"
# What this project made itself or ships: there is nothing to download.
OURS = {"quickstart", "real-llff", "real-objects", "real-scenes"}


@pytest.mark.parametrize("name", DATASETS)
def test_a_data_set_says_where_it_is_and_which_readers_read_it(name: str) -> None:
    row = DATASETS[name]
    assert row.name == name and row.homepage.startswith(("https://", "http://"))
    assert row.readers and set(row.readers) <= set(READERS)
    assert all(text and "\n" not in text for text in row)
    assert row.get.endswith(".") and name in datasets_of(row.readers[0])
    assert row.homepage in how_to_get(name) and row.get in how_to_get(name)


def test_every_published_layout_belongs_to_a_data_set() -> None:
    ours = {"parquet", "transforms"}  # for whatever there is
    assert set(READERS) - {reader for row in DATASETS.values() for reader in row.readers} == ours


def test_every_protocol_names_a_data_set_of_the_table() -> None:
    documents = [YAML(typ="safe").load(path.read_text()) for path in PROTOCOLS.rglob("*.yaml")]
    named = {document["dataset"]["name"] for document in documents if "dataset" in document}  # suites have none
    assert named - OURS <= set(DATASETS)


def test_data_in_another_layout_than_its_own_is_explained_twice() -> None:
    assert how_to_get_as("re10k", "re10k") == how_to_get("re10k")
    assert how_to_get_as("re10k", "seva") == how_to_get("re10k", "seva")
    assert how_to_get_as("my own", "transforms") == how_to_get("my own") == how_to_get()
