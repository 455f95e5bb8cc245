"""The fake library itself: its ABI, held against the real binding by its own check."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.support.fakenvml import SOURCES, library


@pytest.mark.cc
@pytest.mark.parametrize("old", [False, True])
def test_the_fake_library_speaks_the_drivers_abi(old: bool) -> None:
    """Values, faults, reload, MIG and events come through nvidia-ml-py as a driver's would."""
    environment = {**os.environ, "LD_LIBRARY_PATH": str(library(old=old).parent)}
    check = subprocess.run(
        [sys.executable, "check_abi.py", *(["--old"] if old else [])],
        cwd=SOURCES,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "fakenvml: ok" in check.stdout, check.stderr
