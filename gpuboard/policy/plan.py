"""The plan: what to start where, what to bind, what to stop, who is next and since when promised.

One pure function, `plan_round(world, queue, now)`. In this order:

1. bookings that have begun get their devices, and their owners' jobs start on them;
2. the sticky head starts, or is promised the earliest start by limits (EASY backfill: Lifka, "The
   ANL/IBM SP scheduling system", 1995; sticky and by limits, so the promise only moves earlier);
3. without a head the queue is served in order until a job does not fit: that is the new head;
4. later jobs start now, each person's shortest predicted first, where that delays no promise;
5. preemptible jobs take what is left, and are stopped in time for whoever has a right to it.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable, Iterator
from itertools import chain

from gpuboard.model.ids import JobId, ReservationId, Uid
from gpuboard.model.plan import Bind, Plan, Start, Stop
from gpuboard.model.world import Holder, Waiting, World
from gpuboard.policy.candidates import Candidate, candidates_of
from gpuboard.policy.capacity import STOP_MARGIN_MS, Capacity
from gpuboard.policy.conservative import Promises
from gpuboard.policy.filling import Filling
from gpuboard.policy.lanes import Kind, Lane, LaneClass, LaneKey, span_of
from gpuboard.policy.owners import Owners
from gpuboard.policy.placement import DeviceBox
from gpuboard.policy.profile import FOREVER
from gpuboard.policy.queue import ServingOrder, WaitingQueue
from gpuboard.policy.quota import Allowance
from gpuboard.policy.sharing import budget_of

SKIPS = 100
"""At most so many jobs that are too long for their week are passed one by one in a round."""


def plan_round(world: World, queue: WaitingQueue, now: int) -> Plan:
    """Return what to do at `now` (ms). Deterministic; the order of the world's rows is irrelevant."""
    return Round(world, queue, now).run()


class Round:
    """One round of planning. `run` decides; afterwards the state says why (for `explain`)."""

    def __init__(
        self,
        world: World,
        queue: WaitingQueue,
        now: int,
        *,
        box: DeviceBox | None = None,
        order: ServingOrder | None = None,
    ) -> None:
        """Look at the world. `box` and `order` may be ones made before from the same world."""
        self.world = world
        self.queue = queue
        self.now = now
        self.capacity = Capacity(world, now, box)
        self.allowance = Allowance(world, now, self._next_of_each_lane)
        self.order = order or ServingOrder(world)
        self.promises = Promises(world, queue, self.capacity, now)
        self._servable: dict[LaneClass, dict[Kind, Collection[Lane]]] = {}
        self._do_sharers_wait: bool | None = None
        """Whether a servable job has a budget; None: not looked yet."""
        self.wanted_bookings: set[ReservationId] = set()
        """Active bookings for whose free devices a job of the owner waits."""
        self.starts: dict[JobId, Start] = {}
        self.binds: list[Bind] = []
        self.stops: dict[JobId, Stop] = {}
        self.head: Waiting | None = None
        self.head_start_at: int | None = None

    def run(self) -> Plan:
        """Decide."""
        # Promises come first: which devices a booking gets must not cost anybody a promised start.
        self.promises.keep(self.has_room)
        self._promise_sticky_head()
        if self.capacity.bookings:
            Owners(self).serve()
        self._start_deviceless()
        self._serve_promised()
        self._serve_head_and_order()
        self._promise_newcomers()
        self._stop_preemptible()
        filling = Filling(self) if self.servable(LaneClass.PREEMPTIBLE) else None
        while True:
            self._backfill()
            # What promises need after that is no turn of others: they would be stopped one by one.
            self._stop_preemptible()
            if filling is not None:
                filling.serve()
            if not self._stop_preemptible():
                break
        fill_head = filling.head if filling is not None else None
        return Plan(
            starts=tuple(self.starts.values()),
            binds=tuple(self.binds),
            stops=tuple(self.stops.values()),
            head=self.head.job_id if self.head else None,
            head_start_at=self.head_start_at,
            fill_head=fill_head.job_id if fill_head else None,
            wake_at=self._wake_at(filling),
            promises=self.promises.all(),
        )

    def servable(self, lane_class: LaneClass) -> dict[Kind, Collection[Lane]]:
        """Return the lanes that could be served if all devices in service were free, by kind."""
        known = self._servable.get(lane_class)
        if known is None:
            kinds = self.queue.lanes(self.now, lane_class).by_kind.items()
            most = self.capacity.most_at_once
            known = self._servable[lane_class] = {
                kind: lanes.values() for kind, lanes in kinds if most(kind) >= kind.gpus
            }
        return known

    def in_order(
        self, lane_class: LaneClass, closed: Container[LaneKey]
    ) -> Iterator[tuple[JobId, int, LaneKey]]:
        """Yield the servable jobs of a class in serving order; see `ServingOrder.jobs`."""
        kinds = self.servable(lane_class)
        return self.order.jobs_of_kinds(self.queue.lanes(self.now, lane_class), kinds, closed)

    def has_room(self, waiting: Waiting) -> bool:
        """Whether the person's quota and the array's limit let the job run beside what runs."""
        return self.allowance.has_device_room(waiting) and self.allowance.has_array_room(waiting)

    def devices_for(self, waiting: Waiting) -> int:
        """Return the devices on which the job could start now without breaking a promise, or 0."""
        capacity = self.capacity
        shared = self.device_to_join(waiting) if waiting.gpu_memory_bytes else 0
        if shared:
            return shared
        options = capacity.options(waiting)
        if len(options) == 1:
            return self.devices_among(waiting, options[0])
        found = [self.devices_among(waiting, candidates) for candidates in options]
        return capacity.box.best_of([devices for devices in found if devices], capacity.idle)

    def devices_among(self, waiting: Waiting, candidates: int) -> int:
        """Return the best of these devices on which the job could start now, or 0."""
        until_at = self.now + span_of(waiting)
        if waiting.preemptible:
            grace_ms = waiting.grace_s * 1000
            return self.capacity.preemptible_devices_for(
                waiting.gpus, candidates, grace_ms, until_at
            )
        return self.capacity.devices_for(waiting.gpus, candidates, until_at)

    def device_to_join(self, waiting: Waiting) -> int:
        """Return the shared device that a job with a budget may join now, or 0."""
        if not budget_of(waiting, self.world.settings):
            return 0
        return self.capacity.join(waiting, waiting.uid, self.now + span_of(waiting))

    # the queue

    def _start_deviceless(self) -> None:
        """Start jobs without devices: they take nothing from anybody."""
        closed: set[LaneKey] = set()
        lanes = self.queue.lanes(self.now, LaneClass.DEVICELESS)
        for job_id, _, key in self.order.jobs(lanes, closed) if lanes else ():
            waiting = self.unstarted(job_id)
            if waiting is None:
                continue
            if not self.allowance.has_array_room(waiting):
                closed.add(key)
            elif not self.capacity.is_box_dark_between(self.now, self.now + span_of(waiting)):
                self.allowance.take(waiting)
                self.start(waiting, 0)

    def _serve_head_and_order(self) -> None:
        if self.head is not None and (
            self.head_start_at == self.now or self.head.job_id in self.starts
        ):
            self._start_head(self.head)
        if self.head is None:
            self._serve_in_order()

    def _promise_sticky_head(self) -> None:
        """Renew the promise to the head of the last round, if it still may be served."""
        if self.world.head is None or not self.world.settings.sticky_head:
            return
        head = self.queue.get(self.world.head)
        if head is None or not self.queue.is_eligible(head.job_id, self.now):
            return
        if head.preemptible or not head.gpus or not self.has_room(head):
            return
        shared = self.device_to_join(head)
        if shared:
            self.take(head, shared)
        else:
            self._promise(head)

    def _start_head(self, head: Waiting) -> None:
        """Start the head on the devices promised for now, unless its owner's booking served it."""
        promised = self.capacity.withdraw_promise()
        self.head = self.head_start_at = None
        self.allowance.promise(None)
        if head.job_id not in self.starts:
            self.take(head, self.devices_for(head) or promised)

    def _serve_in_order(self) -> None:
        """Start jobs in order until one does not fit: that is the new head."""
        closed: set[LaneKey] = set()
        skipped = 0
        for job_id, _, key in self.in_order(LaneClass.ORDINARY, closed):
            waiting = self._unserved(job_id)
            if waiting is None:
                continue
            if not self.has_room(waiting):
                # A shorter one of the same lane may fit into what is left of the week.
                skipped += 1
                if not self.allowance.is_by_length or skipped > SKIPS:
                    closed.add(key)
                continue
            devices = self.devices_for(waiting)
            if devices:
                self.take(waiting, devices)
            elif self._is_to_be_promised(waiting) and self.promises.add(waiting):
                continue
            elif self._promise(waiting):
                return
            else:
                closed.add(key)

    def _promise(self, waiting: Waiting) -> bool:
        if not self.world.settings.promise_head:
            return False
        options = self.capacity.options(waiting)
        start_at = self.capacity.promise(waiting.gpus, options, span_of(waiting))
        if start_at is None:
            return False
        self.head, self.head_start_at = waiting, start_at
        self.allowance.promise(waiting)
        return True

    # promised classes

    def _serve_promised(self) -> None:
        """Start the jobs whose promised time has come, or can be now; promise the others earlier."""
        for job_id in self.starts:
            self.promises.forget(job_id)
        for waiting, devices in self.promises.compress(self.has_room):
            self.take(waiting, devices)

    def _is_to_be_promised(self, waiting: Waiting) -> bool:
        return self.promises.is_promised_class(waiting) and self.promises.has_room()

    def _promise_newcomers(self) -> None:
        """Start, or promise a start to, the jobs of promised classes that come after the head."""
        if self.head is None or not self.promises.promised_classes or not self.promises.has_room():
            return
        classes = self.promises.promised_classes
        lanes = chain.from_iterable(self.servable(LaneClass.ORDINARY).values())
        own = [lane for lane in lanes if lane.key.class_name in classes]
        for looked, (job_id, _, _) in enumerate(self.order.jobs(own)):
            if looked >= SKIPS + self.promises.most or not self.promises.has_room():
                break
            waiting = self._unserved(job_id)
            if waiting is None or waiting is self.head or not self.has_room(waiting):
                continue
            devices = self.devices_for(waiting)
            if devices:
                self.take(waiting, devices)
            elif self._is_to_be_promised(waiting):
                self.promises.add(waiting)

    # backfill

    def _backfill(self) -> None:
        """Start jobs behind the head that delay no promise."""
        if self.head is None or not self.world.settings.backfill:
            return
        capacity = self.capacity
        while capacity.idle or self.can_anybody_join():
            arrangements = capacity.arrangements
            started = self._backfill_once()
            # What found no place while less was taken finds none now, unless promises were moved,
            # a device is shared, or a quota holds only while somebody waits.
            is_plain = capacity.arrangements == arrangements and self.allowance.is_open
            if not started or (is_plain and not self.can_anybody_join()):
                return

    def _backfill_once(self) -> bool:
        """Try each candidate once; whether any was started."""
        capacity, started = self.capacity, False
        refused: dict[tuple[object, ...], int] = {}
        for _, job_id, _, span_ms, lane in self._candidates():
            if span_ms >= refused.get(lane.kind, FOREVER) and not lane.key.gpu_memory_bytes:
                continue
            waiting = self._unserved(JobId(job_id))
            if waiting is None:
                continue
            devices = self.devices_for(waiting)
            if not devices:
                refused[lane.kind] = span_ms
            elif self.has_room(waiting):
                self.take(waiting, devices)
                started = True
                if not (capacity.idle or self.can_anybody_join()):
                    break
        return started

    def can_anybody_join(self) -> bool:
        """Whether a job with a budget waits, and a device is shared that it might join."""
        if not self.capacity.can_join():
            return False
        if self._do_sharers_wait is None:
            kinds = self.servable(LaneClass.ORDINARY)
            self._do_sharers_wait = any(kind.gpu_memory_bytes for kind in kinds)
        return self._do_sharers_wait

    def _candidates(self) -> Iterable[Candidate]:
        """Return jobs that might fit, of the next `backfill_scan` ones, in the order to try them."""
        able: list[tuple[Lane, int]] = []
        most = self.capacity.idle.bit_count()
        for kind, lanes in self.servable(LaneClass.ORDINARY).items():
            if kind.gpus > most and not kind.gpu_memory_bytes:
                continue
            bound_ms = self._open_until(kind) - self.now
            if kind.gpu_memory_bytes:  # which shared device one may join can be up to whose it is
                able += self._able_to_join(lanes, bound_ms)
            else:
                able += [(lane, bound_ms) for lane in lanes if lane.shortest_ms <= bound_ms]
        if not able:
            return ()
        settings = self.world.settings
        taken: set[int] = {*self.starts, *self.promises.ids()}
        if self.head is not None:
            taken.add(self.head.job_id)
        shortest_first = settings.backfill_shortest_first
        return candidates_of(
            self.order, able, settings.backfill_scan, taken, shortest_first=shortest_first
        )

    def _open_until(self, kind: Kind) -> int:
        """Return an instant (ms) beyond which no job of a kind can start now by itself; cheap."""
        capacity = self.capacity
        bounds = [capacity.open_until(kind.gpus, each) for each in capacity.options(kind)]
        return max(bounds, default=self.now)

    def _able_to_join(self, lanes: Collection[Lane], alone_ms: int) -> Iterator[tuple[Lane, int]]:
        """Yield lanes of one kind with a budget that might be served, each with a bound on the span (ms)."""
        bounds_ms: dict[Uid | None, int] = {}
        is_by_person = self.capacity.shared.is_by_person
        for lane in lanes:
            whose = lane.uid if is_by_person else None
            bound_ms = bounds_ms.get(whose)
            if bound_ms is None:
                join_ms = self.capacity.join_until(lane.key, lane.uid) - self.now
                bound_ms = bounds_ms[whose] = max(alone_ms, join_ms)
            if lane.shortest_ms <= bound_ms:
                yield lane, bound_ms

    # stops

    def _stop_preemptible(self) -> bool:
        """Stop preemptible jobs whose devices are promised soon; whether there were any more.

        A job gives back all its devices, which changes what promises need of the others.
        """
        if not self.capacity.stoppable:
            return False
        holders = [
            (self.capacity.box.held_by(holder), holder)
            for holder in self.world.holders
            if holder.preemptible and not holder.stopping
        ]
        holders.sort(key=lambda pair: pair[1].job_id)
        if not holders or not any(self._due_stops(holders)):
            return False
        self.capacity.settle()
        stopped = 0
        for devices, holder, reason in list(self._due_stops(holders)):
            if holder.job_id not in self.stops:
                self.stops[holder.job_id] = Stop(holder.job_id, reason)
                stopped |= devices
        if stopped:
            self.capacity.expect_stop(stopped)
        return bool(stopped)

    def _due_stops(self, holders: list[tuple[int, Holder]]) -> Iterator[tuple[int, Holder, str]]:
        """Yield those whose devices are promised so soon that they have to be stopped now, and why."""
        for needed, from_at, reason in self.needs():
            for devices, holder in holders:
                is_due = _stop_at(holder.grace_s, from_at) <= self.now
                if devices & needed and is_due and holder.job_id not in self.stops:
                    yield devices, holder, reason

    def needs(self) -> Iterator[tuple[int, int, str]]:
        """Yield what promises need: devices, from when on, and whose promise it is in words."""
        for claim, devices, from_at in self.capacity.arrangement.given:
            if claim.reservation_id is not None:
                yield devices, from_at, f"booking {claim.reservation_id} needs its devices"
            elif claim.job_id is not None:
                yield devices, from_at, f"job {claim.job_id} is promised its devices"
            elif self.head is not None:
                yield devices, from_at, f"job {self.head.job_id} is next and needs its devices"
        for devices, blackout in self.capacity.blackouts:
            yield devices, blackout.from_at, "maintenance is announced for its devices"

    def _wake_at(self, filling: Filling | None) -> int | None:
        instants = [self.queue.next_begin_at(self.now), self.allowance.frees_at]
        if filling is not None:
            instants += [*filling.instants(), filling.look_again_at()]
        for booking in self.world.bookings:
            instants += (booking.from_at, booking.until_at)
        graces = {holder.grace_s for holder in self.world.holders if holder.preemptible}
        for job_id in self.starts if filling is not None else ():
            started = self.queue.get(job_id)
            if started is not None and started.preemptible:
                graces.add(started.grace_s)
        for _, from_at, _ in self.needs() if graces else ():
            instants += [_stop_at(grace_s, from_at) for grace_s in graces]
        return min((at for at in instants if at is not None and at > self.now), default=None)

    # bookkeeping

    def _next_of_each_lane(self) -> Iterator[Waiting]:
        """Yield the first ordinary job of each lane that this round has not started."""
        for lane in chain.from_iterable(self.servable(LaneClass.ORDINARY).values()):
            for job_id in lane.ids:
                waiting = self.unstarted(JobId(job_id))
                if waiting is not None:
                    yield waiting
                    break

    def _unserved(self, job_id: JobId) -> Waiting | None:
        """Return the job of a lane unless it was started, or is promised a start."""
        return None if job_id in self.promises else self.unstarted(job_id)

    def unstarted(self, job_id: JobId) -> Waiting | None:
        """Return the job of a lane unless this round has started it."""
        return None if job_id in self.starts else self.queue.get(job_id)

    def take(
        self,
        waiting: Waiting,
        devices: int,
        lease_until_at: int | None = None,
        borrowed: int = 0,
    ) -> None:
        """Start the job on these devices, of which `borrowed` ones are a booking's."""
        span_ms = waiting.grace_s * 1000 if waiting.preemptible else span_of(waiting)
        budget = budget_of(waiting, self.world.settings)
        if budget:
            self.capacity.share(devices, waiting.uid, budget, self.now + span_ms)
        else:
            is_stoppable = waiting.preemptible
            self.capacity.take(devices, self.now + span_ms, is_stoppable=is_stoppable)
        self.allowance.take(waiting)
        box = self.capacity.box
        self.starts[waiting.job_id] = Start(
            waiting.job_id,
            box.uuids_of(devices),
            gpu_memory_bytes=budget,
            lease_until_at=lease_until_at,
            borrowed=box.uuids_of(borrowed),
        )

    def start(
        self, waiting: Waiting, devices: int, reservation_id: ReservationId | None = None
    ) -> None:
        """Start the job on devices that are its own already, or on none."""
        uuids = self.capacity.box.uuids_of(devices)
        self.starts[waiting.job_id] = Start(waiting.job_id, uuids, reservation_id)


def _stop_at(grace_s: int, from_at: int) -> int:
    """Return when a preemptible job must be stopped at the latest to be gone by `from_at` (ms)."""
    return from_at - grace_s * 1000 - STOP_MARGIN_MS
