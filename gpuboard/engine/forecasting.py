"""Forecasts: the same plan run forward on another thread, on a copy, some time after each change.

What was first said of each job is kept until it starts: how far off it was widens what is said next.
"""

from __future__ import annotations

from collections.abc import Mapping

from gpuboard.engine.core import Core, log
from gpuboard.engine.workers import Lane
from gpuboard.engine.world import build_world
from gpuboard.model.ids import JobId, Uid
from gpuboard.model.plan import StartForecast
from gpuboard.model.world import World
from gpuboard.policy.calibration import Calibration
from gpuboard.policy.forecast import forecast_starts
from gpuboard.policy.habits import ENOUGH_RUNS, RUNS_OF_ALL, RUNS_TO_REMEMBER, Habits
from gpuboard.policy.queue import WaitingQueue
from gpuboard.store.database import Store

MAX_JOBS = 1000
REST_FACTOR = 5
"""A forecast that took t seconds is not made again for 5 t: it never takes the engine's core."""
MIN_PAUSE_MS = 500
STALE_MS = 30_000
"""Without any change it is made again after so long: what has not ended yet ends later."""


MOST_TOLD = 4 * MAX_JOBS
"""Of so many waiting jobs at most it is kept what was said."""


class _HabitBook:
    """Reads from the database how people use their limits, anew only for those whose jobs ended."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._parts: dict[Uid, list[float]] = {}
        self._held: dict[JobId, Uid] = {}

    def of(self, world: World, queue: WaitingQueue) -> Habits:
        """Return the habits of everybody who holds or waits."""
        held = {holder.job_id: holder.uid for holder in world.holders}
        for job_id, uid in self._held.items():
            if job_id not in held:
                self._parts.pop(uid, None)
        self._held = held
        people = {*queue.people(), *held.values()}
        known = {uid: self._parts.get(uid) for uid in people if uid >= 0}
        for uid in (uid for uid, parts in known.items() if parts is None):
            known[uid] = self._store.recent_parts(uid, RUNS_TO_REMEMBER)
        self._parts = parts = {uid: found for uid, found in known.items() if found is not None}
        is_short = any(len(own) < ENOUGH_RUNS for own in parts.values())
        return Habits(parts, self._store.recent_parts(None, RUNS_OF_ALL) if is_short else ())


class Forecaster:
    """Keeps the latest forecast."""

    def __init__(self, core: Core, store: Store) -> None:
        self._core = core
        self._habits = _HabitBook(store)
        self._calibration = Calibration()
        self._first_told: dict[JobId, tuple[int, StartForecast, StartForecast]] = {}
        """When (ms), what was computed, and what of it was said."""
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
        self._learn()
        if not len(core.ledger.queue):
            self.latest = {}
            return
        now = core.clock.now_ms()
        world, queue = build_world(core, now), core.ledger.queue.snapshot()
        habits = self._habits.of(world, queue)
        self._is_running = True

        def work() -> Mapping[JobId, StartForecast]:
            return forecast_starts(world, queue, now, max_jobs=MAX_JOBS, habits=habits)

        def done(made: Mapping[JobId, StartForecast] | None, error: BaseException | None) -> None:
            self._is_running = False
            end = core.clock.boot_ms()
            self._made_boot_ms = end
            self._next_boot_ms = end + max(MIN_PAUSE_MS, REST_FACTOR * (end - boot))
            if made is None:
                log.error("forecast: %s", error, exc_info=error)
                return
            told = self._tell(made, now)
            if told != self.latest:
                self.latest = told
                is_current = self._revision == core.ledger.revision
                core.ledger.revision += 1
                if is_current:
                    self._revision = core.ledger.revision

        core.workers.submit(work, done, Lane.PLAN)

    def _tell(self, made: Mapping[JobId, StartForecast], now: int) -> dict[JobId, StartForecast]:
        told = {job_id: self._calibration.widen(raw, now) for job_id, raw in made.items()}
        for job_id, raw in made.items():
            if raw.expected_start_at is not None and len(self._first_told) < MOST_TOLD:
                self._first_told.setdefault(job_id, (now, raw, told[job_id]))
        return told

    def _learn(self) -> None:
        """Hold what was first said of jobs against their starts; one that did not wait on is forgotten."""
        ledger = self._core.ledger
        for job_id in [i for i in self._first_told if i not in ledger.queue]:
            told_at, raw, said = self._first_told.pop(job_id)
            job = ledger.holding.get(job_id)
            if job is not None and job.leased_at is not None:
                self._calibration.observe(raw, said, told_at, job.leased_at)

    def habits_of(self, world: World, queue: WaitingQueue) -> Habits:
        """Return how those who hold or wait use their limits."""
        return self._habits.of(world, queue)

    def widened(self, told: StartForecast, now: int) -> StartForecast:
        """Return a forecast made elsewhere as wide as forecasts have to be."""
        return self._calibration.widen(told, now)

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
