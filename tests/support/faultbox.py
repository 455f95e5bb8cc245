"""A real daemon on real engines and fake GPUs, for faults: started mortal, asked over its socket."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from gpuboard.api.client import Client
from gpuboard.errors import GpuboardError, Unavailable
from tests.support.box import ROOT, Box
from tests.support.dockerd import IMAGE, DockerEngine
from tests.support.fakenvml import FakeBox, gpus
from tests.support.waiting import wait_until

DOCKER = """
[jobs]
runtimes = ["docker", "process"]
default_runtime = "docker"
default_shm = "32M"
min_uid = 0
[docker]
host = "{host}"
network = "none"
mount_home = false
[devices]
probe = "nvml"
"""
PROCESS = """
[jobs]
runtimes = ["process"]
default_runtime = "process"
min_uid = 0
{jobs}
[devices]
probe = "nvml"
timeout = "1s"
"""
FINAL = ("succeeded", "failed", "cancelled", "timed_out", "lost")


class FaultBox(Box):
    """A box whose daemon can be told where to die."""

    fake: FakeBox
    prefix: tuple[str, ...] = ()
    mortality: dict[str, str] = {}
    """What each daemon of this box is started with beside the rest (`mortal_daemon.py`)."""

    def start(
        self, timeout_s: float = 30, *, crash_at: str = "", deaf: bool = False, **env: str
    ) -> None:
        """Start the daemon and wait until it answers, or has died where it should."""
        launcher = str(ROOT / "tests/support/mortal_daemon.py")
        self.arm(crash_at)
        with self.log.open("ab") as log:
            self.daemon = subprocess.Popen(
                [*self.prefix, sys.executable, launcher, "--config", str(self.config)],
                env={
                    **self.environment,
                    "PYTHONPATH": str(ROOT),
                    "MORTAL_ARMED": str(self._armed),
                    "MORTAL_CLOCK": str(self._clock),
                    "MORTAL_DEAF": "1" if deaf else "",
                    **self.mortality,
                    **env,
                },
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        wait_until(
            lambda: self.answers() or (crash_at and self.daemon.poll() is not None),
            timeout_s,
            f"the daemon; its log:\n{self.log.read_text()[-2000:]}",
        )

    @property
    def _armed(self) -> Path:
        return self.folder / "armed"

    def arm(self, point: str) -> None:
        """Have the daemon die when it next passes that crash point; empty: nowhere."""
        fresh = self._armed.with_suffix(".new")
        fresh.write_text(point)
        fresh.rename(self._armed)

    def set_clock(self, **off: int | str) -> None:
        """Have the daemon's clock off by so many `wall_ms` and `boot_ms`, or of another `boot_id`."""
        fresh = self._clock.with_suffix(".new")
        fresh.write_text(json.dumps(off))
        fresh.rename(self._clock)

    @property
    def _clock(self) -> Path:
        return self.folder / "clock"

    def die_at(self, point: str, act: Callable[[], object]) -> object:
        """Do what leads the daemon past the point, await its death there, start it again.

        Returns the answer, None where it died before it could answer.
        """
        answer = None
        self.arm(point)
        with contextlib.suppress(Unavailable):
            answer = act()
        self.await_death(15)
        self.start()
        return answer

    def answers(self) -> bool:
        """Whether the daemon answers."""
        if self.daemon is None or self.daemon.poll() is not None:
            assert self.daemon is not None
            assert self.daemon.returncode == -signal.SIGKILL, self.log.read_text()[-3000:]
            return False
        with contextlib.suppress(GpuboardError, OSError):
            self.client.get("/ping")
            return True
        return False

    @property
    def client(self) -> Client:
        return Client(str(self.socket), timeout_s=20)

    def await_death(self, timeout_s: float = 30) -> None:
        """Wait until the daemon has killed itself."""
        assert self.daemon is not None
        try:
            code = self.daemon.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it lives on:\n{self.log.read_text()[-3000:]}") from None
        assert code == -signal.SIGKILL, self.log.read_text()[-3000:]

    def ask(self, *command: str, **fields: object) -> int:
        """Submit a job over the socket and return its number."""
        body: dict[str, object] = {
            "command": list(command),
            "gpus": 1,
            "time_limit": "5m",
            "workdir": "/",
        }
        if fields.get("runtime") != "process" and "docker" in self.config.read_text():
            body["image"] = IMAGE
        body.update(fields)
        return int(self.client.post("/jobs", body)["ids"][0])

    def shell(self, script: str, **fields: object) -> int:
        return self.ask("sh", "-c", script, **fields)

    def job(self, job_id: int) -> Any:
        return self.client.get(f"/jobs/{job_id}")["job"]

    def ended(self, job_id: int, timeout_s: float = 40) -> Any:
        """Wait for the job's end and return its view."""
        return self.wait_state(job_id, *FINAL, timeout_s=timeout_s)

    def cancel(self, job_id: int, *, force: bool = False) -> Any:
        return self.client.post("/jobs/cancel", {"jobs": [str(job_id)], "force": force})

    def job_log(self, job_id: int) -> bytes:
        return b"".join(self.client.stream(f"/jobs/{job_id}/log"))

    def rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """Read from the database beside the daemon."""
        path = f"file:{self.state}/gpuboard.db?mode=ro"
        with contextlib.closing(sqlite3.connect(path, uri=True)) as connection:
            return connection.execute(sql, values).fetchall()

    def drained(self) -> dict[str, str]:
        return dict(self.rows("SELECT device, note FROM drains"))

    def is_charged_once(self) -> bool:
        """Whether usage is the sum of the leases, each once."""
        held = dict(
            self.rows(
                "SELECT uid, sum((released_at - granted_at) * part) / 1000.0 FROM leases GROUP BY uid"
            )
        )
        charged = dict(self.rows("SELECT uid, device_seconds FROM usage"))
        return all(
            abs(charged[uid] - seconds) < 0.01 + seconds / 1000 for uid, seconds in held.items()
        )


@contextlib.contextmanager
def fault_box(
    folder: Path, config: str, count: int = 2, kind: type[FaultBox] = FaultBox
) -> Iterator[FaultBox]:
    """Give a box with fake GPUs whose daemon is not started yet; end everything of it."""
    (folder / "nvml").mkdir(exist_ok=True)
    fake = FakeBox(folder / "nvml", count)
    fake.gpus = gpus(count)
    fake.write()
    box = kind(folder / "box", config, fake.environment())
    box.fake = fake
    try:
        yield box
    finally:
        if box.daemon is not None and box.daemon.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(box.daemon.pid, signal.SIGCONT)
            with contextlib.suppress(Exception):
                for job in box.client.get("/jobs")["jobs"]:
                    box.cancel(job["id"], force=True)
                wait_until(lambda: not box.client.get("/jobs")["jobs"], 8)
            box.stop()


def container_rows(engine: DockerEngine) -> list[dict[str, Any]]:
    """Return what the engine has of our jobs."""
    with contextlib.closing(engine.client(10)) as client:
        return [r for r in client.containers(all=True) if r["Names"][0].startswith("/gb-")]


def container_of(engine: DockerEngine, job: int) -> str:
    """Return the id of the job's container."""
    [row] = [r for r in container_rows(engine) if r["Names"][0].startswith(f"/gb-{job}-")]
    return str(row["Id"])


def fill(path: Path) -> None:
    """Write the disk of that file full, to the last block."""
    with path.open("wb", buffering=0) as file:
        for size in (1 << 20, 4096, 512):
            with contextlib.suppress(OSError):
                while file.write(b"x" * size) == size:
                    pass
