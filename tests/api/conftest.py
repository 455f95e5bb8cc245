"""A real server around scripted services, and a client of it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpuboard.api.client import Client
from tests.support.api import RunningServer, ScriptedBox, serving


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path that other users may enter (sockets have 107 bytes, pytest's folders are 0700)."""
    with tempfile.TemporaryDirectory(prefix="gb") as path:
        os.chmod(path, 0o755)
        yield Path(path)


@pytest.fixture
def box() -> ScriptedBox:
    return ScriptedBox()


@pytest.fixture
def server(folder: Path, box: ScriptedBox) -> Iterator[RunningServer]:
    with serving(folder, box) as running:
        yield running


@pytest.fixture
def client(server: RunningServer) -> Iterator[Client]:
    found = Client(server.path, timeout_s=10)
    yield found
    found.close()
