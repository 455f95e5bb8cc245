"""The runtimes' fixtures once more, with Docker 26.1 of Debian 13 in the engine's place."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.register_assert_rewrite("tests.runtimes.test_contract", "tests.runtimes.test_docker")

from tests.runtimes.conftest import docker_bench_on, home  # noqa: E402, F401
from tests.support import dockerd  # noqa: E402
from tests.support.dockerd import DockerEngine  # noqa: E402
from tests.support.runtimes import RuntimeBench  # noqa: E402
from tests.support.trixie import (  # noqa: E402
    TrixieEngine,
    missing_parts,
    running_trixie_engine,
)

MAKING_S = 600
"""The first test of a machine waits for the Debian 13 root."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark all tests of this folder: they need root and an engine, and the first one takes its time."""
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.engine)
            item.add_marker(pytest.mark.root)
            item.add_marker(pytest.mark.timeout(MAKING_S))


def _without(reason: str) -> None:
    if os.environ.get("GPUBOARD_REQUIRE_ENGINE") == "1":
        pytest.fail(f"GPUBOARD_REQUIRE_ENGINE=1, but {reason}", pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def trixie() -> Iterator[TrixieEngine]:
    """Give Docker 26.1 with CDI."""
    if reason := missing_parts():
        _without(reason)
    with contextlib.ExitStack() as stack:
        try:
            engine = stack.enter_context(running_trixie_engine())
        except RuntimeError as error:
            _without(str(error))
        yield engine


@pytest.fixture(scope="session")
def bookworm() -> Iterator[DockerEngine]:
    """Give the box's own Docker (20.10 on Debian 12), for what must hold on both."""
    if reason := dockerd.missing_parts():
        _without(reason)
    with dockerd.running_engine() as engine:
        yield engine


@pytest.fixture(scope="session", params=["bookworm", "trixie"])
def either_engine(request: pytest.FixtureRequest) -> DockerEngine:
    """Give both engines in turn."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def docker_engine(trixie: TrixieEngine) -> Iterator[TrixieEngine]:
    """Take the place of the box's own engine; the CDI specification is put back at the end."""
    yield trixie
    trixie.write_cdi()


@pytest.fixture
def docker_bench(docker_engine: TrixieEngine, tmp_path: Path, home: Path) -> Iterator[RuntimeBench]:  # noqa: F811
    """Give the docker runtime on it."""
    bench = docker_bench_on(docker_engine, tmp_path, home)
    yield bench
    bench.clear()


@pytest.fixture
def bench(docker_bench: RuntimeBench) -> RuntimeBench:
    """Be the runtime under test of the contract."""
    return docker_bench


@pytest.fixture
def any_bench(docker_bench: RuntimeBench) -> RuntimeBench:
    """Be the runtime under test of the contract."""
    return docker_bench
