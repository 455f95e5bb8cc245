"""A store in a folder of its own."""

import pytest

from gpuboard.store import Store


@pytest.fixture
def state_dir(tmp_path):
    return str(tmp_path / "state")


@pytest.fixture
def store(state_dir):
    opened = Store(state_dir, busy_timeout_ms=100)
    yield opened
    opened.close()
