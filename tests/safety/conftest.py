"""Boxes for faults: a short folder that other people may enter, and real engines of their own."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.dockerd import DockerEngine
from tests.support.fakenvml import built
from tests.support.faultbox import DOCKER, PROCESS, FaultBox, fault_box


@pytest.fixture
def fault_folder() -> Iterator[Path]:
    """A folder of the test's own."""
    made = Path(tempfile.mkdtemp(prefix="gbf-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
def docker_box(docker_engine: DockerEngine, fault_folder: Path) -> Iterator[FaultBox]:
    """A box on the suite's engine; the daemon is not started yet."""
    built()
    docker_engine.hook.behave("0")
    with fault_box(fault_folder, DOCKER.format(host=docker_engine.host)) as box:
        yield box
    docker_engine.hook.behave("0")


@pytest.fixture
def mortal_box(mortal_engine: DockerEngine, fault_folder: Path) -> Iterator[FaultBox]:
    """A box on an engine of its own, which may be killed."""
    built()
    with fault_box(fault_folder, DOCKER.format(host=mortal_engine.host)) as box:
        yield box


@pytest.fixture
def process_box(fault_folder: Path) -> Iterator[FaultBox]:
    """A box for plain processes."""
    built()
    with fault_box(fault_folder, PROCESS.format(jobs="")) as box:
        yield box
