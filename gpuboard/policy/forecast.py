"""The forecast: the same plan run forward, by limits ("no later than") and by habit ("about").

Both runs ask `plan.Round` again and again on a world in which jobs end and bookings come: there is
no second scheduler. Slow work for a decision's standards, so it runs beside the engine on a
snapshot, is bounded by `max_jobs`, and stops when it is cancelled.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection
from itertools import islice

from msgspec.structs import replace

from gpuboard.model.ids import DeviceUuid, JobId, Uid
from gpuboard.model.plan import Plan, Start, StartForecast
from gpuboard.model.world import Holder, Spent, Usage, Waiting, World
from gpuboard.policy.habits import Habits
from gpuboard.policy.lanes import span_of
from gpuboard.policy.placement import DeviceBox
from gpuboard.policy.plan import Round
from gpuboard.policy.profile import OVERDUE_MS
from gpuboard.policy.queue import WaitingQueue
from gpuboard.policy.quota import has_weekly_quota
from gpuboard.policy.sharing import charged_parts
from gpuboard.policy.usage import charge, decayed
from gpuboard.policy.week import HOUR_MS, WEEK_MS

STEPS_PER_JOB = 8
"""Rounds a forecast may take for each job; more would mean that it does not converge."""


def forecast_starts(
    world: World,
    queue: WaitingQueue,
    now: int,
    *,
    max_jobs: int = 1000,
    only: Collection[JobId] = (),
    habits: Habits | None = None,
    is_cancelled: Callable[[], bool] = lambda: False,
) -> dict[JobId, StartForecast]:
    """Return when waiting jobs should start, for the `max_jobs` that are served first.

    "About" goes by the `habits` of people; where those say nothing, by the jobs' predictions. With
    `only`, the runs stop as soon as these jobs have started, and they alone are answered.

    A job of which nothing can be said (held, a broken dependency, no such device) is in the answer
    with None. Dependencies are taken to be met. A cancelled forecast returns what it knows.
    """
    jobs = _first_jobs(world, queue, now, max_jobs)
    wanted = frozenset(only) or frozenset(job.job_id for job in jobs)
    latest = _Run(world, jobs, now, wanted).starts(is_cancelled)
    expected = _Run(world, jobs, now, wanted, habits or Habits()).starts(is_cancelled)
    forecasts: dict[JobId, StartForecast] = {}
    for job in jobs:
        if job.job_id not in wanted:
            continue
        latest_at, devices = latest.get(job.job_id, (None, ()))
        expected_at, likely = expected.get(job.job_id, (latest_at, devices))
        if latest_at is not None and expected_at is not None:
            # Ending early may let others in first (Graham's anomaly); "about" is not after "at most".
            expected_at = min(expected_at, latest_at)
        forecasts[job.job_id] = StartForecast(job.job_id, expected_at, latest_at, likely or devices)
    return forecasts


def _first_jobs(world: World, queue: WaitingQueue, now: int, max_jobs: int) -> list[Waiting]:
    chosen = {job_id: queue.get(job_id) for job_id in queue.serving_order(world, now, max_jobs)}
    if len(chosen) < max_jobs:
        others = (job for job in queue if job.job_id not in chosen)
        for job in islice(others, max_jobs - len(chosen)):
            chosen[job.job_id] = job
    return [job for job in chosen.values() if job is not None]


class _Run:
    """One run forward from the present world."""

    def __init__(
        self,
        world: World,
        jobs: list[Waiting],
        now: int,
        wanted: frozenset[JobId],
        habits: Habits | None = None,
    ) -> None:
        """Begin a run for the `wanted` jobs: by limits, or by `habits` when there are any."""
        self._habits = habits
        self._world = world
        self._box = DeviceBox(world.devices, world.links, world.settings.job_mix)
        self._now = now
        self._queue = WaitingQueue(jobs)
        self._jobs = {job.job_id: job for job in jobs}
        self._wanted = wanted
        self._unstarted = len(wanted)
        self._starts: dict[JobId, tuple[int, tuple[DeviceUuid, ...]]] = {}
        self._holders: dict[JobId, Holder] = {}
        self._ends: list[tuple[int, JobId]] = []
        self._bookings = {(b.reservation_id, b.is_blackout): b for b in world.bookings}
        self._used = {(row.uid, row.account): row.device_seconds for row in world.usage}
        self._shares = {row.uid: row.shares for row in world.usage}
        self._has_weeks = has_weekly_quota(world.settings)
        self._dependents: dict[JobId, list[JobId]] = {}
        for job in jobs:
            for needed in job.depends_on:
                self._dependents.setdefault(needed, []).append(job.job_id)
        for holder in world.holders:
            self._hold(holder)

    def starts(
        self, is_cancelled: Callable[[], bool]
    ) -> dict[JobId, tuple[int, tuple[DeviceUuid, ...]]]:
        """Return start and devices of every wanted job that starts."""
        for _ in range(STEPS_PER_JOB * (len(self._jobs) + 1)):
            if is_cancelled() or not self._unstarted:
                break
            plan = Round(self._world_now(), self._queue, self._now, box=self._box).run()
            self._apply(plan)
            following = self._next_instant(plan)
            if following is None:
                break
            self._advance(following)
        return self._starts

    def _world_now(self) -> World:
        return replace(
            self._world,
            holders=tuple(self._holders.values()),
            bookings=tuple(self._bookings.values()),
            usage=tuple(
                Usage(uid, used, self._shares.get(uid, 1.0), account)
                for (uid, account), used in self._used.items()
            ),
            usage_at=self._now,
        )

    def _apply(self, plan: Plan) -> None:
        self._world = replace(
            self._world, head=plan.head, fill_head=plan.fill_head, promises=plan.promises
        )
        for bind in plan.binds:
            booking = self._bookings[bind.reservation_id, False]
            bound = replace(booking, devices=(*booking.devices, *bind.devices))
            self._bookings[bind.reservation_id, False] = bound
        for start in plan.starts:
            self._begin(self._jobs[start.job_id], start)
        for stop in plan.stops:
            holder = self._holders[stop.job_id]
            ends_at = min(holder.ends_at, self._now + holder.grace_s * 1000)
            self._hold(replace(holder, stopping=True, ends_at=ends_at))

    def _begin(self, job: Waiting, start: Start) -> None:
        self._queue.remove(job.job_id)
        if job.job_id in self._wanted and job.job_id not in self._starts:
            self._starts[job.job_id] = (self._now, start.devices)
            self._unstarted -= 1
        self._hold(
            Holder(
                job_id=job.job_id,
                uid=job.uid,
                devices=start.devices,
                ends_at=self._now + span_of(job),
                started_at=self._now,
                reservation_id=start.reservation_id,
                gpu_memory_bytes=start.gpu_memory_bytes,
                preemptible=job.preemptible,
                array_id=job.array_id,
                grace_s=job.grace_s,
                predicted_s=job.predicted_s,
                account=job.account,
                lease_until_at=start.lease_until_at,
                ran_before_s=job.ran_s,
            )
        )

    def _hold(self, holder: Holder) -> None:
        self._holders[holder.job_id] = holder
        heapq.heappush(self._ends, (self._end_of(holder), holder.job_id))

    def _end_of(self, holder: Holder) -> int:
        """Return when the holder is taken to end in this run (ms)."""
        latest_at = max(holder.ends_at, self._now + OVERDUE_MS)
        if self._habits is None or holder.stopping:
            return latest_at
        limit_s = (holder.ends_at - holder.started_at) / 1000 - holder.grace_s
        ran_s = (self._now - holder.started_at) / 1000
        span_s = self._habits.span_s(holder.uid, limit_s, ran_s)
        span_s = holder.predicted_s if span_s is None else span_s
        if span_s is None:
            return latest_at
        expected_at = holder.started_at + span_s * 1000
        if expected_at <= self._now:
            # It has outlived its prediction: half as long again as it has run is the next guess.
            expected_at = self._now + (self._now - holder.started_at) // 2 + OVERDUE_MS
        return min(expected_at, latest_at)

    def _next_instant(self, plan: Plan) -> int | None:
        instants = [] if plan.wake_at is None else [plan.wake_at]
        if self._ends:
            instants.append(self._ends[0][0])
        return max(self._now, min(instants)) if instants else None

    def _advance(self, to_at: int) -> None:
        self._charge(to_at)
        self._now = to_at
        while self._ends and self._ends[0][0] <= to_at:
            ends_at, job_id = heapq.heappop(self._ends)
            holder = self._holders.get(job_id)
            if holder is None or (holder.stopping and holder.ends_at > ends_at):
                continue
            del self._holders[job_id]
            if self._has_weeks:
                self._count_week(holder)
            job = self._jobs.get(job_id)
            if holder.stopping and holder.preemptible and job is not None:
                self._requeue(job, holder)
            else:
                self._release_dependents(job_id)
        over = [key for key, booking in self._bookings.items() if booking.until_at <= to_at]
        for key in over:
            del self._bookings[key]

    def _requeue(self, job: Waiting, holder: Holder) -> None:
        """Let a stopped job wait again for what is left of it: it goes on where it was."""
        ran_s = max(0, self._now - holder.started_at) // 1000
        span_s = max(1, job.limit_s - ran_s)
        left = replace(job, ran_s=holder.ran_before_s + ran_s, limit_s=span_s)
        self._jobs[job.job_id] = left
        self._queue.add(left)

    def _count_week(self, holder: Holder) -> None:
        """Let what has ended count in its owner's week, all of it as of the hour of its end."""
        held_s = max(0, self._now - max(holder.started_at, self._now - WEEK_MS)) / 1000
        hour_at = self._now // HOUR_MS * HOUR_MS
        spent = Spent(holder.uid, holder.account, hour_at, held_s * len(holder.devices))
        self._world = replace(self._world, spent=(*self._world.spent, spent))

    def _release_dependents(self, ended: JobId) -> None:
        for job_id in self._dependents.pop(ended, ()):
            job = self._jobs[job_id]
            left = tuple(needed for needed in job.depends_on if needed != ended)
            self._jobs[job_id] = released = replace(job, depends_on=left)
            if job_id in self._queue:
                self._queue.add(released)

    def _charge(self, to_at: int) -> None:
        """Charge what is held until `to_at`, so that the order of later rounds is the real one."""
        if to_at <= self._now:
            return
        held: dict[tuple[Uid, str], float] = {}
        has_groups = bool(self._world.settings.groups)
        for holder, devices in charged_parts(self._holders.values()):
            whose = (holder.uid, holder.account if has_groups else "")
            held[whose] = held.get(whose, 0) + devices
        half_life_s = self._world.settings.half_life_s
        of_one = charge(0.0, 1, self._now, to_at, half_life_s)
        left = decayed(1.0, self._now, to_at, half_life_s)
        for whose in held.keys() | self._used.keys():
            self._used[whose] = self._used.get(whose, 0.0) * left + held.get(whose, 0) * of_one
