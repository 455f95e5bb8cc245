"""The capacity profile: which devices are free during which span of time.

A set of devices is an integer with one bit a device (see `placement.DeviceBox`), so that "free all
through this window" is a handful of AND operations however many devices there are.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping

FOREVER = 1 << 62
"""An instant (ms) after everything."""
OVERDUE_MS = 1000
"""A holder past its limit is expected to be gone so soon."""


def gone_at(ends_at: int, now: int) -> int:
    """Return when (ms) a holder frees its devices that has to by `ends_at`: then, or soon if overdue.

    One that ends within the second is not taken to be later: that would put a promise off.
    """
    return ends_at if ends_at > now else now + OVERDUE_MS


class Profile:
    """A step function from time to the set of free devices, from one instant on."""

    __slots__ = ("masks", "times")

    def __init__(self, at: int, free: int) -> None:
        self.times = [at]
        """Starts of the segments (ms), ascending; the last segment never ends."""
        self.masks = [free]
        """Free devices of each segment."""

    @classmethod
    def of_releases(cls, at: int, free: int, releases: Mapping[int, int]) -> Profile:
        """Return the profile of devices free at `at` and of others released later (instant -> set)."""
        profile = cls(at, free)
        mask = free
        times, masks = profile.times, profile.masks
        for released_at, devices in sorted(releases.items()):
            mask |= devices
            times.append(released_at)
            masks.append(mask)
        return profile

    def copy(self) -> Profile:
        """Return an independent copy."""
        twin = Profile.__new__(Profile)
        twin.times = self.times.copy()
        twin.masks = self.masks.copy()
        return twin

    def block(self, devices: int, from_at: int, until_at: int) -> None:
        """Take devices out of the free set during [from_at, until_at)."""
        first = max(from_at, self.times[0])
        if until_at <= first or not devices:
            return
        low = self._split(first)
        high = self._split(until_at) if until_at < FOREVER else len(self.times)
        keep = ~devices
        masks = self.masks
        for position in range(low, high):
            masks[position] &= keep

    def unblock(self, devices: int, from_at: int, until_at: int) -> None:
        """Give devices back to the free set during [from_at, until_at): undo a `block` of free ones."""
        first = max(from_at, self.times[0])
        if until_at <= first or not devices:
            return
        low = self._split(first)
        high = self._split(until_at) if until_at < FOREVER else len(self.times)
        for position in range(low, high):
            self.masks[position] |= devices

    def free_throughout(self, from_at: int, until_at: int) -> int:
        """Return the devices free during all of [from_at, until_at)."""
        times, masks = self.times, self.masks
        position = max(0, bisect_right(times, from_at) - 1)
        free = masks[position]
        for position in range(position + 1, len(times)):  # noqa: B020 (goes on from there)
            if times[position] >= until_at or not free:
                break
            free &= masks[position]
        return free

    def least_free(self, from_at: int, until_at: int) -> int:
        """Return the smallest number of free devices at any moment of [from_at, until_at)."""
        times, masks = self.times, self.masks
        position = max(0, bisect_right(times, from_at) - 1)
        least = masks[position].bit_count()
        for position in range(position + 1, len(times)):  # noqa: B020 (goes on from there)
            if times[position] >= until_at:
                break
            least = min(least, masks[position].bit_count())
        return least

    def instants(self, from_at: int) -> Iterator[int]:
        """Yield `from_at` and then each later instant at which the free set changes."""
        yield from_at
        yield from self.times[bisect_right(self.times, from_at) :]

    def _split(self, at: int) -> int:
        """Return the position of the segment that starts at `at`, made by a cut if need be."""
        position = bisect_left(self.times, at)
        if position == len(self.times) or self.times[position] != at:
            self.times.insert(position, at)
            self.masks.insert(position, self.masks[position - 1])
        return position
