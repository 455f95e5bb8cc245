"""A box for attacks: the real daemon as root, the real engine, fake GPUs, and people who mean no good.

`Lab.ask` speaks as a person: the test process takes the person's uid for the moment of connecting,
which is all that SO_PEERCRED looks at.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker

from gpuboard.api.wire import Connection
from gpuboard.daemon.parts import box_id
from tests.support.box import Box, people
from tests.support.dockerd import IMAGE, DockerEngine
from tests.support.fakenvml import FakeBox, built, gpus
from tests.support.waiting import wait_until

ENDED = ("succeeded", "failed", "cancelled", "timed_out", "preempted", "lost")
MALLORY, VICTIM, LONGER = "gbm", "gbv", f"gbm{os.getpid()}x"
"""The attacker, the victim, and a neighbour whose home's path begins with the attacker's."""
CONFIG = """
[jobs]
runtimes = ["docker", "process"]
default_runtime = "docker"
default_shm = "64M"
default_grace = "2s"
max_memory = "1G"
max_cpus = 2
pids_limit = 200
[docker]
host = "{host}"
network = "none"
images = ["gpuboard-test/*"]
[devices]
probe = "nvml"
[quota.users.{longer}]
queued_jobs = 20
[api]
read_timeout = "2s"
"""


@contextlib.contextmanager
def as_uid(uid: int) -> Iterator[None]:
    """Be another person for the block, as far as the kernel tells others."""
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)


class Lab:
    """One box with its people."""

    def __init__(self, box: Box, engine: DockerEngine, fake: FakeBox, uids: list[int]) -> None:
        self.box = box
        self.engine = engine
        self.fake = fake
        self.mallory, self.victim, self.longer = uids

    def ask(self, uid: int, method: str, target: str, body: Any = None) -> tuple[int, Any]:
        """Send one request as a person; return status and JSON (or text)."""
        raw = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        with as_uid(uid):
            connection = Connection(str(self.box.socket), 20.0)
        try:
            answer = connection.request(method, "/v1" + target, raw)
            content = answer.read()
        finally:
            connection.close()
        if answer.headers.get("content-type", "").startswith("application/json"):
            return answer.status, json.loads(content)
        return answer.status, content

    def submit(self, uid: int, /, **fields: Any) -> int:
        """Submit a job that must be taken; return its number."""
        status, answer = self.ask(uid, "POST", "/jobs", self.request(**fields))
        assert status == 200, answer
        return int(answer["ids"][0])

    def refused(self, uid: int, /, **fields: Any) -> dict[str, str]:
        """Submit what must be refused; return the error. Nothing may have been stored."""
        before = self.last_id()
        status, answer = self.ask(uid, "POST", "/jobs", self.request(**fields))
        assert 400 <= status < 500, (fields, answer)
        assert self.last_id() == before, "something was stored"
        error: dict[str, str] = answer["error"]
        return error

    @staticmethod
    def request(**fields: Any) -> dict[str, Any]:
        """Return a small request, with these fields over it."""
        base = {"image": IMAGE, "command": ["true"], "gpus": 0, "time_limit": "5m"}
        return {**base, **fields}

    def last_id(self) -> int:
        """Return the newest job's number."""
        jobs = self.ask(0, "GET", "/history?limit=1")[1]["jobs"]
        live = self.ask(0, "GET", "/jobs?limit=10000")[1]["jobs"]
        return max([job["id"] for job in (*jobs, *live)], default=0)

    def job(self, number: int) -> Any:
        """Return a job as root sees it."""
        return self.ask(0, "GET", f"/jobs/{number}")[1]["job"]

    def wait(self, number: int, *states: str, timeout_s: float = 40) -> Any:
        """Wait until a job is in one of the states (any end, when none is named); return it."""
        wanted = states or ENDED
        return wait_until(
            lambda: found if (found := self.job(number))["state"] in wanted else None,
            timeout_s,
            f"job {number} to be {' or '.join(wanted)}",
        )

    def log(self, number: int, uid: int = 0) -> str:
        """Return a job's log; empty for one that never ran."""
        content: bytes | dict[str, Any] = self.ask(uid, "GET", f"/jobs/{number}/log")[1]
        return content.decode(errors="replace") if isinstance(content, bytes) else ""

    def ran(self, uid: int, script: str, **fields: Any) -> tuple[Any, str]:
        """Run a shell script as a job to its end; return the job and its log."""
        number = self.submit(uid, command=["sh", "-c", script], **fields)
        ended = self.wait(number)
        return ended, self.log(number)

    def container(self, number: int) -> Any:
        """Return the engine's own description of a live job's container."""
        with contextlib.closing(self.engine.client()) as client:
            rows = client.containers(all=True, filters={"label": f"gpuboard.job={number}"})
            ours = [row for row in rows if row["Labels"].get("gpuboard.box") == self.box_id]
            # Between the list and the look it may have gone: then it is no live job's container.
            with contextlib.suppress(docker.errors.NotFound):
                return client.inspect_container(ours[0]["Id"]) if ours else None
            return None

    @property
    def box_id(self) -> str:
        """Return what tells this daemon's containers from another's."""
        return box_id(self.box.state)

    def cancel(self, number: int, uid: int = 0) -> None:
        """Cancel at once and wait for the end."""
        self.ask(uid, "POST", "/jobs/cancel", {"jobs": [str(number)], "force": True})
        self.wait(number)

    def home(self, uid: int) -> Path:
        """Return a person's home."""
        return Path(pwd.getpwuid(uid).pw_dir)

    def gid(self, uid: int) -> int:
        """Return a person's own group."""
        return pwd.getpwuid(uid).pw_gid

    def daemon_bytes(self) -> int:
        """Return the daemon's resident memory (bytes)."""
        assert self.box.daemon is not None
        status = Path(f"/proc/{self.box.daemon.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert found
        return int(found[1]) * 1024

    def daemon_log(self) -> str:
        """Return what the daemon wrote."""
        return self.box.log.read_text(errors="replace")


@contextlib.contextmanager
def running_lab(engine: DockerEngine, config: str = CONFIG) -> Iterator[Lab]:
    """Start a lab on an engine and take it down again."""
    built()
    folder = Path(tempfile.mkdtemp(prefix="gpuboard-safety-"))
    folder.chmod(0o755)
    try:
        (folder / "nvml").mkdir()
        fake = FakeBox(folder / "nvml", 4)
        fake.gpus = gpus(4)
        fake.write()
        box = Box(
            folder / "box",
            config.format(host=engine.host, longer=f"{LONGER}{os.getpid()}"),
            fake.environment(),
        )
        with people(MALLORY, VICTIM, LONGER) as uids:
            for uid in uids:
                Path(pwd.getpwuid(uid).pw_dir).chmod(0o700)
            box.start()
            lab = Lab(box, engine, fake, uids)
            try:
                yield lab
            finally:
                _end_all(lab)
                box.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _end_all(lab: Lab) -> None:
    """End what a test left running, so that accounts can go."""
    with contextlib.suppress(Exception):
        for job in lab.ask(0, "GET", "/jobs?limit=10000")[1]["jobs"]:
            lab.ask(0, "POST", "/jobs/cancel", {"jobs": [str(job["id"])], "force": True})
        wait_until(lambda: not lab.ask(0, "GET", "/jobs")[1]["jobs"], 20, "jobs to end")
