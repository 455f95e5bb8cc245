"""The job mix: how many devices people asked for of late, which says what sets are worth keeping whole.

Read from the record once an hour; until a box has a record, the policy takes a usual mix.
"""

from __future__ import annotations

from gpuboard.engine.core import Core
from gpuboard.store.database import Store

RECENT_JOBS = 500
ENOUGH_JOBS = 50
"""Fewer say nothing yet."""
_AGAIN_MS = 3_600_000


class JobMix:
    """Keeps `Core.job_mix`."""

    def __init__(self, core: Core, store: Store) -> None:
        self._core = core
        self._store = store
        self._next_boot_ms = 0

    def run(self) -> None:
        """Read the mix if that is due."""
        boot = self._core.clock.boot_ms()
        if boot < self._next_boot_ms:
            return
        self._next_boot_ms = boot + _AGAIN_MS
        widths = self._store.recent_widths(RECENT_JOBS)
        total = sum(widths.values())
        if total >= ENOUGH_JOBS:
            self._core.job_mix = tuple((gpus, n / total) for gpus, n in sorted(widths.items()))
