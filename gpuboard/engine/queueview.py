"""The waiting jobs as lists show them: any page of the serving order, and a scan of all of it.

A page costs the engine's thread the same wherever it lies. A scan (a search in 100,000 names) is
given away to another thread, on a copy of the queue.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gpuboard.engine.core import Core
from gpuboard.engine.protocol import QueueSlice, QueueStanding
from gpuboard.engine.world import build_world
from gpuboard.errors import NotFound
from gpuboard.model.ids import JobId, Uid
from gpuboard.model.job import Job
from gpuboard.policy.queue import ServingOrder
from gpuboard.policy.queuepage import place_of, queue_page

AHEAD = 3
"""So many of those before a job are named."""
PLACED = 60
"""Of a page of one person's jobs so many are told their place: each costs a look at every lane."""


def slice_of_queue(core: Core, offset: int, limit: int, uid: int | None) -> QueueSlice:
    """Return some waiting jobs (of one person) in serving order."""
    now, queue = core.clock.now_ms(), core.ledger.queue
    world = build_world(core, now)
    page = queue_page(queue, world, now, (offset, limit), None if uid is None else Uid(uid))
    jobs = [core.ledger.jobs[job_id] for job_id in page.ids]
    if uid is None:
        places = {
            job_id: offset + number
            for number, job_id in enumerate(page.ids)
            if offset + number < page.eligible
        }
    else:
        placed = page.ids[: min(PLACED, max(0, page.eligible - offset))]
        found = {job_id: place_of(queue, world, now, job_id) for job_id in placed}
        places = {job_id: place for job_id, place in found.items() if place is not None}
    return QueueSlice(jobs, places, page.total)


def standing_of(core: Core, job_id: JobId) -> QueueStanding:
    """Return where a waiting job's place comes from. Raises NotFound when it does not wait."""
    now, queue = core.clock.now_ms(), core.ledger.queue
    waiting = queue.get(job_id)
    if waiting is None:
        raise NotFound(f"job {job_id} does not wait")
    world = build_world(core, now)
    place = place_of(queue, world, now, job_id)
    first = max(0, (place or 0) - AHEAD)
    before = queue_page(queue, world, now, (first, place - first)).ids if place else ()
    total = sum(row.device_seconds for row in world.usage)
    own = sum(row.device_seconds for row in world.usage if row.uid == waiting.uid)
    return QueueStanding(
        place,
        [core.ledger.jobs[each] for each in reversed(before)],
        own / total if total > 0 else 0.0,
        (waiting.submitted_at - ServingOrder(world).key(waiting)[0]) // 1000,
    )


def scan_of_queue(
    core: Core, is_wanted: Callable[[Job], bool]
) -> Callable[[], tuple[Sequence[JobId], dict[JobId, int]]]:
    """Return a function for any thread that gives the waiting jobs wanted, in serving order, and places."""
    now = core.clock.now_ms()
    world, queue = build_world(core, now), core.ledger.queue.snapshot()
    jobs = core.ledger.jobs.copy()

    def scan() -> tuple[Sequence[JobId], dict[JobId, int]]:
        eligible = queue.serving_order(world, now)
        places = {job_id: place for place, job_id in enumerate(eligible) if is_wanted(jobs[job_id])}
        rest = [job_id for job_id in queue.resting() if is_wanted(jobs[job_id])]
        return [*places, *rest], places

    return scan
