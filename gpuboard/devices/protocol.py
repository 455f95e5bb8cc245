"""The probe protocol: who reads the devices, in whatever way, gives immutable snapshots."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from gpuboard.model.device import ProbeSnapshot


class Probe(Protocol):
    """Reads devices on a thread of its own; nothing that a driver does can block a caller."""

    name: str
    """`nvml` or `simulated`."""

    def start(self, on_snapshot: Callable[[ProbeSnapshot], None] | None = None) -> None:
        """Begin to sweep; `on_snapshot` is called on the probe's thread after each sweep."""

    def snapshot(self) -> ProbeSnapshot:
        """Return the last snapshot at once; before the first sweep, one with a `fault`."""

    def wait_first(self, timeout_s: float) -> ProbeSnapshot:
        """Wait for the first sweep, at most so long, and return what is known then."""

    def sweep_soon(self) -> None:
        """Ask for a sweep that begins after this call, without waiting for the next interval."""

    def stop(self) -> None:
        """End the thread (a hung driver's thread is left behind as a daemon thread)."""
