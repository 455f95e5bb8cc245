"""What devices did, by the hour: a small row for each hour, device and person, kept for months.

`leases` says who held what, to the millisecond; what they did with it is only known while it
happens, so it is summed up here. A row of `NOBODY` is a device's time outside any lease.
"""

from __future__ import annotations

from collections.abc import Sequence

from gpuboard.model.past import DeviceHour
from gpuboard.store.rows import Table


class HourTable(Table):
    """Queries on `device_hours`."""

    def add_hours(self, rows: Sequence[DeviceHour]) -> None:
        """Add to what is known of these hours."""
        self._connection.write_many(
            "INSERT INTO device_hours (hour_at, device, uid, seen_s, used_s, idle_s)"
            " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (hour_at, device, uid) DO UPDATE SET"
            " seen_s = seen_s + excluded.seen_s, used_s = used_s + excluded.used_s,"
            " idle_s = idle_s + excluded.idle_s",
            [(r.hour_at, r.device, r.uid, r.seen_s, r.used_s, r.idle_s) for r in rows],
        )

    def forget_hours(self, before_at: int) -> int:
        """Remove the hours that began before an instant (ms) and return how many rows that was."""
        return self._connection.write(
            "DELETE FROM device_hours WHERE hour_at < ?", (before_at,)
        ).rowcount
