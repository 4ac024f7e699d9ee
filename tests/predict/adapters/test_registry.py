from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib.metadata import EntryPoint, EntryPoints

import pytest

from kaleido_bench.errors import BenchError
from kaleido_bench.predict.adapters import (
    ADAPTERS,
    Adapter,
    ModelName,
    build_adapter,
    find_adapters,
    label_model,
    parse_model_name,
    registry,
    resolve_model,
)
from kaleido_bench.predict.adapters.mean import Mean


def test_a_name_splits_at_its_first_at_sign() -> None:
    assert parse_model_name("nearest") == ModelName("nearest", None)
    assert parse_model_name("kaleido@small") == ModelName("kaleido", "small")
    assert parse_model_name("saved@/a/b@c") == ModelName("saved", "/a/b@c")
    assert str(parse_model_name("saved@/a/b@c")) == "saved@/a/b@c"


@pytest.mark.parametrize("text", ["", "@tiny", "kaleido@"])
def test_a_name_with_an_empty_part_is_refused(text: str) -> None:
    with pytest.raises(BenchError, match="NAME@VARIANT"):
        parse_model_name(text)


def test_a_bare_name_gets_its_default_variant() -> None:
    assert resolve_model("kaleido") == ModelName("kaleido", "small")
    assert resolve_model("kaleido@tiny") == ModelName("kaleido", "tiny")
    assert resolve_model("kaleido@folder") == ModelName("kaleido", "folder")
    assert resolve_model("nearest") == ModelName("nearest", None)


def test_variants_are_refused_where_there_are_none_and_asked_for_where_they_are_needed() -> None:
    with pytest.raises(BenchError, match="has no variants"):
        resolve_model("nearest@fast")
    with pytest.raises(BenchError, match="saved@DIR"):
        resolve_model("saved")


def test_unknown_model_names_the_nearest_known_one() -> None:
    with pytest.raises(BenchError, match=r"unknown model 'nearst'.*Did you mean nearest"):
        resolve_model("nearst")


def test_unknown_argument_names_the_known_ones() -> None:
    with pytest.raises(BenchError, match=r"step=4.*has no argument 'step'; expected steps"):
        build_adapter(ModelName("kaleido", "tiny"), {"step": "4"}, "cpu")
    with pytest.raises(BenchError, match="expected no argument at all"):
        build_adapter(ModelName("mean", None), {"x": "1"}, "cpu")


@pytest.mark.parametrize("name", ["mean", "nearest"])
def test_baselines_build_to_adapters_that_describe_themselves(name: str) -> None:
    adapter = build_adapter(ModelName(name, None), {}, "cpu")
    assert isinstance(adapter, Adapter)
    card = adapter.describe()
    assert (card.name, card.training_data, len(card.fingerprint)) == (name, (), 64)


def test_every_built_in_entry_names_a_file_beside_the_registry() -> None:
    for name, entry in ADAPTERS.items():
        assert entry.target == f"kaleido_bench.predict.adapters.{name}:build"


def test_labels_are_folder_names() -> None:
    assert label_model(ModelName("kaleido", "tiny"), {}) == "kaleido@tiny"
    assert label_model(ModelName("kaleido", "tiny"), {"steps": "8", "a": "b/c"}) == "kaleido@tiny+a=b-c+steps=8"
    assert label_model(ModelName("saved", "/data/my renders/"), {}) == "saved@my-renders"
    assert label_model(ModelName("saved", "/"), {}) == "saved@root"


def build_foreign(variant: str | None, args: Mapping[str, str], device: str) -> Adapter:
    assert (variant, dict(args), device) == ("v2", {"any": "thing"}, "cpu")
    return Mean()


def build_nonsense(variant: str | None, args: Mapping[str, str], device: str) -> object:
    return 7


@pytest.fixture
def foreign(monkeypatch: pytest.MonkeyPatch) -> None:
    """Entry points as installed packages would declare them."""
    monkeypatch.setitem(sys.modules, "foreign_package", sys.modules[__name__])
    group = registry.ENTRY_POINT_GROUP
    points = EntryPoints(
        [
            EntryPoint("foreign", "foreign_package:build_foreign", group),
            EntryPoint("nonsense", "foreign_package:build_nonsense", group),
            EntryPoint("absent", "package_that_is_not_installed.adapter:build", group),
            EntryPoint("nearest", "foreign_package:build_nonsense", group),
        ]
    )
    monkeypatch.setattr(registry, "entry_points", lambda group: points.select(group=group))


def test_an_entry_point_adds_a_model_without_importing_it(foreign: None) -> None:
    found = find_adapters()
    assert found["foreign"].title == "from the package foreign_package"
    assert "package_that_is_not_installed" not in sys.modules
    model = resolve_model("foreign@v2")
    assert isinstance(build_adapter(model, {"any": "thing"}, "cpu"), Mean)


def test_an_entry_point_cannot_take_a_built_in_name(foreign: None) -> None:
    assert find_adapters()["nearest"] == ADAPTERS["nearest"]


def test_an_entry_point_that_cannot_be_imported_or_is_no_adapter_says_so(foreign: None) -> None:
    with pytest.raises(BenchError, match=r"package_that_is_not_installed.adapter:build.*cannot be imported"):
        build_adapter(resolve_model("absent"), {}, "cpu")
    with pytest.raises(BenchError, match="build returned a int"):
        build_adapter(resolve_model("nonsense"), {}, "cpu")
