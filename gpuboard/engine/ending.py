"""Ending an attempt: make sure that nothing of it lives, keep its log, commit the end, tidy up.

The order is the safety: a lease is closed only when the kernel shows no process of the attempt
(and the scheduler waits further until the driver names none on the device, see `world.py`); the
log is kept before the runtime forgets the attempt; what a crash leaves behind is swept by the next
listing. An attempt that the runtime shows as never started is removed *before* its end is
committed: a start still under way then finds nothing to start.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import msgspec

from gpuboard.engine import company
from gpuboard.engine.change import Change, NewLease
from gpuboard.engine.conclude import honour_cancel
from gpuboard.engine.core import Core, log
from gpuboard.engine.dependencies import Standing, broken_words, standing
from gpuboard.engine.workers import Lane
from gpuboard.errors import GpuboardError, NotFound
from gpuboard.model.ids import JobId
from gpuboard.model.job import Job, JobState, Verdict
from gpuboard.model.reservation import ReservationState
from gpuboard.runtimes.protocol import Observed, RunState, Runtime


class Ender:
    """Ends attempts, and removes what is left of ended ones."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._sweeping: set[str] = set()
        self._strangers: set[str] = set()
        """Handles of what was looked up in the record and is not in it."""

    def end(self, job: Job, verdict: Verdict, *, fence: bool = False) -> None:
        """Begin to end an attempt; `fence`: remove it first, so that no late start finds it."""
        core = self._core
        if fence and job.handle and job.fenced is None:
            change = Change("end.fence")
            change.jobs[job.id] = msgspec.structs.replace(job, fenced=verdict)
            core.journal.commit(change)
        core.flights.begin(job.id, "ending")
        runtime, handle, path = core.runtime_of(job), job.handle, core.log_path(job.id, job.attempt)

        def work() -> bool:
            core.crash("end.look")
            if not handle:
                return True
            if not _is_surely_gone(runtime, handle):
                return False
            if not fence:
                self._keep_log(runtime, handle, path)
                core.crash("end.log_kept")
                return True
            runtime.remove(handle)
            return _is_surely_gone(runtime, handle)

        core.workers.submit(work, partial(self._looked, job, verdict, is_removed=fence), Lane.STOP)

    def _looked(
        self,
        ended: Job,
        verdict: Verdict,
        is_gone: bool | None,
        error: BaseException | None,
        *,
        is_removed: bool,
    ) -> None:
        core, job_id = self._core, ended.id
        core.flights.land(job_id)
        job = core.current(job_id, ended.attempt)
        if job is None:
            return
        if error is not None or not is_gone:
            core.progress[job_id] = (
                f"its end cannot be made sure of: {error}" if error else "its processes still live"
            )
            log.warning("job %d: %s", job_id, core.progress[job_id])
            return
        self._commit(job, verdict, is_removed=is_removed)

    def _commit(self, job: Job, verdict: Verdict, *, is_removed: bool) -> None:
        """Commit the end of an attempt of which nothing lives."""
        core = self._core
        now = core.clock.now_ms()
        verdict = honour_cancel(job, verdict)
        change = Change("end")
        self._close_leases(change, job, now)
        after = ended_job(job, verdict, now)
        change.job(
            after,
            f"job.{verdict.state}",
            reason=verdict.reason,
            exit_code=verdict.exit_code,
            requeued=verdict.requeue,
            ended_attempt=job.attempt,
        )
        if after.state.is_final:
            cancel_dependents(core, change, after, now)
        core.journal.commit(change)
        for device in job.devices:
            core.settling[device] = now
        if job.devices:
            core.probe.sweep_soon()
        core.progress.pop(job.id, None)
        core.forget_ended(change.jobs)
        if job.handle and not is_removed:
            self._sweep(core.runtime_of(job), job.runtime_name, job.handle, keep_log=True)
        core.plan_soon()

    def _close_leases(self, change: Change, job: Job, now: int) -> None:
        for lease in self._core.ledger.leases_of(job.id):
            if lease.share is not None:
                company.leave(self._core.ledger, change, lease)
                continue
            change.closed.append(lease.device)
            booking = (
                self._core.ledger.reservations.get(lease.reservation_id)
                if lease.reservation_id is not None
                else None
            )
            if (
                booking is not None
                and booking.state is ReservationState.ACTIVE
                and now < booking.until_at
            ):
                back = NewLease(lease.device, lease.uid, None, booking.id, booking.until_at)
                change.opened.append(back)

    def sweep(self, runtime: Runtime, seen: Observed) -> None:
        """Remove an attempt that the runtime still shows though it is over."""
        if seen.handle in self._strangers:
            return
        if not seen.spec_hash or not self._core.journal.is_ours(*attempt_of(seen.name), seen):
            self._strangers.add(seen.handle)
            log.warning("%s: %s is not ours; it is left alone", runtime.name, seen.name)
            return
        has_run = seen.state is not RunState.CREATED
        self._sweep(runtime, seen.name, seen.handle, keep_log=has_run)

    def _sweep(self, runtime: Runtime, name: str, handle: str, *, keep_log: bool) -> None:
        if name in self._sweeping:
            return
        core = self._core
        self._sweeping.add(name)
        path = core.log_path(*attempt_of(name))

        def work() -> None:
            core.crash("sweep.look")
            if not _is_surely_gone(runtime, handle):
                return
            if keep_log and not path.exists():
                self._save_log(runtime, handle, path)
            if path.exists() or not keep_log:
                runtime.remove(handle)
            core.crash("sweep.removed")

        core.workers.submit(work, partial(self._swept, name), Lane.STOP)

    def _swept(self, name: str, _value: None, error: BaseException | None) -> None:
        self._sweeping.discard(name)
        if error is not None:
            log.warning("removing %s: %s; the next listing tries again", name, error)

    def _keep_log(self, runtime: Runtime, handle: str, path: Path) -> None:
        """Save the log if that works now; otherwise the attempt stays and a sweep saves it."""
        try:
            self._save_log(runtime, handle, path)
        except (GpuboardError, OSError) as error:
            log.warning("the log of %s cannot be kept yet: %s", handle, error)

    def _save_log(self, runtime: Runtime, handle: str, path: Path) -> None:
        """Save the log unless the disk, which is the database's too, is nearly full."""
        if path.exists():
            return
        self._core.require_room()
        try:
            runtime.save_log(handle, str(path))
        except NotFound:
            log.warning("%s is gone, and its log with it", handle)


def attempt_of(name: str) -> tuple[JobId, int]:
    """Return job and attempt of a runtime name `gb-<job>-<attempt>`; zeros when it is none."""
    prefix, _, rest = name.partition("-")
    job, _, attempt = rest.partition("-")
    if prefix != "gb" or not (job.isdigit() and attempt.isdigit()):
        return JobId(0), 0
    return JobId(int(job)), int(attempt)


def ended_job(job: Job, verdict: Verdict, now: int) -> Job:
    """Return the job after this attempt: ended, or queued for the next one."""
    if verdict.requeue:
        return msgspec.structs.replace(
            job,
            state=JobState.QUEUED,
            attempt=job.attempt + 1,
            ran_s=job.ran_s + max(0, now - (job.leased_at or now)) // 1000,
            reason=verdict.reason,
            start_issued=False,
            handle="",
            reservation_id=None,
            devices=(),
            ports=(),
            leased_at=None,
            started_at=None,
            started_boot_ms=None,
            boot_id="",
            stop_cause=None,
            stop_by="",
            stop_requested_at=None,
            fenced=None,
        )
    earliest = job.started_at or job.leased_at or job.submitted_at
    ended_at = verdict.ended_at
    if ended_at is None or not earliest <= ended_at <= now:
        ended_at = now
    return msgspec.structs.replace(
        job,
        state=verdict.state,
        reason=verdict.reason,
        exit_code=verdict.exit_code,
        oom_killed=verdict.oom_killed,
        ended_at=ended_at,
        held_by="",
        fenced=None,
    )


def cancel_dependents(core: Core, change: Change, ended: Job, now: int) -> None:
    """Cancel, along the chain, queued jobs whose dependency can now never be met."""
    ends = [ended]
    while ends:
        end = ends.pop()
        for job in core.ledger.dependents(end.id):
            broken = next(
                (
                    d
                    for d in job.spec.depends_on
                    if d.job_id == end.id and standing(d, end.state) is Standing.BROKEN
                ),
                None,
            )
            if broken is None or job.id in change.jobs:
                continue
            verdict = Verdict(JobState.CANCELLED, broken_words(broken, end.state))
            cancelled = ended_job(job, verdict, now)
            change.job(cancelled, "job.cancelled", reason=verdict.reason)
            ends.append(cancelled)


def _is_surely_gone(runtime: Runtime, handle: str) -> bool:
    """Whether nothing of it lives, by the kernel; what does is killed first."""
    if runtime.is_gone(handle):
        return True
    runtime.kill(handle)
    return runtime.is_gone(handle)
