"""What the local engine answers: reads of the ledger, the record and the last sweep. Nothing here acts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from gpuboard.devices.attribution import DeviceUse
from gpuboard.devices.history import IdleWatch
from gpuboard.engine.bookdesk import BookingDesk
from gpuboard.engine.core import Core
from gpuboard.engine.forecasting import Forecaster
from gpuboard.engine.foreign import device_uses, foreign_people, in_use_words
from gpuboard.engine.jobdesk import JobDesk
from gpuboard.engine.logs import LogReader, log_reader
from gpuboard.engine.planner import Planner
from gpuboard.engine.protocol import (
    Capabilities,
    NewJob,
    QueueSlice,
    QueueStanding,
    Tally,
    TrialWork,
)
from gpuboard.engine.queueview import scan_of_queue, slice_of_queue, standing_of
from gpuboard.engine.waiting import explain, forecast_of, serving_order
from gpuboard.engine.world import build_world, policy_settings, usage_now
from gpuboard.model.device import DeviceReading, ProbeSnapshot
from gpuboard.model.ids import DeviceUuid, JobId, ReservationId, Uid
from gpuboard.model.job import EventRow, Job
from gpuboard.model.past import Past
from gpuboard.model.person import Person
from gpuboard.model.plan import Admission, Explanation, ReservationRequest, StartForecast
from gpuboard.model.reservation import Blackout, Drain, Lease, Notice, Reservation
from gpuboard.model.views.admin import DatabaseView
from gpuboard.model.world import PolicySettings, Usage
from gpuboard.policy.quota import Allowance
from gpuboard.store.database import Store


class Answers:
    """The reading half of `engine.protocol.Engine`; the rooms are put in by who acts."""

    core: Core
    _store: Store
    _planner: Planner
    _forecaster: Forecaster
    _jobs: JobDesk
    _desk: BookingDesk
    _idle: IdleWatch

    # jobs

    def job(self, job_id: JobId) -> Job:
        """Return a job, ended ones too. Raises NotFound."""
        return self._jobs.find(job_id)

    def live_jobs(self) -> Iterable[Job]:
        """Return all jobs that have not ended."""
        return self.core.ledger.jobs.values()

    def running_jobs(self) -> Sequence[Job]:
        """Return jobs that hold devices or run, oldest first."""
        return [job for _, job in sorted(self.core.ledger.holding.items())]

    def queue(self, limit: int | None = None) -> Sequence[Job]:
        """Return queued jobs in serving order; held and waiting-for-something ones last."""
        return serving_order(self.core, limit)

    def queue_slice(self, offset: int, limit: int, uid: int | None = None) -> QueueSlice:
        """Return some queued jobs (of one person), by place in serving order."""
        return slice_of_queue(self.core, offset, limit, uid)

    def queue_standing(self, job_id: JobId) -> QueueStanding:
        """Return where a queued job's place comes from. Raises NotFound when it does not wait."""
        return standing_of(self.core, job_id)

    def queue_scan(
        self, is_wanted: Callable[[Job], bool]
    ) -> Callable[[], tuple[Sequence[JobId], Mapping[JobId, int]]]:
        """Return a function for a worker that gives the queued jobs wanted, in order, and places."""
        return scan_of_queue(self.core, is_wanted)

    def queue_length(self) -> int:
        """Return how many jobs are queued."""
        return len(self.core.ledger.queue)

    def queued_by_person(self) -> Mapping[int, int]:
        """Return how many jobs each person has queued, by uid."""
        queue = self.core.ledger.queue
        return {int(uid): queue.jobs_of(uid) for uid in queue.people()}

    def progress_of(self, job_id: JobId) -> str:
        """Return what a starting or stopping job is at, in words; empty when there is nothing to say."""
        return self.core.progress.get(job_id, "")

    def last_job(self, uid: int) -> Job | None:
        """Return the person's last submission."""
        return self._store.last_job(uid)

    def find_jobs(
        self,
        *,
        states: Sequence[str] = (),
        uid: int | None = None,
        name: str = "",
        array_id: JobId | None = None,
        array_index: int | None = None,
        since_at: int | None = None,
        until_at: int | None = None,
        limit: int = 100,
        from_id: JobId | None = None,
        before_id: JobId | None = None,
    ) -> list[Job]:
        """Return jobs of the record, newest first."""
        return self._store.find_jobs(
            states=states,
            uid=uid,
            name=name,
            array_id=array_id,
            array_index=array_index,
            since_at=since_at,
            until_at=until_at,
            limit=limit,
            from_id=from_id,
            before_id=before_id,
        )

    def count_jobs(
        self,
        *,
        states: Sequence[str] = (),
        uid: int | None = None,
        name: str = "",
        since_at: int | None = None,
        until_at: int | None = None,
        before_id: JobId | None = None,
    ) -> int:
        """Return how many jobs of the record there are, at most 100,000."""
        return self._store.count_jobs(
            states=states,
            uid=uid,
            name=name,
            since_at=since_at,
            until_at=until_at,
            before_id=before_id,
        )

    def explain(self, job_id: JobId) -> Explanation:
        """Say why a queued job waits. Conflict when it does not."""
        return explain(self.core, job_id, self._forecaster.latest)

    def forecasts(self) -> Mapping[JobId, StartForecast]:
        """Return the latest forecast."""
        return self._forecaster.latest

    def forecast_of(self, owner: Person, new: NewJob) -> TrialWork:
        """Return what says, on a worker, when and where such a job would start if submitted now."""
        self._jobs.insist_quota(owner, [new])
        return forecast_of(self.core, self._forecaster, owner, new)

    def read_log(
        self,
        job_id: JobId,
        *,
        attempt: int | None = None,
        tail: int | None = None,
        since_at: int | None = None,
        follow: bool = False,
    ) -> LogReader:
        """Return a function that, called on any thread with an `is_cancelled`, yields the log."""
        job = self._jobs.find(job_id)
        return log_reader(
            self.core, job, attempt=attempt, tail=tail, since_at=since_at, follow=follow
        )

    # reservations

    def admit(
        self,
        owner: Person,
        request: ReservationRequest,
        replacing: ReservationId | None = None,
    ) -> Admission:
        """Say whether a booking could be promised, or the window of one that is there replaced."""
        return self._desk.admit(owner, request, replacing)

    def reservation(self, reservation_id: ReservationId) -> Reservation:
        """Return a booking. Raises NotFound."""
        return self._desk.find(reservation_id)

    def reservations(
        self, from_at: int | None = None, until_at: int | None = None
    ) -> Sequence[Reservation]:
        """Return bookings that have not ended (or, with a window, all that touch it), by start."""
        if from_at is None and until_at is None:
            live = self.core.ledger.reservations.values()
            return sorted(live, key=lambda r: (r.from_at, r.id))
        return self._store.reservations_between(
            from_at or 0, until_at if until_at is not None else 2**62
        )

    # devices

    def devices(self) -> Sequence[DeviceReading]:
        """Return the last reading of every device known."""
        return self.core.snapshot.readings

    def snapshot(self) -> ProbeSnapshot:
        """Return the probe's last snapshot."""
        return self.core.snapshot

    def leases(self) -> Mapping[DeviceUuid, Lease]:
        """Return live leases by device."""
        return self.core.ledger.leases

    def shares(self) -> Mapping[DeviceUuid, Sequence[Lease]]:
        """Return, of devices that jobs share, the leases of all."""
        return self.core.ledger.shares()

    def named_leases(self, from_at: int, until_at: int) -> Sequence[tuple[Lease, str]]:
        """Return leases that touch a window, each with its job's name. From any thread."""
        return self._store.named_leases(from_at, until_at)

    def foreign_use(self) -> Mapping[DeviceUuid, str]:
        """Return devices used from outside the queue, with by whom in words."""
        return foreign_people(self.core)

    def in_use_words(self) -> Mapping[DeviceUuid, str]:
        """Return how those devices are used, in words."""
        return in_use_words(self.core)

    def device_uses(self) -> Mapping[DeviceUuid, DeviceUse]:
        """Return who is on each device."""
        return device_uses(self.core)

    def idle_s(self) -> Mapping[DeviceUuid, int]:
        """Return held devices without utilisation, with for how long (s)."""
        held_since = {device: lease.granted_at for device, lease in self.core.ledger.leases.items()}
        return self._idle.idle(held_since, self.core.clock.now_ms())

    def drains(self) -> Mapping[DeviceUuid, Drain]:
        """Return drained devices."""
        return self.core.ledger.drains

    def blackouts(self) -> Sequence[Blackout]:
        """Return blackouts that have not ended, by start."""
        return sorted(self.core.ledger.blackouts.values(), key=lambda b: (b.from_at, b.id))

    # people

    def usage(self) -> Sequence[Usage]:
        """Return decayed usage now."""
        return usage_now(self.core, self.core.clock.now_ms())

    def policy_settings(self) -> PolicySettings:
        """Return the fairness parameters in force."""
        return policy_settings(self.core)

    def usage_since(self, since_at: int) -> Mapping[int, float]:
        """Return device-seconds charged by uid since an instant, not decayed."""
        return self._store.charged_since(since_at, self.core.clock.now_ms())

    def week_hours(self) -> Mapping[Uid | str, float]:
        """Return device-hours of the last seven days as weekly quotas count them, by uid and by group."""
        now = self.core.clock.now_ms()
        return Allowance(build_world(self.core, now), now).week.every()

    def account_of(self, lease: Lease) -> str:
        """Return the group that a live lease is charged to."""
        return self.core.ledger.account_of(lease)

    def past(self, from_at: int, until_at: int) -> Past:
        """Return leases, hours of devices and waits between two instants. From any thread."""
        return self._store.past(from_at, until_at)

    def notices(self) -> Sequence[Notice]:
        """Return the notices in force."""
        return self._desk.notices()

    # watching

    def events(
        self, after_id: int, limit: int = 1000, job_id: JobId | None = None
    ) -> list[EventRow]:
        """Return events after an id, oldest first."""
        return self._store.events_after(after_id, limit, job_id)

    def last_event_id(self) -> int:
        """Return the id of the newest event."""
        return self._store.last_event_id()

    def revision(self) -> int:
        """Return a number raised by every change that a list of jobs or bookings could show."""
        return self.core.ledger.revision

    def person_of(self, uid: int) -> str:
        """Return the name under which a uid last came here."""
        return self.core.ledger.names.get(uid) or f"uid {uid}"

    def uid_of(self, name: str) -> int | None:
        """Return the uid of somebody who has been here, by the name they had then."""
        names = self.core.ledger.names
        return next((uid for uid, known in names.items() if known == name), None)

    def capabilities(self) -> Capabilities:
        """Say what works."""
        health = self.core.health
        return Capabilities(
            name="local",
            runtimes={name: h.version for name, h in health.items() if not h.fault()},
            faults={name: h.fault() for name, h in health.items() if h.fault()},
        )

    def commits(self) -> int:
        """Return how many transactions were made durable since the start."""
        return self._store.commits

    def store_fault(self) -> str:
        """Return what is wrong with the record on the disk, in words; empty while all is well."""
        return self._store.fault()

    def tally(self) -> Tally:
        """Return what was done since the daemon began."""
        planner = self._planner
        return Tally(dict(self.core.journal.events_written), planner.rounds, planner.deciding_s)

    def halted_words(self) -> str:
        """Return why nothing is scheduled any more; empty while all is well."""
        return self.core.halted

    def database_state(self) -> DatabaseView:
        """Return sizes, version and newest backup of the database. From any thread."""
        return self._store.state()

    def check_database(self) -> str:
        """Run the integrity check; return `ok` or what is wrong."""
        return self._store.check_database()
