"""One run at a time is at a folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from reference_model.presets import smoke
from reference_model.train import Run, train
from reference_model.training.claim import check_free, claim
from reference_model.training.schedule import Budget
from reference_model.training.steps import WorldSource


def test_one_run_at_a_time_is_at_a_folder(tmp_path: Path, worlds: WorldSource) -> None:
    with claim(tmp_path / "run"):
        with pytest.raises(
            ValueError, match=r"another run is training in .*run: wait for it, stop it, or give another"
        ):
            train(smoke(), worlds, Run(tmp_path / "run", Budget(steps=1)), lambda _: None)
        with pytest.raises(ValueError, match="another run"):
            check_free(tmp_path / "run")
        check_free(tmp_path / "other")
    assert list((tmp_path / "run").iterdir()) == [] and not (tmp_path / "other").exists()
    check_free(tmp_path / "run")
    train(smoke(), worlds, Run(tmp_path / "run", Budget(steps=1)), lambda _: None)
    check_free(tmp_path / "run")
