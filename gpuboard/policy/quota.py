"""Quotas and array limits: how much more a person, a group or an array may run at once.

Limits are of a person, and of each group that a job is charged to (those it is part of included).
A *hard* limit always holds; a *soft* one only while somebody else waits whom no limit keeps from
being served. Jobs inside their owner's booking are the booking's affair: they start whatever the
quota says and count against no limit of running devices; what a booking holds counts as used in
the week.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from operator import attrgetter
from typing import NamedTuple

from gpuboard.model.ids import JobId, Uid
from gpuboard.model.world import PolicySettings, Quota, Waiting, World
from gpuboard.policy.fairtree import lineage
from gpuboard.policy.queue import WaitingQueue
from gpuboard.policy.week import Unit, Week, hours_wanted

RUNNING_GPUS = "running_gpus"
QUEUED_JOBS = "queued_jobs"
GPU_HOURS = "gpu_hours_per_week"


class Shortfall(NamedTuple):
    """A limit that leaves no room for a job."""

    unit: Unit
    """Whose limit it is: a person's, or a group's."""
    name: str
    """`running_gpus`, `queued_jobs` or `gpu_hours_per_week`."""
    limit: float
    used: float
    """What is taken of it: devices, jobs or device-hours."""
    wanted: float
    is_soft: bool = False
    frees_at: int | None = None
    """When (ms) a weekly limit leaves room for it at the latest, if nothing else starts."""


def quota_of(settings: PolicySettings, uid: Uid) -> Quota:
    """Return a person's quota."""
    return settings.quotas.get(uid, settings.default_quota)


def queued_shortfall(
    settings: PolicySettings,
    queue: WaitingQueue,
    uid: Uid,
    account: str,
    count: int,
    *,
    moved_from: str | None = None,
) -> Shortfall | None:
    """Return the limit of queued jobs that `count` more would pass, or None.

    A soft one holds only while somebody else has a job in the queue. `moved_from`: the group that the
    jobs, which are there already, were charged to so far.
    """
    counted: set[Unit] = set()
    if moved_from is not None:
        counted = {uid, *lineage(_parents(settings), moved_from)}
    for unit, quota in quotas_of(settings, uid, account):
        limit = quota.queued_jobs
        if limit is None or unit in counted:
            continue
        queued = (
            sum(queue.jobs_of_account(part) for part in _parts(settings, unit))
            if isinstance(unit, str)
            else queue.jobs_of(unit)
        )
        is_soft = QUEUED_JOBS in quota.soft
        if queued + count > limit and (not is_soft or len(queue) > queued):
            return Shortfall(unit, QUEUED_JOBS, limit, queued, count, is_soft)
    return None


def never_fits(settings: PolicySettings, waiting: Waiting) -> Shortfall | None:
    """Return the hard limit that forbids such a job for ever, whatever else runs; or None."""
    for unit, quota in quotas_of(settings, waiting.uid, waiting.account):
        for name, limit, wanted in (
            (RUNNING_GPUS, quota.running_gpus, waiting.gpus),
            (GPU_HOURS, quota.gpu_hours_per_week, hours_wanted(waiting)),
        ):
            if limit is not None and wanted > limit and name not in quota.soft:
                return Shortfall(unit, name, limit, 0, wanted)
    return None


def allowed_words(short: Shortfall) -> str:
    """Return `the quota of group vision allows 4 GPUs at once`."""
    whose = f"the quota of group {short.unit}" if isinstance(short.unit, str) else "the quota"
    what = {RUNNING_GPUS: "GPUs at once", QUEUED_JOBS: "queued jobs", GPU_HOURS: "GPU-hours a week"}
    while_words = " while others wait" if short.is_soft else ""
    return f"{whose} allows {short.limit:.10g} {what[short.name]}{while_words}"


class Allowance:
    """What everybody may still start in this round."""

    def __init__(
        self, world: World, now: int, next_jobs: Callable[[], Iterable[Waiting]] = tuple
    ) -> None:
        """Take stock. `next_jobs` gives, for each line of waiting jobs, the one served next."""
        settings = self._settings = world.settings
        self._parents = _parents(settings)
        self._lineages: dict[str, list[Unit]] = {}
        self.is_open = is_unlimited(settings)
        """Whether nothing that starts is limited, arrays aside."""
        self._next_jobs = tuple if self.is_open else next_jobs
        self._devices: dict[Unit, int] = {}
        self._arrays: dict[JobId, int] = {}
        self._promised: Waiting | None = None
        self._contenders: list[list[Unit]] | None = None
        self.frees_at: int | None = None
        """When (ms) a weekly limit that refused somebody next frees something by time alone."""
        self.is_by_length = not self.is_open and has_weekly_quota(settings)
        """Whether of two jobs that want the same devices one may fit and the other be too long."""
        is_weekly = self.is_by_length
        self.week = Week(world.spent, world.holders, now, self.units) if is_weekly else _NO_WEEK
        """What everybody used of their week; empty where no quota asks."""
        for holder in world.holders:
            if holder.array_id is not None:
                self._arrays[holder.array_id] = self._arrays.get(holder.array_id, 0) + 1
            if holder.reservation_id is None and not self.is_open:
                self._hold(holder.uid, holder.account, len(holder.devices))

    def units(self, uid: Uid, account: str) -> list[Unit]:
        """Return who is limited when a person runs something charged to a group."""
        if not account:
            return [uid]
        groups = self._lineages.get(account)
        if groups is None:
            groups = self._lineages[account] = [*lineage(self._parents, account)]
        return [uid, *groups]

    def devices_held(self, unit: Unit) -> int:
        """Return how many devices jobs of a person or a group hold, those in bookings aside."""
        return self._devices.get(unit, 0)

    def running_in_array(self, array_id: JobId) -> int:
        """Return how many jobs of the array hold devices."""
        return self._arrays.get(array_id, 0)

    def promise(self, head: Waiting | None) -> None:
        """Set aside what the head needs, lest its owner's later jobs take the head's own quota."""
        self._promised = head
        self._contenders = None

    def has_device_room(self, waiting: Waiting) -> bool:
        """Whether the quotas of the person and of their groups leave room for this job."""
        return self.is_open or self.shortfall(waiting) is None

    def shortfall(self, waiting: Waiting) -> Shortfall | None:
        """Return the limit that keeps this job from starting now, a hard one first; or None."""
        soft = None
        for short in self._shortfalls(waiting):
            expiry = self.week.next_expiry(short.unit) if short.name == GPU_HOURS else None
            if expiry is not None:
                self.frees_at = expiry if self.frees_at is None else min(self.frees_at, expiry)
            if not short.is_soft:
                return short
            if soft is None and self._is_contested(short.unit):
                soft = short
        return soft

    def has_array_room(self, waiting: Waiting) -> bool:
        """Whether the array's own limit leaves room for this job."""
        if waiting.array_id is None or waiting.array_limit is None:
            return True
        running = self.running_in_array(waiting.array_id)
        head = self._promised
        if head is not None and head.array_id == waiting.array_id and head.job_id != waiting.job_id:
            running += 1
        return running < waiting.array_limit

    def take(self, waiting: Waiting, *, in_booking: bool = False) -> None:
        """Count a job that starts."""
        self._contenders = None
        if waiting.array_id is not None:
            self._arrays[waiting.array_id] = self._arrays.get(waiting.array_id, 0) + 1
        if not in_booking and not self.is_open:
            self._hold(waiting.uid, waiting.account, waiting.gpus)
        if self.is_by_length:
            self.week.commit(waiting)

    def _hold(self, uid: Uid, account: str, gpus: int) -> None:
        for unit in self.units(uid, account):
            self._devices[unit] = self._devices.get(unit, 0) + gpus

    def _shortfalls(self, waiting: Waiting) -> Iterator[Shortfall]:
        """Yield the limits, hard and soft, that leave no room for a job beside the promised head."""
        head = self._promised
        if not waiting.gpus:
            return
        beside: list[Unit] = []
        if head is not None and head.job_id != waiting.job_id:
            beside = self.units(head.uid, head.account)
        for unit in self.units(waiting.uid, waiting.account):
            quota = _quota_of_unit(self._settings, unit)
            is_beside = head is not None and unit in beside
            if quota.running_gpus is not None:
                held = self.devices_held(unit) + (head.gpus if head and is_beside else 0)
                if held + waiting.gpus > quota.running_gpus:
                    soft = RUNNING_GPUS in quota.soft
                    yield Shortfall(
                        unit, RUNNING_GPUS, quota.running_gpus, held, waiting.gpus, soft
                    )
            if quota.gpu_hours_per_week is not None:
                used = self.week.hours(unit) + (hours_wanted(head) if head and is_beside else 0)
                wanted, limit = hours_wanted(waiting), quota.gpu_hours_per_week
                if used + wanted > limit:
                    frees_at = self.week.frees_at(unit, used + wanted - limit)
                    soft = GPU_HOURS in quota.soft
                    yield Shortfall(unit, GPU_HOURS, limit, used, wanted, soft, frees_at)

    def _is_contested(self, unit: Unit) -> bool:
        """Whether somebody outside the unit waits whom no limit keeps from being served."""
        if self._contenders is None:
            self._contenders = [
                self.units(other.uid, other.account)
                for other in self._next_jobs()
                if next(self._shortfalls(other), None) is None
            ]
        return any(unit not in units for units in self._contenders)


def is_unlimited(settings: PolicySettings) -> bool:
    """Whether nothing that starts is limited, arrays aside."""
    return all(map(_is_open, _every_quota(settings)))


def has_weekly_quota(settings: PolicySettings) -> bool:
    """Whether anybody's device-hours of a week are limited."""
    return any(quota.gpu_hours_per_week is not None for quota in _every_quota(settings))


def _every_quota(settings: PolicySettings) -> list[Quota]:
    return [settings.default_quota, *settings.quotas.values(), *settings.group_quotas.values()]


_is_open = attrgetter("is_open")


def quotas_of(settings: PolicySettings, uid: Uid, account: str) -> Iterator[tuple[Unit, Quota]]:
    """Yield the quotas that hold for what a person runs, charged to a group: theirs and the groups'."""
    yield uid, quota_of(settings, uid)
    for group in lineage(_parents(settings), account):
        yield group, _quota_of_unit(settings, group)


def _quota_of_unit(settings: PolicySettings, unit: Unit) -> Quota:
    if isinstance(unit, str):
        return settings.group_quotas.get(unit, _NO_QUOTA)
    return quota_of(settings, unit)


def _parents(settings: PolicySettings) -> dict[str, str]:
    return {group.name: group.parent for group in settings.groups}


def _parts(settings: PolicySettings, group: str) -> list[str]:
    """Return a group and all that are part of it."""
    parents = _parents(settings)
    return [name for name in parents if group in lineage(parents, name)]


_NO_QUOTA = Quota()
_NO_WEEK = Week((), (), 0, lambda uid, _: [uid])
