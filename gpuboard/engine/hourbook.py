"""The hour book: sums up, sweep by sweep, how devices were used, by the hour and by who held them.

It is written at most once a minute, and only at the end of the hour while nobody holds anything:
an idle box writes 24 times a day. A crash loses at most that minute; who held what is in the leases.
"""

from __future__ import annotations

from collections.abc import Mapping

from gpuboard.engine.core import Core, log
from gpuboard.errors import GpuboardError
from gpuboard.model.device import DeviceReading, ProbeSnapshot
from gpuboard.model.ids import DeviceUuid
from gpuboard.model.past import HOUR_MS, NOBODY, DeviceHour
from gpuboard.store.database import Store

WRITE_MS = 60_000
LONGEST_GAP_MS = 15_000
"""Between two sweeps: of a longer silence nothing is said."""

_Key = tuple[int, DeviceUuid, int]


class HourBook:
    """Sums in memory, and the writing of them."""

    def __init__(self, core: Core, store: Store) -> None:
        self._core = core
        self._store = store
        self._last_at = 0
        self._sums: dict[_Key, list[float]] = {}
        """Seconds seen, used and idle that are not in the database yet."""
        self._write_boot_ms = core.clock.boot_ms() + WRITE_MS

    def observe(self, snapshot: ProbeSnapshot, idle_s: Mapping[DeviceUuid, int]) -> None:
        """Count the time since the last sweep as each device is now; `idle_s`: for how long it is idle."""
        gap_ms, self._last_at = snapshot.at - self._last_at, snapshot.at
        if 0 < gap_ms <= LONGEST_GAP_MS and not snapshot.fault:
            hour_at = snapshot.at // HOUR_MS * HOUR_MS
            for reading in snapshot.readings:
                self._add(hour_at, reading, gap_ms / 1000, idle_s)
        if self._is_due(snapshot.at):
            self.write()

    def write(self) -> None:
        """Write what is not in the database yet. A full disk is told, and it is tried again."""
        self._write_boot_ms = self._core.clock.boot_ms() + WRITE_MS
        if not self._sums:
            return
        rows = [DeviceHour(*key, *(round(s, 3) for s in sums)) for key, sums in self._sums.items()]
        self._core.crash("hours.before")
        try:
            with self._store.transaction() as store:
                store.add_hours(rows)
            self._core.crash("hours.after")
        except GpuboardError as error:
            log.error("how devices were used cannot be written: %s", error)
        else:
            self._sums.clear()

    def _add(
        self,
        hour_at: int,
        reading: DeviceReading,
        span_s: float,
        idle_s: Mapping[DeviceUuid, int],
    ) -> None:
        if reading.utilization is None:
            return
        core, uuid = self._core, reading.device.uuid
        lease = core.ledger.leases.get(uuid)
        held = core.ledger.shares_of(uuid) or ([lease] if lease is not None else [])
        parts = [(one.uid, one.devices_charged) for one in held] or [(NOBODY, 1.0)]
        for uid, part in parts:  # several jobs may share a device
            sums = self._sums.setdefault((hour_at, uuid, uid), [0.0, 0.0, 0.0])
            sums[0] += part * span_s
            sums[1] += part * span_s * min(100, max(0, reading.utilization)) / 100
            if held and idle_s.get(uuid, 0) >= core.config.devices.idle_after_s:
                sums[2] += part * span_s

    def _is_due(self, now: int) -> bool:
        if not self._sums or self._core.clock.boot_ms() < self._write_boot_ms:
            return False
        hour_at = now // HOUR_MS * HOUR_MS
        return any(
            begun < hour_at or uid != NOBODY or sums[1] > 0
            for (begun, _, uid), sums in self._sums.items()
        )
