"""Stopping an attempt: intent, signal, grace, SIGKILL; and the limits that ask for it.

A stop is committed before the first signal, so a restart carries it on. Limits are kept by boot
time: a jump of the wall clock ends nobody.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import msgspec

from gpuboard.engine.change import Change
from gpuboard.engine.core import Core, log
from gpuboard.engine.workers import Lane
from gpuboard.model.ids import JobId
from gpuboard.model.job import Job, JobState, StopCause
from gpuboard.model.reservation import Drain

_PRECEDENCE = {
    StopCause.PREEMPTION: 0,
    StopCause.TIME_LIMIT: 1,
    StopCause.DEVICE_FAULT: 2,
    StopCause.MISMATCH: 2,
    StopCause.CANCEL: 3,
}
"""A stop under way takes over a weightier cause: a job cancelled while preempted stays cancelled."""


@dataclass
class _Escalation:
    """How far a stop has come; kept in memory, since after a restart it may begin anew."""

    kill_boot_ms: int
    is_signalled: bool = False
    killed_boot_ms: int | None = None
    next_try_boot_ms: int = 0
    is_reported: bool = False


class Stopper:
    """Stops attempts, and keeps at it until they are gone."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._stops: dict[JobId, _Escalation] = {}

    def request(
        self, job: Job, cause: StopCause, by: str, *, reason: str = "", force: bool = False
    ) -> Job:
        """Commit that an attempt is to stop, and send the first signal. Idempotent."""
        core = self._core
        job = core.ledger.holding[job.id]
        old_cause = job.stop_cause
        if old_cause is None or _PRECEDENCE[cause] > _PRECEDENCE[old_cause]:
            job = self._commit_intent(job, cause, by, reason)
        stop = self._stop_of(job)
        if force:
            stop.kill_boot_ms = min(stop.kill_boot_ms, core.clock.boot_ms())
            stop.next_try_boot_ms = 0
        self.deliver(job)
        core.look_soon()
        return job

    def _commit_intent(self, job: Job, cause: StopCause, by: str, reason: str) -> Job:
        stopping = msgspec.structs.replace(
            job,
            state=JobState.STOPPING,
            stop_cause=cause,
            stop_by=by,
            reason=reason,
            stop_requested_at=job.stop_requested_at or self._core.clock.now_ms(),
        )
        change = Change("stop.intent")
        change.job(stopping, "job.stopping", cause=str(cause), by=by, reason=reason)
        self._core.journal.commit(change)
        return stopping

    def _stop_of(self, job: Job) -> _Escalation:
        stop = self._stops.get(job.id)
        if stop is None:
            clock = self._core.clock
            waited_ms = clock.now_ms() - (job.stop_requested_at or clock.now_ms())
            grace_ms = job.spec.grace_s * 1000
            left_ms = grace_ms - min(grace_ms, max(0, waited_ms))
            stop = self._stops[job.id] = _Escalation(clock.boot_ms() + left_ms)
        return stop

    def deliver(self, job: Job) -> None:
        """Do for a stopping attempt what is due: the signal, or SIGKILL."""
        core = self._core
        stop = self._stop_of(job)
        boot = core.clock.boot_ms()
        if not job.start_issued or core.flights.is_busy(job.id) or boot < stop.next_try_boot_ms:
            return
        if boot >= stop.kill_boot_ms:
            self._kill(job, stop)
        elif not stop.is_signalled:
            self._signal(job, stop)

    def _signal(self, job: Job, stop: _Escalation) -> None:
        core = self._core
        runtime, handle, name = core.runtime_of(job), job.handle, job.spec.stop_signal
        core.flights.begin(job.id, "signalling")

        def work() -> None:
            core.crash("stop.signal")
            runtime.signal(handle, name)
            core.crash("stop.signalled")

        def done(_value: None, error: BaseException | None) -> None:
            self._answered(job.id, error)
            stop.is_signalled = error is None

        core.workers.submit(work, done, Lane.STOP)

    def _kill(self, job: Job, stop: _Escalation) -> None:
        core = self._core
        runtime, handle = core.runtime_of(job), job.handle
        core.flights.begin(job.id, "killing")
        if stop.killed_boot_ms is None:
            stop.killed_boot_ms = core.clock.boot_ms()

        def work() -> None:
            core.crash("stop.kill")
            runtime.kill(handle)

        core.workers.submit(work, partial(self._killed, job.id), Lane.STOP)

    def _killed(self, job_id: JobId, _value: None, error: BaseException | None) -> None:
        self._answered(job_id, error)
        stop = self._stops.get(job_id)
        if stop is not None:
            stop.next_try_boot_ms = self._retry_boot_ms()

    def _answered(self, job_id: JobId, error: BaseException | None) -> None:
        self._core.flights.land(job_id)
        self._core.look_soon()
        stop = self._stops.get(job_id)
        if error is not None and stop is not None:
            stop.next_try_boot_ms = self._retry_boot_ms()
            log.warning("job %d: stopping: %s; it will be tried again", job_id, error)

    def _retry_boot_ms(self) -> int:
        return self._core.clock.boot_ms() + int(self._core.pace.retry_s * 1000)

    def forget(self, job_id: JobId) -> None:
        """Drop what is remembered of a stop."""
        self._stops.pop(job_id, None)

    def enforce(self) -> None:
        """Carry on with every stop under way; ask for one where a limit is reached."""
        core = self._core
        boot, boot_id = core.clock.boot_ms(), core.clock.boot_id()
        for job in list(core.ledger.holding.values()):
            if job.state is JobState.STOPPING:
                self.deliver(job)
                self._report_unkillable(job)
            elif job.boot_id == boot_id and boot >= limit_boot_ms(job):
                self.request(job, StopCause.TIME_LIMIT, "gpuboard")

    def carry_on(self) -> None:
        """Carry on with every stop under way; that needs no writing."""
        for job in list(self._core.ledger.holding.values()):
            if job.state is JobState.STOPPING:
                self.deliver(job)

    def _report_unkillable(self, job: Job) -> None:
        """Say so when SIGKILL has no effect, and give its devices to nobody."""
        core = self._core
        stop = self._stop_of(job)
        if stop.killed_boot_ms is None or stop.is_reported:
            return
        if core.clock.boot_ms() < stop.killed_boot_ms + core.pace.unkillable_s * 1000:
            return
        stop.is_reported = True
        words = f"job {job.id} cannot be killed"
        core.progress[job.id] = "stopping (unkillable)"
        change = Change("device.drain")
        now = core.clock.now_ms()
        for device in job.devices:
            if device not in core.ledger.drains:
                change.drained.append(Drain(device, now, "gpuboard", words))
                change.event("device.drained", device=device, note=words)
        if change.drained:
            core.journal.commit(change)

    def next_boot_ms(self) -> int | None:
        """Return when (boot time, ms) the next signal, SIGKILL or limit is due."""
        core = self._core
        due: list[int] = []
        for job in core.ledger.holding.values():
            if core.flights.is_busy(job.id):
                continue
            stop = self._stops.get(job.id)
            if job.state is JobState.STOPPING and stop is not None:
                if job.start_issued:
                    act = stop.kill_boot_ms if stop.is_signalled else 0
                    due.append(max(stop.next_try_boot_ms, act))
            elif job.boot_id == core.clock.boot_id():
                due.append(limit_boot_ms(job))
        return min(due, default=None)


def limit_boot_ms(job: Job) -> int:
    """Return when (boot time, ms) the job's limit ends it."""
    return (job.started_boot_ms or 0) + job.spec.limit_s * 1000
