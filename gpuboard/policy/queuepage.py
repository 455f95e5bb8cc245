"""Any part of the queue in serving order, at a cost that does not grow with how far down it lies.

A list on a screen shows fifty of 100,000 jobs. Enumerating the order up to the fifty costs a step
a job; here the first of them is found by rank, a binary search over virtual submit times that asks
each lane where it would cut.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from gpuboard.model.ids import JobId, Uid
from gpuboard.model.world import Waiting, World
from gpuboard.policy.lanes import Lane, LaneClass, lane_class, lane_key
from gpuboard.policy.queue import ServingOrder, WaitingQueue

CLASSES = (LaneClass.DEVICELESS, LaneClass.ORDINARY, LaneClass.PREEMPTIBLE)
"""In the order in which they are served."""


@dataclass(frozen=True)
class QueuePage:
    """Some jobs in serving order."""

    ids: tuple[JobId, ...]
    total: int
    """How many jobs there are in all, resting ones included."""
    eligible: int
    """So many of them come first: those that wait for devices only."""


def queue_page(
    queue: WaitingQueue, world: World, now: int, part: tuple[int, int], uid: Uid | None = None
) -> QueuePage:
    """Return a part (offset, limit) of the waiting jobs (of one person).

    The head first, then in serving order those that wait for devices only; then those whose begin
    time is to come, soonest first; then the held and the dependent, oldest first.
    """
    offset, limit = part
    order = ServingOrder(world)
    classes = [_lanes(queue, now, kind, uid) for kind in CLASSES]
    head = _head(queue, world, now, uid)
    eligible = sum(len(lane) for lanes in classes for lane in lanes)
    ids: list[JobId] = []
    skip = offset
    if head is not None:
        if not skip and limit > 0:
            ids.append(head.job_id)
        skip = max(0, skip - 1)
    for lanes in classes:
        own = head if head is not None and _has(lanes, head) else None
        count = sum(len(lane) for lane in lanes) - (own is not None)
        if skip >= count:
            skip -= count
            continue
        if len(ids) < limit:
            leads = [_lead_ms(queue, order, lane) for lane in lanes]
            ids += _ranked(order, list(zip(lanes, leads, strict=True)), skip, limit - len(ids), own)
        skip = 0
    resting = queue.resting(uid)
    if len(ids) < limit and offset + len(ids) >= eligible:
        ids += islice(resting, skip, skip + limit - len(ids))
    return QueuePage(tuple(ids), eligible + len(resting), eligible)


def place_of(queue: WaitingQueue, world: World, now: int, job_id: JobId) -> int | None:
    """Return how many jobs are served before this one; None for one that waits for something else."""
    waiting = queue.get(job_id)
    if waiting is None or not queue.is_eligible(job_id, now):
        return None
    head = _head(queue, world, now, None)
    if head is not None and head.job_id == job_id:
        return 0
    order, before = ServingOrder(world), 0
    for kind in CLASSES:
        lanes = queue.lanes(now, kind)
        if kind is lane_class(lane_key(waiting)):
            before += sum(order.count_before(lanes, waiting).values())
            break
        before += sum(len(lane) for lane in lanes)
    return before + (head is not None and not _is_before(order, head, waiting))


def _lanes(queue: WaitingQueue, now: int, kind: LaneClass, uid: Uid | None) -> list[Lane]:
    return [lane for lane in queue.lanes(now, kind) if uid is None or lane.uid == uid]


def _head(queue: WaitingQueue, world: World, now: int, uid: Uid | None) -> Waiting | None:
    if world.head is None or not queue.is_eligible(world.head, now):
        return None
    head = queue.get(world.head)
    return head if head is not None and uid in (None, head.uid) else None


def _has(lanes: Sequence[Lane], waiting: Waiting) -> bool:
    key = lane_key(waiting)
    return any(lane.key == key for lane in lanes)


def _is_before(order: ServingOrder, one: Waiting, other: Waiting) -> bool:
    """Whether `one` is served before `other` by class and key alone."""
    ranks = [CLASSES.index(lane_class(lane_key(waiting))) for waiting in (one, other)]
    return (ranks[0], order.key(one)) < (ranks[1], order.key(other))


def _lead_ms(queue: WaitingQueue, order: ServingOrder, lane: Lane) -> int:
    """Return by how much all jobs of a lane are served before their submission (ms)."""
    first = queue.get(JobId(lane.ids[0]))
    assert first is not None, "a lane holds only waiting jobs"
    return first.submitted_at - order.key(first)[0]


def _ranked(
    order: ServingOrder,
    lanes: Sequence[tuple[Lane, int]],
    rank: int,
    limit: int,
    head: Waiting | None,
) -> list[JobId]:
    """Return the jobs of lanes, each with its lead (ms), from a rank on; the head does not count."""
    if head is not None:
        before = order.count_before([lane for lane, _ in lanes], head)
        rank += sum(before.values()) <= rank
    cut = _cut(lanes, rank) if rank else None
    starts = [
        0 if cut is None else bisect_left(lane.submitted_at, cut + lead) for lane, lead in lanes
    ]
    merged = heapq.merge(
        *(_from(lane, lead, start) for (lane, lead), start in zip(lanes, starts, strict=True))
    )
    out = head.job_id if head is not None else None
    after = islice(merged, rank - sum(starts), None)
    return list(islice((JobId(number) for _, number in after if number != out), limit))


def _cut(lanes: Sequence[tuple[Lane, int]], rank: int) -> int:
    """Return the latest virtual submit time (ms) before which no more than `rank` jobs are served."""
    low = min(lane.submitted_at[0] - lead for lane, lead in lanes)
    high = max(lane.submitted_at[-1] - lead for lane, lead in lanes) + 1
    while low < high:
        middle = (low + high + 1) // 2
        if sum(bisect_left(lane.submitted_at, middle + lead) for lane, lead in lanes) <= rank:
            low = middle
        else:
            high = middle - 1
    return low


def _from(lane: Lane, lead: int, start: int) -> Iterator[tuple[int, int]]:
    """Yield (virtual submit time, job) of a lane from a place on."""
    for place in range(start, len(lane.ids)):
        yield lane.submitted_at[place] - lead, lane.ids[place]
