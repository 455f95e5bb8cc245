"""Whose is each process on a device: real jobs in real containers and processes, seen by the real probe."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.box import Box, people
from tests.support.dockerd import IMAGE, DockerEngine, missing_parts, running_engine
from tests.support.fakenvml import FakeBox, built, process_line
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.engine, pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(180)]

CONFIG = """
[jobs]
runtimes = ["docker", "process"]
default_shm = "32M"
[docker]
host = "{host}"
network = "none"
[devices]
probe = "nvml"
interval = "250ms"
"""


@pytest.fixture
def engine() -> Iterator[DockerEngine]:
    why_not = missing_parts()
    if why_not and not os.environ.get("GPUBOARD_REQUIRE_ENGINE"):
        pytest.skip(why_not)
    with running_engine() as found:
        yield found


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that other people may enter, as pytest's own may not."""
    made = Path(tempfile.mkdtemp(prefix="gpuboard-e2e-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made, ignore_errors=True)


def test_each_process_on_a_device_is_known_by_whose_it_is(engine: DockerEngine, folder: Path):
    """A container's and a plain job's process are their jobs'; a stranger keeps a device from the
    queue; a job on a device that it was not given is a violation, and that device is not free."""
    built()
    (folder / "nvml").mkdir()
    fake = FakeBox(folder / "nvml", 4)
    box = Box(folder / "box", CONFIG.format(host=engine.host), fake.environment())
    with people("gbattrib") as (alice,), contextlib.ExitStack() as stack:
        stranger = subprocess.Popen(["sleep", "4713"])
        stack.callback(_end, stranger)
        box.start()
        stack.callback(box.stop)
        boxed = box.submit(
            "-g", "1", "-t", "10m", "--image", IMAGE, "--", "sleep", "4711", uid=alice
        )
        plain = box.submit(
            *("-g", "1", "-t", "10m", "--runtime", "process", "--", "sleep", "4712"), uid=alice
        )
        stack.callback(_cancel, box, boxed, plain)
        at = {job: _device_of(box, job) for job in (boxed, plain)}
        free = [number for number in range(4) if number not in at.values()]
        pids = {boxed: _pid_of("4711"), plain: _pid_of("4712")}
        for job in (boxed, plain):
            fake.gpus[at[job]].processes = [process_line(pids[job])]
        fake.gpus[free[0]].processes = [process_line(stranger.pid)]
        fake.gpus[free[1]].processes = [process_line(pids[boxed])]
        fake.write()

        wait_until(lambda: _seen(box, free[1])["processes"], 20, "the sweep")
        for job in (boxed, plain):
            (process,) = _seen(box, at[job])["processes"]
            assert (process["pid"], process["belongs"], process["job_id"]) == (
                pids[job],
                "job",
                job,
            )
        _stranger_is_told(_seen(box, free[0]), stranger.pid)
        astray = _seen(box, free[1])
        assert astray["processes"][0]["belongs"] == "violation"
        assert astray["processes"][0]["job_id"] == boxed
        assert "without a lease" in astray["state_words"]

        waiting = box.submit("-g", "1", "-t", "1m", "--image", IMAGE, "--", "true", uid=alice)
        why = box.json("why", str(waiting))
        assert box.job(waiting)["state"] == "queued", why
        fake.gpus[free[0]].processes = []
        fake.write()
        box.wait_state(waiting, "succeeded", timeout_s=40)


def _stranger_is_told(device: Any, pid: int) -> None:
    (process,) = device["processes"]
    assert (process["pid"], process["belongs"], process["job_id"]) == (pid, "foreign", None)
    assert device["state"] == "foreign"
    assert f"sleep (pid {pid})" in device["state_words"]


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def _cancel(box: Box, *jobs: int) -> None:
    """End jobs, and wait until nothing of them lives."""
    box.run("cancel", "--force", *map(str, jobs))
    for job in jobs:
        box.wait_state(job, "cancelled")


def _seen(box: Box, number: int) -> Any:
    """Return a device as root's board shows it."""
    return box.json("gpus")["devices"][number]


def _device_of(box: Box, job_id: int) -> int:
    """Wait until the job runs, and return the index of its device."""
    box.wait_state(job_id, "running")
    return next(
        number
        for number, device in enumerate(box.json("gpus")["devices"])
        if device["job_id"] == job_id
    )


def _pid_of(seconds: str) -> int:
    """Return the host's pid of `sleep SECONDS` itself, not of what started it."""

    def found() -> int:
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if (entry / "cmdline").read_bytes().split(b"\0")[:2] == [
                    b"sleep",
                    seconds.encode(),
                ]:
                    return int(entry.name)
        return 0

    return int(wait_until(found, 20, f"sleep {seconds}"))
