"""The local engine: schedules and runs jobs on this box. Observe, plan, intend, act, record.

This class only puts the rooms together and offers them as the engine protocol; each room says
what it does, and `answers` what is only read. One thread owns it all; `step` never blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from gpuboard.config import Config
from gpuboard.devices.history import IdleWatch
from gpuboard.devices.protocol import Probe
from gpuboard.engine.answers import Answers
from gpuboard.engine.bookdesk import BookingDesk
from gpuboard.engine.booking import Bookings
from gpuboard.engine.budgetwatch import BudgetWatch
from gpuboard.engine.clock import Clock
from gpuboard.engine.core import Core, Pace, RuntimeHealth, log
from gpuboard.engine.crash import CrashPoints
from gpuboard.engine.diskwatch import DiskWatch
from gpuboard.engine.ending import Ender
from gpuboard.engine.forecasting import Forecaster
from gpuboard.engine.foreign import settle
from gpuboard.engine.health import HealthWatch
from gpuboard.engine.hourbook import HourBook
from gpuboard.engine.housekeeping import Housekeeper
from gpuboard.engine.images import Images
from gpuboard.engine.jobdesk import JobDesk
from gpuboard.engine.jobmix import JobMix
from gpuboard.engine.journal import Journal
from gpuboard.engine.ledger import Ledger
from gpuboard.engine.noshow import NoShows
from gpuboard.engine.pauses import StartPauses
from gpuboard.engine.planner import Planner
from gpuboard.engine.protocol import (
    BookingEdit,
    NewJob,
    Vetted,
)
from gpuboard.engine.readback import ReadBack
from gpuboard.engine.reconcile import Reconciler
from gpuboard.engine.starting import Starter
from gpuboard.engine.stopping import Stopper
from gpuboard.engine.vetting import Vetting
from gpuboard.engine.workers import Workers
from gpuboard.engine.world import device_facts
from gpuboard.errors import GpuboardError, StateError
from gpuboard.model.ids import DeviceUuid, JobId, ReservationId
from gpuboard.model.job import Job, JobSpec
from gpuboard.model.person import Person
from gpuboard.model.plan import ReservationRequest
from gpuboard.model.reservation import Blackout, Notice, Reservation
from gpuboard.model.world import DeviceFact
from gpuboard.runtimes.protocol import Runtime
from gpuboard.store.database import Store


class LocalEngine(Answers):
    """Implements `engine.protocol.Engine` over store, runtimes and probe: this half acts."""

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
        readback = ReadBack(self.core, self._stopper)
        self._starter = Starter(
            self.core,
            self._ender,
            self._stopper,
            readback=readback,
            images=self._images,
            pauses=self._pauses,
        )
        self._vetting = Vetting(self.core, self._starter.hold)
        self._watch = HealthWatch(self.core, self._stopper)
        self._reconciler = Reconciler(
            self.core, self._starter, self._ender, readback, self._watch.devices_seen
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
        self._desk = BookingDesk(self.core, store, self._bookings, self._begin_bookings)
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

        What meets a broken invariant stops scheduling and is cut short; the rest goes on. What cannot be
        written ends the step, since a plan counts on it; but a full disk keeps no SIGKILL from a job.
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
            except GpuboardError:
                self._stopper.carry_on()
                raise
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

    def _begin_bookings(self) -> None:
        """Begin those whose window begins now. What fails here is left to the next step."""
        try:
            self._bookings.keep_time()
            self._planner.run(at_once=True)
        except StateError as error:
            self.halt(error)
        except GpuboardError as error:
            log.warning("a booking could not be begun at once: %s", error)
            self.disturbed()

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

    # reservations

    def reserve(self, owner: Person, request: ReservationRequest, name: str = "") -> Reservation:
        """Book. Raises Refused with the causes and the nearest windows as hint."""
        return self._desk.reserve(owner, request, name)

    def reserve_series(
        self, owner: Person, requests: Sequence[ReservationRequest], name: str, rule: str
    ) -> Sequence[Reservation]:
        """Book all windows of a series, or none. Raises Refused."""
        return self._desk.reserve_series(owner, requests, name, rule)

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
        return self._desk.change_series(edits, by)

    def change_reservation(
        self, reservation_id: ReservationId, by: Person, request: ReservationRequest, name: str
    ) -> Reservation:
        """Replace the window of a booking that has not ended, or refuse and change nothing."""
        return self._desk.change(reservation_id, by, request, name)

    def unreserve(self, reservation_id: ReservationId, by: Person) -> Reservation:
        """Cancel a booking, or end an active one now."""
        return self._desk.cancel(reservation_id, by)

    def unreserve_series(self, reservation_id: ReservationId, by: Person) -> Sequence[Reservation]:
        """Cancel this booking and all later ones of its series."""
        return self._desk.cancel_series(reservation_id, by)

    # devices

    def drain(self, devices: Sequence[DeviceUuid], by: str, note: str) -> None:
        """Take devices out of service; what runs on them goes on."""
        self._desk.drain(devices, by, note)

    def resume(self, devices: Sequence[DeviceUuid], by: str) -> None:
        """Put devices back into service."""
        self._desk.resume(devices, by)

    def add_blackout(
        self, from_at: int, until_at: int, devices: Sequence[DeviceUuid], by: str, note: str
    ) -> Blackout:
        """Announce a maintenance window."""
        return self._desk.black_out(Blackout(0, from_at, until_at, note, tuple(devices)), by)

    def cancel_blackout(self, blackout_id: int, by: str) -> None:
        """Take a blackout back. Raises NotFound."""
        self._desk.call_off(blackout_id, by)

    # people

    def keep_hours(self) -> None:
        """Write what was summed up of devices' use since the last minute: the daemon ends."""
        self._hours.write()

    def add_notice(self, by: str, text: str, until_at: int | None) -> Notice | None:
        """Publish a notice; empty text clears all and returns None."""
        notice = Notice(0, self.core.clock.now_ms(), by, text, until_at) if text else None
        return self.core.journal.notify(notice, by)

    # watching

    def backup(self, path: str) -> None:
        """Write a consistent copy of the database."""
        self._store.backup(path)
