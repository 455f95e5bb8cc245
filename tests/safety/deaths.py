"""Deaths of the daemon (SIGKILL) at a named point, and what must be true after its next start.

The real daemon, a real Docker Engine, fake GPUs. One box lives through all deaths of a module: a
daemon that runs is armed with a point, a job leads it there, and the next daemon takes over.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.dockerd import DockerEngine
from tests.support.fakenvml import built
from tests.support.faultbox import FaultBox, container_rows, fault_box
from tests.support.waiting import wait_until

COUNT = 8
CONFIG = """
[jobs]
runtimes = ["docker", "process"]
default_runtime = "docker"
default_shm = "32M"
default_grace = "1s"
min_uid = 0
max_attempts = 1
[docker]
host = "{host}"
network = "none"
pull = "missing"
images = ["gpuboard-test/*", "127.0.0.1:1/*"]
[devices]
probe = "nvml"
interval = "250ms"
[policy]
sharing = "all"
sharing_overuse = "warn"
[usage]
keep_days = 30
[classes.promised]
promised = true
"""
LINES = 20
SCRIPT = f"i=0; while [ $i -lt {LINES} ]; do i=$((i+1)); echo line $i; done; sleep 0.5; exit 7"
WHOLE = "".join(f"line {n}\n" for n in range(1, LINES + 1)).encode()


class CrashBox(FaultBox):
    """A box that dies often, and the engine below it."""

    engine: DockerEngine

    def revive(self) -> None:
        """Have a daemon that lives and nothing in the queue, whatever the test before left."""
        self.arm("")
        if self.daemon is None or self.daemon.poll() is not None:
            self.start()
        for job in self.client.get("/jobs")["jobs"]:
            self.cancel(job["id"], force=True)
        for booking in self.client.get("/reservations")["reservations"]:
            self.client.delete(f"/reservations/{booking['id']}")
        wait_until(lambda: not self.client.get("/jobs")["jobs"], 20, "an empty queue")

    def job_dying_at(self, point: str, **fields: object) -> int:
        """Submit a job that runs SCRIPT and leads the daemon to its death there; return its number."""
        self.arm(point)
        job = self.shell(SCRIPT, **fields)
        self.await_death()
        self.start()
        return job

    def starts_of(self, job: int) -> int | None:
        """How often the engine began the job's containers; None where it has no hook to tell."""
        if not self.engine.has_hook:
            return None
        mine = f"GPUBOARD_JOB_ID={job}"
        return sum(mine in spec["process"]["env"] for spec in self.engine.hook.specs())

    def check_devices(self) -> None:
        """No device is in two containers that live, nor leased twice."""
        given: list[str] = []
        with contextlib.closing(self.engine.client(10)) as client:
            for row in client.containers():
                with contextlib.suppress(Exception):  # it may end between the two calls
                    given += _devices_of(client.inspect_container(row["Id"]))
        assert len(given) == len(set(given)), f"a device in two containers: {given}"
        leased = self.rows("SELECT device FROM leases WHERE released_at IS NULL AND part = 1")
        assert len(leased) == len(set(leased)), leased

    def check_true_end(self, job: int) -> str:
        """Wait for the end of a job that runs SCRIPT; hold all that must be true; say what was seen."""
        self.check_devices()
        view = self.ended(job)
        assert (view["state"], view["exit_code"], view["attempt"]) == ("failed", 7, 1), view
        assert self.job_log(job) == WHOLE
        assert self.starts_of(job) in (1, None), f"{self.starts_of(job)} starts"
        self.check_clean(job)
        return f"exit 7, {LINES} lines, 1 start, charged once"

    def check_clean(self, job: int) -> None:
        """Nothing is left of an ended job, its end is told once, and its lease was charged once."""
        name = f"/gb-{job}-"
        wait_until(
            lambda: not [r for r in container_rows(self.engine) if r["Names"][0].startswith(name)],
            20,
            f"the container of job {job} to be removed",
        )
        live = "SELECT count(*) FROM leases WHERE released_at IS NULL AND job_id = ?"
        assert self.rows(live, job) == [(0,)]
        ends = (
            "SELECT count(*) FROM events WHERE job_id = ? AND kind IN"
            " ('job.succeeded', 'job.failed', 'job.cancelled', 'job.lost')"
        )
        assert self.rows(ends, job) == [(1,)]
        assert self.is_charged_once()


def _devices_of(inspected: dict[str, Any]) -> list[str]:
    requests = inspected["HostConfig"].get("DeviceRequests") or ()
    return [device for request in requests for device in request["DeviceIDs"]]


@contextlib.contextmanager
def crash_box(engine: DockerEngine, folder: Path) -> Iterator[CrashBox]:
    """Give a box of eight devices with its daemon running."""
    built()
    with fault_box(folder, CONFIG.format(host=engine.host), COUNT, CrashBox) as box:
        assert isinstance(box, CrashBox)
        box.engine = engine
        engine.hook.clear()  # the engine is the session's: what others started is not ours
        box.mortality = {"MORTAL_HURRY": "1", "MORTAL_START_LOOK_S": "1"}
        box.start()
        yield box
