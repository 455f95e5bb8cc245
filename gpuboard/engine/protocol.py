"""The engine protocol: what schedules and runs jobs, behind one service, API and set of screens.

`local` implements it on this box with the policy in `gpuboard.policy`; `slurm` is to implement it
over sbatch and squeue later. All methods are called on the engine's own thread and return at
once: slow work goes to workers and comes back as a completion. Nothing here checks rights; that
is `service`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Protocol, TypedDict

import msgspec

from gpuboard.devices.attribution import DeviceUse
from gpuboard.model.device import DeviceReading, ProbeSnapshot
from gpuboard.model.ids import DeviceUuid, JobId, ReservationId, Uid
from gpuboard.model.job import EventRow, Job, JobSpec
from gpuboard.model.past import Past
from gpuboard.model.person import Person
from gpuboard.model.plan import Admission, Explanation, ReservationRequest, StartForecast
from gpuboard.model.reservation import Blackout, Drain, Lease, Notice, Reservation
from gpuboard.model.views.admin import DatabaseView
from gpuboard.model.world import PolicySettings, Usage


class Capabilities(msgspec.Struct, frozen=True):
    """What this engine can do; screens hide what it cannot."""

    name: str
    runtimes: Mapping[str, str]
    """Usable runtimes with their version."""
    faults: Mapping[str, str]
    """Unusable runtimes with the reason in words."""
    reservations: bool = True
    preemption: bool = True
    arrays: bool = True


class Vetted(msgspec.Struct, frozen=True):
    """What came of a look."""

    words: str = ""
    """Why the job may not start; empty: it may."""
    is_certain: bool = True
    """Whether asking again could not change that."""


class NewJob(msgspec.Struct, frozen=True):
    """A validated job on its way into the queue."""

    spec: JobSpec
    array_index: int | None = None


class QueueSlice(msgspec.Struct, frozen=True):
    """Some of the queue."""

    jobs: Sequence[Job]
    """In serving order."""
    places: Mapping[JobId, int]
    """How many jobs are served before each; those that wait for something else have none."""
    total: int
    """How many jobs are queued (by the person asked about)."""


class QueueStanding(msgspec.Struct, frozen=True):
    """Where a waiting job's place comes from."""

    place: int | None
    ahead: Sequence[Job]
    """The next ones served before it, nearest first."""
    share: float
    """Its owner's part of everybody's decayed usage, 0..1."""
    lead_s: int
    """So much earlier than its submission it counts as submitted."""


class Tally(msgspec.Struct, frozen=True):
    """What the engine did since the daemon began."""

    events: Mapping[str, int]
    """Events written, by kind (`job.failed`)."""
    decisions: int
    """Rounds of planning."""
    deciding_s: float
    """What they took together."""


class BookingEdit(msgspec.Struct, frozen=True):
    """What a booking is to become."""

    reservation_id: ReservationId
    request: ReservationRequest
    name: str
    rule: str = ""


Trial = tuple[StartForecast, Explanation | None]
"""When a job would start, and why not now (None: it would)."""
TrialWork = Callable[[], Callable[[], Trial]]


class JobSearch(TypedDict):
    """Which jobs of the record are meant; empty and None: any."""

    states: Sequence[str]
    uid: int | None
    name: str
    since_at: int | None
    until_at: int | None
    before_id: JobId | None


class Engine(Protocol):
    """Submit by idempotency key, find, act, reserve, account, watch."""

    # jobs
    def submit(
        self,
        owner: Person,
        jobs: Sequence[NewJob],
        *,
        token: str = "",
        array_limit: int | None = None,
        held_by: str = "",
    ) -> list[Job]:
        """Commit the jobs (all or none) and return them; a known token of this owner returns the old ones.

        An array is several `NewJob`s, each with its index. Raises QuotaExceeded, Unavailable (disk full).
        """

    def job(self, job_id: JobId) -> Job:
        """Return a job, ended ones too. Raises NotFound."""

    def live_jobs(self) -> Iterable[Job]:
        """Return all jobs that have not ended."""

    def running_jobs(self) -> Sequence[Job]:
        """Return jobs that hold devices or run, oldest first."""

    def queue(self, limit: int | None = None) -> Sequence[Job]:
        """Return queued jobs in serving order; held and waiting-for-something ones last."""

    def queue_slice(self, offset: int, limit: int, uid: int | None = None) -> QueueSlice:
        """Return some queued jobs (of one person), by place in serving order."""

    def queue_standing(self, job_id: JobId) -> QueueStanding:
        """Return where a queued job's place comes from. Raises NotFound when it does not wait."""

    def queue_scan(
        self, is_wanted: Callable[[Job], bool]
    ) -> Callable[[], tuple[Sequence[JobId], Mapping[JobId, int]]]:
        """Return a function for a worker that gives the queued jobs wanted, in order, and places."""

    def queue_length(self) -> int:
        """Return how many jobs are queued."""

    def queued_by_person(self) -> Mapping[int, int]:
        """Return how many jobs each person has queued, by uid."""

    def progress_of(self, job_id: JobId) -> str:
        """Return what a starting or stopping job is at, in words; empty when there is nothing to say."""

    def last_job(self, uid: int) -> Job | None:
        """Return the person's last submission (`@`)."""

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

    def cancel(self, job_id: JobId, by: Person, *, force: bool = False) -> Job:
        """Cancel: a queued job ends at once, a running one is stopped. Idempotent; Conflict when ended."""

    def hold(self, job_id: JobId, by: Person, held_by: str) -> Job:
        """Hold a queued job back. Conflict when not queued."""

    def release(self, job_id: JobId, by: Person) -> Job:
        """End a hold."""

    def update(self, job_id: JobId, by: Person, spec: JobSpec) -> Job:
        """Replace the spec of a queued job, or limit/name/note of a running one. Conflict when ended."""

    def explain(self, job_id: JobId) -> Explanation:
        """Say why a queued job waits. Conflict when it does not."""

    def forecasts(self) -> Mapping[JobId, StartForecast]:
        """Return the latest forecast (made off the hot path; may lag by a moment)."""

    def forecast_of(self, owner: Person, new: NewJob) -> TrialWork:
        """Return what answers `--dry-run`: when and where such a job would start if submitted now.

        The answer is made on a worker; what that returns is to be called on the engine's thread.
        Raises QuotaExceeded as `submit` does.
        """

    def read_log(
        self,
        job_id: JobId,
        *,
        attempt: int | None = None,
        tail: int | None = None,
        since_at: int | None = None,
        follow: bool = False,
    ) -> Callable[[Callable[[], bool]], Iterator[bytes]]:
        """Return a function that, called on any worker thread with an `is_cancelled`, yields the log."""

    # reservations
    def admit(
        self, owner: Person, request: ReservationRequest, replacing: ReservationId | None = None
    ) -> Admission:
        """Say whether a booking could be promised, or the window of one that is there replaced."""

    def reserve(self, owner: Person, request: ReservationRequest, name: str = "") -> Reservation:
        """Book. Raises Refused with the causes and the nearest windows as hint."""

    def reserve_series(
        self, owner: Person, requests: Sequence[ReservationRequest], name: str, rule: str
    ) -> Sequence[Reservation]:
        """Book all windows of a series, or none. Raises Refused."""

    def insist_all(
        self,
        owner: Person,
        requests: Sequence[ReservationRequest],
        replacing: Sequence[ReservationId] = (),
    ) -> None:
        """Raise Refused unless all windows together can be promised, had the bookings `replacing` gone."""

    def change_reservation(
        self, reservation_id: ReservationId, by: Person, request: ReservationRequest, name: str
    ) -> Reservation:
        """Replace the window of a booking that has not ended, as one edit, or refuse and change nothing."""

    def change_reservations(
        self, edits: Sequence[BookingEdit], by: Person
    ) -> Sequence[Reservation]:
        """Replace the windows of bookings that have not ended, all as one edit, or refuse and change nothing."""

    def unreserve(self, reservation_id: ReservationId, by: Person) -> Reservation:
        """Cancel a booking, or end an active one now."""

    def unreserve_series(self, reservation_id: ReservationId, by: Person) -> Sequence[Reservation]:
        """Cancel this booking and all later ones of its series."""

    def reservation(self, reservation_id: ReservationId) -> Reservation:
        """Return a booking. Raises NotFound."""

    def reservations(
        self, from_at: int | None = None, until_at: int | None = None
    ) -> Sequence[Reservation]:
        """Return bookings that have not ended (or, with a window, all that touch it), by start."""

    # devices
    def devices(self) -> Sequence[DeviceReading]:
        """Return the last reading of every device known."""

    def snapshot(self) -> ProbeSnapshot:
        """Return the probe's last snapshot."""

    def leases(self) -> Mapping[DeviceUuid, Lease]:
        """Return live leases by device."""

    def shares(self) -> Mapping[DeviceUuid, Sequence[Lease]]:
        """Return, of devices that jobs share, the leases of all; `leases` has the oldest job's."""

    def named_leases(self, from_at: int, until_at: int) -> Sequence[tuple[Lease, str]]:
        """Return leases that touch a window, each with its job's name. From any thread."""

    def foreign_use(self) -> Mapping[DeviceUuid, str]:
        """Return devices used from outside the queue, with by whom in words."""

    def idle_s(self) -> Mapping[DeviceUuid, int]:
        """Return held devices without utilisation, with for how long (s)."""

    def in_use_words(self) -> Mapping[DeviceUuid, str]:
        """Return how those devices are used, in words: `used outside gpuboard by zoe: python (pid 7)`."""

    def device_uses(self) -> Mapping[DeviceUuid, DeviceUse]:
        """Return who is on each device, by the last sweep and the leases of now."""

    def drains(self) -> Mapping[DeviceUuid, Drain]:
        """Return drained devices."""

    def drain(self, devices: Sequence[DeviceUuid], by: str, note: str) -> None:
        """Take devices out of service; what runs on them goes on."""

    def resume(self, devices: Sequence[DeviceUuid], by: str) -> None:
        """Put devices back into service."""

    def blackouts(self) -> Sequence[Blackout]:
        """Return blackouts that have not ended."""

    def add_blackout(
        self, from_at: int, until_at: int, devices: Sequence[DeviceUuid], by: str, note: str
    ) -> Blackout:
        """Announce a maintenance window."""

    def cancel_blackout(self, blackout_id: int, by: str) -> None:
        """Take a blackout back. Raises NotFound."""

    # people
    def usage(self) -> Sequence[Usage]:
        """Return decayed usage now."""

    def policy_settings(self) -> PolicySettings:
        """Return the fairness parameters in force."""

    def usage_since(self, since_at: int) -> Mapping[int, float]:
        """Return device-seconds charged by uid since an instant, not decayed."""

    def week_hours(self) -> Mapping[Uid | str, float]:
        """Return device-hours of the last seven days as weekly quotas count them, by uid and by group.

        Empty where there are no weekly quotas.
        """

    def account_of(self, lease: Lease) -> str:
        """Return the group that a live lease is charged to; empty: the person alone."""

    def past(self, from_at: int, until_at: int) -> Past:
        """Return leases, hours of devices and waits between two instants. From any thread."""

    def notices(self) -> Sequence[Notice]:
        """Return the notices in force."""

    def add_notice(self, by: str, text: str, until_at: int | None) -> Notice | None:
        """Publish a notice; empty text clears all and returns None."""

    # rights
    def recheck_with(self, check: Callable[[Job], str]) -> None:
        """Ask `check` before each start why the job may no longer run (empty: it may)."""

    def vet_with(self, check: Callable[[Job], Vetted]) -> None:
        """Ask `check`, on a worker, before each start whether the job may run."""

    def vouch(self, jobs: Iterable[Job]) -> None:
        """Take it that these jobs, just submitted, were checked."""

    def uid_of(self, name: str) -> int | None:
        """Return the uid of somebody who has been here, by the name they had then."""

    # watching
    def events(
        self, after_id: int, limit: int = 1000, job_id: JobId | None = None
    ) -> list[EventRow]:
        """Return events after an id, oldest first."""

    def last_event_id(self) -> int:
        """Return the id of the newest event."""

    def revision(self) -> int:
        """Return a number raised by every change that a list of jobs or bookings could show."""

    def person_of(self, uid: int) -> str:
        """Return the name under which a uid last came here."""

    def capabilities(self) -> Capabilities:
        """Say what works."""

    def store_fault(self) -> str:
        """Return what is wrong with the record on the disk, in words; empty while all is well."""

    def tally(self) -> Tally:
        """Return what was done since the daemon began."""

    def halted_words(self) -> str:
        """Return why nothing is scheduled any more; empty while all is well."""

    def database_state(self) -> DatabaseView:
        """Return sizes, version and newest backup of the database. From any thread."""

    def backup(self, path: str) -> None:
        """Write a consistent copy of the database. From any thread."""

    def check_database(self) -> str:
        """Run the integrity check; return `ok` or what is wrong. From any thread."""
