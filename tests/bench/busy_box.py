"""A busy lab in one block: a real daemon on fake GPUs, a job on each, and their processes as NVML tells them.

The jobs are real processes of the daemon's; what they call their GPU's load is the fake library's.
Other programs see the same GPUs and processes by `BusyBox.environment`.
"""

from __future__ import annotations

import contextlib
import os
import random
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.box import Box
from tests.support.fakenvml import FakeBox, built, gpus, process_line
from tests.support.waiting import wait_until

CONFIG = """
[jobs]
runtimes = ["process"]
default_runtime = "process"
min_uid = 0
[devices]
probe = "nvml"
"""
JOB = 'for i in $(seq {count}); do sleep 3600 & echo $! >> "{folder}/$CUDA_VISIBLE_DEVICES"; done; wait'
WAVE = "30 20"
"""Every figure of every GPU moves: 30 points up and down in 20 s."""


class BusyBox:
    """The box, its fake GPUs, and the environment in which any program sees both."""

    def __init__(self, folder: Path, devices: int) -> None:
        (folder / "nvml").mkdir()
        self.fake = FakeBox(folder / "nvml", devices)
        seeded = random.Random(7)
        self.fake.gpus = gpus(devices)
        for gpu in self.fake.gpus:
            load = seeded.randrange(40, 70)
            gpu.keys |= {"util": load, "mem_used": 60000, "temp": 35 + load // 3, "fan": "na"}
            gpu.keys |= {"power": 90000 + load * 5800, "power_limit": 700000}
        self.fake.write()
        self.environment = {
            **{key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"},
            **self.fake.environment(),
            "FAKENVML_RELOAD_MS": "20",
            "TERM": "xterm-256color",
            "COLORTERM": "truecolor",
            "LC_ALL": "C.UTF-8",
            "XDG_CONFIG_HOME": str(folder / "config"),
        }
        settings = folder / "config" / "gpuboard" / "app.toml"
        settings.parent.mkdir(parents=True)
        settings.write_text("tour = false\n")
        self.box = Box(folder / "box", CONFIG, self.environment)
        self.environment["GPUBOARD_SOCKET"] = str(self.box.socket)

    @property
    def daemon_pid(self) -> int:
        """The daemon's process."""
        assert self.box.daemon is not None
        return self.box.daemon.pid

    def fill(self, folder: Path, processes: int) -> None:
        """Run a job on every device, and have NVML tell of so many processes of theirs in all."""
        count = processes // len(self.fake.gpus)
        for number in range(len(self.fake.gpus)):
            command = JOB.format(count=count, folder=folder)
            self.box.submit(
                "-g1", "-t", "4h", "-J", f"train-{number}", "--process", "--", "sh", "-c", command
            )
        wait_until(lambda: _told(folder) == count * len(self.fake.gpus), 120, "all processes")
        for gpu in self.fake.gpus:
            for pid in (folder / gpu.uuid).read_text().split():
                gpu.processes.append(process_line(int(pid), 60000 // count, 90 // count))

    def moving(self, is_moving: bool) -> None:
        """Have the GPUs' figures move, or stand still."""
        self.fake.system.pop("wave", None)
        self.fake.write(**({"wave": WAVE} if is_moving else {}))

    def end(self) -> None:
        """End the jobs and the daemon."""
        if self.box.daemon is not None and self.box.daemon.poll() is None:
            jobs = [str(job["id"]) for job in self._jobs()]
            self.box.run("cancel", "--force", *jobs)
            wait_until(lambda: not self._jobs(), 30, "the jobs' end")
        self.box.stop()

    def _jobs(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.box.json("ps", "--all")["jobs"]
        return found


def _told(folder: Path) -> int:
    return sum(len(path.read_text().split()) for path in folder.iterdir())


@contextlib.contextmanager
def busy_box(devices: int, processes: int) -> Iterator[BusyBox]:
    """Give a box with `processes` spread over the devices, figures moving."""
    built()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        folder.chmod(0o755)
        busy = BusyBox(folder, devices)
        (folder / "pids").mkdir()
        try:
            busy.box.start()
            busy.fill(folder / "pids", processes)
            busy.moving(True)
            yield busy
        finally:
            busy.end()


def gpuboard() -> str:
    """Return the installed command beside this Python."""
    return str(Path(sys.executable).with_name("gpuboard"))
