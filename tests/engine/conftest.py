"""A box for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.engine import Box


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    """A box of four devices, after its first steps."""
    box = Box(tmp_path / "state")
    box.settle()
    yield box
    box.store.close()
