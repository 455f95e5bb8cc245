"""Attacks on a box whose administrator set no limit: the defaults must hold by themselves."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpuboard.runtimes.process_files import RunDirectory
from tests.safety.lab import Lab, running_lab
from tests.support.dockerd import DockerEngine

pytestmark = [pytest.mark.engine, pytest.mark.root, pytest.mark.cc]

CONFIG = """
[docker]
host = "{host}"
network = "none"
"""
PROCESS = {"runtime": "process", "image": ""}


@pytest.fixture(scope="module")
def bare(docker_engine: DockerEngine) -> Iterator[Lab]:
    """A lab on the default limits."""
    if os.geteuid() != 0 or shutil.which("useradd") is None:
        pytest.skip("second people need root and useradd")
    with running_lab(docker_engine, CONFIG) as found:
        yield found


def box_bytes() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def test_attack_41_default_limits_of_a_container(bare: Lab, saw):
    """Memory, swap, shared memory and CPUs end below what the box has."""
    job = bare.submit(bare.mallory, command=["sleep", "300"])
    bare.wait(job, "running")
    host = bare.container(job)["HostConfig"]
    bare.cancel(job)
    assert 0 < host["Memory"] == host["MemorySwap"] < box_bytes()
    assert 0 < host["ShmSize"] <= host["Memory"]
    assert host["NanoCpus"] == (os.cpu_count() or 1) * 10**9
    assert host["PidsLimit"] == 4096
    saw(f"memory {host['Memory'] >> 20} of {box_bytes() >> 20} MiB, though nobody set a limit")


def test_attack_41_default_limits_of_a_process(bare: Lab, saw):
    """In a control group of its own."""
    job = bare.submit(bare.mallory, command=["sleep", "300"], **PROCESS)
    bare.wait(job, "running")
    order = RunDirectory(bare.box.state / "processes" / f"gb-{job}-1").order()
    names = ("memory.max", "memory.limit_in_bytes")
    files = [Path(group, name) for group in order.cgroups for name in names]
    limits = [int(file.read_text()) for file in files if file.exists()]
    bare.cancel(job)
    if not limits:
        pytest.skip("no memory controller")
    assert 0 < limits[0] < box_bytes()
    saw(f"memory {limits[0] >> 20} of {box_bytes() >> 20} MiB, though nobody set a limit")


def test_attack_41_memory_hog_in_a_process(bare: Lab, saw):
    """It ends in its own group, and the reason says so."""
    if not any(Path("/sys/fs/cgroup").glob("**/memory.*")):
        pytest.skip("no memory controller")
    ended, _ = bare.ran(bare.mallory, "tail /dev/zero", memory="64M", **PROCESS)
    assert (ended["state"], ended["oom_killed"]) == ("failed", True)
    saw("ended for memory in its own group")


@pytest.mark.parametrize("kind", [{}, PROCESS], ids=["docker", "process"])
def test_attack_54_more_than_the_box_has(bare: Lab, saw, kind: dict[str, str]):
    """The error names the field and the most that may be asked for, in people's units."""
    for value in ("1P", "100T", str(2 * box_bytes())):
        error = bare.refused(bare.mallory, memory=value, **kind)
        assert (error["code"], error["field"]) == ("invalid", "memory"), error
        assert "between 6M and" in error["message"]
    for value in (10**6, 0):
        assert bare.refused(bare.mallory, cpus=value, **kind)["field"] == "cpus"
    assert bare.refused(bare.mallory, shm_size="1P", **kind)["field"] == "shm_size"
    saw("refused beyond the box, without a limit in the configuration")
