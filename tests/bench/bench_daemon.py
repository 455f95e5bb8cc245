"""The daemon when nothing happens: CPU and memory with 8 GPUs and 40 processes read at 1 Hz.

Target: at most 1 % of a core and 80 MiB.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from tests.support.box import Box
from tests.support.fakenvml import FakeBox, built, gpus, process_line

SETTLE_S, MEASURE_S = 8.0, 20.0
CONFIG = '[jobs]\nruntimes = ["process"]\ndefault_runtime = "process"\n[devices]\nprobe = "nvml"\n'


def main() -> int:
    """Measure and print."""
    built()
    sleepers = [subprocess.Popen(["sleep", "120"]) for _ in range(40)]
    try:
        with tempfile.TemporaryDirectory() as made:
            folder = Path(made)
            (folder / "nvml").mkdir()
            fake = FakeBox(folder / "nvml", 8)
            fake.gpus = gpus(8)
            for number, sleeper in enumerate(sleepers):
                fake.gpus[number % 8].processes.append(process_line(sleeper.pid, 1500, 20))
            fake.write(wave="30 20")
            environment = {**fake.environment(), "PYTHONDONTWRITEBYTECODE": ""}
            box = Box(folder / "box", CONFIG, environment)
            box.start()
            try:
                return _measure(box)
            finally:
                box.stop()
    finally:
        for sleeper in sleepers:
            sleeper.kill()
            sleeper.wait()


def _measure(box: Box) -> int:
    assert box.daemon is not None
    process = psutil.Process(box.daemon.pid)
    time.sleep(SETTLE_S)
    before, started = process.cpu_times(), time.monotonic()
    time.sleep(MEASURE_S)
    after, seconds = process.cpu_times(), time.monotonic() - started
    percent = 100 * (after.user + after.system - before.user - before.system) / seconds
    memory = process.memory_info().rss / 2**20
    unique = process.memory_full_info().uss / 2**20
    print(f"daemon idle, 8 GPUs and 40 processes at 1 Hz: {percent:.2f} % of a core (target 1)")
    print(f"daemon memory: {memory:.0f} MiB resident, {unique:.0f} of its own (target 80)")
    return 0 if percent <= 1 and memory <= 80 else 1


if __name__ == "__main__":
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.exit(main())
