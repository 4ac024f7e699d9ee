"""The map of the reference model is of this reference model: files, numbers and commands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from reference_model.flops import forward_flops
from reference_model.model import Kaleido, count_parameters
from reference_model.presets import PRESETS

FOLDER = Path(__file__).parents[2] / "reference_model"
TEXT = (FOLDER / "README.md").read_text()


def test_every_file_is_on_the_map_and_every_file_on_the_map_is_there() -> None:
    top = {path.name for path in FOLDER.glob("*.py")} - {"__init__.py"}
    order = [name for line in TEXT.splitlines() if line.startswith("| `") for name in re.findall(r"`(\w+\.py)`", line)]
    assert sorted(order) == sorted(top)  # each once
    named = set(re.findall(r"`(\w+\.py)`", TEXT))
    assert all((FOLDER / name).is_file() for name in named - {"models.py"})
    assert all((FOLDER / f"{name}/__init__.py").is_file() for name in re.findall(r"`(\w+)/`", TEXT))
    assert all((FOLDER.parent / name).exists() for name in re.findall(r"`((?:benchmarks|docs|tests)/[\w./]+)`", TEXT))


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_as_large_as_the_table_says(name: str) -> None:
    config = PRESETS[name]().model
    with torch.device("meta"):
        parameters = count_parameters(Kaleido(config))
    flops = forward_flops(config, 4, 4, (config.image_size // config.patch) ** 2) / 1e9
    heads = f"{config.heads}" + (f" ({config.key_heads})" if config.key_heads != config.heads else "")
    row = next(line for line in TEXT.splitlines() if line.startswith(f"| {name} "))
    cells = [cell.strip() for cell in row.split("|")[2:-1]]
    assert cells[:2] == [f"{parameters:,}", f"{config.width} x {config.depth}, {heads}"]
    assert cells[2].startswith(f"{config.image_size} px, {config.patch} px") and cells[3] == str(config.max_views)
    assert cells[4] == (f"{flops:,.0f}" if flops > 1 else f"{flops:.2f}")


def test_modules_that_commands_name_are_there() -> None:
    modules = re.findall(r"python -m reference_model\.([\w.]+)", TEXT)
    assert len(modules) > 3
    assert all((FOLDER / f"{module.replace('.', '/')}.py").is_file() for module in modules)
