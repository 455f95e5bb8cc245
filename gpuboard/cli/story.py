"""The demo as text: the same commands that a person would type, with what they answer."""

from __future__ import annotations

import shlex
import subprocess
import sys
import time

TRAIN = 'for i in 1 2 3 4 5; do echo "epoch $i/5"; sleep 1; done; echo "saved model.pt"'

STORY: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        (
            "A lab's box with eight (simulated) GPUs. One is sick, on one somebody runs a process\n"
            "without asking, one is held by a notebook that idles. Who has what, until when:"
        ),
        ("gpus",),
    ),
    (
        "You want two GPUs for a training run. Into the queue with it; `@` is your last job:",
        ("submit", "-g", "2", "-t", "10m", "-J", "my-run", "--process", "--", "sh", "-c", TRAIN),
    ),
    ("The queue, in serving order, with a start time for everybody:", ("ps", "--all")),
    ("Why it waits (or that it does not), and what would start it now:", ("why", "@")),
    (
        "A short job slips in without delaying anybody; this waits for it and shows its log:",
        ("run", "-g", "1", "-t", "2m", "-J", "quick", "--process", "--", "sh", "-c", TRAIN),
    ),
    ("Three words book two GPUs; `--at` says when:", ("reserve", "2", "1h30m", "--at", "now+6h")),
    ("Bookings and runs, a row a device:", ("timeline",)),
    ("And clean up:", ("cancel", "my-run")),
)


def tell() -> int:
    """Play the story on the daemon of $GPUBOARD_SOCKET; return 0, or the first unexpected exit code."""
    for words, arguments in STORY:
        print(f"\n# {words.replace(chr(10), chr(10) + '# ')}")
        print(f"$ gpuboard {shlex.join(arguments)}", flush=True)
        if arguments[0] == "ps":
            _wait_for_start_times()
        code = subprocess.run(
            [sys.executable, "-m", "gpuboard", *arguments], check=False, stdin=subprocess.DEVNULL
        ).returncode
        if code and not _is_allowed(arguments, code):
            print(f"error: that ended with {code}", file=sys.stderr)
            return code
    print("\n# That was it. `make demo` in a terminal opens the app on the same box.")
    return 0


def _wait_for_start_times() -> None:
    """Wait, for seconds at most, until the forecast has come round: it is made beside the planning."""
    for _ in range(40):
        command = [sys.executable, "-m", "gpuboard", "ps", "-a", "--json"]
        answer = subprocess.run(command, check=False, capture_output=True).stdout
        if b'"state":"queued"' not in answer or b'"expected_start_at":"' in answer:
            return
        time.sleep(0.2)


def _is_allowed(arguments: tuple[str, ...], code: int) -> bool:
    """Whether a failure is part of the story: `my-run` may have ended before it is cancelled."""
    return arguments[0] in {"cancel", "why"} and code == 1
