"""Serving orders that only a simulation has: what other schedulers go by."""

from __future__ import annotations

import heapq
from collections.abc import Container, Iterable, Iterator, Sequence

from gpuboard.model.ids import JobId
from gpuboard.model.world import Waiting, World
from gpuboard.policy.queue import Lane, LaneKey, ServingOrder

MAX_AGE_MS = 7 * 86_400_000
"""Slurm's default PriorityMaxAge."""


class SaturatingOrder(ServingOrder):
    """Slurm's multifactor priority: age and fair share of equal weight, and age counts only so far.

    "Multifactor Priority Plugin" (slurm.schedmd.com). The same order as gpuboard's while nobody
    waits longer than `MAX_AGE_MS`; from then on a job gains nothing by waiting.
    """

    def __init__(self, world: World, now: int) -> None:
        super().__init__(world)
        self.oldest_at = now - MAX_AGE_MS
        """Jobs submitted before count as submitted then (ms)."""

    def key(self, waiting: Waiting) -> tuple[int, JobId]:
        """Return what jobs are served by, smallest first."""
        return self._counted(waiting.submitted_at) - self.lead_ms(waiting.uid), waiting.job_id

    def jobs(
        self, lanes: Iterable[Lane], closed: Container[LaneKey] = ()
    ) -> Iterator[tuple[JobId, int, LaneKey]]:
        """Yield the jobs of some lanes in serving order, as `ServingOrder.jobs` does."""
        heap = []
        for lane in lanes:
            lead = self.lead_ms(lane.key.uid)
            heap.append((self._counted(lane.submitted_at[0]) - lead, lane.ids[0], 0, lead, lane))
        heapq.heapify(heap)
        while heap:
            _, job_id, place, lead, lane = heap[0]
            if lane.key in closed:
                heapq.heappop(heap)
                continue
            yield JobId(job_id), lane.spans_ms[place], lane.key
            place += 1
            if place < len(lane.ids):
                counted_at = self._counted(lane.submitted_at[place])
                heapq.heapreplace(heap, (counted_at - lead, lane.ids[place], place, lead, lane))
            else:
                heapq.heappop(heap)

    def scan(self, lanes: Sequence[tuple[Lane, int]], limit: int) -> list[JobId]:
        """Look at the next `limit` jobs of some lanes; return those no longer than their bound."""
        bounds_ms = {lane.key: bound_ms for lane, bound_ms in lanes}
        found: list[JobId] = []
        for looked, (job_id, span_ms, key) in enumerate(self.jobs([lane for lane, _ in lanes])):
            if looked >= limit:
                break
            if span_ms <= bounds_ms[key]:
                found.append(job_id)
        return found

    def _counted(self, submitted_at: int) -> int:
        return max(submitted_at, self.oldest_at)
