"""What people do with jobs: submit, cancel, hold, release, update. Rights are not looked at here."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from gpuboard.engine import company
from gpuboard.engine.change import Change
from gpuboard.engine.core import Core
from gpuboard.engine.dependencies import Standing, broken_words, standing
from gpuboard.engine.ending import cancel_dependents, ended_job
from gpuboard.engine.images import Images
from gpuboard.engine.ledger import waiting_of
from gpuboard.engine.protocol import NewJob
from gpuboard.engine.stopping import Stopper
from gpuboard.engine.world import policy_settings
from gpuboard.errors import Conflict, InvalidRequest, NotFound, QuotaExceeded
from gpuboard.model.ids import JobId
from gpuboard.model.job import Job, JobSpec, JobState, StopCause, Verdict
from gpuboard.model.person import Person
from gpuboard.model.reservation import Lease
from gpuboard.policy.leases import lease_ms
from gpuboard.policy.quota import RUNNING_GPUS, allowed_words, never_fits, queued_shortfall
from gpuboard.store.database import Store


class JobDesk:
    """Changes that people ask for."""

    def __init__(self, core: Core, store: Store, stopper: Stopper, images: Images) -> None:
        self._core = core
        self._store = store
        self._stopper = stopper
        self._images = images

    def find(self, job_id: JobId) -> Job:
        """Return a job, ended ones too. Raises NotFound."""
        job = self._core.ledger.jobs.get(job_id) or self._store.get_job(job_id)
        if job is None:
            raise NotFound(f"there is no job {job_id}")
        return job

    def submit(
        self,
        owner: Person,
        jobs: Sequence[NewJob],
        *,
        token: str,
        array_limit: int | None,
        held_by: str,
    ) -> list[Job]:
        """Commit the jobs, all or none; a known token of this owner returns the old ones."""
        known = self._store.jobs_by_token(owner.uid, token)
        if known:
            return known
        self.insist_quota(owner, jobs)
        for spec in {id(job.spec): job.spec for job in jobs}.values():
            self._check_dependencies(spec)
        now = self._core.clock.now_ms()
        placed = self._core.journal.submit(
            [
                Job(
                    id=JobId(0),
                    owner=owner,
                    spec=new.spec,
                    state=JobState.QUEUED,
                    submitted_at=now,
                    held_by=held_by,
                    array_index=new.array_index,
                    array_limit=array_limit,
                    token=token,
                )
                for new in jobs
            ]
        )
        self._images.require(placed)
        self._core.plan_soon()
        return placed

    def insist_quota(self, owner: Person, jobs: Sequence[NewJob]) -> None:
        """Raise QuotaExceeded for more queued jobs than allowed, or a job that could never start."""
        # the person may be new here: the settings know people by the names in the ledger
        self._core.ledger.names.setdefault(owner.uid, owner.name)
        for new in {id(job.spec): job for job in jobs}.values():
            self._insist_possible(owner, new.spec)
        self._insist_room(owner, jobs[0].spec.account if jobs else "", len(jobs))

    def _insist_room(
        self, owner: Person, account: str, count: int, moved_from: str | None = None
    ) -> None:
        settings, queue = policy_settings(self._core), self._core.ledger.queue
        short = queued_shortfall(settings, queue, owner.uid, account, count, moved_from=moved_from)
        if short is not None:
            room = max(0, int(short.limit - short.used))
            who = owner.name if not isinstance(short.unit, str) else f"group {short.unit}"
            raise QuotaExceeded(
                f"{who} may queue {room} more job{'' if room == 1 else 's'}, not {count}"
                f" ({allowed_words(short)}, {short.used:.10g} wait)",
                hint="wait until some have started, or cancel some",
            )

    def _insist_possible(self, owner: Person, spec: JobSpec) -> None:
        core = self._core
        asked = waiting_of(owner, spec, core.clock.now_ms())
        short = never_fits(policy_settings(core), asked)
        if short is not None:
            raise QuotaExceeded(
                f"{allowed_words(short)}, this job wants {short.wanted:.10g}: it could never start",
                hint="ask for fewer GPUs, or a shorter --time",
                field="gpus" if short.name == RUNNING_GPUS else "time_limit",
            )

    def _insist_allowed(self, job: Job, spec: JobSpec) -> None:
        """Raise QuotaExceeded when a queued job, changed so, would have been refused at its submission."""
        before, after = ((s.gpus, s.limit_s, s.account) for s in (job.spec, spec))
        if after != before:
            self._insist_possible(job.owner, spec)
        if spec.account != job.spec.account:
            self._insist_room(job.owner, spec.account, 1, job.spec.account)

    def _check_dependencies(self, spec: JobSpec) -> None:
        for dependency in spec.depends_on:
            state = self._core.journal.state_of(dependency.job_id)
            if state is None:
                raise NotFound(f"there is no job {dependency.job_id}", field="depends_on")
            if standing(dependency, state) is Standing.BROKEN:
                raise InvalidRequest(broken_words(dependency, state), field="depends_on")

    def cancel(self, job_id: JobId, by: Person, *, force: bool) -> Job:
        """Cancel: a queued job ends at once, a running one is stopped. Idempotent."""
        job = self.find(job_id)
        if job.state.is_final:
            raise Conflict(f"job {job_id} has ended: {job.state}")
        if job.state is JobState.QUEUED:
            return self._cancel_queued(job, by)
        return self._stopper.request(
            job, StopCause.CANCEL, by.name, reason=f"cancelled by {by.name}", force=force
        )

    def _cancel_queued(self, job: Job, by: Person) -> Job:
        core = self._core
        now = core.clock.now_ms()
        change = Change("cancel")
        ended = ended_job(job, Verdict(JobState.CANCELLED, f"cancelled by {by.name}"), now)
        change.job(ended, "job.cancelled", uid=by.uid, reason=ended.reason)
        cancel_dependents(core, change, ended, now)
        core.journal.commit(change)
        core.forget_ended(change.jobs)
        core.plan_soon()
        return ended

    def hold(self, job_id: JobId, by: Person, held_by: str) -> Job:
        """Hold a queued job back; an admin's hold is not undone by a user's."""
        job = self._queued(job_id, "held")
        if job.held_by in (held_by, "admin"):
            return job
        held = msgspec.structs.replace(job, held_by=held_by)
        return self._commit("hold", held, "job.held", by)

    def release(self, job_id: JobId, by: Person) -> Job:
        """End a hold."""
        job = self._queued(job_id, "released")
        if not job.is_held:
            return job
        released = msgspec.structs.replace(job, held_by="", reason="")
        return self._commit("release", released, "job.released", by)

    def update(self, job_id: JobId, by: Person, spec: JobSpec) -> Job:
        """Replace the spec of a queued job, or limit, name and note of a running one."""
        job = self.find(job_id)
        if job.state.is_final:
            raise Conflict(f"job {job_id} has ended: {job.state}")
        if job.state is JobState.STOPPING:
            raise Conflict(f"job {job_id} is being stopped")
        if job.state is not JobState.QUEUED:
            spec = _only_changeable(job, spec)
        else:
            self._insist_allowed(job, spec)
        image_id = job.image_id if spec.image == job.spec.image else ""
        changed = msgspec.structs.replace(job, spec=spec, image_id=image_id)
        change = Change("update")
        change.job(changed, "job.updated", uid=by.uid, limit_s=spec.limit_s, gpus=spec.gpus)
        if job.leased_at is not None and spec.limit_s != job.spec.limit_s:
            for lease in self._core.ledger.leases_of(job.id):
                until_at = self._end_of(lease, job, job.leased_at, spec)
                if lease.share is not None:
                    company.extend(self._core.ledger, change, lease, until_at)
                else:
                    change.extended[lease.device] = until_at
        self._core.journal.commit(change)
        self._images.require([changed])
        self._core.plan_soon()
        return changed

    def _end_of(self, lease: Lease, job: Job, leased_at: int, spec: JobSpec) -> int:
        """Return the end (ms) of a lease under another limit, which does not lengthen a turn."""
        before, after = (leased_at + (s.limit_s + s.grace_s) * 1000 for s in (job.spec, spec))
        if lease.until_at < before:
            return min(lease.until_at, after)
        turn_ms = lease_ms(policy_settings(self._core)) if spec.preemptible else 0
        return min(after, leased_at + turn_ms) if turn_ms else after

    def _queued(self, job_id: JobId, what: str) -> Job:
        job = self.find(job_id)
        if job.state is not JobState.QUEUED:
            raise Conflict(f"job {job_id} is {job.state}: only a queued job can be {what}")
        return job

    def _commit(self, name: str, job: Job, kind: str, by: Person) -> Job:
        change = Change(name)
        change.job(job, kind, uid=by.uid, by=by.name)
        self._core.journal.commit(change)
        self._core.plan_soon()
        return job


def _only_changeable(job: Job, spec: JobSpec) -> JobSpec:
    """Return the job's own spec with the new limit, name and note. Raises Conflict for more."""
    allowed = msgspec.structs.replace(
        job.spec, limit_s=spec.limit_s, name=spec.name, note=spec.note
    )
    if allowed != spec:
        raise Conflict(
            f"job {job.id} is {job.state}: only its limit, name and note can still be changed"
        )
    return allowed
