"""Where the real traces are; tests that need one are skipped with a line where there are none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def traces() -> Path:
    root = Path(__file__).resolve().parents[2]
    folder = Path(os.environ.get("GPUBOARD_TRACES", root.parent / "shared" / "traces"))
    if not (folder / "hpc2n_s.csv.gz").exists():
        pytest.skip(
            "no traces: set GPUBOARD_TRACES to a folder with hpc2n_s.csv.gz and kth_sp2.csv.gz"
        )
    return folder
