"""Housekeeping: fold the write-ahead log back every five minutes, keep a backup a day."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial

from gpuboard.engine.core import Core, log
from gpuboard.engine.workers import Lane
from gpuboard.store.database import Store

CHECKPOINT_MS = 300_000
BACKUP_MS = 86_400_000


class Housekeeper:
    """Does small things rarely."""

    def __init__(self, core: Core, store: Store) -> None:
        self._core = core
        self._store = store
        boot = core.clock.boot_ms()
        self._checkpoint_boot_ms = boot + CHECKPOINT_MS
        self._backup_boot_ms = boot + BACKUP_MS

    def run(self) -> None:
        """Do what is due."""
        boot = self._core.clock.boot_ms()
        if boot >= self._checkpoint_boot_ms:
            self._checkpoint_boot_ms = boot + CHECKPOINT_MS
            self._store.checkpoint()
        if boot >= self._backup_boot_ms:
            self._backup_boot_ms = boot + BACKUP_MS
            day = datetime.fromtimestamp(self._core.clock.now_ms() / 1000, tz=UTC)
            work = partial(self._store.backup_daily, f"{day:%Y-%m-%d}")
            self._core.workers.submit(work, _tell, Lane.PLAN)


def _tell(path: str | None, error: BaseException | None) -> None:
    if error is not None:
        log.error("the daily backup failed: %s", error)
    else:
        log.info("backup written: %s", path)
