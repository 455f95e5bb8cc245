"""Reconcile: what the runtimes show against what the ledger intends; level-triggered.

Each listing is complete or an error; an error decides nothing (SAFETY.md section 0, decisions 5
and 6). Scheduling waits until every runtime that should hold an attempt was listed once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

from gpuboard.engine.conclude import Circumstances, conclude
from gpuboard.engine.core import Core, log
from gpuboard.engine.ending import Ender, attempt_of
from gpuboard.engine.incarnations import Incarnations
from gpuboard.engine.readback import ReadBack
from gpuboard.engine.starting import Starter
from gpuboard.engine.workers import Lane
from gpuboard.model.ids import JobId
from gpuboard.model.job import Job, JobState, Verdict
from gpuboard.runtimes.protocol import Observed, RunState, Runtime, RuntimeCapabilities

_LIVING = (RunState.RUNNING, RunState.PAUSED)
PAUSED = "paused: somebody stopped its container by hand; its time limit counts on"
"""What is said of a job whose container was paused, which gpuboard never does."""
_RECHECK_MS = 15_000
"""Before a runtime that was found unusable is tested again."""


class Reconciler:
    """Lists the runtimes and decides about each attempt."""

    def __init__(
        self,
        core: Core,
        starter: Starter,
        ender: Ender,
        readback: ReadBack,
        on_devices: Callable[[Job, bool | None], None],
    ) -> None:
        """`on_devices` is told of jobs that run whether they can open their devices (None: unseen)."""
        self._core = core
        self._on_devices = on_devices
        self._starter = starter
        self._ender = ender
        self._readback = readback
        self._outstanding: dict[str, int] = {}
        """Runtimes whose listing has not come yet, with the mark of when it was asked for."""
        self._next_look: dict[str, int] = dict.fromkeys(core.runtimes, 0)
        self._last_look: dict[str, int] = {}
        self._next_check: dict[str, int] = dict.fromkeys(core.runtimes, 0)
        self._checking: set[str] = set()
        """Runtimes whose test has not answered yet: a second one would only tell the past."""
        self._unsure: set[JobId] = set()
        """Running jobs whose runtime did not answer since they were last seen running."""
        self._incarnations = Incarnations(core)
        self._rebooted: set[JobId] = set()
        core.on_end.append(self._forget)

    def recover(self) -> None:
        """Note, at start, which attempts began in another boot."""
        boot_id = self._core.clock.boot_id()
        for job in self._core.ledger.holding.values():
            if job.start_issued and job.boot_id != boot_id:
                self._rebooted.add(job.id)
        self._incarnations.recover()

    def is_ready(self) -> bool:
        """Whether every runtime that should hold an attempt was listed completely since the start."""
        needed = {str(job.spec.runtime) for job in self._core.ledger.holding.values()}
        return all(
            self._core.health[name].is_listed for name in needed if name in self._core.health
        )

    def run(self) -> None:
        """Request the listings and checks that are due."""
        core = self._core
        boot = core.clock.boot_ms()
        woken, core.wants_look = core.wants_look, False
        for name, runtime in core.runtimes.items():
            if boot >= self._next_check[name] and self._wants_check(name):
                self._check(runtime)
            if name in self._outstanding:
                core.wants_look = core.wants_look or woken
                continue
            soonest = self._last_look.get(name, -(10**9)) + int(core.pace.min_observe_s * 1000)
            if woken and boot < soonest:
                self._next_look[name] = min(self._next_look[name], soonest)
            elif woken or boot >= self._next_look[name]:
                self._look(runtime)

    def next_boot_ms(self) -> int:
        """Return when (boot time, ms) the next listing is due."""
        due = [at for name, at in self._next_look.items() if name not in self._outstanding]
        due += [at for name, at in self._next_check.items() if self._wants_check(name)]
        return min(due, default=self._core.clock.boot_ms() + 1000)

    def _wants_check(self, name: str) -> bool:
        return not self._core.health[name].is_checked and name not in self._checking

    def _check(self, runtime: Runtime) -> None:
        self._checking.add(runtime.name)
        self._next_check[runtime.name] = self._core.clock.boot_ms() + _RECHECK_MS
        self._core.workers.submit(runtime.check, partial(self._checked, runtime.name), Lane.LOOK)

    def _checked(
        self, name: str, found: RuntimeCapabilities | None, error: BaseException | None
    ) -> None:
        health = self._core.health[name]
        self._checking.discard(name)
        health.check_fault = "" if error is None else str(error)
        if found is not None:
            health.is_checked = True
            health.version = found.version
            self._core.plan_soon()
        else:
            log.warning("runtime %s: %s", name, error)

    def _look(self, runtime: Runtime) -> None:
        core = self._core
        mark = self._outstanding[runtime.name] = core.flights.now()
        self._last_look[runtime.name] = core.clock.boot_ms()
        core.workers.submit(
            partial(_listing, runtime), partial(self._seen, runtime, mark), Lane.LOOK
        )

    def _seen(
        self,
        runtime: Runtime,
        mark: int,
        listing: Listing | None,
        error: BaseException | None,
    ) -> None:
        core, name = self._core, runtime.name
        del self._outstanding[name]
        core.flights.forget_before(min(self._outstanding.values(), default=mark))
        health = core.health[name]
        has_attempts = any(job.spec.runtime == name for job in core.ledger.holding.values())
        pause_s = core.pace.observe_s if has_attempts else core.pace.idle_observe_s
        self._next_look[name] = core.clock.boot_ms() + int(pause_s * 1000)
        if listing is None:
            self._cannot_see(name, str(error))
            return
        if health.observe_fault or not health.is_listed:
            core.plan_soon()
        health.observe_fault = ""
        health.is_listed = True
        self._judge_all(runtime, mark, listing)

    def _cannot_see(self, name: str, words: str) -> None:
        health = self._core.health[name]
        if health.observe_fault != words:
            log.warning("runtime %s cannot be listed: %s", name, words)
            self._core.ledger.revision += 1
        health.observe_fault = words or "no answer"
        for job in self._core.ledger.of_runtime(name):
            if job.started_at is not None:
                self._unsure.add(job.id)

    def _judge_all(self, runtime: Runtime, mark: int, listing: Listing) -> None:
        core, shown, known = self._core, listing.shown, self._incarnations
        known.listed(runtime.name, listing.before, listing.after)
        by_handle = {seen.handle: seen for seen in shown.values()}
        for job in core.ledger.of_runtime(runtime.name):
            seen = by_handle.get(job.handle) or shown.get(job.runtime_name)
            if core.flights.may_judge(job.id, mark):
                self._judge(job, seen)
                if seen is not None and seen.state in _LIVING:
                    known.alive(job.id, listing.before)
                    if job.devices and seen.handle == job.handle:
                        self._on_devices(job, seen.can_open_devices)
                        self._readback.look_at(job)
        known.keep(runtime.name)
        for seen in shown.values():
            job_id, attempt = attempt_of(seen.name)
            if core.current(job_id, attempt) is None and core.flights.may_judge(job_id, mark):
                self._ender.sweep(runtime, seen)

    def _judge(self, job: Job, seen: Observed | None) -> None:
        """Decide about one attempt, of which no call is under way."""
        if not job.start_issued:
            if job.state is JobState.STARTING:
                self._starter.create(job)
            else:
                self._ender.end(job, self._conclude(job, None), fence=True)
            return
        if seen is not None and seen.handle != job.handle:
            log.warning("job %d: %s is not its container", job.id, seen.handle)
            seen = None
        if seen is not None and seen.state in _LIVING:
            self._unsure.discard(job.id)
            self._rebooted.discard(job.id)
            self._show_pause(job, is_paused=seen.state is RunState.PAUSED)
            if job.started_at is None:
                self._starter.adopt(job, seen)
            return
        if seen is not None and self._may_still_start(job, seen):
            return
        fence = seen is not None and seen.state is RunState.CREATED
        self._ender.end(job, self._conclude(job, seen), fence=fence)

    def _show_pause(self, job: Job, *, is_paused: bool) -> None:
        """Say of a job that somebody paused its container, for as long as it is so."""
        core, told = self._core, self._core.progress.get(job.id)
        if is_paused and not told:
            core.progress[job.id] = PAUSED
        elif not is_paused and told == PAUSED:
            del core.progress[job.id]
        else:
            return
        core.ledger.revision += 1

    def _may_still_start(self, job: Job, seen: Observed) -> bool:
        """Whether a start whose answer was lost may still take effect."""
        core = self._core
        is_open = (
            job.state is JobState.STARTING
            and seen.state is RunState.CREATED
            and seen.exit_code is None
            and not seen.error
            and not seen.is_populated
            and job.id not in self._rebooted
        )
        if is_open and core.clock.boot_ms() < self._starter.look_until(job):
            core.progress[job.id] = "looking for what became of its start"
            return True
        return False

    def _conclude(self, job: Job, seen: Observed | None) -> Verdict:
        if seen is None and job.fenced is not None:
            return job.fenced  # it is gone because we removed it: only the answer was lost
        around = Circumstances(
            rebooted=job.id in self._rebooted,
            engine_restarted=job.id in self._unsure
            or self._incarnations.has_changed(job.spec.runtime, job.id),
        )
        return conclude(job, seen, around, self._core.config.jobs.max_attempts)

    def _forget(self, job_id: JobId) -> None:
        self._unsure.discard(job_id)
        self._rebooted.discard(job_id)
        self._incarnations.forget(job_id)


class Listing(NamedTuple):
    """What a runtime showed, and which engine it was just before and after."""

    before: str
    shown: Mapping[str, Observed]
    after: str


def _listing(runtime: Runtime) -> Listing:
    """List a runtime. On a worker."""
    before = runtime.incarnation()
    shown = runtime.observe()
    return Listing(before, shown, runtime.incarnation())
