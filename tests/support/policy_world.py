"""A tiny pure event simulator that drives the policy and applies its plans, for property tests.

It trusts nothing: `apply` asserts that no device is held twice, that only eligible jobs start and
that an unavailable device is never given out.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import combinations

from msgspec.structs import replace

from gpuboard.model.device import DeviceLink, LinkKind
from gpuboard.model.plan import Plan, ReservationRequest
from gpuboard.model.world import (
    Booking,
    DeviceFact,
    Holder,
    PolicySettings,
    Usage,
    Waiting,
    World,
)
from gpuboard.policy.admission import admit
from gpuboard.policy.plan import plan_round
from gpuboard.policy.queue import WaitingQueue
from gpuboard.policy.sharing import charged_parts
from gpuboard.policy.usage import charge


@dataclass
class Arrival:
    """A job that comes at an instant and runs for so long (or until its limit)."""

    waiting: Waiting
    runtime_s: int


@dataclass
class BookingWish:
    """A booking asked for at an instant."""

    at: int
    uid: int
    request: ReservationRequest
    cancelled_at: int | None = None


@dataclass
class Change:
    """Something that happens to the lab: a fault, a repair, a hold, a blackout, a cancellation."""

    at: int
    do: Callable[[Lab], None]


@dataclass
class Lab:
    """The world as it goes on."""

    devices: tuple[DeviceFact, ...]
    links: tuple[DeviceLink, ...] = field(default=(), kw_only=True)
    settings: PolicySettings = field(default_factory=PolicySettings)
    now: int = 0
    queue: WaitingQueue = field(default_factory=WaitingQueue)
    holders: dict[int, Holder] = field(default_factory=dict)
    bookings: dict[int, Booking] = field(default_factory=dict)
    usage: dict[int, Usage] = field(default_factory=dict)
    head: int | None = None
    fill_head: int | None = None
    runtimes: dict[int, int] = field(default_factory=dict)
    waiting: dict[int, Waiting] = field(default_factory=dict)
    started: dict[int, int] = field(default_factory=dict)
    ended: dict[int, int] = field(default_factory=dict)
    held_s: dict[int, float] = field(default_factory=dict)
    refused: int = 0
    promises: tuple = ()
    promises_changed: bool = False
    """Whether a booking came since the last round: only then may the head's promise move."""
    on_plan: list[Callable[[Lab, World, Plan], None]] = field(default_factory=list)

    def world(self) -> World:
        return World(
            devices=self.devices,
            holders=tuple(self.holders.values()),
            bookings=tuple(self.bookings.values()),
            usage=tuple(self.usage.values()),
            usage_at=self.now,
            head=self.head,
            fill_head=self.fill_head,
            promises=self.promises,
            settings=self.settings,
            links=self.links,
        )

    def run(
        self,
        arrivals: list[Arrival],
        wishes: list[BookingWish] = (),
        changes: list[Change] = (),
        max_steps: int = 3000,
    ):
        """Let it all happen; return when nothing is left to happen."""
        agenda: list[tuple[int, int, object]] = []
        for number, arrival in enumerate(arrivals):
            heapq.heappush(agenda, (arrival.waiting.submitted_at, number, arrival))
        for number, wish in enumerate(wishes):
            heapq.heappush(agenda, (wish.at, 10_000 + number, wish))
        for number, change in enumerate(changes):
            heapq.heappush(agenda, (change.at, 20_000 + number, change))
        ends: list[tuple[int, int, int]] = []
        for _ in range(max_steps):
            plan = self.round(ends)
            instants = [agenda[0][0]] if agenda else []
            instants += [ends[0][0]] if ends else []
            instants += [plan.wake_at] if plan.wake_at is not None else []
            if not instants:
                return
            self.advance(min(instants), ends)
            while agenda and agenda[0][0] <= self.now:
                self.happen(heapq.heappop(agenda)[2], agenda)
        raise AssertionError("the lab does not come to rest")

    def happen(self, what: object, agenda: list) -> None:
        if isinstance(what, Arrival):
            self.runtimes[what.waiting.job_id] = what.runtime_s
            left = tuple(needed for needed in what.waiting.depends_on if needed not in self.ended)
            self.waiting[what.waiting.job_id] = replace(what.waiting, depends_on=left)
            self.queue.add(self.waiting[what.waiting.job_id])
        elif isinstance(what, Change):
            what.do(self)
            self.promises_changed = True
        elif isinstance(what, BookingWish):
            answer = admit(self.world(), self.queue, what.request, self.now)
            if not answer.accepted:
                self.refused += 1
                return
            number = len(self.bookings) + len(self.ended) + 100_000 + self.refused + what.at % 7
            while number in self.bookings:
                number += 1
            request = what.request
            self.bookings[number] = Booking(
                number,
                what.uid,
                request.gpus,
                max(request.from_at, self.now),
                request.until_at,
                gpu_uuids=request.gpu_uuids,
                gpu_type=request.gpu_type,
            )
            self.promises_changed = True

    def round(self, ends: list) -> Plan:
        world = self.world()
        plan = plan_round(world, self.queue, self.now)
        for look in self.on_plan:
            look(self, world, plan)
        self.promises_changed = False
        self.apply(plan, ends)
        return plan

    def apply(self, plan: Plan, ends: list) -> None:
        self.head = plan.head
        self.fill_head = plan.fill_head
        self.promises = plan.promises
        facts = {fact.uuid: fact for fact in self.devices}
        for bind in plan.binds:
            booking = self.bookings[bind.reservation_id]
            assert booking.from_at <= self.now < booking.until_at
            self.bookings[bind.reservation_id] = replace(
                booking, devices=(*booking.devices, *bind.devices)
            )
        for start in plan.starts:
            job = self.queue.get(start.job_id)
            assert job is not None, "only a waiting job starts"
            assert not (job.is_held)
            assert not (job.depends_on)
            assert not (job.is_dependency_broken)
            assert job.begin_at is None or job.begin_at <= self.now
            assert len(start.devices) == len(set(start.devices)) == job.gpus
            for uuid in start.devices:
                assert facts[uuid].available, "an unavailable device is never given out"
                assert job.gpu_type.casefold() in facts[uuid].type_name.casefold()
                assert not job.gpu_uuids or uuid in job.gpu_uuids
            if job.nvlink:
                self.check_linked(start.devices)
            if start.reservation_id is not None:
                booking = self.bookings[start.reservation_id]
                assert booking.uid == job.uid
                assert set(start.devices) <= set(booking.devices)
            self.queue.remove(start.job_id)
            self.started[start.job_id] = self.now
            ends_at = self.now + (job.limit_s + job.grace_s) * 1000
            self.holders[start.job_id] = Holder(
                job.job_id,
                job.uid,
                start.devices,
                ends_at,
                started_at=self.now,
                reservation_id=start.reservation_id,
                preemptible=job.preemptible,
                array_id=job.array_id,
                grace_s=job.grace_s,
                gpu_memory_bytes=start.gpu_memory_bytes,
                lease_until_at=start.lease_until_at,
                ran_before_s=job.ran_s,
            )
            runs_ms = min(self.runtimes[job.job_id] * 1000, ends_at - self.now)
            heapq.heappush(ends, (self.now + runs_ms, job.job_id, self.now))
        for stop in plan.stops:
            holder = self.holders[stop.job_id]
            assert holder.preemptible
            assert not holder.stopping
            gone_at = min(holder.ends_at, self.now + holder.grace_s * 1000)
            self.holders[stop.job_id] = replace(holder, stopping=True, ends_at=gone_at)
            heapq.heappush(ends, (gone_at, stop.job_id, holder.started_at))
        self.check_capacity()

    def check_capacity(self) -> None:
        """P1: at most one job, and at most one booking, a device; others keep off booked ones."""
        held: set[str] = set()
        shared: dict[str, list[Holder]] = {}
        for holder in self.holders.values():
            if holder.gpu_memory_bytes:
                shared.setdefault(holder.devices[0], []).append(holder)
                assert len(holder.devices) == 1
                continue
            assert not held & set(holder.devices), "no device is leased twice"
            held |= set(holder.devices)
        assert not held & shared.keys(), "nobody is beside a job that has its device to itself"
        memory = {fact.uuid: fact.memory_bytes for fact in self.devices}
        for uuid, together in shared.items():
            most = memory[uuid] - self.settings.sharing_reserve_bytes
            assert sum(holder.gpu_memory_bytes for holder in together) <= most
            if self.settings.sharing != "all":
                assert len({holder.uid for holder in together}) == 1
        booked: set[str] = set()
        for booking in self.bookings.values():
            assert not booked & set(booking.devices), "no device is booked twice"
            booked |= set(booking.devices)
            for holder in self.holders.values():
                if holder.reservation_id != booking.reservation_id and not holder.preemptible:
                    assert not set(holder.devices) & set(booking.devices)

    def check_linked(self, devices: tuple[str, ...]) -> None:
        """All of them are linked with each other by NVLink."""
        linked = {frozenset((x.a, x.b)) for x in self.links if x.kind is LinkKind.NVLINK}
        for pair in combinations(devices, 2):
            assert frozenset(pair) in linked, f"{pair} are not linked"

    def advance(self, to_at: int, ends: list) -> None:
        self.charge(to_at)
        self.now = max(self.now, to_at)
        while ends and ends[0][0] <= self.now:
            _, job_id, started_at = heapq.heappop(ends)
            holder = self.holders.get(job_id)
            if holder is None or holder.started_at != started_at:
                continue
            del self.holders[job_id]
            if holder.stopping:
                ran_s = (self.now - holder.started_at) // 1000
                self.runtimes[job_id] = max(1, self.runtimes[job_id] - ran_s)
                ran_s += holder.ran_before_s
                self.waiting[job_id] = replace(self.waiting[job_id], ran_s=ran_s)
                self.queue.add(self.waiting[job_id])
                continue
            self.ended[job_id] = self.now
            for other in list(self.queue):
                if job_id in other.depends_on:
                    left = tuple(needed for needed in other.depends_on if needed != job_id)
                    self.waiting[other.job_id] = replace(other, depends_on=left)
                    self.queue.add(self.waiting[other.job_id])
        for number in [n for n, b in self.bookings.items() if b.until_at <= self.now]:
            del self.bookings[number]

    def set_available(self, number: int, available: bool) -> None:
        """Lose a device, or have it back; what runs on it goes on."""
        facts = list(self.devices)
        facts[number] = replace(facts[number], available=available)
        self.devices = tuple(facts)

    def set_held(self, job_id: int, is_held: bool) -> None:
        """Hold a waiting job, or release it."""
        waiting = self.queue.get(job_id)
        if waiting is not None:
            self.queue.add(replace(waiting, is_held=is_held))

    def charge(self, to_at: int) -> None:
        held: dict[int, float] = {}
        for holder, devices in charged_parts(self.holders.values()):
            held[holder.uid] = held.get(holder.uid, 0) + devices
        for uid in held.keys() | self.usage.keys():
            before = self.usage.get(uid) or Usage(uid, 0.0)
            self.usage[uid] = replace(
                before,
                device_seconds=charge(
                    before.device_seconds,
                    held.get(uid, 0),
                    self.now,
                    to_at,
                    self.settings.half_life_s,
                ),
            )
