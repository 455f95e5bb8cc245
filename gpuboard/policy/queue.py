"""The waiting jobs, kept so that a decision over 100,000 of them costs what one over ten costs.

Jobs that could start are in *lanes*: one first-in-first-out line for each person and kind of
request (number and kind of devices, and the array where one is limited). All jobs of a lane need
the same devices, so a lane that cannot be served is passed over as a whole; a heap over the heads
of the lanes gives the serving order. Held jobs, and those whose dependency or begin time has not
come, are kept apart.
"""

from __future__ import annotations

import heapq
from array import array
from bisect import bisect_left, bisect_right, insort
from collections.abc import Collection, Container, Iterable, Iterator, Sequence
from enum import StrEnum
from typing import NamedTuple

from gpuboard.model.ids import DeviceUuid, JobId, Uid
from gpuboard.model.world import Waiting, World
from gpuboard.policy.profile import FOREVER
from gpuboard.policy.usage import FairShare, virtual_lead_ms


class LaneKey(NamedTuple):
    """What all jobs of a lane have in common."""

    uid: Uid
    gpus: int
    gpu_uuids: tuple[DeviceUuid, ...]
    gpu_type: str
    preemptible: bool
    array_id: JobId | None
    """Only for an array with a limit of jobs running at once."""
    account: str = ""
    class_name: str = ""
    gpu_memory_bytes: int = 0
    nvlink: bool = False

    @property
    def kind(self) -> tuple[int, tuple[DeviceUuid, ...], str, int, bool]:
        """Return what says which devices would do: two lanes of a kind are served by the same ones."""
        return self.gpus, self.gpu_uuids, self.gpu_type, self.gpu_memory_bytes, self.nvlink


class LaneClass(StrEnum):
    """How the jobs of a lane are served. Of strings, since those hash faster than an Enum's."""

    ORDINARY = "ordinary"
    PREEMPTIBLE = "preemptible"
    """They take what ordinary jobs leave."""
    DEVICELESS = "deviceless"
    """They take nothing from anybody."""


class Lane:
    """One first-in-first-out line of jobs that need the same devices.

    The line is arrays of the same length rather than a list of jobs: a scan over many lanes is
    bound by how much memory it touches.
    """

    __slots__ = (
        "expected_s",
        "ids",
        "key",
        "kind",
        "limits",
        "owner",
        "payer",
        "shortest_ms",
        "spans_ms",
        "submitted_at",
    )

    def __init__(self, key: LaneKey, owner: object) -> None:
        self.key = key
        self.kind = key.kind
        self.payer = (key.uid, key.account, key.class_name)
        """What its lead over the submission goes by."""
        self.owner = owner
        """The mark of the one queue that may change it; any other copies it first."""
        self.submitted_at = array("q")
        """Submissions (ms), ascending."""
        self.ids = array("q")
        """The jobs, ascending where submitted at the same instant."""
        self.spans_ms = array("q")
        """Their limits plus grace."""
        self.expected_s = array("q")
        """How long they are predicted to take, or their limits."""
        self.limits: dict[int, int] = {}
        """How many jobs have this limit plus grace (ms)."""
        self.shortest_ms = FOREVER
        """The smallest of these."""

    def __len__(self) -> int:
        return len(self.ids)

    def copy_for(self, owner: object) -> Lane:
        """Return a copy that another queue may change."""
        twin = Lane(self.key, owner)
        twin.submitted_at = self.submitted_at[:]
        twin.ids = self.ids[:]
        twin.spans_ms = self.spans_ms[:]
        twin.expected_s = self.expected_s[:]
        twin.limits = self.limits.copy()
        twin.shortest_ms = self.shortest_ms
        return twin

    def add(self, waiting: Waiting) -> None:
        """Put a job in its place."""
        span_ms = span_of(waiting)
        place = self.place_of(waiting.submitted_at, waiting.job_id)
        self.submitted_at.insert(place, waiting.submitted_at)
        self.ids.insert(place, waiting.job_id)
        self.spans_ms.insert(place, span_ms)
        predicted_s = waiting.predicted_s
        self.expected_s.insert(place, waiting.limit_s if predicted_s is None else predicted_s)
        self.limits[span_ms] = self.limits.get(span_ms, 0) + 1
        self.shortest_ms = min(self.shortest_ms, span_ms)

    def remove(self, waiting: Waiting) -> None:
        """Take a job out."""
        place = self.place_of(waiting.submitted_at, waiting.job_id)
        del self.submitted_at[place], self.ids[place], self.spans_ms[place]
        del self.expected_s[place]
        span_ms = span_of(waiting)
        left = self.limits[span_ms] - 1
        if left:
            self.limits[span_ms] = left
        else:
            del self.limits[span_ms]
            if span_ms == self.shortest_ms:
                self.shortest_ms = min(self.limits, default=FOREVER)

    def place_of(self, submitted_at: int, job_id: JobId) -> int:
        """Return how many jobs of the lane come before such a one."""
        low = bisect_left(self.submitted_at, submitted_at)
        high = bisect_right(self.submitted_at, submitted_at, low)
        return bisect_left(self.ids, job_id, low, high)


Candidate = tuple[int, int, int, int, Lane]
"""A job found by a scan: what it is served by (ms, smallest first), its number, how long it should
take (s), its limit plus grace (ms), and its lane. No NamedTuple: making those takes four times as
long, and a scan makes up to a thousand."""


def lane_class(key: LaneKey) -> LaneClass:
    """Return how the jobs of such a lane are served."""
    if not key.gpus:
        return LaneClass.DEVICELESS
    return LaneClass.PREEMPTIBLE if key.preemptible else LaneClass.ORDINARY


def span_of(waiting: Waiting) -> int:
    """Return how long the job may hold its devices (ms): limit plus grace."""
    return (waiting.limit_s + waiting.grace_s) * 1000


def lane_key(waiting: Waiting) -> LaneKey:
    """Return the lane to which a job belongs."""
    return LaneKey(
        waiting.uid,
        waiting.gpus,
        tuple(sorted(waiting.gpu_uuids)),
        waiting.gpu_type,
        waiting.preemptible,
        waiting.array_id if waiting.array_limit is not None else None,
        waiting.account,
        waiting.class_name,
        waiting.gpu_memory_bytes,
        waiting.nvlink,
    )


def is_parked(waiting: Waiting) -> bool:
    """Whether only an event can make the job eligible: a release, or the end of another job."""
    return waiting.is_held or waiting.is_dependency_broken or bool(waiting.depends_on)


class WaitingQueue:
    """All waiting jobs. Changed job by job; asked by every decision."""

    def __init__(self, waiting: Iterable[Waiting] = ()) -> None:
        self._mark = object()
        self._jobs: dict[JobId, Waiting] = {}
        self._lanes: dict[LaneClass, dict[LaneKey, Lane]] = {kind: {} for kind in LaneClass}
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
            self._lane(waiting).add(waiting)

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
        lane = self._lane(waiting)
        lane.remove(waiting)
        if not lane:
            del self._lanes[lane_class(lane.key)][lane.key]

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

    def lanes(self, now: int, kind: LaneClass) -> Collection[Lane]:
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
                self._lane(waiting).add(waiting)
            del self._timed[:come]
        return self._lanes[kind].values()

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

    def _lane(self, waiting: Waiting) -> Lane:
        """Return the job's lane to be changed."""
        key = lane_key(waiting)
        lanes = self._lanes[lane_class(key)]
        lane = lanes.get(key)
        if lane is None:
            lane = lanes[key] = Lane(key, self._mark)
        elif lane.owner is not self._mark:
            lane = lanes[key] = lane.copy_for(self._mark)
        return lane


class ServingOrder:
    """Virtual submit time: `submitted_at - D * F_u - B_class`, ascending; then the job's number.

    Like Slurm's multifactor priority while waits are short, but its age term never saturates: a
    job is passed only by jobs submitted less than D (and what their class has more of B) after it,
    so nobody starves.
    """

    def __init__(self, world: World) -> None:
        self._settings = world.settings
        self._leads: dict[tuple[Uid, str, str], int] = {}
        self.share = FairShare(world.usage, world.settings)

    def lead_ms(self, uid: Uid, account: str = "", class_name: str = "") -> int:
        """Return `D * F_u + B_class` in ms."""
        which = (uid, account, class_name)
        lead = self._leads.get(which)
        if lead is None:
            job_class = self._settings.classes.get(class_name)
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
        heap = []
        counted = self.counted
        for lane in lanes:
            lead = self._lead_of(lane)
            heap.append((counted(lane.submitted_at[0]) - lead, lane.ids[0], 0, lead, lane))
        heapq.heapify(heap)
        while heap:
            _, job_id, place, lead, lane = heap[0]
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

    def scan(self, lanes: Sequence[tuple[Lane, int]], limit: int) -> list[Candidate]:
        """Look at `limit` jobs of some lanes at most; return in order those within their lane's bound.

        Each lane comes with a bound on the span (ms). All lanes are looked into equally deep, as far
        as they go: the long line of one person keeps no other's jobs from being looked at. This is
        the inner loop of backfill.
        """
        depth = even_depth([len(lane.ids) for lane, _ in lanes], limit)
        found: list[Candidate] = []
        counted = self.counted
        for lane, bound_ms in lanes:
            spans_ms = lane.spans_ms
            within = [n for n, span_ms in enumerate(spans_ms[:depth]) if span_ms <= bound_ms]
            if within:
                lead, at = self._lead_of(lane), lane.submitted_at
                ids, expected_s = lane.ids, lane.expected_s
                found += [
                    (counted(at[n]) - lead, ids[n], expected_s[n], spans_ms[n], lane)
                    for n in within
                ]
        found.sort()
        return found

    def _lead_of(self, lane: Lane) -> int:
        lead = self._leads.get(lane.payer)
        return self.lead_ms(*lane.payer) if lead is None else lead

    def counted(self, submitted_at: int) -> int:
        """Return when a job counts as submitted (ms), its lead aside."""
        return submitted_at

    def count_before(self, lanes: Iterable[Lane], waiting: Waiting) -> dict[LaneKey, int]:
        """Return how many jobs of each lane are served before this one (those with any)."""
        own_key, own_id = self.key(waiting)
        before: dict[LaneKey, int] = {}
        for lane in lanes:
            place = lane.place_of(own_key + self._lead_of(lane), own_id)
            if place:
                before[lane.key] = place
        return before


def even_depth(lengths: Collection[int], limit: int) -> int:
    """Return the greatest depth to which lines of these lengths give `limit` jobs at most, but 1 at least."""
    deepest = max(lengths, default=1)
    if sum(lengths) <= limit:
        return deepest
    left, depth = limit, 0
    ascending = sorted(lengths)
    for number, length in enumerate(ascending):
        depth = left // (len(ascending) - number)
        if length > depth:
            break
        left -= length
    return max(1, depth)
