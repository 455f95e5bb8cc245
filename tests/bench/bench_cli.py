"""What a command costs: `gpuboard ps --json` and others as multiples of `python -c pass`.

    python -m tests.bench.bench_cli [--rounds 30] [--jobs 20]

Runs are interleaved, so that what else runs on the machine burdens all alike; medians of wall time.
The daemon is the scripted one of the suite. Beside ours: the imports alone, and nvitop and gpustat
where they are installed (they read the fake NVML when LD_LIBRARY_PATH names it). Exits 1 where
`ps --json` takes more than 5x.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from tests.support.fake_server import FakeServer, board, device, job, job_list

TARGET = 5.0


def contenders() -> dict[str, list[str]]:
    """Return what is measured, the yardstick first."""
    python = sys.executable
    script = Path(python).with_name("gpuboard")
    gpuboard = [str(script)] if script.exists() else [python, "-m", "gpuboard"]
    found = {
        "python -c pass": [python, "-c", "pass"],
        "import click, json, socket": [python, "-c", "import click, json, socket"],
        "gpuboard ps --json": [*gpuboard, "ps", "--json"],
        "gpuboard ps": [*gpuboard, "ps"],
        "gpuboard gpus": [*gpuboard, "gpus"],
        "gpuboard --help": [*gpuboard, "--help"],
    }
    for name, arguments in (("nvitop", ["-1"]), ("gpustat", [])):
        path = shutil.which(name)
        if path:
            found[" ".join([name, *arguments])] = [path, *arguments]
    return found


def main() -> int:
    """Measure, print a table, say whether the target holds."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--jobs", type=int, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        server = FakeServer(Path(folder))
        server.answers["GET", "/jobs"] = job_list(*(job(n) for n in range(options.jobs)))
        server.answers["GET", "/board"] = board(*(device(str(n)) for n in range(8)))
        taken = measure(
            contenders(), options.rounds, os.environ | {"GPUBOARD_SOCKET": server.socket_path}
        )
        server.close()
    yardstick = median(taken["python -c pass"])
    for name, seconds in taken.items():
        print(f"{name:<28} {median(seconds) * 1000:7.1f} ms  {median(seconds) / yardstick:5.2f}x")
    ratio = median(taken["gpuboard ps --json"]) / yardstick
    print(f"ps --json: {ratio:.2f}x of a bare start (target {TARGET:g}x)")
    return int(ratio > TARGET)


def measure(
    commands: dict[str, list[str]], rounds: int, environment: dict[str, str]
) -> dict[str, list[float]]:
    """Return the seconds of each run, by name."""
    taken: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            began = time.perf_counter()
            subprocess.run(
                command,
                env=environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                check=False,
            )
            taken[name].append(time.perf_counter() - began)
    return taken


if __name__ == "__main__":
    sys.exit(main())
