"""What a person waits for at the prompt: `gpuboard ps --json` beside a bare Python, nvitop -1 and gpustat.

    python -m tests.bench.bench_commands [--rounds 25]

Against a real daemon with 8 fake GPUs and 40 processes, in turns, each warmed once; medians of the
wall and CPU time of the whole process. The yardstick is `python -c pass` in an empty environment:
elsewhere it also runs .pth files (an editable install may put a finder there, which would make us
look better); ours is shown beside. Exits 1 above 5x.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import NamedTuple

from tests.bench.busy_box import busy_box, gpuboard
from tests.bench.rivals import find_rivals

TARGET = 5.0
BARE, OURS = "python -c pass", "gpuboard ps --json"


class Cost(NamedTuple):
    """One run's cost, or the medians of several, in milliseconds."""

    wall_ms: float
    cpu_ms: float


def contenders(folder: str) -> dict[str, list[str]]:
    """Return what is measured, the yardstick first; its empty environment is made in the folder."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    found = {
        BARE: [f"{folder}/bin/python", "-c", "pass"],
        "python -c pass, our venv": [sys.executable, "-c", "pass"],
        "import click, json, socket": [sys.executable, "-c", "import click, json, socket"],
        OURS: [gpuboard(), "ps", "--json"],
        "gpuboard ps": [gpuboard(), "ps"],
        "gpuboard gpus": [gpuboard(), "gpus"],
        "gpuboard --help": [gpuboard(), "--help"],
    }
    rivals = find_rivals("nvitop", "gpustat")
    for name, arguments in (("nvitop", ["-1"]), ("gpustat", [])):
        if name in rivals:
            found[" ".join([name, *arguments])] = [str(rivals[name]), *arguments]
    return found


def run(command: list[str], environment: dict[str, str]) -> Cost:
    """Run a command to its end, output unread."""
    began = time.perf_counter()
    process = subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _pid, status, used = os.wait4(process.pid, 0)
    taken = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, f"{command} failed with {process.returncode}"
    return Cost(1000 * taken, 1000 * (used.ru_utime + used.ru_stime))


def measure(
    commands: dict[str, list[str]], rounds: int, environment: dict[str, str]
) -> dict[str, Cost]:
    """Return the medians by name; in turns, so that what else runs here burdens all alike."""
    runs: dict[str, list[Cost]] = {name: [] for name in commands}
    for command in commands.values():
        run(command, environment)
    for _ in range(rounds):
        for name, command in commands.items():
            runs[name].append(run(command, environment))
    return {
        name: Cost(median(one.wall_ms for one in taken), median(one.cpu_ms for one in taken))
        for name, taken in runs.items()
    }


def install_words() -> str:
    """Return how this gpuboard is installed, since that is part of what a start costs."""
    site = (
        Path(sys.prefix)
        / f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
    )
    if any(site.glob("__editable___gpuboard_*_finder.py")):
        return "editable with setuptools' finder (not as `make` installs: about 20 ms more a start)"
    if any(site.glob("__editable__.gpuboard-*.pth")):
        return "editable with a plain .pth, as `make` installs"
    return "as a wheel"


def main() -> int:
    """Measure, print a table, say whether the target holds."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=25)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as empty, busy_box(8, 40) as busy:
        medians = measure(contenders(empty), options.rounds, busy.environment)
    bare = medians[BARE]
    print(f"gpuboard is installed {install_words()}")
    for name, cost in medians.items():
        print(
            f"{name:<26} {cost.wall_ms:7.1f} ms {cost.wall_ms / bare.wall_ms:6.2f}x"
            f"   cpu {cost.cpu_ms:7.1f} ms {cost.cpu_ms / bare.cpu_ms:6.2f}x"
        )
    ratio = medians[OURS].wall_ms / bare.wall_ms
    print(f"ps --json: {ratio:.2f}x of a bare start (target {TARGET:g}x)")
    return int(ratio > TARGET)


if __name__ == "__main__":
    sys.exit(main())
