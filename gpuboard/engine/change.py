"""A change: one transaction in the making, as plain data.

Every room of the engine says what shall become true by filling a `Change`; the journal commits it,
and only then does the ledger show it. So memory never knows what the database does not.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from gpuboard.model.ids import DeviceUuid, JobId, ReservationId
from gpuboard.model.job import Job
from gpuboard.model.reservation import Drain, Lease, Reservation, Share

Detail = dict[str, str | int | float | bool | None]


@dataclass(frozen=True)
class NewLease:
    """A lease to be opened."""

    device: DeviceUuid
    uid: int
    job_id: JobId | None
    reservation_id: ReservationId | None
    until_at: int
    attempt: int = 1
    share: Share | None = None
    """None: the whole device."""


@dataclass(frozen=True)
class NewEvent:
    """An event to be written."""

    kind: str
    job_id: JobId | None = None
    reservation_id: ReservationId | None = None
    device: DeviceUuid | None = None
    uid: int | None = None
    detail: Detail = field(default_factory=dict)


@dataclass
class Change:
    """What one transaction does, in this order: leases closed, rows updated, leases opened, events."""

    name: str
    """Names the crash points on both sides of the commit."""
    closed: list[DeviceUuid] = field(default_factory=list)
    """Devices whose live lease ends."""
    closed_shares: list[Lease] = field(default_factory=list)
    """Leases of shared devices that end."""
    jobs: dict[JobId, Job] = field(default_factory=dict)
    reservations: dict[ReservationId, Reservation] = field(default_factory=dict)
    opened: list[NewLease] = field(default_factory=list)
    extended: dict[DeviceUuid, int] = field(default_factory=dict)
    """New ends (ms) of live leases."""
    drained: list[Drain] = field(default_factory=list)
    resumed: list[DeviceUuid] = field(default_factory=list)
    events: list[NewEvent] = field(default_factory=list)

    def job(self, job: Job, kind: str, *, uid: int | None = None, **detail: object) -> None:
        """Let a job become this, and record it as an event of that kind."""
        self.jobs[job.id] = job
        self._record(kind, {"attempt": job.attempt, **detail}, job_id=job.id, uid=uid)

    def event(
        self,
        kind: str,
        *,
        job_id: JobId | None = None,
        reservation_id: ReservationId | None = None,
        device: DeviceUuid | None = None,
        uid: int | None = None,
        **detail: object,
    ) -> None:
        """Record something."""
        self._record(
            kind, detail, job_id=job_id, reservation_id=reservation_id, device=device, uid=uid
        )

    def _record(
        self,
        kind: str,
        detail: dict[str, object],
        *,
        job_id: JobId | None = None,
        reservation_id: ReservationId | None = None,
        device: DeviceUuid | None = None,
        uid: int | None = None,
    ) -> None:
        plain: Detail = {
            key: value if isinstance(value, str | int | float | bool | None) else str(value)
            for key, value in detail.items()
        }
        self.events.append(NewEvent(kind, job_id, reservation_id, device, uid, plain))
