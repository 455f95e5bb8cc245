"""The daemon when nothing happens: CPU and memory with 8 GPUs and 40 processes read at 1 Hz.

Target: at most 1 % of a core and 80 MiB. Beside it, in the same seconds, a loop reads nine figures
and the compute list of each GPU through pynvml, once a second, and does nothing else; before that it
reads them in a row. Where a read costs ten times as much once a second as in a row, the machine takes
memory and processor from what sleeps, and the share of a core is not judged: on one virtual machine
a page of memory that was left alone for a second cost 0.3 us to touch in one hour and 50 us in the
next, and the bare loop 0.04 % of a core and 2.1 %.
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

SETTLE_S, MEASURE_S = 8.0, 30.0
MOST_TIMES = 10
"""What a read may cost once a second, in times of what it costs in a row, for a share to mean anything."""
BARE_LOOP = """
import time
from tests.bench.bench_probe import bare_loop, cpu_ms
sweep = bare_loop(8)
print(cpu_ms(sweep, 300), flush=True)
while True:
    sweep()
    time.sleep(1)
"""
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
            bare = subprocess.Popen(
                [sys.executable, "-c", BARE_LOOP],
                env=box.environment,
                stdout=subprocess.PIPE,
                text=True,
            )
            try:
                assert bare.stdout is not None
                in_a_row_ms = float(bare.stdout.readline())
                return _measure(box, psutil.Process(bare.pid), in_a_row_ms)
            finally:
                bare.kill()
                bare.wait()
                box.stop()
    finally:
        for sleeper in sleepers:
            sleeper.kill()
            sleeper.wait()


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def _measure(box: Box, bare: psutil.Process, in_a_row_ms: float) -> int:
    assert box.daemon is not None
    process = psutil.Process(box.daemon.pid)
    time.sleep(SETTLE_S)
    before, bare_before, started = _cpu_s(process), _cpu_s(bare), time.monotonic()
    time.sleep(MEASURE_S)
    per_cent = 100 / (time.monotonic() - started)
    percent, bare_percent = (
        (_cpu_s(process) - before) * per_cent,
        (_cpu_s(bare) - bare_before) * per_cent,
    )
    memory = process.memory_info().rss / 2**20
    unique = process.memory_full_info().uss / 2**20
    print(f"daemon idle, 8 GPUs and 40 processes at 1 Hz: {percent:.2f} % of a core (target 1)")
    times = bare_percent * 10 / in_a_row_ms
    print(
        f"a bare pynvml loop beside it: {bare_percent:.2f} %, so {percent / bare_percent:.1f}x;"
        f" a read costs {times:.0f} times what it costs in a row"
    )
    print(f"daemon memory: {memory:.0f} MiB resident, {unique:.0f} of its own (target 80)")
    if percent > 1 and times > MOST_TIMES:
        print("the share of a core is NOT JUDGED: this machine charges what sleeps too much now")
        return 0 if memory <= 80 else 1
    return 0 if percent <= 1 and memory <= 80 else 1


if __name__ == "__main__":
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.exit(main())
