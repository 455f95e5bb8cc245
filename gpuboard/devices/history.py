"""The last minutes of each device, and how long a held one has been idle.

Samples lie in a ring of fixed slots, one an interval, addressed by time: a sweep that never came
leaves an empty slot, so a gap is shown as a gap and never closed up.
"""

from __future__ import annotations

from collections.abc import Mapping

from gpuboard.model.device import DeviceReading, ProbeSnapshot
from gpuboard.model.ids import DeviceUuid
from gpuboard.model.instants import iso
from gpuboard.model.views.devices import DeviceHistory

DEFAULT_SECONDS = 600


Sample = tuple[int | None, int | None, int | None, int | None]
"""Utilisation, memory, temperature, power."""
_NOTHING: Sample = (None, None, None, None)


class _Ring:
    """Samples of one device by slot number; a slot that was skipped reads None."""

    def __init__(self, slots: int) -> None:
        self.newest = -1
        self._numbers = [-1] * slots
        self._values: list[Sample] = [_NOTHING] * slots

    def put(self, slot: int, sample: Sample) -> None:
        place = slot % len(self._numbers)
        self.newest = max(self.newest, slot)
        self._numbers[place] = slot
        self._values[place] = sample

    def get(self, slot: int) -> Sample:
        place = slot % len(self._numbers)
        return self._values[place] if self._numbers[place] == slot else _NOTHING


class HistoryRecorder:
    """Keeps recent readings of every device. Belongs to one thread."""

    def __init__(self, *, seconds: int = DEFAULT_SECONDS, interval_s: float = 1.0) -> None:
        self._interval_ms = max(1, round(interval_s * 1000))
        self._slots = max(1, seconds * 1000 // self._interval_ms)
        self._rings: dict[DeviceUuid, _Ring] = {}
        self._last_slot = -1
        self._sequence = 0

    def record(self, snapshot: ProbeSnapshot) -> None:
        """Keep one sweep. A snapshot that is no new sweep (a hung driver's) leaves a gap."""
        if snapshot.sequence == self._sequence:
            return
        self._sequence = snapshot.sequence
        slot = snapshot.at // self._interval_ms
        self._last_slot = max(self._last_slot, slot)
        for reading in snapshot.readings:
            ring = self._rings.get(reading.device.uuid)
            if ring is None:
                ring = self._rings[reading.device.uuid] = _Ring(self._slots)
            ring.put(slot, _sample(reading))
        if len(self._rings) > len(snapshot.readings):
            self._forget_aged()

    def view(self, now: int, seconds: int = 120) -> DeviceHistory:
        """Return the last seconds of every device up to `now` (ms since epoch), oldest first."""
        count = max(1, min(self._slots, seconds * 1000 // self._interval_ms))
        # The slot of this very moment may be yet to come: ending with it would show a false gap.
        end = now // self._interval_ms
        end = end if self._last_slot >= end else max(self._last_slot, end - 1)
        slots = range(end - count + 1, end + 1)
        samples = {
            str(uuid): [ring.get(slot) for slot in slots] for uuid, ring in self._rings.items()
        }
        return DeviceHistory(
            at=iso(now) or "",
            interval_s=self._interval_ms / 1000,
            utilization={uuid: [each[0] for each in row] for uuid, row in samples.items()},
            memory={uuid: [each[1] for each in row] for uuid, row in samples.items()},
            temperature={uuid: [each[2] for each in row] for uuid, row in samples.items()},
            power={uuid: [each[3] for each in row] for uuid, row in samples.items()},
        )

    def _forget_aged(self) -> None:
        """Forget devices that have not been read for as long as the ring is (MIG instances gone)."""
        oldest = self._last_slot - self._slots
        for uuid in [uuid for uuid, ring in self._rings.items() if ring.newest <= oldest]:
            del self._rings[uuid]


class IdleWatch:
    """Tells for how long a held device has done nothing. Belongs to one thread."""

    def __init__(self) -> None:
        self._active_at: dict[DeviceUuid, int] = {}
        """When utilisation was last seen, or nothing was known of it."""

    def observe(self, snapshot: ProbeSnapshot) -> None:
        """Note which devices work. An unknown utilisation counts as work: never blame on silence."""
        for reading in snapshot.readings:
            if reading.utilization is None or reading.utilization > 0:
                self._active_at[reading.device.uuid] = snapshot.at

    def idle(self, held_since: Mapping[DeviceUuid, int], now: int) -> dict[DeviceUuid, int]:
        """Return the idle seconds of the held devices that are idle; busy ones are left out.

        `held_since` says since when each device is held (ms since epoch): a holder is idle at most
        as long as it holds.
        """
        idle: dict[DeviceUuid, int] = {}
        for uuid, since_at in held_since.items():
            idle_s = (now - max(since_at, self._active_at.get(uuid, since_at))) // 1000
            if idle_s > 0:
                idle[uuid] = idle_s
        return idle


def _sample(reading: DeviceReading) -> Sample:
    watts, limit = reading.power_w, reading.power_limit_w
    power = min(100, round(100 * watts / limit)) if watts is not None and limit else None
    return reading.utilization, memory_percent(reading), reading.temperature_c, power


def memory_percent(reading: DeviceReading) -> int | None:
    """Return how much of the device's memory is used, in percent; None when not known."""
    used, total = reading.memory_used_bytes, reading.memory_total_bytes
    if used is None or not total:
        return None
    return min(100, round(100 * used / total))
