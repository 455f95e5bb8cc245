"""What the tests of the runtimes share: requests, waiting on conditions, one bench a runtime."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable
from pathlib import Path

from gpuboard.model.ids import DeviceUuid
from gpuboard.runtimes.protocol import Observed, RunRequest, RunState, Runtime
from gpuboard.runtimes.simulated import Script
from tests.support.waiting import wait_until

GPU = DeviceUuid("GPU-11111111-2222-3333-4444-555555555555")
GPU_2 = DeviceUuid("GPU-66666666-2222-3333-4444-555555555555")
PERSON = 4242
"""A uid that no account of the box has."""
_numbers = itertools.count(1)


class RuntimeBench:
    """One runtime under test, with a way to make it anew as after a crash of the daemon."""

    def __init__(
        self, make: Callable[[], Runtime], home: Path, *, image: str = "", uid: int = PERSON
    ) -> None:
        self._make = make
        self.runtime = make()
        self.home = home
        self.image = image
        self.uid = uid

    def reborn(self) -> Runtime:
        """Let the client die and make another one."""
        self.runtime = self._make()
        return self.runtime

    def request(self, *command: str, **fields: object) -> RunRequest:
        """Return a request of a new job that runs a command."""
        number = next(_numbers)
        values: dict[str, object] = {
            "name": f"gb-{number}-1",
            "job_id": number,
            "attempt": 1,
            "uid": self.uid,
            "gid": self.uid,
            "groups": (self.uid,),
            "user": "person",
            "home": str(self.home),
            "workdir": "/",
            "image": self.image,
            "command": command,
        }
        values.update(fields)
        if self.image and "image_id" not in values:
            values["image_id"] = self.runtime.resolve_image(
                str(values["image"]), False, lambda words: None
            )
        return RunRequest(**values)

    def shell(self, script: str, **fields: object) -> RunRequest:
        """Return a request that runs a shell script."""
        return self.request("sh", "-c", script, **fields)

    def begin(self, request: RunRequest) -> str:
        """Create and start; return the handle."""
        handle = self.runtime.create(request)
        self.runtime.start(handle)
        return handle

    def seen(self, handle: str) -> Observed:
        """Return what observe says of one attempt."""
        found = [row for row in self.runtime.observe().values() if row.handle == handle]
        assert len(found) == 1
        return found[0]

    def ended(self, handle: str) -> Observed:
        """Wait for the end and return it."""
        wait_until(lambda: self.seen(handle).state is RunState.EXITED)
        wait_until(lambda: self.runtime.is_gone(handle))
        return self.seen(handle)

    def run(self, script: str, **fields: object) -> tuple[Observed, bytes]:
        """Run a script to its end; return how it ended and its log."""
        handle = self.begin(self.shell(script, **fields))
        return self.ended(handle), self.log(handle)

    def log(self, handle: str, **how: object) -> bytes:
        """Return the log."""
        return b"".join(self.runtime.read_log(handle, **how))

    def clear(self) -> None:
        """End and remove everything."""
        for row in self.runtime.observe().values():
            self.runtime.kill(row.handle)
            wait_until(lambda row=row: self.runtime.is_gone(row.handle))
            self.runtime.remove(row.handle)
        self.runtime.close()


def scripted_outcome(request: RunRequest) -> Script:
    """Return what the simulated runtime does for the few commands that the contract's tests use."""
    text = " ".join(request.command)
    if "sleep 600" in text:
        return Script(run_s=600.0)
    if text == "sh -c for i in 1 2 3 4 5; do echo $i; done":
        return Script(run_s=0.0, log=b"1\n2\n3\n4\n5\n")
    words = text.split()
    return Script(run_s=0.0, exit_code=int(words[-1]) if words[-2:-1] == ["exit"] else 0)


class RealClock:
    """The box's own clocks."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def boot_ms(self) -> int:
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


def open_descriptors() -> int:
    """Return how many files this process holds open."""
    return len(os.listdir("/proc/self/fd"))
