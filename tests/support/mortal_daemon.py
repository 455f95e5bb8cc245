"""`python tests/support/mortal_daemon.py --config FILE`: the real daemon, made mortal for tests.

The daemon has no switch for any of this: the launcher puts it in from outside and then runs
`gpuboard.daemon` as it is.

- `MORTAL_CRASH_AT=name`: SIGKILL itself when it passes that crash point (`engine/crash.py`).
- `MORTAL_DEAF=1`: no events of the container engine reach it.
- `MORTAL_LOOK_MS=n`: what containers wrote is looked at so often.
- `MORTAL_HANG=path`: the engine's loop hangs while there is such a file.
- a start whose answer was lost is looked for 4 s, not a minute.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from functools import partial

from gpuboard.daemon.__main__ import main
from gpuboard.engine import diskwatch, local
from gpuboard.engine.crash import CrashPoints
from gpuboard.runtimes.docker import DockerRuntime


def _armed(point: str) -> type[CrashPoints]:
    def die(name: str) -> None:
        if name == point:
            os.kill(os.getpid(), signal.SIGKILL)

    class ArmedCrashPoints(CrashPoints):
        def __init__(self) -> None:
            super().__init__(die)

    return ArmedCrashPoints


def _hear_nothing(_self: DockerRuntime, timeout_s: float) -> bool:
    time.sleep(timeout_s)
    return False


def _hanging(step: Callable[[local.LocalEngine], None], path: str) -> Callable[..., None]:
    def hang(engine: local.LocalEngine) -> None:
        while os.path.exists(path):
            time.sleep(0.02)
        step(engine)

    return hang


if __name__ == "__main__":
    if point := os.environ.get("MORTAL_CRASH_AT"):
        local.CrashPoints = _armed(point)  # type: ignore[misc]
    local.Pace = partial(local.Pace, start_look_s=4.0)  # type: ignore[misc,assignment]
    diskwatch.LOOK_MS = int(os.environ.get("MORTAL_LOOK_MS") or diskwatch.LOOK_MS)
    if path := os.environ.get("MORTAL_HANG"):
        local.LocalEngine.step = _hanging(local.LocalEngine.step, path)  # type: ignore[method-assign]
    if os.environ.get("MORTAL_DEAF"):
        DockerRuntime.wait_event = _hear_nothing  # type: ignore[method-assign]
    raise SystemExit(main(sys.argv[1:]))
