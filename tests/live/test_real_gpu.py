"""gpuboard on a real NVIDIA GPU: probe, jobs, whose each process is, recovery. `make test TESTS=tests/live`.

Skipped where no driver is. What was measured is printed (`-s`), not asserted.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from gpuboard.devices.nvml import NvmlProbe
from gpuboard.devices.nvml_sweep import NvmlSource
from gpuboard.devices.processes import ProcessTable
from gpuboard.devices.sweeping import wall_ms
from tests.support.box import Box, people
from tests.support.dockerd import running_engine
from tests.support.livegpu import (
    IMAGE,
    CdiEngine,
    built_hold,
    import_image,
    missing_driver,
    missing_engine,
    query,
)
from tests.support.waiting import wait_until

_WHY_NOT = missing_driver()
pytestmark = [
    pytest.mark.live,
    pytest.mark.timeout(240),
    pytest.mark.skipif(bool(_WHY_NOT), reason=_WHY_NOT),
]
PROCESSES = """
[jobs]
runtimes = ["process"]
default_runtime = "process"
[devices]
probe = "nvml"
"""
CONTAINERS = """
[jobs]
runtimes = ["docker"]
default_shm = "64M"
[docker]
host = "{host}"
network = "none"
[devices]
probe = "nvml"
"""
MEMORY_MIB = 2048


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder that other people may enter, with the program that works on devices."""
    made = Path(tempfile.mkdtemp(prefix="gpuboard-live-"))
    made.chmod(0o755)
    built_hold(made)
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture(scope="module")
def person() -> Iterator[int | None]:
    """An ordinary user where accounts can be made, else oneself."""
    if os.geteuid() != 0:
        yield None
        return
    with people("gblive") as (uid,):
        yield uid


@pytest.fixture
def box(folder: Path) -> Iterator[Box]:
    """A daemon whose jobs are plain processes."""
    with _served(Path(tempfile.mkdtemp(dir=folder)), PROCESSES) as found:
        yield found


@contextlib.contextmanager
def _served(folder: Path, config: str) -> Iterator[Box]:
    folder.chmod(0o755)
    box = Box(folder, config)
    try:
        box.start()
        yield box
    finally:
        with contextlib.suppress(Exception):
            jobs = [str(job["id"]) for job in box.json("ps", "--all")["jobs"]]
            box.run("cancel", "--force", *jobs)
            wait_until(lambda: not box.json("ps", "--all")["jobs"], 40)
        box.stop()


def told(words: str) -> None:
    print(f"live: {words}", flush=True)


def _held(box: Box, job_id: int) -> Any:
    """Wait until the board shows the job's process with its memory, and return that device."""

    def seen() -> Any:
        for device in box.json("gpus")["devices"]:
            for process in device["processes"]:
                if (
                    process["job_id"] == job_id
                    and (process["memory_bytes"] or 0) >= MEMORY_MIB << 20
                ):
                    return device
        return None

    return wait_until(seen, 60, f"the process of job {job_id} on the board")


def test_probe_says_what_nvidia_smi_says():
    """The same GPUs by UUID, with the same memory, and figures that a real GPU can have."""
    probe = NvmlProbe()
    probe.start()
    try:
        snapshot = probe.wait_first(30)
    finally:
        probe.stop()
    assert not snapshot.fault, snapshot
    readings = {reading.device.uuid: reading for reading in snapshot.readings}
    assert list(readings) == query("uuid")
    for reading, memory, name in zip(
        readings.values(), query("memory.total"), query("name"), strict=True
    ):
        assert reading.device.name == name
        assert abs(reading.memory_total_bytes / 2**20 - int(memory)) <= 1
        assert 10 < reading.temperature_c < 100
        told(f"reading {reading}")


def test_sweep_costs_are_told():
    """A sweep ends; what it costs on the real driver is printed."""
    source = NvmlSource(
        processes=ProcessTable(sees_every_pid=os.geteuid() == 0),
        slow_interval_s=5.0,
        ignore=(),
        clock=wall_ms,
    )
    spans, devices = [], len(query("uuid"))
    try:
        for _ in range(50):
            began = time.perf_counter()
            snapshot = source.sweep()
            spans.append((time.perf_counter() - began) * 1000)
            assert len(snapshot.readings) == devices, "it was a whole sweep"
    finally:
        source.close()
    told(f"sweep median {median(spans):.2f} ms, first {spans[0]:.2f} ms, worst {max(spans):.2f} ms")


def test_job_works_on_the_gpu_that_it_was_given(box: Box, folder: Path, person: int | None):
    """It sees that GPU alone; the board shows its process, person and memory, and its true end."""
    words = ("-g", "1", "-t", "5m", "--", str(folder / "hold"), str(MEMORY_MIB), "20")
    job = box.submit(*words, uid=person)
    device = _held(box, job)
    (process,) = device["processes"]
    assert (process["belongs"], device["state"], device["job_id"]) == ("job", "leased", job)
    busy = wait_until(lambda: (box.json("gpus")["devices"][0]["utilization"] or 0) > 20, 20)
    assert busy
    told(f"busy: {box.json('gpus')['devices'][0]}")
    ended = box.wait_state(job, "succeeded", "failed")
    log = box.run("logs", str(job)).stdout.split()
    assert (ended["state"], ended["exit_code"]) == ("succeeded", 0), log
    assert log[:2] == ["devices", "1"]
    assert log[2] == device["uuid"]
    wait_until(lambda: box.json("gpus")["devices"][0]["state"] == "free", 30, "the GPU to be free")


def test_job_without_gpus_sees_none(box: Box, folder: Path, person: int | None):
    """Though the driver and its device files are there."""
    job = box.submit("-g", "0", "-t", "5m", "--", str(folder / "hold"), "64", "1", uid=person)
    box.wait_state(job, "succeeded", "failed")
    assert box.run("logs", str(job)).stdout.startswith("devices 0")


def test_stranger_keeps_the_gpu_from_the_queue(box: Box, folder: Path, person: int | None):
    """Until it ends; then the job that waited starts."""
    stranger = subprocess.Popen(
        [str(folder / "hold"), str(MEMORY_MIB), "600"], stdout=subprocess.DEVNULL
    )
    try:
        wait_until(lambda: box.json("gpus")["devices"][0]["state"] == "foreign", 30)
        told(f"stranger: {box.json('gpus')['devices'][0]['state_words']}")
        words = ("-g", "1", "-t", "5m", "--", str(folder / "hold"), "64", "1")
        job = box.submit(*words, uid=person)
        assert box.job(job)["state"] == "queued"
        told(f"why: {box.run('why', str(job)).stdout}")
    finally:
        stranger.terminate()
        stranger.wait(30)
    assert box.wait_state(job, "succeeded", "failed")["state"] == "succeeded"


def test_killed_daemon_loses_nothing(box: Box, folder: Path, person: int | None):
    """The job on the GPU goes on; the next daemon knows its process, its log and its end."""
    words = ("-g", "1", "-t", "5m", "--", str(folder / "hold"), str(MEMORY_MIB), "25")
    job = box.submit(*words, uid=person)
    before = _held(box, job)["processes"][0]["pid"]
    box.kill()
    box.start()
    assert _held(box, job)["processes"][0]["pid"] == before
    assert box.wait_state(job, "succeeded", "failed")["exit_code"] == 0
    assert box.run("logs", str(job)).stdout.split()[-1] == "done"
    told(f"doctor: {box.run('doctor').stdout}")


@pytest.mark.engine
@pytest.mark.root
def test_container_opens_the_gpu_that_it_was_given(folder: Path, person: int | None):
    """By CDI, as an ordinary user without capabilities; a container without GPUs sees none."""
    if why_not := missing_engine():
        pytest.skip(why_not)
    with running_engine(CdiEngine) as engine:
        import_image(engine, folder / "hold")
        config = CONTAINERS.format(host=engine.host)
        with _served(Path(tempfile.mkdtemp(dir=folder)), config) as box:
            words = ("-t", "5m", "--image", IMAGE, "--", "hold", str(MEMORY_MIB), "15")
            job = box.submit("-g", "1", *words, uid=person)
            device = _held(box, job)
            told(f"container: {device['processes']}")
            assert (device["job_id"], device["processes"][0]["belongs"]) == (job, "job")
            assert box.wait_state(job, "succeeded", "failed")["state"] == "succeeded"
            log = box.run("logs", str(job)).stdout.split()
            assert log[:3] == ["devices", "1", device["uuid"]]
            without = box.submit("-g", "0", *words, uid=person)
            box.wait_state(without, "succeeded", "failed")
            assert box.run("logs", str(without)).stdout.startswith("devices 0")
