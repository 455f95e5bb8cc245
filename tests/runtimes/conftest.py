"""One bench a runtime: the contract tests run on each."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpuboard.runtimes.docker import DockerRuntime
from gpuboard.runtimes.process import ProcessRuntime
from gpuboard.runtimes.sandbox import SandboxSettings
from gpuboard.runtimes.simulated import SimulatedRuntime
from tests.support.dockerd import IMAGE, DockerEngine
from tests.support.runtimes import PERSON, RealClock, RuntimeBench, scripted_outcome

_boxes = itertools.count(1)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Give the person's home, closed to others."""
    path = tmp_path / "home" / "person"
    path.mkdir(parents=True)
    path.chmod(0o700)
    if os.geteuid() == 0:
        os.chown(path, PERSON, PERSON)
        for parent in (tmp_path, *tmp_path.parents):
            if parent.stat().st_uid == 0 and str(parent).startswith("/tmp/"):
                parent.chmod(0o755)
    return path


@pytest.fixture
def process_bench(tmp_path: Path, home: Path) -> Iterator[RuntimeBench]:
    """Give the process runtime: as root for another person, else for oneself."""
    uid = PERSON if os.geteuid() == 0 else os.geteuid()
    run_dir = str(tmp_path / "run")
    parent = f"gpuboard-test-{os.getpid()}"

    def make() -> ProcessRuntime:
        runtime = ProcessRuntime(run_dir, cgroup_parent=parent)
        runtime.check()
        return runtime

    bench = RuntimeBench(make, home, uid=uid)
    yield bench
    bench.clear()
    for tree in (Path("/sys/fs/cgroup"), *Path("/sys/fs/cgroup").glob("*/")):
        if (tree / parent).is_dir():
            (tree / parent).rmdir()


def docker_bench_on(
    engine: DockerEngine, tmp_path: Path, home: Path, settings: SandboxSettings | None = None
) -> RuntimeBench:
    """Return a bench on an engine, for a box of its own."""
    box = f"test-{os.getpid()}-{next(_boxes)}"
    chosen = settings or SandboxSettings(network="none", max_memory_bytes=2 * 2**30)

    def make() -> DockerRuntime:
        runtime = DockerRuntime(engine.host, chosen, box, pin_dir=str(tmp_path / "pins"))
        runtime.check()
        return runtime

    return RuntimeBench(make, home, image=IMAGE)


@pytest.fixture
def docker_bench(docker_engine: DockerEngine, tmp_path: Path, home: Path) -> Iterator[RuntimeBench]:
    """Give the docker runtime on a real engine."""
    bench = docker_bench_on(docker_engine, tmp_path, home)
    yield bench
    bench.clear()


@pytest.fixture
def simulated_bench(home: Path) -> Iterator[RuntimeBench]:
    """Give the simulated runtime on real clocks; its engine outlives the client, as a real one."""
    runtime = SimulatedRuntime(RealClock(), scripted_outcome)
    bench = RuntimeBench(lambda: runtime, home)
    yield bench
    bench.clear()


@pytest.fixture(params=[pytest.param("docker", marks=pytest.mark.engine), "process"])
def bench(request: pytest.FixtureRequest) -> RuntimeBench:
    """Give each runtime that runs real commands in turn."""
    return request.getfixturevalue(f"{request.param}_bench")


@pytest.fixture(params=[pytest.param("docker", marks=pytest.mark.engine), "process", "simulated"])
def any_bench(request: pytest.FixtureRequest) -> RuntimeBench:
    """Give each runtime in turn, the simulated one too (it knows a few scripted commands)."""
    return request.getfixturevalue(f"{request.param}_bench")
