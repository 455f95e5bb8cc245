"""The clock port: wall time for people, boot time for limits, and which boot this is."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Protocol

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Clock(Protocol):
    """What time it is."""

    def now_ms(self) -> int:
        """Return the wall clock in ms since the Unix epoch; it may jump."""

    def boot_ms(self) -> int:
        """Return ms since boot, sleep included; it never jumps (CLOCK_BOOTTIME)."""

    def boot_id(self) -> str:
        """Return the kernel's id of this boot."""


class SystemClock:
    """The box's own clock."""

    def __init__(self) -> None:
        self._boot_id = _BOOT_ID.read_text().strip()

    def now_ms(self) -> int:
        """Return the wall clock in ms since the Unix epoch."""
        return time.time_ns() // 1_000_000

    def boot_ms(self) -> int:
        """Return ms since boot, sleep included."""
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000

    def boot_id(self) -> str:
        """Return the kernel's id of this boot."""
        return self._boot_id


class VirtualClock:
    """A clock that moves only when told; for the simulation and tests."""

    def __init__(self, now_ms: int = 1_800_000_000_000, boot_ms: int = 1_000_000) -> None:
        self._now_ms = now_ms
        self._boot_ms = boot_ms
        self._boots = 1

    def now_ms(self) -> int:
        """Return the wall clock."""
        return self._now_ms

    def boot_ms(self) -> int:
        """Return ms since boot."""
        return self._boot_ms

    def boot_id(self) -> str:
        """Return the id of this boot."""
        return f"boot-{self._boots}"

    def advance(self, ms: int) -> None:
        """Let time pass."""
        self._now_ms += ms
        self._boot_ms += ms

    def jump(self, ms: int) -> None:
        """Set the wall clock forward or back; boot time does not notice."""
        self._now_ms += ms

    def reboot(self, ms: int = 60_000) -> None:
        """Start the box again: a new boot id, boot time from zero."""
        self._now_ms += ms
        self._boot_ms = 1_000
        self._boots += 1
