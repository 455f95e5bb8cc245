"""The box besides its devices: load, memory, disk; read at most once a second for all callers."""

from __future__ import annotations

import os
import shutil
import socket
import time
from dataclasses import dataclass

import psutil

_REST_S = 1.0
_DISK_REST_S = 15.0


@dataclass(frozen=True)
class HostFacts:
    """One reading of the box."""

    hostname: str
    cpu_percent: float | None
    cpus: int
    load_1m: float | None
    memory_used_bytes: int | None
    memory_total_bytes: int | None
    disk_free_bytes: int | None
    shm_used_bytes: int | None
    shm_total_bytes: int | None


class HostSampler:
    """Reads the box when somebody looks."""

    def __init__(self, disk_path: str) -> None:
        self._disk_path = disk_path
        self._hostname = socket.gethostname()
        self._facts: HostFacts | None = None
        self._read_at = float("-inf")
        self._disk_free: int | None = None
        self._disk_at = float("-inf")
        psutil.cpu_percent(interval=None)

    def read(self) -> HostFacts:
        """Return the last reading, a new one when it is older than a second."""
        now = time.monotonic()
        if self._facts is None or now - self._read_at >= _REST_S:
            self._read_at = now
            self._facts = self._sample(now)
        return self._facts

    def _sample(self, now: float) -> HostFacts:
        memory = psutil.virtual_memory()
        shm_used, shm_total = _shared_memory()
        return HostFacts(
            hostname=self._hostname,
            cpu_percent=psutil.cpu_percent(interval=None),
            cpus=os.cpu_count() or 1,
            load_1m=round(os.getloadavg()[0], 2),
            memory_used_bytes=memory.total - memory.available,
            memory_total_bytes=memory.total,
            disk_free_bytes=self._free(now),
            shm_used_bytes=shm_used,
            shm_total_bytes=shm_total,
        )

    def _free(self, now: float) -> int | None:
        if now - self._disk_at >= _DISK_REST_S:
            self._disk_at = now
            try:
                self._disk_free = shutil.disk_usage(self._disk_path).free
            except OSError:
                self._disk_free = None
        return self._disk_free


def _shared_memory() -> tuple[int | None, int | None]:
    """Return used and total bytes of `/dev/shm`; None where there is none."""
    try:
        usage = shutil.disk_usage("/dev/shm")  # noqa: S108 - only looked at
    except OSError:
        return None, None
    return usage.used, usage.total
