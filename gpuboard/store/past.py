"""A past window, read at once: on any thread, over a connection of its own.

A month of a busy box is tens of thousands of leases and jobs. The engine's thread has deadlines to
keep, so it never reads them: as a backup does, a report opens the file beside it, to read only.
"""

from __future__ import annotations

import contextlib
import sqlite3

from gpuboard.model.past import HOUR_MS, DeviceHour, HeldSpan, Past, WaitSpan
from gpuboard.model.reservation import Lease
from gpuboard.store.connection import connect, told
from gpuboard.store.devices import COLUMNS, lease_of

_HELD = (
    "SELECT device, leases.uid, max(granted_at, :from_at), min(ifnull(released_at, :until_at), :until_at),"
    " ifnull(json_extract(spec, '$.account'), ''), part FROM leases LEFT JOIN jobs ON jobs.id = job_id"
    " WHERE granted_at < :until_at AND (released_at IS NULL OR released_at > :from_at)"
)
_HOURS = (
    "SELECT hour_at, device, uid, seen_s, used_s, idle_s FROM device_hours"
    " WHERE hour_at >= :from_at AND hour_at < :until_at ORDER BY hour_at, device, uid"
)
_WAITS = (
    "SELECT uid, max(0, started_at - submitted_at) / 1000.0 FROM jobs"
    " WHERE started_at >= :from_at AND started_at < :until_at AND attempt = 1"
)
"""Of first attempts only: one that was preempted waits again without having been submitted again."""
_NAMED = (
    f"SELECT {', '.join(f'leases.{name}' for name in COLUMNS)}, ifnull(jobs.name, '')"  # noqa: S608
    " FROM leases LEFT JOIN jobs ON jobs.id = job_id"
    " WHERE granted_at < :until_at AND (released_at IS NULL OR released_at > :from_at)"
    " ORDER BY +leases.id"
)


def read_named_leases(path: str, from_at: int, until_at: int) -> list[tuple[Lease, str]]:
    """Return the leases that touch a window, live ones too, oldest first, each with its job's name.

    On any thread. Raises as `Store` does.
    """
    window = {"from_at": from_at, "until_at": until_at}
    try:
        with contextlib.closing(connect(path, read_only=True)) as connection:
            rows = connection.execute(_NAMED, window).fetchall()
    except sqlite3.Error as error:
        raise told(error, path, str) from error
    return [(lease_of(row[:-1]), row[-1]) for row in rows]


def read_past(path: str, from_at: int, until_at: int) -> Past:
    """Return what happened between two instants (ms), from the whole hour in which the first lies.

    On any thread. Raises as `Store` does.
    """
    window = {"from_at": from_at, "until_at": until_at}
    whole_hours = window | {"from_at": from_at // HOUR_MS * HOUR_MS}
    try:
        with contextlib.closing(connect(path, read_only=True)) as connection:
            connection.execute("BEGIN")  # one instant for all of them
            held = connection.execute(_HELD, window).fetchall()
            hours = connection.execute(_HOURS, whole_hours).fetchall()
            waits = connection.execute(_WAITS, window).fetchall()
            names = connection.execute("SELECT uid, name FROM people").fetchall()
    except sqlite3.Error as error:
        raise told(error, path, str) from error
    return Past(
        from_at=from_at,
        until_at=until_at,
        held=[HeldSpan(*row) for row in held if row[3] > row[2]],
        hours=[DeviceHour(*row) for row in hours],
        waits=[WaitSpan(*row) for row in waits],
        names=dict(names),
    )
