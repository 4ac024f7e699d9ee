"""What several tests of the reference model train on."""

from __future__ import annotations

import pytest

from reference_model.training.steps import WorldSource


@pytest.fixture(scope="session")
def worlds() -> WorldSource:
    return WorldSource(None, "cpu")
