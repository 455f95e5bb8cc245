"""`python tests/support/mortal_daemon.py --config FILE`: the real daemon, made mortal for tests.

The daemon has no switch for any of this: the launcher puts it in from outside and then runs
`gpuboard.daemon` as it is.

- `MORTAL_ARMED=path`: SIGKILL itself when it passes the crash point (`engine/crash.py`) whose name
  stands in that file, which is taken away before; so one daemon can be armed while it runs.
- `MORTAL_HURRY=1`: what is done each minute is done each second.
- `MORTAL_CLOCK=path`: the clock is off by what that file says, as it is at the moment:
  `{"wall_ms": 0, "boot_ms": 0, "boot_id": "of another boot"}`; so are the engine's instants, as the
  box has one clock.
- `MORTAL_DEAF=1`: no events of the container engine reach it.
- `MORTAL_LOOK_MS=n`: what containers wrote is looked at so often.
- `MORTAL_HANG=path`: the engine's loop hangs while there is such a file.
- `MORTAL_UNKILLABLE_S=n`: so long after SIGKILL what lives on is called stuck.
- a start whose answer was lost is looked for 4 s (`MORTAL_START_LOOK_S`), not a minute.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from gpuboard.daemon import build
from gpuboard.daemon.__main__ import main
from gpuboard.engine import clock, diskwatch, hourbook, housekeeping, local
from gpuboard.engine.crash import CrashPoints
from gpuboard.runtimes import docker_api, docker_look
from gpuboard.runtimes.docker import DockerRuntime


def _armed(path: Path) -> type[CrashPoints]:
    def die(name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            if path.read_text() == name:
                path.unlink()
                os.kill(os.getpid(), signal.SIGKILL)

    class ArmedCrashPoints(CrashPoints):
        def __init__(self) -> None:
            super().__init__(die)

    return ArmedCrashPoints


def _set_clock_off(path: Path) -> None:
    def off() -> dict[str, int | str]:
        with contextlib.suppress(FileNotFoundError):
            return json.loads(path.read_text())
        return {}

    def instant_ms(text: str, real=docker_api.instant_ms) -> int | None:
        found = real(text)
        return found if found is None else found + off().get("wall_ms", 0)

    class ClockThatIsOff(clock.SystemClock):
        def now_ms(self) -> int:
            return super().now_ms() + off().get("wall_ms", 0)

        def boot_ms(self) -> int:
            return super().boot_ms() + off().get("boot_ms", 0)

        def boot_id(self) -> str:
            return off().get("boot_id") or super().boot_id()

    build.SystemClock = ClockThatIsOff  # type: ignore[misc]
    assert docker_look.instant_ms is docker_api.instant_ms, "the engine's times are read elsewhere"
    docker_look.instant_ms = instant_ms


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
    if path := os.environ.get("MORTAL_ARMED"):
        local.CrashPoints = _armed(Path(path))  # type: ignore[misc]
    look_s = float(os.environ.get("MORTAL_START_LOOK_S") or 4)
    stuck_s = float(os.environ.get("MORTAL_UNKILLABLE_S") or 60)
    local.Pace = partial(local.Pace, start_look_s=look_s, unkillable_s=stuck_s)  # type: ignore[misc,assignment]
    if path := os.environ.get("MORTAL_CLOCK"):
        _set_clock_off(Path(path))
    if os.environ.get("MORTAL_HURRY"):
        hourbook.WRITE_MS = housekeeping.CHECKPOINT_MS = 1000
    diskwatch.LOOK_MS = int(os.environ.get("MORTAL_LOOK_MS") or diskwatch.LOOK_MS)
    if path := os.environ.get("MORTAL_HANG"):
        local.LocalEngine.step = _hanging(local.LocalEngine.step, path)  # type: ignore[method-assign]
    if os.environ.get("MORTAL_DEAF"):
        DockerRuntime.wait_event = _hear_nothing  # type: ignore[method-assign]
    raise SystemExit(main(sys.argv[1:]))
