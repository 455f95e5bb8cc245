"""Calls that found the database held by another program: tried again in their order, for a while.

Waiting inside SQLite would stop the engine's thread, and with it every read; so a call that changed
nothing yet steps aside, and others are served meanwhile.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from gpuboard.errors import DatabaseBusy

PATIENCE_S = 10.0
RETRY_S = 0.1


@dataclass
class _Waiting:
    """A call that stepped aside."""

    work: Callable[[], Any]
    future: Future[Any]
    error: DatabaseBusy
    until: float
    """Monotonic seconds."""


class PatientCalls:
    """Runs functions for futures; one that finds the database held waits here. On one thread."""

    def __init__(
        self, commits: Callable[[], int], on_error: Callable[[BaseException], None]
    ) -> None:
        """`commits` counts durable transactions: after one, a call is not run a second time."""
        self._commits = commits
        self._on_error = on_error
        self._waiting: deque[_Waiting] = deque()
        self._retry_at = 0.0

    def serve(self, work: Callable[[], Any], future: Future[Any]) -> None:
        """Run a function now and settle its future, or remember it."""
        error = self._tried(work, future)
        if error is not None:
            now = time.monotonic()
            if not self._waiting:
                self._retry_at = now + RETRY_S
            self._waiting.append(_Waiting(work, future, error, now + PATIENCE_S))

    def retry(self) -> None:
        """Run what waits, if it is time, until one finds the database still held."""
        if time.monotonic() < self._retry_at:
            return
        while self._waiting:
            first = self._waiting[0]
            if self._tried(first.work, first.future) is not None:
                self._give_up(time.monotonic())
                self._retry_at = time.monotonic() + RETRY_S
                return
            self._waiting.popleft()

    def _give_up(self, now: float) -> None:
        while self._waiting and self._waiting[0].until <= now:
            late = self._waiting.popleft()
            late.future.set_exception(late.error)

    def wait_s(self) -> float | None:
        """Return in how many seconds to try again; None when nothing waits."""
        return max(0.0, self._retry_at - time.monotonic()) if self._waiting else None

    def end(self) -> None:
        """Tell everybody who still waits that it was in vain."""
        while self._waiting:
            late = self._waiting.popleft()
            late.future.set_exception(late.error)

    def _tried(self, work: Callable[[], Any], future: Future[Any]) -> DatabaseBusy | None:
        """Run a function; return the error when it may be run again, else settle the future."""
        before = self._commits()
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001 - a border: who asked gets it
            if isinstance(error, DatabaseBusy) and self._commits() == before:
                return error
            self._on_error(error)
            future.set_exception(error)
        else:
            future.set_result(result)
        return None
