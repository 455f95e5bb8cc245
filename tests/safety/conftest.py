"""One lab a module of attacks: a daemon, the shared engine, fake GPUs and people."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator

import pytest

from tests.safety.lab import Lab, running_lab
from tests.support.dockerd import DockerEngine


@pytest.fixture(scope="module")
def lab(docker_engine: DockerEngine) -> Iterator[Lab]:
    """Give a running box as root sees it."""
    if os.geteuid() != 0 or shutil.which("useradd") is None:
        pytest.skip("second people need root and useradd")
    with running_lab(docker_engine) as found:
        yield found


@pytest.fixture
def saw(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Give a function that says in a few words what was seen; the safety report shows it."""
    return lambda words: record_property("seen", words)
