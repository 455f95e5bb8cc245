"""Who has which device: leases, and drains.

The database itself refuses a second live lease of a device, and shares that are too much for it.
"""

from __future__ import annotations

import msgspec

from gpuboard.model.ids import DeviceUuid, JobId, LeaseId, ReservationId
from gpuboard.model.reservation import Drain, Lease, Share
from gpuboard.store.connection import Row
from gpuboard.store.rows import Table

COLUMNS = (
    *("id", "device", "uid", "job_id", "reservation_id", "granted_at", "until_at", "released_at"),
    *("attempt", "memory_bytes", "capacity_bytes", "part"),
)
_SELECT = f"SELECT {', '.join(COLUMNS)} FROM leases"  # noqa: S608 - only names of ours


class DeviceTable(Table):
    """Queries on `leases` and `drains`."""

    def open_lease(
        self,
        device: DeviceUuid,
        uid: int,
        *,
        job_id: JobId | None,
        reservation_id: ReservationId | None = None,
        granted_at: int,
        until_at: int,
        attempt: int = 1,
        share: Share | None = None,
    ) -> Lease:
        """Grant a device, or a share of one.

        Raises StateError when it has a live lease, or no room for the share: the last guard of
        "no device twice".
        """
        memory = (
            (share.memory_bytes, share.capacity_bytes, share.part) if share else (None, None, 1)
        )
        cursor = self._connection.write(
            "INSERT INTO leases (device, uid, job_id, reservation_id, granted_at, until_at, attempt,"
            " memory_bytes, capacity_bytes, part) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (device, uid, job_id, reservation_id, granted_at, until_at, attempt, *memory),
        )
        return Lease(
            LeaseId(cursor.lastrowid or 0),
            device,
            uid,
            job_id,
            reservation_id,
            granted_at,
            until_at,
            attempt=attempt,
            share=share,
        )

    def close_lease(self, device: DeviceUuid, released_at: int) -> bool:
        """End the device's live lease; False when it has none of its own."""
        cursor = self._connection.write(
            "UPDATE leases SET released_at = ?"
            " WHERE device = ? AND released_at IS NULL AND memory_bytes IS NULL",
            (released_at, device),
        )
        return cursor.rowcount == 1

    def close_share(self, lease_id: LeaseId, released_at: int) -> bool:
        """End a live lease of a part of a device; False when there is none of this number."""
        cursor = self._connection.write(
            "UPDATE leases SET released_at = ?"
            " WHERE id = ? AND released_at IS NULL AND memory_bytes IS NOT NULL",
            (released_at, lease_id),
        )
        return cursor.rowcount == 1

    def extend_lease(self, device: DeviceUuid, until_at: int) -> bool:
        """Change until when the device's live lease runs; False when it has none."""
        cursor = self._connection.write(
            "UPDATE leases SET until_at = ?"
            " WHERE device = ? AND released_at IS NULL AND memory_bytes IS NULL",
            (until_at, device),
        )
        return cursor.rowcount == 1

    def live_leases(self) -> list[Lease]:
        """Return leases that have not ended, oldest first."""
        return [
            lease_of(row)
            for row in self._connection.rows(f"{_SELECT} WHERE released_at IS NULL ORDER BY id")
        ]

    def leases_between(self, from_at: int, until_at: int) -> list[Lease]:
        """Return leases that touch a window, live ones too, oldest first."""
        rows = self._connection.rows(
            # +id: or SQLite walks all leases ever, so as not to sort a few
            f"{_SELECT} WHERE granted_at < ? AND (released_at IS NULL OR released_at > ?) ORDER BY +id",
            (until_at, from_at),
        )
        return [lease_of(row) for row in rows]

    def save_drain(self, drain: Drain) -> None:
        """Take a device out of service, or change the note of one that is."""
        self._connection.write(
            "INSERT INTO drains (device, at, by, note) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (device) DO UPDATE SET at = excluded.at, by = excluded.by, note = excluded.note",
            (drain.device, drain.at, drain.by, drain.note),
        )

    def remove_drain(self, device: DeviceUuid) -> bool:
        """Put a device back into service; False when it was."""
        return (
            self._connection.write("DELETE FROM drains WHERE device = ?", (device,)).rowcount == 1
        )

    def drains(self) -> list[Drain]:
        """Return drained devices, oldest drain first."""
        rows = self._connection.rows("SELECT device, at, by, note FROM drains ORDER BY at, device")
        return [Drain(*row) for row in rows]


def lease_of(row: Row) -> Lease:
    """Return the lease of a row in the order of `COLUMNS`."""
    lease = Lease(*row[:9])
    memory_bytes, capacity_bytes, part = row[9:]
    if memory_bytes is None:
        return lease
    return msgspec.structs.replace(lease, share=Share(memory_bytes, capacity_bytes, part))
