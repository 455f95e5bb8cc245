"""The simulator: a trace played through the same plan that the daemon asks.

Time jumps from event to event: submissions, ends, and the instants at which a plan asks to be made
again. All jobs of an instant are known before it is planned. Devices are equal, grace is zero, and
a job ends after its run time, which its limit never cuts. A preemptible job that is stopped goes on
later with what is left of it, and a checkpoint's cost more.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Mapping, Sequence
from time import perf_counter

import msgspec

from gpuboard.model.ids import DeviceUuid, JobId, Uid
from gpuboard.model.plan import Plan
from gpuboard.model.world import DeviceFact, Holder, PolicySettings, Quota, Waiting, World
from gpuboard.policy.capacity import Capacity
from gpuboard.policy.lanes import LaneClass
from gpuboard.policy.placement import DeviceBox
from gpuboard.policy.plan import Round
from gpuboard.policy.profile import FOREVER
from gpuboard.policy.queue import ServingOrder, WaitingQueue
from gpuboard.policy.quota import has_weekly_quota, is_unlimited, never_fits
from gpuboard.simulate.bookings import BookingBook, Closure, PastBooking
from gpuboard.simulate.ledger import Ledger, Payer
from gpuboard.simulate.orders import MAX_AGE_MS, SaturatingOrder
from gpuboard.simulate.played import Outcome, Played, Run
from gpuboard.simulate.policies import Order
from gpuboard.simulate.trace import TraceJob
from gpuboard.simulate.watching import Contention, PromiseWatch, RestWatch

USAGE_REFRESH_MS = 900_000
"""Usage is looked at anew so often; little against a half-life of days."""
LOOKS_PER_LEASE = 12
"""Where there are leases, usage is looked at so often a lease."""


class Conditions(msgspec.Struct, frozen=True):
    """What a trace is played under, besides the policy's parameters."""

    order: Order = Order.VIRTUAL_SUBMIT_TIME
    shares: Mapping[str, float] = {}
    """By user; others have 1."""
    quotas: Mapping[str, Quota] = {}
    """By user; others have the policy's default."""
    preemptible: float = 0.0
    """The part (0..1) of the jobs that may be stopped and go on later."""
    checkpoint_s: int = 0
    """What a stop costs a job: so much longer it runs."""
    bookings_a_day: float = 0.0
    """Bookings of a quarter to half of the box that are asked for."""
    no_show: float = 0.0
    """The part (0..1) of them to which nobody comes."""
    no_show_after_s: int | None = 1800
    """After how long those are released; None: never."""
    bookings: tuple[PastBooking, ...] = ()
    """Bookings of a real box, asked for again."""
    closures: tuple[Closure, ...] = ()
    """Devices out of service."""
    seed: int = 1


class Simulation:
    """One trace on one box under one policy."""

    def __init__(
        self,
        jobs: Sequence[TraceJob],
        gpus: int,
        settings: PolicySettings,
        conditions: Conditions | None = None,
    ) -> None:
        self._conditions = conditions or Conditions()
        devices = tuple(DeviceFact(DeviceUuid(f"GPU-{n}"), n) for n in range(gpus))
        self._box = DeviceBox(devices)
        people = dict.fromkeys(job.user for job in jobs)
        self._uids = {user: Uid(number) for number, user in enumerate(people, 1)}
        settings = self._under_conditions(settings)
        self._refresh_ms = USAGE_REFRESH_MS
        if settings.lease_s:
            self._refresh_ms = min(self._refresh_ms, settings.lease_s * 1000 // LOOKS_PER_LEASE)
        self._world = World(devices=devices, settings=settings)
        self._numbers = {fact.uuid: fact.index for fact in devices}
        self._jobs = {JobId(number): job for number, job in enumerate(jobs, 1)}
        self._payers = self._payers_of(jobs, with_groups=bool(settings.groups))
        self._dice = random.Random(self._conditions.seed)  # noqa: S311 - a sample, not a secret
        self._left_s: dict[JobId, int] = {}
        """What is left to run of jobs that were stopped."""
        self._ran_s: dict[JobId, int] = {}
        """How long they ran before that."""
        self._preemptions = 0
        self._book = self._book_of(gpus, max((job.submit_s for job in jobs), default=0))
        self._queue = WaitingQueue()
        self._now = 0
        self._holders: dict[JobId, Holder] = {}
        self._ends: list[tuple[int, JobId]] = []
        self._ends_at: dict[JobId, int] = {}
        """When running jobs end; what `_ends` says beyond that is of the past."""
        self._preemptibles = 0
        """How many of them may be stopped."""
        self._idle = gpus
        self._is_limited = not is_unlimited(settings)
        self._is_weekly = has_weekly_quota(settings)
        self._ledger = Ledger(settings.half_life_s, is_weekly=self._is_weekly)
        self._order: ServingOrder | None = None
        self._order_at = 0
        self._last_runs: dict[tuple[str, int, int], tuple[int, ...]] = {}
        self._contention = Contention(gpus)
        self._promise = PromiseWatch()
        self._rest = RestWatch()
        self._room: Capacity | None = None
        """What the last plan left, and what was given back since."""
        self._started: dict[JobId, int] = {}
        self._outcomes: list[Outcome] = []
        self._runs: list[Run] = []
        self._refused = 0
        self._late_bookings = 0
        self._decision_ms: list[float] = []
        self._fill_head: JobId | None = None

    def play(self, on_progress: Callable[[float], None] = lambda _: None) -> Played:
        """Play the whole trace; `on_progress` hears the part of the jobs that ended."""
        coming = list(self._jobs.items())
        coming.reverse()
        book = self._book
        wake_at: int | None = None
        while coming or self._ends or wake_at is not None:
            self._advance(
                min(
                    coming[-1][1].submit_s * 1000 if coming else FOREVER,
                    self._ends[0][0] if self._ends else FOREVER,
                    FOREVER if wake_at is None else wake_at,
                    FOREVER if book.next_at is None else book.next_at,
                )
            )
            is_woken = wake_at is not None and wake_at <= self._now
            is_due = self._end_jobs() or is_woken
            while coming and coming[-1][1].submit_s * 1000 <= self._now:
                is_due |= self._submit(*coming.pop())
            if book.next_at is not None and book.next_at <= self._now:
                self._order_now()
                if book.go_on(self._world_now(), self._queue, self._now):
                    self._promise.excuse()  # a device is lost: whatever was promised
                is_due = True
            if is_due and not self._queue and not book.has_any:
                self._order_now()
                self._promise.look(Plan(), self._started)
                wake_at = None  # nobody waits for anything
            elif is_due and not (is_woken or book.has_any or self._could_start_any()):
                self._order_now()  # a plan would tell the head another time, and start nothing
            elif is_due:
                plan = self._decide()
                wake_at = self._now if plan.stops else plan.wake_at
                self._rest.look(self._now, len(self._outcomes))
                if len(self._decision_ms) % 256 == 0:
                    on_progress(len(self._outcomes) / len(self._jobs))
        on_progress(1.0)
        return Played(
            self._outcomes,
            self._decision_ms,
            self._promise.broken + self._late_bookings,
            self._preemptions,
            self._runs,
            self._refused,
        )

    def _under_conditions(self, settings: PolicySettings) -> PolicySettings:
        """Return the policy's parameters with what the trace is played under."""
        quotas = self._conditions.quotas.items()
        return msgspec.structs.replace(
            settings,
            checkpoint_cost_s=self._conditions.checkpoint_s,
            quotas={self._uids[user]: quota for user, quota in quotas if user in self._uids},
        )

    def _book_of(self, gpus: int, last_s: int) -> BookingBook:
        """Return the bookings that people ask for until the last submission."""
        return BookingBook(
            gpus,
            self._conditions.bookings_a_day,
            last_s * 1000,
            self._conditions.seed,
            no_show=self._conditions.no_show,
            no_show_after_s=self._conditions.no_show_after_s,
            bookings=self._conditions.bookings,
            closures=self._conditions.closures,
        )

    def _payers_of(
        self, jobs: Sequence[TraceJob], *, with_groups: bool
    ) -> dict[tuple[str, str], Payer]:
        """Return who is charged, by user and account: people alone where there are no groups."""
        shares, payers = self._conditions.shares, dict[tuple[str, str], Payer]()
        for job in jobs:
            account = job.account if with_groups else ""
            payer = Payer(self._uids[job.user], account, shares.get(job.user, 1.0))
            payers.setdefault((job.user, job.account), payer)
        return payers

    def _advance(self, to_at: int) -> None:
        self._contention.advance(to_at - self._now)
        self._now = to_at
        self._ledger.age(to_at)

    def _submit(self, job_id: JobId, job: TraceJob) -> bool:
        """Queue a job; whether that can change the plan, which is idempotent.

        Behind a head only backfill starts anything, and nothing wider than the idle devices.
        """
        part = self._conditions.preemptible
        preemptible = job.preemptible or (part > 0 and self._dice.random() < part)
        waiting = self._waiting(job_id, job, preemptible=preemptible)
        if self._is_limited and never_fits(self._world.settings, waiting):
            self._refused += 1
            return False
        self._queue.add(waiting)
        self._contention.submit(job_id, job.gpus)
        can_backfill = self._world.settings.backfill and job.gpus <= self._idle
        return self._promise.head is None or preemptible or can_backfill or self._preemptibles > 0

    def _could_start_any(self) -> bool:
        """Whether a plan could start something: behind a head that stays what the last one left room for.

        What ended since is given back to that. The head's start only moves earlier by it, which makes
        no room behind it on devices that are all alike: whoever is in the way of it then is so now.
        """
        settings, head, room = self._world.settings, self._promise.head, self._room
        if head is None or room is None or not settings.sticky_head or settings.classes:
            return True
        lanes, now, idle = self._queue.lanes, self._now, self._idle
        others = (LaneClass.PREEMPTIBLE, LaneClass.DEVICELESS)
        if self._preemptibles > 0 or self._jobs[head].gpus <= idle:
            return True
        if any(lanes(now, kind) for kind in others):
            return True
        for kind, own in lanes(now, LaneClass.ORDINARY).by_kind.items():
            if kind.gpus <= idle:
                most_ms = room.open_until(kind.gpus, self._box.everything) - now
                if any(lane.shortest_ms <= most_ms for lane in own.values()):
                    return True
        return False

    def _waiting(self, job_id: JobId, job: TraceJob, *, preemptible: bool) -> Waiting:
        runs = self._last_runs.get((job.user, job.gpus, job.limit_s))
        predicted_s = sum(runs) // len(runs) if runs else None
        submitted_at = job.submit_s * 1000
        if self._conditions.order is Order.SHORTEST_PREDICTED:
            # The plan serves by `submitted_at`: here that is how long the job should take.
            submitted_at = (job.limit_s if predicted_s is None else predicted_s) * 1000
        return Waiting(
            job_id=job_id,
            uid=self._uids[job.user],
            submitted_at=submitted_at,
            gpus=job.gpus,
            limit_s=job.limit_s,
            grace_s=0,
            preemptible=preemptible,
            predicted_s=predicted_s,
            ran_s=self._ran_s.get(job_id, 0),
            account=self._payers[job.user, job.account].account,
            class_name=job.class_name,
        )

    def _end_jobs(self) -> bool:
        """End the jobs whose time has come; whether there were any."""
        ended = False
        while self._ends and self._ends[0][0] <= self._now:
            ends_at, job_id = heapq.heappop(self._ends)
            if self._ends_at.get(job_id) != ends_at:
                continue  # it was stopped in the meantime
            ended = True
            self._leave_devices(job_id)
            job = self._jobs[job_id]
            kind = (job.user, job.gpus, job.limit_s)
            self._last_runs[kind] = (*self._last_runs.get(kind, ())[-1:], job.runtime_s)
            self._outcomes.append(self._outcome(job_id, job))
        return ended

    def _leave_devices(self, job_id: JobId) -> Holder:
        holder = self._holders.pop(job_id)
        del self._ends_at[job_id]
        gpus = len(holder.devices)
        job = self._jobs[job_id]
        payer = self._payers[job.user, job.account]
        self._ledger.release(payer, gpus, holder.started_at, self._now)
        self._idle += gpus
        if self._room is not None and self._promise.head is not None:
            self._room.give_back(self._box.held_by(holder), holder.ends_at)
        self._preemptibles -= holder.preemptible
        numbers = tuple(self._numbers[uuid] for uuid in holder.devices)
        self._runs.append(Run(job.user, numbers, holder.started_at / 1000, self._now / 1000))
        return holder

    def _stop(self, job_id: JobId) -> None:
        """Put a preemptible job back into the queue with what is left of it."""
        left_ms = self._ends_at[job_id] - self._now
        holder = self._leave_devices(job_id)
        ran_s = (self._now - holder.started_at) // 1000
        self._ran_s[job_id] = holder.ran_before_s + ran_s
        self._left_s[job_id] = -(-left_ms // 1000) + self._conditions.checkpoint_s
        self._preemptions += 1
        self._queue.add(self._waiting(job_id, self._jobs[job_id], preemptible=True))

    def _outcome(self, job_id: JobId, job: TraceJob) -> Outcome:
        there_ms = self._now - job.submit_s * 1000
        contention = self._contention.end(job_id, job.gpus, there_ms)
        start_s = self._started[job_id] / 1000
        return Outcome(job, start_s, self._now / 1000, contention)

    def _world_now(self) -> World:
        return World(
            devices=self._world.devices,
            holders=tuple(self._holders.values()),
            bookings=self._book.current(self._now),
            usage=self._world.usage,
            usage_at=self._order_at,
            head=self._promise.head,
            fill_head=self._fill_head,
            spent=self._ledger.spent(self._now) if self._is_weekly else (),
            settings=self._world.settings,
        )

    def _decide(self) -> Plan:
        order = self._order_now()
        world = self._world_now()
        began = perf_counter()
        round_ = Round(world, self._queue, self._now, box=self._box, order=order)
        plan = round_.run()
        self._decision_ms.append((perf_counter() - began) * 1000)
        self._room = round_.capacity
        # What was stopped is free in the next round of this very instant: no booking is late before.
        self._late_bookings += self._book.bind(plan.binds, self._now, is_final=not plan.stops)
        for start in plan.starts:
            self._start(start.job_id, start.devices, start.lease_until_at)
        for stop in plan.stops:
            self._stop(stop.job_id)
        self._promise.look(plan, self._started)
        self._fill_head = plan.fill_head
        return plan

    def _start(
        self, job_id: JobId, devices: tuple[DeviceUuid, ...], lease_until_at: int | None = None
    ) -> None:
        job = self._jobs[job_id]
        waiting = self._queue.get(job_id)
        payer = self._payers[job.user, job.account]
        self._ledger.hold(payer, job.gpus, self._now)
        self._idle -= job.gpus
        self._queue.remove(job_id)
        self._started.setdefault(job_id, self._now)
        preemptible = waiting is not None and waiting.preemptible
        self._preemptibles += preemptible
        left_s = self._left_s.get(job_id, job.runtime_s)
        self._holders[job_id] = Holder(
            job_id,
            payer.uid,
            devices,
            self._now + job.limit_s * 1000,
            started_at=self._now,
            grace_s=0,
            preemptible=preemptible,
            lease_until_at=lease_until_at,
            ran_before_s=self._ran_s.get(job_id, 0),
            account=payer.account,
        )
        ends_at = self._ends_at[job_id] = self._now + left_s * 1000
        heapq.heappush(self._ends, (ends_at, job_id))

    def _order_now(self) -> ServingOrder:
        """Return the serving order, with usage looked at anew now and then."""
        settings = self._world.settings
        counts_usage = settings.priority_window_s > 0 or settings.lease_s > 0
        is_stale = counts_usage and self._now - self._order_at >= self._refresh_ms
        if self._order is None or is_stale:
            usage = self._ledger.usage(self._now)
            if settings.lease_s:  # a lease's worth is in device-seconds: here not only ratios count
                self._ledger.decay(self._now)
                usage = self._ledger.usage(self._now)
            self._world = msgspec.structs.replace(self._world, usage=usage)
            if self._conditions.order is Order.SATURATING_AGE:
                self._order = SaturatingOrder(self._world, self._now)
            else:
                self._order = ServingOrder(self._world)
            self._order_at = self._now
        if isinstance(self._order, SaturatingOrder):
            self._order.oldest_at = self._now - MAX_AGE_MS
        return self._order
