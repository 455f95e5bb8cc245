"""The local engine: schedules and runs jobs on this box. Observe, plan, intend, act, record.

This class only puts the rooms together and offers them as the engine protocol; each room says
what it does. One thread owns it all; `step` never blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from gpuboard.config import Config
from gpuboard.devices.attribution import DeviceUse
from gpuboard.devices.history import IdleWatch
from gpuboard.devices.protocol import Probe
from gpuboard.engine.bookdesk import BookingDesk
from gpuboard.engine.booking import Bookings
from gpuboard.engine.budgetwatch import BudgetWatch
from gpuboard.engine.clock import Clock
from gpuboard.engine.core import Core, Pace, RuntimeHealth, log
from gpuboard.engine.crash import CrashPoints
from gpuboard.engine.diskwatch import DiskWatch
from gpuboard.engine.ending import Ender
from gpuboard.engine.forecasting import Forecaster
from gpuboard.engine.foreign import device_uses, foreign_people, in_use_words, settle
from gpuboard.engine.health import HealthWatch
from gpuboard.engine.hourbook import HourBook
from gpuboard.engine.housekeeping import Housekeeper
from gpuboard.engine.images import Images
from gpuboard.engine.jobdesk import JobDesk
from gpuboard.engine.jobmix import JobMix
from gpuboard.engine.journal import Journal
from gpuboard.engine.ledger import Ledger
from gpuboard.engine.logs import LogReader, log_reader
from gpuboard.engine.noshow import NoShows
from gpuboard.engine.pauses import StartPauses
from gpuboard.engine.planner import Planner
from gpuboard.engine.protocol import (
    BookingEdit,
    Capabilities,
    NewJob,
    QueueSlice,
    QueueStanding,
    Tally,
    TrialWork,
    Vetted,
)
from gpuboard.engine.queueview import scan_of_queue, slice_of_queue, standing_of
from gpuboard.engine.reconcile import Reconciler
from gpuboard.engine.starting import Starter
from gpuboard.engine.stopping import Stopper
from gpuboard.engine.vetting import Vetting
from gpuboard.engine.waiting import explain, forecast_of, serving_order
from gpuboard.engine.workers import Workers
from gpuboard.engine.world import build_world, device_facts, policy_settings, usage_now
from gpuboard.errors import GpuboardError, StateError
from gpuboard.model.adminviews import DatabaseView
from gpuboard.model.device import DeviceReading, ProbeSnapshot
from gpuboard.model.ids import DeviceUuid, JobId, ReservationId, Uid
from gpuboard.model.job import EventRow, Job, JobSpec
from gpuboard.model.past import Past
from gpuboard.model.person import Person
from gpuboard.model.plan import Admission, Explanation, ReservationRequest, StartForecast
from gpuboard.model.reservation import Blackout, Drain, Lease, Notice, Reservation
from gpuboard.model.world import DeviceFact, PolicySettings, Usage
from gpuboard.policy.quota import Allowance
from gpuboard.runtimes.protocol import Runtime
from gpuboard.store.database import Store


class LocalEngine:
    """Implements `engine.protocol.Engine` over store, runtimes and probe."""

    def __init__(
        self,
        *,
        config: Config,
        store: Store,
        clock: Clock,
        probe: Probe,
        runtimes: Mapping[str, Runtime],
        workers: Workers,
        crash: CrashPoints | None = None,
        pace: Pace | None = None,
    ) -> None:
        crash = crash or CrashPoints()
        ledger = Ledger()
        log_dir = Path(store.state_dir) / "logs"
        log_dir.mkdir(mode=0o700, exist_ok=True)
        journal = Journal(store, ledger, clock, crash, config.policy.half_life_s)
        self.core = Core(
            config=config,
            clock=clock,
            ledger=ledger,
            journal=journal,
            workers=workers,
            probe=probe,
            runtimes=dict(runtimes),
            log_dir=log_dir,
            crash=crash,
            pace=pace or Pace(),
            health={name: RuntimeHealth() for name in runtimes},
            require_room=store.room.require,
        )
        self._store = store
        self._ender = Ender(self.core)
        self._stopper = Stopper(self.core)
        self._images = Images(self.core)
        self._pauses = StartPauses(self.core)
        self._starter = Starter(self.core, self._ender, self._stopper, self._images, self._pauses)
        self._vetting = Vetting(self.core, self._starter.hold)
        self._watch = HealthWatch(self.core, self._stopper)
        self._reconciler = Reconciler(
            self.core, self._starter, self._ender, self._watch.devices_seen
        )
        self._bookings = Bookings(self.core)
        self._no_shows = NoShows(self.core, store, self._bookings)
        self._planner = Planner(
            self.core,
            self._bookings,
            self._starter,
            self._stopper,
            self._reconciler,
            vetting=self._vetting,
        )
        self._budgets = BudgetWatch(self.core, self._stopper)
        self._disks = DiskWatch(self.core, self._stopper)
        self._mix = JobMix(self.core, store)
        self._forecaster = Forecaster(self.core, store)
        self._housekeeper = Housekeeper(self.core, store)
        self._jobs = JobDesk(self.core, store, self._stopper, self._images)
        self._desk = BookingDesk(self.core, store, self._bookings)
        self._idle = IdleWatch()
        self._hours = HourBook(self.core, store)
        self._facts: tuple[DeviceFact, ...] = ()
        self._checked_revision = -1
        self.core.on_end += [self._starter.forget, self._stopper.forget]

    # time

    def open(self) -> None:
        """Load what the database knows; nothing is scheduled until the runtimes were listed."""
        try:
            self.core.journal.load()
        except StateError as error:
            self.halt(error)
        self._reconciler.recover()
        self._images.require(list(self.core.ledger.jobs.values()))

    def step(self) -> None:
        """Do everything that is due. Raises what the store raises; the next step goes on from there.

        What meets a broken invariant stops scheduling and is cut short; the rest goes on.
        """
        for work in (
            self.core.workers.deliver,
            self._take_sweep,
            self._reconciler.run,
            self._bookings.keep_time,
            self._no_shows.run,
            self._stopper.enforce,
            self._disks.run,
            self._mix.run,
            self._vetting.run,
            self._pauses.run,
            self._planner.run,
            self._images.run,  # what starts at once needs no look-up of its own
            self._check,
        ):
            try:
                work()
            except StateError as error:
                self.halt(error)
        self._forecaster.run()
        self._housekeeper.run()

    def _check(self) -> None:
        """Hold leases and jobs against each other whenever one of them changed. Raises StateError."""
        revision = self.core.ledger.revision
        if revision != self._checked_revision:
            self._checked_revision = revision
            self.core.journal.check()

    def halt(self, error: StateError) -> None:
        """Stop scheduling: an invariant does not hold. Reads, ends and cancellations go on."""
        if not self.core.halted:
            log.critical("scheduling stopped: %s", error, exc_info=error)
            self.core.halted = str(error)
            self.core.ledger.revision += 1

    def disturbed(self) -> None:
        """Note that a step was cut off by an error: look and plan afresh."""
        self.core.look_soon()
        self.core.plan_soon()

    def look_soon(self) -> None:
        """Have the runtimes listed in the next step: one of them reported an event."""
        self.core.look_soon()

    def next_wake_boot_ms(self) -> int:
        """Return when (boot time, ms) `step` has something to do if nothing else happens."""
        clock = self.core.clock
        due = [self._reconciler.next_boot_ms()]
        due += [
            at
            for at in (
                self._stopper.next_boot_ms(),
                self._disks.next_boot_ms(),
                self._planner.next_boot_ms(),
                self._vetting.next_boot_ms(),
                self._images.next_boot_ms(),
                self._pauses.next_boot_ms(),
                self._forecaster.next_boot_ms(),
            )
            if at is not None
        ]
        for booking_at in (self._bookings.next_at(), self._no_shows.next_at()):
            if booking_at is not None:
                due.append(clock.boot_ms() + booking_at - clock.now_ms())
        return min(due)

    def _take_sweep(self) -> None:
        core = self.core
        snapshot = core.probe.snapshot()
        if snapshot is core.snapshot:
            return
        if snapshot.links != core.snapshot.links:
            core.plan_soon()
        core.snapshot = snapshot
        self._idle.observe(snapshot)
        self._hours.observe(snapshot, self.idle_s())
        self._watch.look(snapshot)
        self._budgets.look()
        settle(core)
        facts = device_facts(core)
        if facts != self._facts:
            self._facts = facts
            core.ledger.revision += 1
            core.plan_soon()

    def recheck_with(self, check: Callable[[Job], str]) -> None:
        """Ask `check` before each start why the job may no longer run (empty: it may)."""
        self.core.recheck = check

    def vet_with(self, check: Callable[[Job], Vetted]) -> None:
        """Ask `check`, on a worker, before each start whether the job may run."""
        self._vetting.check = check

    def vouch(self, jobs: Iterable[Job]) -> None:
        """Take it that these jobs, just submitted, were checked."""
        self._vetting.vouch(jobs)

    def is_idle(self) -> bool:
        """Whether nothing is queued, running or under way."""
        return self.core.is_idle() and not len(self.core.ledger.queue)

    def reconfigure(self, config: Config) -> None:
        """Take a new configuration; what people were promised stays."""
        self.core.config = config
        self.core.journal.half_life_s = config.policy.half_life_s
        self.core.plan_soon()

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
        """Commit the jobs, all or none; a known token of this owner returns the old ones."""
        return self._jobs.submit(owner, jobs, token=token, array_limit=array_limit, held_by=held_by)

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

    def cancel(self, job_id: JobId, by: Person, *, force: bool = False) -> Job:
        """Cancel: a queued job ends at once, a running one is stopped. Conflict when ended."""
        return self._jobs.cancel(job_id, by, force=force)

    def hold(self, job_id: JobId, by: Person, held_by: str) -> Job:
        """Hold a queued job back. Conflict when not queued."""
        return self._jobs.hold(job_id, by, held_by)

    def release(self, job_id: JobId, by: Person) -> Job:
        """End a hold."""
        return self._jobs.release(job_id, by)

    def update(self, job_id: JobId, by: Person, spec: JobSpec) -> Job:
        """Replace the spec of a queued job, or limit, name and note of a running one."""
        return self._jobs.update(job_id, by, spec)

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

    def reserve(self, owner: Person, request: ReservationRequest, name: str = "") -> Reservation:
        """Book. Raises Refused with the causes and the nearest windows as hint."""
        return self._begun([self._desk.reserve(owner, request, name)])[0]

    def reserve_series(
        self, owner: Person, requests: Sequence[ReservationRequest], name: str, rule: str
    ) -> Sequence[Reservation]:
        """Book all windows of a series, or none. Raises Refused."""
        return self._begun(self._desk.reserve_series(owner, requests, name, rule))

    def insist_all(
        self,
        owner: Person,
        requests: Sequence[ReservationRequest],
        replacing: Sequence[ReservationId] = (),
    ) -> None:
        """Raise Refused unless all windows together can be promised, had the bookings `replacing` gone."""
        self._desk.insist_all(owner, requests, replacing)

    def change_reservations(
        self, edits: Sequence[BookingEdit], by: Person
    ) -> Sequence[Reservation]:
        """Replace the windows of bookings that have not ended, all as one edit, or change nothing."""
        return self._begun(self._desk.change_series(edits, by))

    def change_reservation(
        self, reservation_id: ReservationId, by: Person, request: ReservationRequest, name: str
    ) -> Reservation:
        """Replace the window of a booking that has not ended, or refuse and change nothing."""
        return self._begun([self._desk.change(reservation_id, by, request, name)])[0]

    def _begun(self, bookings: Sequence[Reservation]) -> Sequence[Reservation]:
        """Begin at once those whose window begins now: the answer is to name the devices bound.

        They are on the record already: what fails here is left to the next step.
        """
        now = self.core.clock.now_ms()
        if any(one.from_at <= now and len(one.devices) < one.gpus for one in bookings):
            try:
                self._bookings.keep_time()
                self._planner.run(at_once=True)
            except StateError as error:
                self.halt(error)
            except GpuboardError as error:
                log.warning("a booking could not be begun at once: %s", error)
                self.disturbed()
        return [self.core.ledger.reservations.get(one.id, one) for one in bookings]

    def unreserve(self, reservation_id: ReservationId, by: Person) -> Reservation:
        """Cancel a booking, or end an active one now."""
        return self._desk.cancel(reservation_id, by)

    def unreserve_series(self, reservation_id: ReservationId, by: Person) -> Sequence[Reservation]:
        """Cancel this booking and all later ones of its series."""
        return self._desk.cancel_series(reservation_id, by)

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

    def leases_between(self, from_at: int, until_at: int) -> Sequence[Lease]:
        """Return leases that touch a window."""
        return self._store.leases_between(from_at, until_at)

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

    def drain(self, devices: Sequence[DeviceUuid], by: str, note: str) -> None:
        """Take devices out of service; what runs on them goes on."""
        self._desk.drain(devices, by, note)

    def resume(self, devices: Sequence[DeviceUuid], by: str) -> None:
        """Put devices back into service."""
        self._desk.resume(devices, by)

    def blackouts(self) -> Sequence[Blackout]:
        """Return blackouts that have not ended, by start."""
        return sorted(self.core.ledger.blackouts.values(), key=lambda b: (b.from_at, b.id))

    def add_blackout(
        self, from_at: int, until_at: int, devices: Sequence[DeviceUuid], by: str, note: str
    ) -> Blackout:
        """Announce a maintenance window."""
        return self._desk.black_out(Blackout(0, from_at, until_at, note, tuple(devices)), by)

    def cancel_blackout(self, blackout_id: int, by: str) -> None:
        """Take a blackout back. Raises NotFound."""
        self._desk.call_off(blackout_id, by)

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

    def keep_hours(self) -> None:
        """Write what was summed up of devices' use since the last minute: the daemon ends."""
        self._hours.write()

    def notices(self) -> Sequence[Notice]:
        """Return the notices in force."""
        return self._desk.notices()

    def add_notice(self, by: str, text: str, until_at: int | None) -> Notice | None:
        """Publish a notice; empty text clears all and returns None."""
        notice = Notice(0, self.core.clock.now_ms(), by, text, until_at) if text else None
        return self.core.journal.notify(notice, by)

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

    def backup(self, path: str) -> None:
        """Write a consistent copy of the database."""
        self._store.backup(path)

    def check_database(self) -> str:
        """Run the integrity check; return `ok` or what is wrong."""
        return self._store.check_database()
