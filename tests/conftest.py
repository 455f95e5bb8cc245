"""Session-wide parts: the repository on sys.path (for `tests.support`), and one real Docker Engine."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from tests.support.bridged import BridgedEngine, missing_bridge_parts  # noqa: E402
from tests.support.dockerd import DockerEngine, missing_parts, running_engine  # noqa: E402

# how long an example takes says more about the box's other tenants than about the code
settings.register_profile("shared-box", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared-box")


def _without_engine(reason: str) -> None:
    if os.environ.get("GPUBOARD_REQUIRE_ENGINE") == "1":
        pytest.fail(f"GPUBOARD_REQUIRE_ENGINE=1, but {reason}", pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def docker_engine() -> Iterator[DockerEngine]:
    """Give a real Docker Engine: the one named by GPUBOARD_TEST_DOCKER_HOST, else one of our own."""
    host = os.environ.get("GPUBOARD_TEST_DOCKER_HOST", "")
    if host:
        shared = DockerEngine(Path(host.removeprefix("unix://")).parent)
        shared.host = host
        shared.make_images()
        yield shared
        return
    if reason := missing_parts():
        _without_engine(reason)
    with contextlib.ExitStack() as stack:
        try:
            engine = stack.enter_context(running_engine())
        except RuntimeError as error:
            _without_engine(str(error))
        yield engine


@pytest.fixture(scope="session")
def bridged_engine() -> Iterator[BridgedEngine]:
    """Give an engine that has bridges and ports, in a network namespace of its own."""
    if reason := missing_bridge_parts():
        _without_engine(reason)
    with running_engine(BridgedEngine) as engine:
        yield engine


@pytest.fixture
def mortal_engine() -> Iterator[DockerEngine]:
    """Give an engine of the test's own, to be killed and restarted."""
    if reason := missing_parts():
        _without_engine(reason)
    with running_engine() as engine:
        yield engine
