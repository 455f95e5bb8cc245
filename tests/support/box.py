"""A whole gpuboard on this machine for end-to-end tests: the real daemon as a process, commands as people.

`Box` writes a configuration into a folder of its own, runs `python -m gpuboard.daemon` and the
`gpuboard` command as any uid (setpriv, when root). Everything waits on conditions.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.support.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]


class Box:
    """One daemon with its folder, and commands that speak to it."""

    def __init__(self, folder: Path, config: str, environment: Mapping[str, str] | None = None):
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o755)
        self.folder = folder
        self.socket = folder / "run" / "gpuboard.sock"
        self.socket.parent.mkdir(exist_ok=True)
        self.socket.parent.chmod(0o755)
        self.state = folder / "state"
        self.config = folder / "config.toml"
        self.config.write_text(
            f'[daemon]\nsocket = "{self.socket}"\nstate_dir = "{self.state}"\n{config}'
        )
        self.environment = {**os.environ, **(environment or {})}
        self.log = folder / "daemon.log"
        self.daemon: subprocess.Popen[bytes] | None = None

    def start(self, timeout_s: float = 30) -> None:
        """Start the daemon and wait until it answers."""
        with self.log.open("ab") as log:
            self.daemon = subprocess.Popen(
                [sys.executable, "-m", "gpuboard.daemon", "--config", str(self.config)],
                env=self.environment,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        wait_until(self.answers, timeout_s, f"the daemon; its log:\n{self.log.read_text()[-2000:]}")

    def answers(self) -> bool:
        """Whether the daemon answers; fails at once when it ended."""
        assert self.daemon is not None
        assert self.daemon.poll() is None, self.log.read_text()[-3000:]
        return self.socket.exists() and self.run("gpus").returncode == 0

    def kill(self) -> None:
        """End the daemon as `kill -9` does."""
        assert self.daemon is not None
        self.daemon.kill()
        self.daemon.wait()

    def stop(self) -> None:
        """End the daemon as systemd does."""
        if self.daemon is not None and self.daemon.poll() is None:
            self.daemon.send_signal(signal.SIGTERM)
            self.daemon.wait(40)

    def run(
        self,
        *arguments: str,
        uid: int | None = None,
        timeout_s: float = 60,
        stdin: str | None = None,
        folder: str = "/",
    ) -> subprocess.CompletedProcess[str]:
        """Run `gpuboard ARGUMENTS` in a folder, as another person when `uid` is given."""
        return subprocess.run(
            [*as_person(uid), sys.executable, "-m", "gpuboard", *arguments],
            check=False,
            env={**self.environment, "GPUBOARD_SOCKET": str(self.socket), **_home_of(uid)},
            cwd=folder,
            text=True,
            capture_output=True,
            timeout=timeout_s,
            input=stdin,
        )

    def json(self, *arguments: str, uid: int | None = None) -> Any:
        """Run a command with --json and return its one value; a failure fails the test."""
        done = self.run(arguments[0], "--json", *arguments[1:], uid=uid)
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
        return json.loads(done.stdout)

    def submit(self, *arguments: str, uid: int | None = None) -> int:
        """Submit a job and return its number."""
        found: int = self.json("submit", *arguments, uid=uid)["ids"][0]
        return found

    def job(self, job_id: int) -> Any:
        """Return the job's view, as root sees it."""
        return self.json("show", str(job_id))["job"]

    def wait_state(self, job_id: int, *states: str, timeout_s: float = 60) -> Any:
        """Wait until the job is in one of the states and return its view."""

        def reached() -> Any:
            job = self.job(job_id)
            return job if job["state"] in states else None

        return wait_until(reached, timeout_s, f"job {job_id} to be {' or '.join(states)}")


def as_person(uid: int | None) -> list[str]:
    """Return the command prefix that becomes that person (nothing for oneself)."""
    if uid is None or uid == os.geteuid():
        return []
    entry = pwd.getpwuid(uid)
    return ["setpriv", f"--reuid={uid}", f"--regid={entry.pw_gid}", "--init-groups"]


def _home_of(uid: int | None) -> dict[str, str]:
    if uid is None:
        return {}
    entry = pwd.getpwuid(uid)
    return {"HOME": entry.pw_dir, "USER": entry.pw_name, "LOGNAME": entry.pw_name}


@contextlib.contextmanager
def people(*names: str) -> Iterator[list[int]]:
    """Make accounts with homes for the block (root only), and give their uids.

    Their login names carry our pid, so that two runs of the suite do not meet.
    """
    logins = [f"{name}{os.getpid()}" for name in names]
    try:
        for login in logins:
            subprocess.run(["useradd", "--create-home", "--shell", "/bin/sh", login], check=True)
        yield [pwd.getpwnam(login).pw_uid for login in logins]
    finally:
        for login in logins:
            subprocess.run(["userdel", "--remove", login], check=False, capture_output=True)
