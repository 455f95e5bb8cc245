"""What happened, in order: events, notices, and the daemon's own memory."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from gpuboard.model.ids import DeviceUuid, JobId, ReservationId
from gpuboard.model.job import EventRow
from gpuboard.model.reservation import Notice
from gpuboard.store.connection import Row
from gpuboard.store.rows import Table, encoded

Detail = dict[str, str | int | float | bool | None]

_SELECT = "SELECT id, at, kind, job_id, reservation_id, device, uid, detail FROM events"


class Made(NamedTuple):
    """By what an attempt can be told from another's work; empty where that was not recorded."""

    spec_hash: str = ""
    handle: str = ""


class EventTable(Table):
    """Queries on `events`, `notices` and `state`."""

    def append_event(
        self,
        at: int,
        kind: str,
        *,
        job_id: JobId | None = None,
        reservation_id: ReservationId | None = None,
        device: DeviceUuid | None = None,
        uid: int | None = None,
        detail: Detail | None = None,
    ) -> int:
        """Record something, in the transaction of the change itself, and return the event's id."""
        cursor = self._connection.write(
            "INSERT INTO events (at, kind, job_id, reservation_id, device, uid, detail)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (at, kind, job_id, reservation_id, device, uid, encoded(detail or {})),
        )
        return cursor.lastrowid or 0

    def events_after(
        self, after_id: int, limit: int = 1000, job_id: JobId | None = None
    ) -> list[EventRow]:
        """Return events after an id, oldest first."""
        if job_id is None:
            rows = self._connection.rows(
                f"{_SELECT} WHERE id > ? ORDER BY id LIMIT ?", (after_id, max(0, limit))
            )
        else:
            rows = self._connection.rows(
                f"{_SELECT} WHERE job_id = ? AND id > ? ORDER BY id LIMIT ?",
                (job_id, after_id, max(0, limit)),
            )
        return [_event(row) for row in rows]

    def attempt_made(self, job_id: JobId, attempt: int) -> Made:
        """Return what was recorded when an attempt was intended and when it was created."""
        rows = self._connection.rows(
            "SELECT detail FROM events WHERE job_id = ? AND kind IN ('job.starting', 'job.created')",
            (job_id,),
        )
        details: list[Detail] = [msgspec.json.decode(row[0]) for row in rows]
        made: Detail = {}
        for detail in details:
            made |= detail if detail.get("attempt") == attempt else {}
        return Made(str(made.get("spec_hash", "")), str(made.get("handle", "")))

    def last_event_id(self) -> int:
        """Return the id of the newest event; 0 before the first."""
        row = self._connection.row("SELECT max(id) FROM events")
        return (row[0] or 0) if row else 0

    def insert_notice(self, notice: Notice) -> Notice:
        """Publish a notice (its id is ignored) and return it with its id."""
        cursor = self._connection.write(
            "INSERT INTO notices (at, by, text, until_at) VALUES (?, ?, ?, ?)",
            (notice.at, notice.by, notice.text, notice.until_at),
        )
        return msgspec.structs.replace(notice, id=cursor.lastrowid or 0)

    def clear_notices(self, at: int) -> int:
        """Take all notices back and return how many there were."""
        return self._connection.write(
            "UPDATE notices SET cleared_at = ? WHERE cleared_at IS NULL", (at,)
        ).rowcount

    def notices(self, now: int) -> list[Notice]:
        """Return the notices in force, oldest first."""
        rows = self._connection.rows(
            "SELECT id, at, by, text, until_at FROM notices"
            " WHERE cleared_at IS NULL AND (until_at IS NULL OR until_at > ?) ORDER BY id",
            (now,),
        )
        return [Notice(*row) for row in rows]

    def get_state(self, key: str) -> str | None:
        """Return what the daemon remembers under a key (`head`, `boot_id`)."""
        row = self._connection.row("SELECT value FROM state WHERE key = ?", (key,))
        return None if row is None else row[0]

    def set_state(self, key: str, value: str | None) -> None:
        """Remember a value under a key; None forgets it."""
        if value is None:
            self._connection.write("DELETE FROM state WHERE key = ?", (key,))
            return
        self._connection.write(
            "INSERT INTO state (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            (key, value),
        )


def _event(row: Row) -> EventRow:
    event_id, at, kind, job_id, reservation_id, device, uid, detail = row
    return EventRow(
        event_id, at, kind, job_id, reservation_id, device, uid, msgspec.json.decode(detail)
    )
