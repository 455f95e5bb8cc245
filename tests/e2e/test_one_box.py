"""The whole box: two people, real containers, the real probe on eight fake GPUs, and deaths in the middle."""

from __future__ import annotations

import collections
import contextlib
import itertools
import os
import shutil
import tempfile
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

import pytest

from tests.support.box import Box, people
from tests.support.dockerd import IMAGE, DockerEngine, missing_parts, running_engine
from tests.support.fakenvml import FakeBox, built, gpus
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.engine, pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(420)]

CONFIG = """
[jobs]
runtimes = ["docker", "process"]
default_runtime = "docker"
default_shm = "64M"
[docker]
host = "{host}"
network = "none"
[devices]
probe = "nvml"
"""
LINES = 60
JOB = f"i=0; while [ $i -lt {LINES} ]; do i=$((i+1)); echo line $i of {LINES}; sleep 0.05; done; exit $1"


class Witness:
    """Looks behind gpuboard's back all the time: which devices the engine gave to running containers."""

    def __init__(self, engine: DockerEngine) -> None:
        self._engine = engine
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.doubles: list[str] = []
        self.looks = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.3):
            with (
                contextlib.suppress(Exception),
                contextlib.closing(self._engine.client(5)) as client,
            ):
                self._look(client)

    def _look(self, client) -> None:
        """One look: a device in two containers that run at both ends of the look is a double lease."""
        given = collections.defaultdict(set)
        for row in client.containers():
            state = client.inspect_container(row["Id"])
            for request in state["HostConfig"]["DeviceRequests"] or ():
                for device in request["DeviceIDs"]:
                    given[device].add(state["Name"])
        running = {name for row in client.containers() for name in row["Names"]}
        self.looks += 1
        for device, names in given.items():
            if len(names & running) > 1:
                self.doubles.append(f"{device} in {sorted(names)}")


@pytest.fixture
def folder():
    """A folder that other people may enter, as pytest's own may not."""
    made = Path(tempfile.mkdtemp(prefix="gpuboard-e2e-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
def engine():
    why_not = missing_parts()
    if why_not and not os.environ.get("GPUBOARD_REQUIRE_ENGINE"):
        pytest.skip(why_not)
    with running_engine() as found:
        yield found


def test_nothing_is_lost_or_doubled_whatever_dies(engine: DockerEngine, folder: Path):
    """Twenty jobs of two people end with their true codes and whole logs, no device is ever doubled,
    and a booking starts on time, though the daemon is killed and the engine restarted meanwhile."""
    built()
    (folder / "nvml").mkdir()
    fake = FakeBox(folder / "nvml", 8)
    fake.gpus = gpus(8)
    fake.write()
    box = Box(folder / "box", CONFIG.format(host=engine.host), fake.environment())
    with people("gbalice", "gbbob") as (alice, bob), Witness(engine) as witness:
        box.start()
        try:
            _live(box, engine, alice, bob)
        finally:
            box.stop()
        assert witness.looks > 10
        assert witness.doubles == []
    assert len(engine.hook.specs()) >= 20
    assert _not_whole_devices(engine) == []
    assert engine.hook.overlaps() == []


def _live(box: Box, engine: DockerEngine, alice: int, bob: int) -> None:
    booking = box.json("reserve", "2", "30s", "--at", "now+40s", uid=alice)["reservation"]
    expected: dict[int, int] = {}
    for number, uid in zip(range(20), itertools.cycle((alice, bob)), strict=False):
        code = number % 3
        width = str(1 + number % 4)
        job = box.submit(
            *("-g", width, "-t", "2m", "--requeue", "--shm-size", "32m"),
            *("--image", IMAGE, "--", "sh", "-c", JOB, "job", str(code)),
            uid=uid,
        )
        expected[job] = code
    wait_until(lambda: _count(box, "running") >= 2, 60, "two jobs to run")

    box.kill()
    box.start()
    wait_until(lambda: _count(box, "running") >= 1, 60, "jobs after the daemon's restart")

    killed_at = datetime.now(UTC).replace(microsecond=0)
    engine.restart()
    back_at = datetime.now(UTC)
    ends = {"succeeded", "failed", "cancelled", "timed_out", "lost"}
    wait_until(
        lambda: all(box.job(job)["state"] in ends for job in expected), 240, "all jobs to end"
    )
    for job, code in expected.items():
        view = box.job(job)
        assert view["exit_code"] == code, view
        assert view["state"] == ("failed" if code else "succeeded"), view
        log = box.run("logs", str(job)).stdout.splitlines()
        whole = [f"line {n} of {LINES}" for n in range(1, LINES + 1)]
        if killed_at <= datetime.fromisoformat(view["ended_at"]) <= back_at:
            # nobody read its last lines: the engine, killed, gives its true code and loses them
            whole = whole[: len(log)]
        assert log == whole, (job, log[-3:])
    _booking_was_on_time(box, booking)


def _count(box: Box, state: str) -> int:
    return sum(job["state"] == state for job in box.json("ps", "--all")["jobs"])


def _booking_was_on_time(box: Box, booking: dict) -> None:
    """The booking's devices were leased to it from its first second (one round's slack)."""

    def bars() -> list[dict]:
        shown = box.json("timeline", "--since", "now-10m", "--until", "now+10m")["entries"]
        bound = [entry for entry in shown if entry["device"] is not None]
        return [entry for entry in bound if entry["reservation_id"] == booking["id"]]

    wait_until(bars, 60, "the booking to begin: the jobs may have ended before")
    entries = bars()
    assert len({entry["uuid"] for entry in entries}) == booking["gpus"], entries
    assert min(entry["from_at"] for entry in entries)[:19] <= booking["from_at"][:18] + "9", entries


def _not_whole_devices(engine: DockerEngine) -> list[str]:
    """Hook records whose device request does not name whole, distinct devices."""
    wrong = []
    for spec in engine.hook.specs():
        given = [v for v in spec["process"]["env"] if v.startswith("NVIDIA_VISIBLE_DEVICES=")]
        devices = given[-1].partition("=")[2].split(",")
        if len(set(devices)) != len(devices) or not all(d.startswith("GPU-") for d in devices):
            wrong.append(given[-1])
    return wrong
