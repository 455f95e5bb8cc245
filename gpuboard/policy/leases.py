"""Leases of preemptible jobs: for how long one is safe from its like, and who gives way to whom.

Max-min over people: devices go to the person who has had the least, in device-seconds held per share,
fading with the half-life ("attained service": Tiresias, NSDI 2019, for jobs; Gandiva_fair, EuroSys
2020, for people). A job is safe during its lease, so that work is not spent on being stopped; from
then on it keeps its devices until somebody is behind its owner by more than half a lease's worth,
so that two people who both always want more stay within a lease of each other.

A job that has hardly run yet need not wait for others' leases: with leases alone, short jobs wait for
an hour behind long ones, and more than 8 % of the jobs of a loaded box are treated unfairly
whatever the order (measured on philly16; 2.8 % with this). That is the first of two queues of Tiresias,
with a condition: only those give way whose owner had no less.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from gpuboard.model.ids import JobId, Uid
from gpuboard.model.world import Holder, PolicySettings, Waiting, World
from gpuboard.policy.capacity import PREEMPTIBLE_LEAST_MS
from gpuboard.policy.lanes import Lane

WORK_PER_COST = 10
"""A lease is at least so many times what being stopped costs: a tenth of the work is lost at most."""
MARGIN = 0.5
"""By so much of a lease's worth one has to be behind another for a swap."""


Rank = tuple[float, int, int, JobId]
"""What jobs are served by under leases, smallest first; to its first part the person's standing is added."""


def lease_ms(settings: PolicySettings) -> int:
    """Return how long a lease is; 0: there are none."""
    least_s = WORK_PER_COST * settings.checkpoint_cost_s
    return max(settings.lease_s, least_s) * 1000 if settings.lease_s > 0 else 0


class LeaseRules:
    """The rules of one round; leases count as had as soon as they are granted."""

    def __init__(self, world: World, now: int) -> None:
        settings = world.settings
        self._now = now
        self._is_by_job = settings.turns_by_job
        least_s = WORK_PER_COST * settings.checkpoint_cost_s
        self.lease_ms = lease_ms(settings)
        newcomer_s = settings.newcomer_s
        self.newcomer_ms = max(newcomer_s, least_s) * 1000 if newcomer_s > 0 else 0
        self._shares: dict[Uid, float] = {}
        self._had: dict[Uid, float] = {}
        """Device-seconds per share."""
        if self.lease_ms:
            for row in world.usage:
                shares = self._shares[row.uid] = max(row.shares, 1e-9)
                self._had[row.uid] = self._had.get(row.uid, 0.0) + row.device_seconds / shares
            for holder in world.holders:
                until_at = holder.lease_until_at
                if until_at is not None and until_at > now and not holder.stopping:
                    self.grant(holder.uid, len(holder.devices), until_at)

    def had(self, uid: Uid) -> float:
        """Return what a person has had: device-seconds per share."""
        return self._had.get(uid, 0.0)

    def grant(self, uid: Uid, gpus: int, until_at: int) -> None:
        """Count what is left of a lease as had: else the next round would take it for not given."""
        left = gpus * (until_at - self._now) / 1000 / self._shares.get(uid, 1.0)
        self._had[uid] = self._had.get(uid, 0.0) + left

    def is_newcomer(self, waiting: Waiting) -> bool:
        """Whether the job has hardly run yet."""
        return waiting.ran_s * 1000 < self.newcomer_ms

    def standing(self, uid: Uid) -> float:
        """Return what a person comes by: what they had; nothing where turns go by job."""
        return 0.0 if self._is_by_job else self.had(uid)

    def least_rank(self, lanes: Iterable[Lane]) -> Rank:
        """Return a rank that no job of these lanes, all of one person, comes before; cheap."""
        if self._is_by_job:
            return 0.0, 0, min(lane.submitted_at[0] for lane in lanes), JobId(0)
        most = max((lane.key.gpus, lane.uid) for lane in lanes)
        return -self._worth(most[1], most[0]), -1, 0, JobId(0)

    def hurdle(self, holders: Iterable[Holder], *, is_new: bool) -> float:
        """Return what whoever waits has to have had less than, if any of these is to give way.

        It is not asked of those who hold one themselves: their own jobs take turns too.
        """
        if self._is_by_job:
            return math.inf if is_new else -math.inf
        margin = 0.0 if is_new else MARGIN
        hurdles = [
            self.had(one.uid) - margin * self._worth(one.uid, len(one.devices)) for one in holders
        ]
        highest = max(hurdles, default=-math.inf)
        return math.nextafter(highest, math.inf) if is_new else highest

    def own_rank(self, waiting: Waiting, *, is_new: bool) -> Rank:
        """Return what a person's jobs are served by, smallest first: newcomers; then which ran least."""
        if self._is_by_job:
            return float(not is_new), 0, waiting.submitted_at, waiting.job_id
        if is_new:
            ahead = self._worth(waiting.uid, waiting.gpus)
            return -ahead, 0, waiting.submitted_at, waiting.job_id
        return 0.0, waiting.ran_s, waiting.submitted_at, waiting.job_id

    def safe_until(self, holder: Holder) -> int:
        """Return the end of the holder's lease (ms); one without a lease is safe as if it had one."""
        if holder.lease_until_at is not None:
            return holder.lease_until_at
        return holder.started_at + self.lease_ms

    def gives_way_at(
        self, holder: Holder, waiting: Waiting, *, is_head: bool = False
    ) -> int | None:
        """Return from when on (ms) the holder gives way to the waiting job; None: it need not.

        To a newcomer that is next, whoever it is, all give way when their leases are over: so that
        a wide job gets its first run within about a lease.
        """
        if not (self.lease_ms and holder.preemptible) or holder.stopping:
            return None
        if holder.reservation_id is not None:
            return None
        if self._is_by_job:
            left_ms = self.newcomer_ms - holder.ran_before_s * 1000
            safe_ms = max(PREEMPTIBLE_LEAST_MS, left_ms)
            return holder.started_at + safe_ms if self.is_newcomer(waiting) else None
        safe_until = self.safe_until(holder)
        is_own = holder.uid == waiting.uid
        behind = self.had(holder.uid) - self.had(waiting.uid)
        if self.is_newcomer(waiting) and (is_own or behind >= 0):
            return min(safe_until, holder.started_at + self.newcomer_ms)
        if is_own:
            ran_ms = holder.ran_before_s * 1000 + self._now - holder.started_at
            is_due = ran_ms - waiting.ran_s * 1000 >= self.lease_ms
        else:
            is_due = behind > MARGIN * self._worth(holder.uid, len(holder.devices))
        is_due |= is_head and self.is_newcomer(waiting)
        return safe_until if is_due else None

    def _worth(self, uid: Uid, gpus: int) -> float:
        """Return a lease's worth: what one of so many devices adds to what a person had."""
        return gpus * self.lease_ms / 1000 / self._shares.get(uid, 1.0)
