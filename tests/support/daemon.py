"""A real daemon as a child process, on simulated devices and plain processes, in a folder."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from gpuboard.api.client import Client
from gpuboard.errors import Unavailable

CONFIG = """
[daemon]
socket = "{folder}/gb.sock"
state_dir = "{folder}/state"
[devices]
probe = "simulated"
[jobs]
runtimes = ["process"]
default_runtime = "process"
min_uid = 0
"""


class DaemonProcess:
    """One daemon's process."""

    def __init__(self, folder: Path, config: str = CONFIG) -> None:
        self.folder = folder
        self.config = folder / "config.toml"
        self.config.write_text(config.format(folder=folder))
        self.config.chmod(0o600)
        self.socket = folder / "gb.sock"
        self.log = folder / "daemon.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *arguments: str, env: dict[str, str] | None = None) -> DaemonProcess:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gpuboard.daemon", "--config", str(self.config), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **(env or {})},
                cwd="/",
            )
        self.wait_ready()
        return self

    def wait_ready(self, timeout_s: float = 30.0) -> None:
        assert self.process is not None
        deadline = time.monotonic() + timeout_s
        while True:
            with contextlib.suppress(Unavailable):
                self.client().get("/ping")
                return
            code = self.process.poll()
            assert code is None, f"the daemon ended with {code}: {self.log.read_text()}"
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.02)

    def client(self) -> Client:
        return Client(str(self.socket), timeout_s=20)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)


@contextlib.contextmanager
def daemon_in(folder: Path, config: str = CONFIG) -> Iterator[DaemonProcess]:
    daemon = DaemonProcess(folder, config)
    try:
        yield daemon.start()
    finally:
        daemon.stop()


def run_daemon(
    *arguments: str, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the daemon to its end (it is expected to refuse)."""
    return subprocess.run(
        [sys.executable, "-m", "gpuboard.daemon", *arguments],
        capture_output=True, text=True, timeout=60, env={**os.environ, **(env or {})}, cwd="/",
        check=False,
    )  # fmt: skip
