"""The ledger: live state in memory, a mirror of the database that changes only after a commit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import msgspec

from gpuboard.engine.dependencies import Standing, standing
from gpuboard.engine.weekbook import WeekBook
from gpuboard.errors import StateError
from gpuboard.model.ids import DeviceUuid, JobId, ReservationId
from gpuboard.model.job import Job, JobSpec, JobState, RuntimeName
from gpuboard.model.person import Person
from gpuboard.model.reservation import Blackout, Drain, Lease, Notice, Reservation
from gpuboard.model.world import Promise, Waiting
from gpuboard.policy.queue import WaitingQueue


@dataclass(frozen=True)
class Account:
    """A person's usage as the database has it."""

    device_seconds: float
    at: int


class Ledger:
    """All that has not ended: jobs, leases, bookings; and what they are charged."""

    def __init__(self) -> None:
        self.jobs: dict[JobId, Job] = {}
        self.holding: dict[JobId, Job] = {}
        """Those of `jobs` that are starting, running or stopping."""
        self.leases: dict[DeviceUuid, Lease] = {}
        """Of each leased device one lease: its own, or of a shared device that of the oldest job."""
        self._shares: dict[DeviceUuid, dict[JobId, Lease]] = {}
        """Of shared devices all leases."""
        self.reservations: dict[ReservationId, Reservation] = {}
        self.blackouts: dict[int, Blackout] = {}
        self.drains: dict[DeviceUuid, Drain] = {}
        self.notices: dict[int, Notice] = {}
        self.accounts: dict[int, Account] = {}
        self.group_accounts: dict[tuple[int, str], Account] = {}
        """What people owe for each of their groups."""
        self.week = WeekBook()
        self.names: dict[int, str] = {}
        self.queue = WaitingQueue()
        self.predicted: dict[JobId, int] = {}
        """Predicted run time (s) of live jobs, where there is one."""
        self.head: JobId | None = None
        self.fill_head: JobId | None = None
        """The head of preemptible jobs."""
        self.promises: tuple[Promise, ...] = ()
        """Starts promised to jobs of promised classes."""
        self.revision = 0
        self._preparing: set[JobId] = set()
        """Queued jobs that are not served yet: their image is being fetched."""
        self._resting: set[tuple[RuntimeName, int]] = set()
        """Runtimes and uids whose queued jobs are not served for a while: their starts fail."""
        self._unmet: dict[JobId, set[JobId]] = {}
        self._dependents: dict[JobId, set[JobId]] = {}

    def put_job(self, job: Job, predicted_s: int | None = None) -> None:
        """Let a job be known as this; ended ones are forgotten."""
        self.names[job.owner.uid] = job.owner.name
        self.holding.pop(job.id, None)
        if predicted_s is not None:
            self.predicted[job.id] = predicted_s
        if job.state.is_final:
            self.jobs.pop(job.id, None)
            self.predicted.pop(job.id, None)
            self.queue.remove(job.id)
            self._preparing.discard(job.id)
            self._forget_dependencies(job.id)
            return
        self.jobs[job.id] = job
        if job.state.holds_devices:
            self.holding[job.id] = job
            self.queue.remove(job.id)
        else:
            self.queue.add(self._waiting(job))

    def prepare(self, job_id: JobId, *, is_preparing: bool) -> None:
        """Keep a queued job from being served while its image is fetched, or let it be served."""
        (self._preparing.add if is_preparing else self._preparing.discard)(job_id)
        self.queue.add(self._waiting(self.jobs[job_id]))

    def is_preparing(self, job_id: JobId) -> bool:
        """Whether a queued job's image is being fetched."""
        return job_id in self._preparing

    def rest(self, runtime: RuntimeName, uid: int, *, is_resting: bool) -> None:
        """Keep a person's queued jobs of a runtime from being served, or let them be served."""
        (self._resting.add if is_resting else self._resting.discard)((runtime, uid))
        theirs = [self.jobs[waiting.job_id] for waiting in self.queue if waiting.uid == uid]
        for job in theirs:
            if job.spec.runtime is runtime:
                self.queue.add(self._waiting(job))
        self.revision += 1

    def is_resting(self, job: Job) -> bool:
        """Whether the person's queued jobs of that runtime are not served for a while."""
        return (job.spec.runtime, job.owner.uid) in self._resting

    def depend(self, job_id: JobId, unmet: Iterable[JobId]) -> None:
        """Remember which jobs still have to end before this one may start."""
        self._forget_dependencies(job_id)
        waits_for = set(unmet)
        if waits_for:
            self._unmet[job_id] = waits_for
        for other in waits_for:
            self._dependents.setdefault(other, set()).add(job_id)

    def dependents(self, job_id: JobId) -> list[Job]:
        """Return queued jobs that wait for this one, oldest first."""
        return [self.jobs[i] for i in sorted(self._dependents.get(job_id, ())) if i in self.jobs]

    def meet(self, ended: JobId, state: JobState) -> None:
        """Free the dependents whose dependency on an ended job is met (the broken ones were cancelled)."""
        for job in self.dependents(ended):
            about = [d for d in job.spec.depends_on if d.job_id == ended]
            if all(standing(d, state) is Standing.MET for d in about):
                self._unmet.get(job.id, set()).discard(ended)
                self.put_job(job)
        self._dependents.pop(ended, None)

    def open_lease(self, lease: Lease) -> None:
        """Let a lease be live. Raises StateError when the device already has one, or is shared."""
        device = lease.device
        if lease.share is not None and lease.job_id is not None:
            shares = self._shares.setdefault(device, {})
            if lease.job_id in shares or (device in self.leases and not shares):
                raise StateError(f"device {device} would be leased twice")
            shares[lease.job_id] = lease
            self.leases[device] = shares[min(shares)]
            return
        if device in self.leases:
            raise StateError(f"device {device} would be leased twice")
        self.leases[device] = lease

    def close_share(self, lease: Lease) -> None:
        """Let the lease of one that shares a device be over."""
        if lease.job_id is None:
            return
        shares = self._shares[lease.device]
        del shares[lease.job_id]
        if shares:
            self.leases[lease.device] = shares[min(shares)]
        else:
            del self._shares[lease.device], self.leases[lease.device]

    def every_lease(self) -> Iterator[Lease]:
        """Yield all live leases, of shared devices each job's."""
        for device, lease in self.leases.items():
            yield from self._shares[device].values() if device in self._shares else (lease,)

    def shares_of(self, device: DeviceUuid) -> list[Lease]:
        """Return the leases of the jobs that share a device, by job; none when it is not shared."""
        return [lease for _, lease in sorted(self._shares.get(device, {}).items())]

    def shares(self) -> dict[DeviceUuid, list[Lease]]:
        """Return the leases of the jobs of each shared device, by job."""
        return {device: self.shares_of(device) for device in self._shares}

    def leases_of(self, job_id: JobId) -> list[Lease]:
        """Return the live leases of a job."""
        return [lease for lease in self.every_lease() if lease.job_id == job_id]

    def held_by(self, uid: int) -> float:
        """Return how many devices a person is charged for now."""
        return sum(lease.devices_charged for lease in self.every_lease() if lease.uid == uid)

    def account_of(self, lease: Lease) -> str:
        """Return the group that a lease is charged to; empty: the person alone."""
        job = self.jobs.get(lease.job_id) if lease.job_id is not None else None
        if job is not None and job.owner.uid == lease.uid:
            return job.spec.account  # else the device is lent, and its booking pays
        if lease.reservation_id is None:
            return ""
        booking = self.reservations.get(lease.reservation_id)
        return booking.account if booking is not None else ""

    def of_runtime(self, name: str) -> list[Job]:
        """Return jobs that hold devices or run in this runtime, oldest first."""
        return [job for _, job in sorted(self.holding.items()) if job.spec.runtime == name]

    def _waiting(self, job: Job) -> Waiting:
        return msgspec.structs.replace(
            waiting_of(job.owner, job.spec, job.submitted_at),
            job_id=job.id,
            is_held=job.is_held or job.id in self._preparing or self.is_resting(job),
            held_by=job.held_by,
            depends_on=tuple(sorted(self._unmet.get(job.id, ()))),
            array_id=job.array_id,
            array_limit=job.array_limit,
            predicted_s=self.predicted.get(job.id),
            ran_s=job.ran_s,
        )

    def _forget_dependencies(self, job_id: JobId) -> None:
        for other in self._unmet.pop(job_id, ()):
            dependents = self._dependents.get(other)
            if dependents is not None:
                dependents.discard(job_id)


def waiting_of(owner: Person, spec: JobSpec, submitted_at: int) -> Waiting:
    """Return a job as the policy would see it if it were submitted then, with no number yet."""
    return Waiting(
        job_id=JobId(0),
        uid=owner.uid,
        user=owner.name,
        submitted_at=submitted_at,
        gpus=spec.gpus,
        limit_s=spec.limit_s,
        gpu_uuids=spec.gpu_uuids,
        gpu_type=spec.gpu_type,
        gpu_memory_bytes=spec.gpu_memory_bytes or 0,
        nvlink=spec.nvlink,
        begin_at=spec.begin_at,
        preemptible=spec.preemptible,
        grace_s=spec.grace_s,
        account=spec.account,
        class_name=spec.class_name,
    )
