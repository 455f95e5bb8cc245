"""Quotas and array limits: how much more a person, or an array, may run at once.

Jobs inside their owner's booking are the booking's affair and count against no quota.
"""

from __future__ import annotations

from gpuboard.model.ids import JobId, Uid
from gpuboard.model.world import PolicySettings, Quota, Waiting, World
from gpuboard.policy.queue import WaitingQueue

UNLIMITED = 1 << 30
"""Room where nothing limits."""


def quota_of(settings: PolicySettings, uid: Uid) -> Quota:
    """Return a person's quota."""
    return settings.quotas.get(uid, settings.default_quota)


def queued_room(settings: PolicySettings, queue: WaitingQueue, uid: Uid) -> int:
    """Return how many more jobs the person may queue (never below 0)."""
    limit = quota_of(settings, uid).queued_jobs
    return UNLIMITED if limit is None else max(0, limit - queue.jobs_of(uid))


class Allowance:
    """What everybody may still start in this round."""

    def __init__(self, world: World) -> None:
        self._settings = world.settings
        self._devices: dict[Uid, int] = {}
        self._arrays: dict[JobId, int] = {}
        self._promised: Waiting | None = None
        for holder in world.holders:
            if holder.array_id is not None:
                self._arrays[holder.array_id] = self._arrays.get(holder.array_id, 0) + 1
            if holder.reservation_id is None:
                self._devices[holder.uid] = self._devices.get(holder.uid, 0) + len(holder.devices)

    def devices_held(self, uid: Uid) -> int:
        """Return how many devices the person's jobs hold, those in bookings aside."""
        return self._devices.get(uid, 0)

    def running_in_array(self, array_id: JobId) -> int:
        """Return how many jobs of the array hold devices."""
        return self._arrays.get(array_id, 0)

    def promise(self, head: Waiting | None) -> None:
        """Set aside what the head needs, lest its owner's later jobs take the head's own quota."""
        self._promised = head

    def has_device_room(self, waiting: Waiting) -> bool:
        """Whether the person's quota leaves room for this job."""
        limit = quota_of(self._settings, waiting.uid).running_gpus
        if limit is None:
            return True
        held = self.devices_held(waiting.uid)
        head = self._promised
        if head is not None and head.uid == waiting.uid and head.job_id != waiting.job_id:
            held += head.gpus
        return held + waiting.gpus <= limit

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
        if waiting.array_id is not None:
            self._arrays[waiting.array_id] = self._arrays.get(waiting.array_id, 0) + 1
        if not in_booking:
            self._devices[waiting.uid] = self._devices.get(waiting.uid, 0) + waiting.gpus
