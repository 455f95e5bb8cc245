"""The waiting jobs, kept so that a decision over 100,000 of them costs what one over ten costs.

Jobs that could start are in *lanes* (see `policy.lanes`): one first-in-first-out line for each person
and kind of request. A heap over the first jobs of people, and then of their lanes, gives the serving
order. Held jobs, and those whose dependency or begin time has not come, are kept apart.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, insort
from collections.abc import Container, Iterable, Iterator, Sequence
from functools import cached_property

from gpuboard.model.ids import JobId, Uid
from gpuboard.model.world import Waiting, World
from gpuboard.policy.lanes import (
    Kind,
    Lane,
    LaneClass,
    LaneIndex,
    LaneKey,
    Own,
    Payer,
    lane_class,
    lane_key,
)
from gpuboard.policy.profile import FOREVER
from gpuboard.policy.usage import FairShare, virtual_lead_ms

_Entry = tuple[int, int, int, int, Lane | Own]
"""What comes next of a lane: what it is served by (ms), its job, its place in the lane, the lead, the
lane. Or all lanes of a person, none of which has a job before that (ms): then -1, and a number."""


def is_parked(waiting: Waiting) -> bool:
    """Whether only an event can make the job eligible: a release, or the end of another job."""
    return waiting.is_held or waiting.is_dependency_broken or bool(waiting.depends_on)


class WaitingQueue:
    """All waiting jobs. Changed job by job; asked by every decision."""

    def __init__(self, waiting: Iterable[Waiting] = ()) -> None:
        self._mark = object()
        self._jobs: dict[JobId, Waiting] = {}
        self._lanes = {kind: LaneIndex() for kind in LaneClass}
        self._timed: list[tuple[int, JobId]] = []
        """(begin_at, job) of jobs that wait for nothing but their begin time; ascending."""
        self._parked: list[JobId] = []
        """Jobs that only an event can make eligible; ascending."""
        self._per_person: dict[Uid, int] = {}
        self._per_account: dict[str, int] = {}
        self._begun_until = -FOREVER
        """Begin times up to here (ms) have come: those jobs are in their lanes."""
        for job in waiting:
            self.add(job)

    def __len__(self) -> int:
        return len(self._jobs)

    def __contains__(self, job_id: object) -> bool:
        return job_id in self._jobs

    def __iter__(self) -> Iterator[Waiting]:
        return iter(self._jobs.values())

    def add(self, waiting: Waiting) -> None:
        """Add a job, or replace what is known of it."""
        self.remove(waiting.job_id)
        self._jobs[waiting.job_id] = waiting
        self._per_person[waiting.uid] = self._per_person.get(waiting.uid, 0) + 1
        if waiting.account:
            known = self._per_account.get(waiting.account, 0)
            self._per_account[waiting.account] = known + 1
        if is_parked(waiting):
            insort(self._parked, waiting.job_id)
            return
        if waiting.begin_at is not None:
            insort(self._timed, (waiting.begin_at, waiting.job_id))
        else:
            self._enter(waiting)

    def remove(self, job_id: JobId) -> None:
        """Take a job out; one that is not there is no error."""
        waiting = self._jobs.pop(job_id, None)
        if waiting is None:
            return
        self._per_person[waiting.uid] -= 1
        if not self._per_person[waiting.uid]:
            del self._per_person[waiting.uid]
        if waiting.account:
            self._per_account[waiting.account] -= 1
        if is_parked(waiting):
            del self._parked[bisect_left(self._parked, job_id)]
            return
        if waiting.begin_at is not None:
            entry = (waiting.begin_at, job_id)
            place = bisect_left(self._timed, entry)
            if place < len(self._timed) and self._timed[place] == entry:
                del self._timed[place]
                return
        key = lane_key(waiting)
        self._lanes[lane_class(key)].remove(waiting, key, self._mark)

    def get(self, job_id: JobId) -> Waiting | None:
        """Return a waiting job, or None when it does not wait."""
        return self._jobs.get(job_id)

    def jobs_of(self, uid: Uid) -> int:
        """Return how many jobs of a person wait, held ones included."""
        return self._per_person.get(uid, 0)

    def jobs_of_account(self, account: str) -> int:
        """Return how many jobs wait that are charged to this very group, held ones included."""
        return self._per_account.get(account, 0)

    def people(self) -> Iterable[Uid]:
        """Return the people with a waiting job."""
        return self._per_person.keys()

    def snapshot(self) -> WaitingQueue:
        """Return a copy that later changes of this queue do not touch.

        Lanes are shared until either side changes one, so a copy costs little more than its index.
        """
        twin = WaitingQueue()
        twin._jobs = self._jobs.copy()
        twin._lanes = {kind: lanes.copy() for kind, lanes in self._lanes.items()}
        self._mark = object()
        twin._timed = self._timed.copy()
        twin._parked = self._parked.copy()
        twin._per_person = self._per_person.copy()
        twin._per_account = self._per_account.copy()
        twin._begun_until = self._begun_until
        return twin

    def next_begin_at(self, now: int) -> int | None:
        """Return the next begin time after `now` (ms) that some job waits for."""
        place = bisect_left(self._timed, (now + 1, JobId(0)))
        return self._timed[place][0] if place < len(self._timed) else None

    def is_eligible(self, job_id: JobId, now: int) -> bool:
        """Whether the job may start as far as it itself is concerned."""
        waiting = self._jobs.get(job_id)
        return (
            waiting is not None
            and not is_parked(waiting)
            and (waiting.begin_at is None or waiting.begin_at <= now)
        )

    def resting(self, uid: Uid | None = None) -> Sequence[JobId]:
        """Return the jobs (of one person) that wait for something else than devices.

        Those whose begin time is to come, soonest first; then the held and the dependent, oldest first.
        """
        ids = [*(job_id for _, job_id in self._timed), *self._parked]
        return ids if uid is None else [i for i in ids if self._jobs[i].uid == uid]

    def lanes(self, now: int, kind: LaneClass) -> LaneIndex:
        """Return the lanes of one class of jobs eligible at `now`. Not to be changed by the caller.

        Jobs whose begin time has come move into their lanes here, once; should the clock go back,
        they move out again, so the answer depends on the jobs and `now` alone.
        """
        if now < self._begun_until:
            begun = [job for job in self._jobs.values() if job.begin_at is not None]
            for job in begun:
                self.remove(job.job_id)
            self._begun_until = now
            for job in begun:
                self.add(job)
        self._begun_until = now
        if self._timed and self._timed[0][0] <= now:
            come = bisect_left(self._timed, (now + 1, JobId(0)))
            for _, job_id in self._timed[:come]:
                waiting = self._jobs[job_id]
                self._enter(waiting)
            del self._timed[:come]
        return self._lanes[kind]

    def serving_order(self, world: World, now: int, limit: int | None = None) -> list[JobId]:
        """Return the eligible jobs in the order in which they would be served, the head first.

        Jobs without devices come first, since they wait for nobody; preemptible ones last.
        """
        order = ServingOrder(world)
        head = world.head if world.head is not None and self.is_eligible(world.head, now) else None
        ids: list[JobId] = [head] if head is not None else []
        for kind in (LaneClass.DEVICELESS, LaneClass.ORDINARY, LaneClass.PREEMPTIBLE):
            for job_id, _, _ in order.jobs(self.lanes(now, kind)):
                if limit is not None and len(ids) >= limit:
                    return ids[:limit]
                if job_id != head:
                    ids.append(job_id)
        return ids if limit is None else ids[:limit]

    def _enter(self, waiting: Waiting) -> None:
        """Put a job that may start into its lane."""
        key = lane_key(waiting)
        self._lanes[lane_class(key)].add(waiting, key, self._mark)


class ServingOrder:
    """Virtual submit time: `submitted_at - D * F_u - B_class`, ascending; then the job's number.

    Like Slurm's multifactor priority while waits are short, but its age term never saturates: a
    job is passed only by jobs submitted less than D (and what their class has more of B) after it,
    so nobody starves.
    """

    def __init__(self, world: World) -> None:
        self._settings = world.settings
        self._usage = world.usage
        self._leads: dict[Payer, int] = {}

    @cached_property
    def share(self) -> FairShare:
        """Everybody's fair share. Made when it is asked for: where nobody has to wait none is."""
        return FairShare(self._usage, self._settings)

    def lead_ms(self, uid: Uid, account: str = "", class_name: str = "") -> int:
        """Return `D * F_u + B_class` in ms."""
        which = (uid, account, class_name)
        lead = self._leads.get(which)
        if lead is None:
            job_class = self._settings.classes.get(class_name) if class_name else None
            boost_s = job_class.boost_s if job_class else 0
            factor = self.share.factor(uid, account)
            lead = self._leads[which] = virtual_lead_ms(factor, boost_s, self._settings)
        return lead

    def key(self, waiting: Waiting) -> tuple[int, JobId]:
        """Return what jobs are served by, smallest first."""
        lead = self.lead_ms(waiting.uid, waiting.account, waiting.class_name)
        return self.counted(waiting.submitted_at) - lead, waiting.job_id

    def jobs(
        self, lanes: Iterable[Lane], closed: Container[LaneKey] = ()
    ) -> Iterator[tuple[JobId, int, LaneKey]]:
        """Yield the jobs of some lanes in serving order, each with its span (ms) and its lane.

        A lane that the caller adds to `closed` on the way yields no more.
        """
        return self._merged([self._first(lane, self.lead_of(lane.payer)) for lane in lanes], closed)

    def jobs_of_kinds(
        self, index: LaneIndex, kinds: Container[Kind], closed: Container[LaneKey] = ()
    ) -> Iterator[tuple[JobId, int, LaneKey]]:
        """Yield as `jobs` does those of the lanes of some kinds, a person's looked at when their turn comes."""
        counted, leads, heap = self.counted, self._leads, list[_Entry]()
        for number, (payer, own) in enumerate(index.by_payer.items()):
            lead = leads.get(payer)
            if lead is None:
                lead = self.lead_ms(*payer)
            heap.append((counted(own.first_at) - lead, -1, number, lead, own))
        return self._merged(heap, closed, kinds)

    def _merged(
        self, heap: list[_Entry], closed: Container[LaneKey], kinds: Container[Kind] = ()
    ) -> Iterator[tuple[JobId, int, LaneKey]]:
        heapq.heapify(heap)
        counted = self.counted
        while heap:
            _, job_id, place, lead, lane = heap[0]
            if isinstance(lane, Own):
                heapq.heappop(heap)
                for each in lane.lanes.values():
                    if each.kind in kinds:
                        heapq.heappush(heap, self._first(each, lead))
                continue
            key = lane.key
            if key in closed:
                heapq.heappop(heap)
                continue
            yield JobId(job_id), lane.spans_ms[place], key
            place += 1
            if place < len(lane.ids):
                key_at = counted(lane.submitted_at[place]) - lead
                heapq.heapreplace(heap, (key_at, lane.ids[place], place, lead, lane))
            else:
                heapq.heappop(heap)

    def _first(self, lane: Lane, lead: int) -> _Entry:
        return self.counted(lane.submitted_at[0]) - lead, lane.ids[0], 0, lead, lane

    def lead_of(self, payer: Payer) -> int:
        """Return the lead of a payer, remembered."""
        lead = self._leads.get(payer)
        return self.lead_ms(*payer) if lead is None else lead

    def counted(self, submitted_at: int) -> int:
        """Return when a job counts as submitted (ms), its lead aside."""
        return submitted_at

    def count_before(self, lanes: Iterable[Lane], waiting: Waiting) -> dict[LaneKey, int]:
        """Return how many jobs of each lane are served before this one (those with any)."""
        own_key, own_id = self.key(waiting)
        before: dict[LaneKey, int] = {}
        for lane in lanes:
            place = lane.place_of(own_key + self.lead_of(lane.payer), own_id)
            if place:
                before[lane.key] = place
        return before
