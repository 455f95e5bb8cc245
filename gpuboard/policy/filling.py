"""Filling: preemptible jobs take what others leave, in turns where there are leases.

They run on devices that no promise needs within the next minute, and on booked ones that nobody uses.
The first that does not fit becomes their own head: from then on others start beside it only on
devices that it will not need, or for so long as it has to wait. Without leases they are served in the
queue's order; with leases whoever had the least comes first, and jobs whose lease is over are stopped
for it (`policy.givingway`).

Nothing here may delay an ordinary job or a booking; the preemptible head is told a time, not promised
one, since those come before it.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce
from itertools import chain
from operator import or_
from typing import TYPE_CHECKING

from gpuboard.model.ids import JobId
from gpuboard.model.world import Waiting
from gpuboard.policy.candidates import candidates_of
from gpuboard.policy.capacity import PREEMPTIBLE_LEAST_MS
from gpuboard.policy.givingway import LEAST_MS, GivingWay, Tenure, Turn, fewest
from gpuboard.policy.lanes import Kind, Lane, LaneClass, LaneKey, span_of
from gpuboard.policy.leases import LeaseRules
from gpuboard.policy.profile import FOREVER, OVERDUE_MS
from gpuboard.policy.topology import take_lowest
from gpuboard.policy.turns import Like, Place, TurnOrder

if TYPE_CHECKING:
    from gpuboard.policy.plan import Round

HEAD_TRIES = 16
"""At most so many kinds of jobs are looked at for one that could be next, under leases."""
LOOKS_PER_LEASE = 4
"""While somebody waits, it is looked so often a lease whose turn it is."""


class Filling:
    """Serves preemptible jobs in one round of planning."""

    def __init__(self, round_: Round) -> None:
        self._round = round_
        self._now = round_.now
        self._capacity = round_.capacity
        self.rules = LeaseRules(round_.world, round_.now)
        self._way = GivingWay(round_, self.rules)
        self.head: Waiting | None = None
        self.head_start_at: int | None = None
        """When its devices should be free by leases and limits (ms)."""
        self._reserved = 0
        self._claimed = 0
        """Devices kept for jobs for which others are being stopped."""
        self._given: list[tuple[int, int]] = []
        """(devices, free again at) of what this round started."""
        self._instants: set[int] = set()
        self._turn_order: TurnOrder | None = None
        self._no_place: set[Place] = set()
        """Of jobs that found no devices, free or about to be."""
        self._no_way: set[Like] = set()
        """Those to whom nobody gave way."""
        self._no_head: set[Like] = set()
        """Those who could not be next."""

    def serve(self) -> None:
        """Start preemptible jobs, and stop others for them. May be asked again in the same round."""
        head_id = self._round.world.fill_head
        while True:
            # As the next round will see it, so that it has nothing left to do: promises were laid out
            # beside those known before them, what a stop leaves over may be enough for another, and what
            # a lease gives its owner may make it another's turn.
            self._capacity.settle()
            known = len(self._round.stops), len(self._round.starts)
            self._serve_all(head_id)
            if known == (len(self._round.stops), len(self._round.starts)):
                return
            head_id = self.head.job_id if self.head else None

    def _serve_all(self, head_id: JobId | None) -> None:
        self._claimed = self._reserved = 0
        self._no_place.clear()
        self._no_way.clear()
        self._no_head.clear()
        self.head = self.head_start_at = None
        self._way.take_stock()
        if head_id is not None:
            self._keep_head(head_id)
        if self.rules.lease_ms:
            for waiting, like in self._by_turns():
                self._serve_turn(waiting, like)
        else:
            for waiting in self._in_order():
                self._serve(waiting)

    def instants(self) -> Iterator[int]:
        """Yield when (ms) the plan should be made again though nothing happens."""
        yield from self._instants
        yield from self._way.instants

    # who is next

    def _in_order(self) -> Iterator[Waiting]:
        """Yield jobs in the queue's order: of each kind until one is refused, then those beside the head."""
        closed: set[LaneKey] = set()
        refused: set[tuple[object, ...]] = set()
        jobs = self._round.in_order(LaneClass.PREEMPTIBLE, closed)
        for job_id, _, key in jobs if self.head is None else ():
            waiting = self._round.unstarted(job_id)
            if waiting is None:
                continue
            kind = (key.kind, waiting.grace_s)
            if kind not in refused and self._round.has_room(waiting):
                yield waiting
                if self.head is not None:
                    break
                if job_id in self._round.starts:
                    continue
                refused.add(kind)
            closed.add(key)
        if self.head is not None:
            yield from self._beside_head()

    def _beside_head(self) -> Iterator[Waiting]:
        """Yield jobs in the queue's order that might run beside the head, of the next `backfill_scan` ones."""
        able: list[tuple[Lane, int]] = []
        for asks, lanes in self._round.servable(LaneClass.PREEMPTIBLE).items():
            bound_ms = self._open_until(asks) - self._now
            able += [(lane, bound_ms) for lane in lanes if lane.shortest_ms <= bound_ms]
        refused: dict[tuple[object, ...], int] = {}
        looks = self._round.world.settings.backfill_scan
        for _, job_id, _, span_ms, lane in candidates_of(self._round.order, able, looks):
            if not self._is_open():
                return
            waiting = self._find(JobId(job_id))
            if waiting is None or not self._round.has_room(waiting):
                continue
            kind = (lane.kind, waiting.grace_s)
            if span_ms < refused.get(kind, FOREVER) or waiting.gpu_memory_bytes:
                yield waiting
                if waiting.job_id not in self._round.starts:
                    refused[kind] = span_ms

    def _open_until(self, kind: Kind) -> int:
        """Return an instant (ms) beyond which no job of a kind can start, or claim devices; cheap."""
        if kind.gpu_memory_bytes and self._round.can_anybody_join():
            return FOREVER
        options, lendable = self._capacity.options(kind), self._lendable()
        pool = (self._capacity.idle | self._way.coming | lendable) & ~self._claimed
        beside = pool & (lendable | ~self._reserved)  # what is lent is not the head's yet
        if any((beside & option).bit_count() >= kind.gpus for option in options):
            return FOREVER
        needs_head = any((pool & option).bit_count() >= kind.gpus for option in options)
        return self.head_start_at or self._now if needs_head else self._now

    def _by_turns(self) -> Iterator[tuple[Waiting, Like]]:
        """Yield jobs by who had the least, those left out of which nothing can come."""
        if self._turn_order is None:
            lanes = chain.from_iterable(self._round.servable(LaneClass.PREEMPTIBLE).values())
            self._turn_order = TurnOrder(lanes, self.rules, self._round.unstarted)
        for waiting, like in self._turn_order.jobs(self._is_passed_over):
            if not self._is_open():
                return
            if self._round.has_room(waiting):
                yield waiting, like

    def _is_passed_over(self, waiting: Waiting, like: Like) -> bool:
        is_served = waiting is self.head or waiting.job_id in self._round.starts
        return is_served or self._is_hopeless(waiting, like)

    def _find(self, job_id: JobId) -> Waiting | None:
        waiting = self._round.unstarted(job_id)
        return None if waiting is self.head else waiting

    def _is_hopeless(self, waiting: Waiting, like: Like) -> bool:
        """Whether one like it was refused whatever it was offered."""
        if like[2] not in self._no_place:
            return False
        may_be_head = self.head is None and like not in self._no_head
        if may_be_head and len(self._no_head) < HEAD_TRIES:
            return False
        return like in self._no_way or not self._way.may_gain(waiting)

    def _is_open(self) -> bool:
        """Whether another job could start, be given way to, or become head."""
        capacity = self._capacity
        if self.head is None or capacity.idle & ~self._claimed or self._round.can_anybody_join():
            return True
        return bool(self.rules.lease_ms and self._way.turns) or bool(self._lendable())

    # one job

    def _serve(self, waiting: Waiting) -> None:
        if not self._start_now(waiting) and not self._claim_coming(waiting) and not self.head:
            self._be_head(waiting)

    def _serve_turn(self, waiting: Waiting, like: Like) -> None:
        """Serve a job whose turn it is; what is refused to it is not tried again for those like it."""
        place = like[2]
        if place not in self._no_place:
            if self._start_now(waiting) or self._claim_coming(waiting):
                return
            if not waiting.gpu_memory_bytes:  # whether one may join others is up to whose they are
                self._no_place.add(place)
        if like not in self._no_way and self._way.may_gain(waiting):
            if self._make_way(waiting):
                return
            self._no_way.add(like)
        if self.head is None and like not in self._no_head and len(self._no_head) < HEAD_TRIES:
            self._be_head(waiting)
            self._no_head.add(like)

    def _start_now(self, waiting: Waiting) -> bool:
        """Start the job on what is free, beside the head."""
        if self._way.is_clearing:
            return False
        shared = self._round.device_to_join(waiting) if waiting.gpu_memory_bytes else 0
        if shared:
            self._round.take(waiting, shared)
            return True
        devices = self._free_for(waiting, ~self._claimed & ~self._reserved)
        let_until_at = None
        if not devices and self._reserved:
            let_until_at = self._let_until(waiting)
            if let_until_at is not None:
                devices = self._free_for(waiting, ~self._claimed)
        if not devices or not self._capacity.outlasts(devices, waiting.grace_s * 1000):
            return False
        self._take(waiting, devices, let_until_at)
        return True

    def _let_until(self, waiting: Waiting) -> int | None:
        """Return how long (ms) the head's devices could be the job's; None: not long enough."""
        if self.head_start_at is None:
            return None
        until_at = self.head_start_at - waiting.grace_s * 1000
        if self.rules.lease_ms:
            return until_at if until_at - self._now >= PREEMPTIBLE_LEAST_MS else None
        return until_at if self._now + span_of(waiting) <= self.head_start_at else None

    def _kept_from(self, waiting: Waiting) -> int:
        """Return the devices that are kept for the head, unless the job could go before its time."""
        if waiting is self.head or self._let_until(waiting) is not None:
            return 0
        return self._reserved

    def _free_for(self, waiting: Waiting, among: int) -> int:
        """Return idle devices for the job, with booked unused ones where they do not suffice, or 0."""
        round_, capacity = self._round, self._capacity
        options = capacity.options(waiting)
        found = [round_.devices_among(waiting, option & among) for option in options]
        found = [devices for devices in found if devices]
        if found:
            return capacity.box.best_of(found, capacity.idle)
        until_at = self._now + waiting.grace_s * 1000 + LEAST_MS
        lendable = self._lendable(until_at) & ~self._claimed
        if not lendable:
            return 0
        idle = self._idle_for(waiting) & among
        for needed, from_at, _ in round_.needs():
            lendable &= ~needed if from_at < until_at else lendable
        for option in options:
            pool = (idle | lendable) & option
            if pool.bit_count() >= waiting.gpus:
                return capacity.box.choose(pool, waiting.gpus, idle, pool)
        return 0

    def _idle_for(self, waiting: Waiting) -> int:
        """Return idle devices on which the job could stay for a minute at least."""
        until_at = self._now + waiting.grace_s * 1000 + LEAST_MS
        profile = self._capacity.arrangement.profile
        return self._capacity.idle & profile.free_throughout(self._now, until_at)

    def _lendable(self, until_at: int = 0) -> int:
        """Return devices booked until then or longer, unused, and no job of the owner waiting for them."""
        capacity = self._capacity
        lendable = 0
        for booking in capacity.bookings:
            is_wanted = booking.reservation_id in self._round.wanted_bookings
            if booking.until_at >= until_at and not is_wanted:
                lendable |= capacity.bound_to(booking)
        return lendable & capacity.box.available & ~capacity.held

    def _take(self, waiting: Waiting, devices: int, let_until_at: int | None = None) -> None:
        lease_until_at = None
        grace_ms = waiting.grace_s * 1000
        free_at = self._now + span_of(waiting)
        if self.rules.lease_ms:
            lease_until_at = min(self._now + self.rules.lease_ms, let_until_at or FOREVER)
            free_at = min(free_at, lease_until_at + grace_ms)
            self.rules.grant(waiting.uid, waiting.gpus, lease_until_at)
            self._way.set_hurdles()
            self._no_way.clear()
            self._instants.add(lease_until_at)
        borrowed = devices & self._capacity.bound
        self._given.append((devices, free_at))
        self._round.take(waiting, devices, lease_until_at, borrowed)

    # giving way

    def _claim_coming(self, waiting: Waiting) -> bool:
        """Keep devices that are about to be free for the job, for which others were stopped."""
        chosen = self._choose_coming(waiting, self._way.coming)
        if chosen:
            self._claim(waiting, chosen)
        return bool(chosen)

    def _claim(self, waiting: Waiting, devices: int) -> None:
        """Keep devices for the job. It is next, so that the following round serves it first too."""
        self._claimed |= devices
        if self.head is None:
            self.head, self.head_start_at = waiting, self._way.coming_at

    def _choose_coming(self, waiting: Waiting, coming: int) -> int:
        """Return devices of those free and those about to be, or 0 when they do not suffice."""
        idle = self._idle_for(waiting)
        usable = (idle | coming) & ~self._claimed & ~self._kept_from(waiting)
        if not usable & coming:
            return 0
        for option in self._capacity.options(waiting):
            pool = usable & option
            if pool.bit_count() >= waiting.gpus:
                chosen = take_lowest(pool & idle, waiting.gpus)
                return chosen | take_lowest(pool & ~idle, waiting.gpus - chosen.bit_count())
        return 0

    def _make_way(self, waiting: Waiting) -> bool:
        """Stop jobs that give way to this one, the fewest devices of them; whether that does."""
        kept = self._kept_from(waiting)
        able = self._way.able(waiting, kept | self._claimed)
        if not able:
            return False
        idle = self._idle_for(waiting)
        for option in self._capacity.options(waiting):
            free = (idle | self._way.coming) & option
            free &= ~self._claimed & ~kept
            chosen = fewest(able, option, waiting.gpus - free.bit_count())
            if chosen and not self._would_serve_head(chosen):
                for turn in chosen:
                    self._stop(turn, waiting)
                self._claim(waiting, self._choose_coming(waiting, self._way.coming))
                return True
        return False

    def _would_serve_head(self, turns: list[Turn]) -> bool:
        """Whether the head would take what these leave, so that they would be stopped in vain."""
        if self.head is None or self._claimed:
            return False
        left = reduce(or_, (turn.devices for turn in turns))
        return bool(self._choose_coming(self.head, self._way.coming | left))

    def _stop(self, turn: Turn, waiting: Waiting) -> None:
        """Stop a job for the waiting one; what was refused to others is to be tried again."""
        self._way.stop(turn, waiting)
        self._no_place.clear()
        self._no_way.clear()

    # the head of preemptible jobs

    def _keep_head(self, head_id: JobId) -> None:
        """Serve the head of the last round first."""
        head = self._round.unstarted(head_id)
        if head is None or not head.preemptible or not head.gpus:
            return
        if not self._round.queue.is_eligible(head_id, self._now) or not self._round.has_room(head):
            return
        if not self._start_now(head) and not self._claim_coming(head):
            self._be_head(head)

    def _be_head(self, waiting: Waiting) -> None:
        """Let the job be next: keep for it what is free first by leases and limits.

        Where there are leases, only one that gets its devices within one: others wait their turn.
        """
        if not self._round.world.settings.promise_head:
            return
        tenures = [Tenure(devices, free_at) for devices, free_at in self._given]
        tenures += self._way.tenures(waiting)
        profile = self._capacity.arrangement.profile
        instants = sorted({*(tenure.free_at for tenure in tenures), *profile.times, self._now})
        options = self._capacity.options(waiting)
        soon_at = self._now + self.rules.lease_ms + waiting.grace_s * 1000
        for at in instants:
            if self.rules.lease_ms and at > soon_at:
                return
            held = 0
            for tenure in tenures:
                held |= tenure.devices if tenure.free_at > at else 0
            free = profile.free_throughout(at, at + LEAST_MS + waiting.grace_s * 1000) & ~held
            pools = [free & option for option in options]
            pool = next((some for some in pools if some.bit_count() >= waiting.gpus), 0)
            if pool:
                self._reserve(waiting, at, pool, tenures)
                return

    def _reserve(self, head: Waiting, at: int, pool: int, tenures: list[Tenure]) -> None:
        """Keep devices for the head from `at` on; stop in time those whose lease is over then."""
        late = 0
        for tenure in tenures:
            late |= tenure.devices
        chosen = take_lowest(pool & late, head.gpus)
        chosen |= take_lowest(pool & ~late, head.gpus - chosen.bit_count())
        self.head, self.head_start_at, self._reserved = head, at, chosen
        self._instants.add(at)
        for tenure in tenures:
            if tenure.turn is None or not tenure.devices & chosen:
                continue
            needed_at = at - tenure.turn.holder.grace_s * 1000 - OVERDUE_MS
            stop_at = max(tenure.way_at, needed_at)
            if stop_at <= self._now:
                self._stop(tenure.turn, head)
            else:
                self._instants.add(stop_at)

    def look_again_at(self) -> int | None:
        """Return when (ms) to look again whose turn it is; None where nobody waits for one."""
        if not self.rules.lease_ms or not self._way.turns:
            return None
        if self._given or self._round.stops:
            return self._now + 1000  # what was granted counts as had: it may be another's turn now
        ends = [self.rules.safe_until(turn.holder) for turn in self._way.turns]
        if min(ends) <= self._now:
            return self._now + max(1000, self.rules.lease_ms // LOOKS_PER_LEASE)
        return min(ends)
