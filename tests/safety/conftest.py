"""A lab a module of attacks; boxes for faults: a folder that other people may enter, engines of their own."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.safety.lab import Lab, running_lab
from tests.support.dockerd import DockerEngine
from tests.support.fakenvml import built, gpu_uuid
from tests.support.faultbox import DOCKER, PROCESS, FaultBox, fault_box
from tests.support.trixie import running_trixie_engine

ON_26 = os.environ.get("GPUBOARD_SAFETY_ENGINE") == "26.1"
"""Whether the engine of this folder's tests is Debian 13's, not this box's: a second `make safety-report`."""
CDI_DEVICES = 16

if ON_26:

    @contextlib.contextmanager
    def _engine_26() -> Iterator[DockerEngine]:
        with running_trixie_engine() as engine:
            engine.write_cdi([gpu_uuid(number) for number in range(CDI_DEVICES)], calls_hook=True)
            engine.has_hook = True
            yield engine

    @pytest.fixture(scope="session")
    def docker_engine() -> Iterator[DockerEngine]:
        """Take the place of this box's engine."""
        with _engine_26() as engine:
            yield engine

    @pytest.fixture
    def mortal_engine() -> Iterator[DockerEngine]:
        """Take the place of the engine that may be killed."""
        with _engine_26() as engine:
            yield engine


@pytest.fixture(scope="module")
def lab(docker_engine: DockerEngine) -> Iterator[Lab]:
    """Give a running box as root sees it, with its people."""
    if os.geteuid() != 0 or shutil.which("useradd") is None:
        pytest.skip("second people need root and useradd")
    with running_lab(docker_engine) as found:
        yield found


@pytest.fixture
def saw(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Give a function that says in a few words what was seen; the safety report shows it."""
    return lambda words: record_property("seen", words)


@pytest.fixture
def fault_folder() -> Iterator[Path]:
    """A folder of the test's own."""
    made = Path(tempfile.mkdtemp(prefix="gbf-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture(scope="module")
def crash_folder() -> Iterator[Path]:
    """A folder of the module's own."""
    made = Path(tempfile.mkdtemp(prefix="gbc-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
def docker_box(docker_engine: DockerEngine, fault_folder: Path) -> Iterator[FaultBox]:
    """A box on the suite's engine; the daemon is not started yet."""
    built()
    docker_engine.hook.clear()  # the engine is the session's: what others started is not ours
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
