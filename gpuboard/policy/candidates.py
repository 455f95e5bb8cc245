"""Candidates: the waiting jobs that might start behind a head, in the order in which to try them.

They are found as they are asked for. A round mostly has devices for a few of them, so a person's
jobs are not looked at before it is that person's place; until then their first submission says how
early that could be.
"""

from __future__ import annotations

import heapq
from collections.abc import Container, Iterator, Sequence
from itertools import islice
from operator import itemgetter

from gpuboard.model.ids import Uid
from gpuboard.policy.lanes import Lane, even_depth
from gpuboard.policy.queue import ServingOrder

Candidate = tuple[int, int, int, int, Lane]
"""A job that was looked at: what it is served by (ms, smallest first), its number, how long it should
take (s), its limit plus grace (ms), and its lane. No NamedTuple: making those takes four times as
long, and a round may look at a thousand."""

_expected_s_of = itemgetter(2)

_Entry = tuple[int, int, int, int, Lane | Uid]
"""A candidate; or, with a number that comes before any job's, a person who was not looked at yet, by
what none of their jobs is served before. No more than that is kept for each who waits: with some
hundred objects more the cyclic collector would come in each round."""


def candidates_of(
    order: ServingOrder,
    lanes: Sequence[tuple[Lane, int]],
    limit: int,
    passed_over: Container[int] = (),
    *,
    shortest_first: bool = False,
) -> Iterator[Candidate]:
    """Yield in order, of the next `limit` jobs of some lanes, those that their lane's bound allows.

    Each lane comes with a bound on the span (ms). All are looked into equally deep, as far as they
    go: the long line of one person keeps no other's jobs from being looked at.

    `shortest_first`: each person's jobs come shortest predicted first, in that person's places; among
    people the order stands. Shortest first over all would let short jobs of many people pass a wide
    one again and again: on the KTH log at 16 devices that made the longest wait of half-box jobs
    190 h rather than 134 h.
    """
    depth = even_depth([len(lane.ids) for lane, _ in lanes], limit)
    by_person: dict[Uid, list[tuple[Lane, int]]] = {}
    for entry in lanes:
        by_person.setdefault(entry[0].uid, []).append(entry)
    heap: list[_Entry] = [
        (_not_before(order, own), -1, 0, 0, uid) for uid, own in by_person.items()
    ]
    heapq.heapify(heap)
    to_try: dict[Uid, list[Candidate]] = {}
    while heap:
        whose = heapq.heappop(heap)[-1]
        if isinstance(whose, Lane):
            yield to_try[whose.uid].pop()
            continue
        jobs = _jobs_of(order, by_person.pop(whose), depth, passed_over)
        for job in jobs:
            heapq.heappush(heap, job)
        jobs.sort()
        if shortest_first:
            jobs.sort(key=_expected_s_of)
        jobs.reverse()
        to_try[whose] = jobs


def _not_before(order: ServingOrder, own: Sequence[tuple[Lane, int]]) -> int:
    """Return what none of a person's jobs is served before; cheap."""
    return min([order.counted(lane.submitted_at[0]) - order.lead_of(lane.payer) for lane, _ in own])


def _jobs_of(
    order: ServingOrder, own: Sequence[tuple[Lane, int]], depth: int, passed_over: Container[int]
) -> list[Candidate]:
    """Return the jobs of one person that are looked at."""
    counted = order.counted
    found: list[Candidate] = []
    for lane, bound_ms in own:
        lead = order.lead_of(lane.payer)
        jobs = zip(lane.submitted_at, lane.ids, lane.expected_s, lane.spans_ms, strict=True)
        found += [
            (counted(at) - lead, job_id, expected_s, span_ms, lane)
            for at, job_id, expected_s, span_ms in islice(jobs, depth)
            if span_ms <= bound_ms and job_id not in passed_over
        ]
    return found
