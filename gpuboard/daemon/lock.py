"""One daemon an installation: an flock next to the database, with the holder's pid in it.

The kernel lets go of the lock when its holder dies, however it dies, so there is nothing stale to
clean. The file itself is never removed: two daemons would then hold locks on two files.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from gpuboard.errors import Conflict, HostError

NAME = "daemon.lock"


class AlreadyRunning(Conflict):
    """Another daemon holds the lock."""

    exit_code = 75
    """EX_TEMPFAIL of sysexits.h."""


class DaemonLock:
    """Holds the lock of one state directory until `release` or the end of the process."""

    def __init__(self, state_dir: Path) -> None:
        self.path = state_dir / NAME
        self._descriptor = -1

    def acquire(self, wait_s: float = 0.0) -> None:
        """Take the lock. Raises AlreadyRunning with the holder's pid, HostError when it cannot be made."""
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            descriptor = os.open(self.path, flags, 0o600)
        except OSError as error:
            raise HostError(
                f"cannot open {self.path}: {error.strerror}",
                hint="the daemon must own its state directory",
            ) from error
        until = time.monotonic() + wait_s
        while not _try_lock(descriptor):
            if time.monotonic() >= until:
                holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
                os.close(descriptor)
                raise AlreadyRunning(
                    f"a gpuboard daemon already runs here (pid {holder or 'unknown'}, "
                    f"{self.path.parent})",
                    hint="there is one daemon an installation; stop it first to start another",
                )
            time.sleep(0.05)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._descriptor = descriptor

    def release(self) -> None:
        """Let go."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
