"""Housekeeping: fold the write-ahead log back, keep a backup a day, let old logs of jobs and old hours go."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime
from functools import partial
from logging import ERROR, INFO
from pathlib import Path

from gpuboard.engine.core import Core, log
from gpuboard.engine.workers import Lane
from gpuboard.runtimes.logfiles import TIMES_SUFFIX
from gpuboard.store.database import Store

CHECKPOINT_MS = 300_000
FAULT_MS = 5_000
_LOG_NAME = re.compile(r"\d+-\d+\.log")
BACKUP_MS = 86_400_000
LOGS_MS = 300_000


class Housekeeper:
    """Does small things rarely."""

    def __init__(self, core: Core, store: Store) -> None:
        self._core = core
        self._store = store
        boot = core.clock.boot_ms()
        self._checkpoint_boot_ms = boot + CHECKPOINT_MS
        self._backup_boot_ms = boot + BACKUP_MS
        self._logs_boot_ms = boot + CHECKPOINT_MS
        self._fault_boot_ms = boot
        self._fault = ""

    def run(self) -> None:
        """Do what is due."""
        boot = self._core.clock.boot_ms()
        if boot >= self._fault_boot_ms:
            self._fault_boot_ms = boot + FAULT_MS
            self._look_at_the_record()
        if boot >= self._checkpoint_boot_ms:
            self._checkpoint_boot_ms = boot + CHECKPOINT_MS
            self._store.checkpoint()
        if boot >= self._backup_boot_ms:
            self._backup_boot_ms = boot + BACKUP_MS
            day = datetime.fromtimestamp(self._core.clock.now_ms() / 1000, tz=UTC)
            work = partial(self._store.backup_daily, f"{day:%Y-%m-%d}")
            self._core.workers.submit(work, _tell, Lane.PLAN)
        if boot >= self._logs_boot_ms:
            self._logs_boot_ms = boot + LOGS_MS
            kept, now = self._core.config.logs, self._core.clock.now_ms()
            self._forget_hours(now)
            days, most = kept.keep_days, kept.max_total_bytes
            oldest_at = None if days is None else now - days * BACKUP_MS
            self._core.workers.submit(
                partial(prune_logs, self._core.log_dir, oldest_at, most), _tell_logs, Lane.PLAN
            )

    def _look_at_the_record(self) -> None:
        """Tell once when the database or its disk is in trouble, and once when that is over."""
        self._store.mend()
        words = self._store.fault()
        if bool(words) != bool(self._fault):
            log.log(ERROR if words else INFO, "database: %s", words or "all is well again")
            self._core.ledger.revision += 1
        self._fault = words

    def _forget_hours(self, now: int) -> None:
        days = self._core.config.usage.keep_days
        if days is not None:
            self._core.crash("hours.forgotten.before")
            with self._store.transaction() as store:
                store.forget_hours(now - days * BACKUP_MS)
            self._core.crash("hours.forgotten.after")


def prune_logs(folder: Path, oldest_at: int | None, most_bytes: int | None) -> int:
    """Remove kept logs from before an instant (ms), and the oldest above a total; return how many.

    On a worker. Raises OSError when the folder cannot be read or written.
    """
    found = sorted(
        (entry.stat().st_mtime_ns // 1_000_000, entry.stat().st_size, entry.path)
        for entry in os.scandir(folder)
        if _LOG_NAME.fullmatch(entry.name)
    )
    total = sum(size for _, size, _ in found)
    removed = 0
    for at, size, path in found:
        is_old = oldest_at is not None and at < oldest_at
        if not is_old and (most_bytes is None or total <= most_bytes):
            break
        Path(path).unlink(missing_ok=True)
        Path(path).with_suffix(TIMES_SUFFIX).unlink(missing_ok=True)
        total -= size
        removed += 1
    return removed


def _tell_logs(removed: int | None, error: BaseException | None) -> None:
    if error is not None:
        log.error("old logs of jobs cannot be removed: %s", error)
    elif removed:
        log.info("%d old logs of jobs removed", removed)


def _tell(path: str | None, error: BaseException | None) -> None:
    if error is not None:
        log.error("the daily backup failed: %s", error)
    else:
        log.info("backup written: %s", path)
