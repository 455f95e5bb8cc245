"""What a sweep of the probe costs: CPU milliseconds, on the fake box, beside a bare pynvml loop.

    python tests/bench/bench_probe.py [--gpus 8] [--processes 40] [--sweeps 300]

The bare loop reads the same nine figures and the compute list of each device through pynvml's own
functions, and nothing of the processes; so the ratio is what identity, health, three lists and
the facts of each process cost. Prints one JSON value.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parents[2]))

from gpuboard.devices.nvml import NvmlProbe
from gpuboard.devices.nvml_sweep import NvmlSource
from gpuboard.devices.processes import ProcessTable
from gpuboard.devices.sweeping import wall_ms
from tests.support.fakenvml import FakeBox, gpus, process_line

SLOW_EVERY = 5
PROBE_S = 10


def cpu_ms(function: Callable[[], object], times: int) -> float:
    """Return the median CPU milliseconds of a call."""
    spent = []
    for _ in range(times):
        began = time.process_time_ns()
        function()
        spent.append((time.process_time_ns() - began) / 1e6)
    return median(spent)


def bare_loop(count: int) -> Callable[[], None]:
    """Return the sweep that a person would write first."""
    import pynvml as n

    n.nvmlInit()
    handles = [n.nvmlDeviceGetHandleByIndex(index) for index in range(count)]

    def sweep() -> None:
        for handle in handles:
            n.nvmlDeviceGetUUID(handle)
            n.nvmlDeviceGetUtilizationRates(handle)
            n.nvmlDeviceGetMemoryInfo(handle)
            n.nvmlDeviceGetTemperature(handle, 0)
            n.nvmlDeviceGetPowerUsage(handle)
            n.nvmlDeviceGetClockInfo(handle, 1)
            n.nvmlDeviceGetPerformanceState(handle)
            n.nvmlDeviceGetCurrentClocksThrottleReasons(handle)
            n.nvmlDeviceGetMigMode(handle)
            n.nvmlDeviceGetComputeRunningProcesses(handle)

    return sweep


def source(slow_interval_s: float) -> NvmlSource:
    """Return a source to sweep by hand."""
    return NvmlSource(
        processes=ProcessTable(), slow_interval_s=slow_interval_s, ignore=(), clock=wall_ms
    )


def core_percent(interval_s: float) -> float:
    """Return the share of a core that a running probe takes, in percent."""
    probe = NvmlProbe(interval_s)
    probe.start(lambda _snapshot: None)
    probe.wait_first(10)
    began, cpu = time.monotonic(), time.process_time()
    time.sleep(PROBE_S)
    share = (time.process_time() - cpu) / (time.monotonic() - began)
    probe.stop()
    return 100 * share


def measure(arguments: argparse.Namespace) -> dict[str, float | int]:
    """Measure in this process, which has the fake library."""
    fast, slow = source(3600), source(0)
    fast.sweep()
    fast_ms = cpu_ms(fast.sweep, arguments.sweeps)
    slow_ms = cpu_ms(slow.sweep, arguments.sweeps)
    bare_ms = cpu_ms(bare_loop(arguments.gpus), arguments.sweeps)
    mean_ms = ((SLOW_EVERY - 1) * fast_ms + slow_ms) / SLOW_EVERY
    return {
        "gpus": arguments.gpus,
        "processes": arguments.processes,
        "fast_sweep_ms": round(fast_ms, 3),
        "slow_sweep_ms": round(slow_ms, 3),
        "mean_sweep_ms": round(mean_ms, 3),
        "bare_pynvml_loop_ms": round(bare_ms, 3),
        "ratio_to_bare": round(mean_ms / bare_ms, 2),
        "running_probe_core_percent": round(core_percent(1.0), 3),
    }


def main() -> None:
    """Make the fake box and its processes, and measure in a process that sees them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gpus", type=int, default=8)
    parser.add_argument("--processes", type=int, default=40)
    parser.add_argument("--sweeps", type=int, default=300)
    arguments = parser.parse_args()
    if "FAKENVML_STATE" in os.environ:
        print(json.dumps(measure(arguments)))
        return
    children = [subprocess.Popen(["sleep", "600"]) for _ in range(arguments.processes)]
    try:
        with tempfile.TemporaryDirectory() as folder:
            box = FakeBox(Path(folder))
            box.gpus = gpus(arguments.gpus, util=50)
            for number, child in enumerate(children):
                box.gpus[number % arguments.gpus].processes.append(process_line(child.pid, 1000, 9))
            box.write()
            environment = {**os.environ, **box.environment(), "FAKENVML_RELOAD_MS": "20"}
            subprocess.run([sys.executable, *sys.argv], env=environment, check=True)
    finally:
        for child in children:
            child.kill()
            child.wait()


if __name__ == "__main__":
    main()
