"""Whose turn it is: the order in which preemptible jobs are served under leases, looked at lazily.

People come by what they had, and of each only as many jobs are looked at as a decision can afford:
the long line of one person costs no more than the short one of another.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator

from gpuboard.model.ids import JobId, Uid
from gpuboard.model.world import Waiting
from gpuboard.policy.lanes import Kind, Lane, even_depth
from gpuboard.policy.leases import LeaseRules, Rank

LOOKS = 256
"""About so many jobs are looked at in a round, equally many of each person."""
FEWEST_LOOKS = 4
"""At least so many of each person, or one of each of their lanes."""


def by_turns(
    lanes: Iterable[Lane],
    rules: LeaseRules,
    find: Callable[[JobId], Waiting | None],
    is_hopeless: Callable[[Waiting, Kind], bool],
) -> Iterator[tuple[Waiting, Kind]]:
    """Yield jobs by who had the least, what is granted on the way counted at once.

    `find` returns the job of a number that may be served still. A job is passed over when it
    `is_hopeless`, which is asked as late as can be.
    """
    people: dict[Uid, list[Lane]] = {}
    for lane in lanes:
        people.setdefault(lane.key.uid, []).append(lane)
    looks = max(FEWEST_LOOKS, LOOKS // max(1, len(people)))
    heap: list[tuple[Rank, Uid]] = [
        (rules.least_rank(uid, own), uid) for uid, own in people.items()
    ]
    heapq.heapify(heap)
    waiting_of: dict[Uid, list[tuple[Rank, Waiting, Kind]]] = {}
    looked = 0
    while heap:
        _, uid = heapq.heappop(heap)
        jobs = waiting_of.get(uid)
        if jobs is None:
            if looked >= 2 * LOOKS:
                continue
            jobs = waiting_of[uid] = []
            depth = even_depth([len(lane.ids) for lane in people[uid]], looks)
            for lane in people[uid]:
                for job_id in lane.ids[:depth]:
                    looked += 1
                    waiting = find(JobId(job_id))
                    if waiting is not None and not is_hopeless(waiting, lane.kind):
                        jobs.append((rules.rank(waiting), waiting, lane.kind))
            jobs.sort(key=_rank_of, reverse=True)
        else:
            _, waiting, kind = jobs.pop()
            if not is_hopeless(waiting, kind):
                yield waiting, kind
        if jobs:
            heapq.heappush(heap, (rules.rank(jobs[-1][1]), uid))


def _rank_of(entry: tuple[Rank, Waiting, Kind]) -> Rank:
    return entry[0]
