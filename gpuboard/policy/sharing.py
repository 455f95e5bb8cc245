"""Sharing: which jobs may be together on one device, by budgets of its memory.

A job that says how much device memory it needs (`--gpu-mem 10G`) may be on a device with others
that do, as long as their budgets come to no more than the device has, less a reserve. It is never
beside a job that has its device to itself, nor on a booked device. With `sharing = "person"` (the
default) only jobs of one person are together: a neighbour that takes more memory than it said can
end one's job, so that this is nobody else's risk unless an admin says `all`.

A device with sharers is held until the last of them ends. Joining one costs nobody anything: it is
done only where the device is busy that long anyway, or nothing is promised of it afterwards.

What is charged is the device, as always: its sharers pay for it together, each in proportion to
their budget, so that the device-seconds charged are those held whoever comes and goes, nobody gets
a device at a discount by asking for little of it alone, and nobody loses by having company. A quota
counts a job that shares as one device.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from gpuboard.model.ids import DeviceUuid, Uid
from gpuboard.model.world import Holder, PolicySettings, Waiting
from gpuboard.policy.placement import DeviceBox
from gpuboard.policy.profile import FOREVER, Profile, gone_at


def budget_of(waiting: Waiting, settings: PolicySettings) -> int:
    """Return the memory (bytes) with which a job would share its device; 0: it shares none."""
    may_share = settings.sharing != "off" and waiting.gpus == 1 and not waiting.preemptible
    return waiting.gpu_memory_bytes if may_share else 0


def charged_parts(holders: Iterable[Holder]) -> Iterator[tuple[Holder, float]]:
    """Yield each holder with how many devices it is charged for, a shared one by its budget."""
    sharers: dict[DeviceUuid, list[Holder]] = {}
    for holder in holders:
        if holder.gpu_memory_bytes:
            sharers.setdefault(holder.devices[0], []).append(holder)
        else:
            yield holder, len(holder.devices)
    for together in sharers.values():
        total = sum(holder.gpu_memory_bytes for holder in together)
        for holder in together:
            yield holder, holder.gpu_memory_bytes / total


class Shared(NamedTuple):
    """A device that is shared now."""

    people: frozenset[Uid]
    given_bytes: int
    """Sum of the budgets."""
    left_bytes: int
    """What may still be given."""
    until_at: int
    """When the last of its jobs ends at the latest (ms)."""


class SharedDevices:
    """The shared devices of one round; grows as the round starts jobs."""

    def __init__(
        self,
        box: DeviceBox,
        settings: PolicySettings,
        holders: Iterable[Holder],
        now: int,
    ) -> None:
        """Take stock at `now` (ms)."""
        self._box = box
        self._settings = settings
        self._shared: dict[int, Shared] = {}
        self.devices = 0
        """All of them, as a set."""
        for holder in holders:
            if holder.gpu_memory_bytes:
                device = box.held_by(holder)
                if device:
                    ends_at = gone_at(holder.ends_at, now)
                    self.add(device, holder.uid, holder.gpu_memory_bytes, ends_at)

    def add(self, device: int, uid: Uid, budget: int, until_at: int) -> None:
        """Let a job share a device, which may be one that nobody shares yet."""
        before = self._shared.get(device)
        if before is None:
            before = Shared(frozenset(), 0, self.capacity_bytes(device), 0)
        self._shared[device] = Shared(
            before.people | {uid},
            before.given_bytes + budget,
            before.left_bytes - budget,
            max(before.until_at, until_at),
        )
        self.devices |= device

    def of(self, device: int) -> Shared | None:
        """Return how a device is shared; None when it is not."""
        return self._shared.get(device)

    def held_until(self, device: int) -> int:
        """Return until when (ms) those that share a device may keep it."""
        return self._shared[device].until_at

    def capacity_bytes(self, device: int) -> int:
        """Return what the budgets on a device may come to."""
        fact = self._box.facts_of(device)[0]
        return max(0, fact.memory_bytes - self._settings.sharing_reserve_bytes)

    def room_for(self, uid: Uid, budget: int, among: int) -> Iterator[int]:
        """Yield the shared devices of a set on which there is room for such a job, the best first.

        The person's own first, then the one with the least left over, then by index.
        """
        found: list[tuple[bool, int, int]] = []
        for device, shared in self._shared.items():
            if device & among and shared.left_bytes >= budget:
                is_own = shared.people == {uid}
                if is_own or self._settings.sharing == "all":
                    found.append((uid not in shared.people, shared.left_bytes, device))
        return (device for _, _, device in sorted(found))

    @property
    def is_by_person(self) -> bool:
        """Whether it matters who asks, beyond which device is the best."""
        return self._settings.sharing != "all"

    def join(self, uid: Uid, budget: int, among: int, profile: Profile, until_at: int) -> int:
        """Return the best device to join until `until_at` (ms) without costing anybody anything, or 0.

        `profile`: what holders and promises leave free.
        """
        for device in self.room_for(uid, budget, among):
            held_until = self._shared[device].until_at
            is_longer = until_at > held_until
            if not is_longer or device & profile.free_throughout(held_until, until_at):
                return device
        return 0

    def open_until(
        self, uid: Uid, budget: int, among: int, profile: Profile, closed: Mapping[int, int]
    ) -> int:
        """Return an instant (ms) beyond which such a job cannot join; 0: it never can.

        `closed`: by device, an instant until which nobody could stay.
        """
        latest = 0
        segments = list(zip(profile.times, profile.masks, strict=True))
        for device in self.room_for(uid, budget, among):
            held_until = self._shared[device].until_at
            taken = (at for at, free in segments if at >= held_until and not free & device)
            latest = max(latest, min(next(taken, FOREVER), closed.get(device, FOREVER) - 1))
        return latest
