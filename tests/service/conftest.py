"""A box of four devices and the services over it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gpuboard.service.services import Services
from tests.support.engine import Box
from tests.support.services import services_over, simulated_config


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    """A box that takes simulated jobs."""
    box = Box(tmp_path / "state", config=simulated_config(state_dir=str(tmp_path / "state")))
    box.settle()
    yield box
    box.store.close()


@pytest.fixture
def services(box: Box) -> Services:
    """The services over the box."""
    return services_over(box)
