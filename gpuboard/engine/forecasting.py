"""Forecasts: the same plan run forward on another thread, on a copy, some time after each change."""

from __future__ import annotations

from collections.abc import Mapping

from gpuboard.engine.core import Core, log
from gpuboard.engine.workers import Lane
from gpuboard.engine.world import build_world
from gpuboard.model.ids import JobId
from gpuboard.model.plan import StartForecast
from gpuboard.policy.forecast import forecast_starts

MAX_JOBS = 1000
REST_FACTOR = 5
"""A forecast that took t seconds is not made again for 5 t: it never takes the engine's core."""
MIN_PAUSE_MS = 500
STALE_MS = 30_000
"""Without any change it is made again after so long: what has not ended yet ends later."""


class Forecaster:
    """Keeps the latest forecast."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._revision = -1
        self._is_running = False
        self._next_boot_ms = 0
        self._made_boot_ms = 0
        self.latest: Mapping[JobId, StartForecast] = {}

    def run(self) -> None:
        """Have a new forecast made if one is due."""
        core = self._core
        boot = core.clock.boot_ms()
        if self._is_running or boot < self._next_boot_ms or not self._is_wanted(boot):
            return
        self._revision = core.ledger.revision
        if not len(core.ledger.queue):
            self.latest = {}
            return
        now = core.clock.now_ms()
        world, queue = build_world(core, now), core.ledger.queue.snapshot()
        self._is_running = True

        def work() -> Mapping[JobId, StartForecast]:
            return forecast_starts(world, queue, now, max_jobs=MAX_JOBS)

        def done(made: Mapping[JobId, StartForecast] | None, error: BaseException | None) -> None:
            self._is_running = False
            end = core.clock.boot_ms()
            self._made_boot_ms = end
            self._next_boot_ms = end + max(MIN_PAUSE_MS, REST_FACTOR * (end - boot))
            if made is None:
                log.error("forecast: %s", error, exc_info=error)
                return
            if made != self.latest:
                self.latest = made
                is_current = self._revision == core.ledger.revision
                core.ledger.revision += 1
                if is_current:
                    self._revision = core.ledger.revision

        core.workers.submit(work, done, Lane.PLAN)

    def _is_wanted(self, boot: int) -> bool:
        core = self._core
        if core.ledger.revision != self._revision:
            return True
        return bool(len(core.ledger.queue)) and boot >= self._made_boot_ms + STALE_MS

    def next_boot_ms(self) -> int | None:
        """Return when (boot time, ms) the next forecast is due."""
        if self._is_running or self._core.ledger.revision == self._revision:
            return None
        return self._next_boot_ms
