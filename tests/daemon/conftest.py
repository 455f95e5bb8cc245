"""A short folder of our own (a socket's path has 107 bytes), and a real daemon in it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.daemon import DaemonProcess, daemon_in


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="gb") as path:
        yield Path(path)


@pytest.fixture
def daemon(folder: Path) -> Iterator[DaemonProcess]:
    with daemon_in(folder) as running:
        yield running
