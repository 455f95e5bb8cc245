"""Reservations and blackouts in the database."""

# ruff: noqa: S608 - only names of ours are put into SQL; values are always bound

from __future__ import annotations

import msgspec

from gpuboard.errors import StateError
from gpuboard.model.ids import ReservationId
from gpuboard.model.reservation import Blackout, Reservation, ReservationState
from gpuboard.store.connection import Row
from gpuboard.store.people import upsert_person
from gpuboard.store.rows import Table, decoded_devices, decoded_person, encoded, marks

_COLUMNS = (
    "uid",
    "owner",
    "gpus",
    "from_at",
    "until_at",
    "state",
    "gpu_uuids",
    "gpu_type",
    "name",
    "devices",
    "created_at",
    "ended_at",
    "series_id",
    "rule",
    "account",
)
_SELECT = f"SELECT id, {', '.join(_COLUMNS)} FROM reservations"
_INSERT = f"INSERT INTO reservations ({', '.join(_COLUMNS)}) VALUES ({marks(_COLUMNS)})"
_UPDATE = f"UPDATE reservations SET {', '.join(f'{name} = ?' for name in _COLUMNS)} WHERE id = ?"


class ReservationTable(Table):
    """Queries on `reservations` and `blackouts`."""

    def insert_reservation(self, reservation: Reservation) -> Reservation:
        """Insert a booking (its id is ignored) and return it with its id."""
        upsert_person(self._connection, reservation.owner, reservation.created_at)
        cursor = self._connection.write(_INSERT, _values(reservation))
        return msgspec.structs.replace(reservation, id=ReservationId(cursor.lastrowid or 0))

    def save_reservation(self, reservation: Reservation) -> None:
        """Write a booking whole. Raises StateError when there is none of that id."""
        cursor = self._connection.write(_UPDATE, (*_values(reservation), reservation.id))
        if cursor.rowcount != 1:
            raise StateError(f"reservation {reservation.id} is not in the database")

    def get_reservation(self, reservation_id: ReservationId) -> Reservation | None:
        """Return a booking, past ones too."""
        row = self._connection.row(f"{_SELECT} WHERE id = ?", (reservation_id,))
        return None if row is None else _reservation(row)

    def live_reservations(self) -> list[Reservation]:
        """Return bookings that have not ended, by start."""
        rows = self._connection.rows(
            f"{_SELECT} WHERE state IN ('booked', 'active') ORDER BY from_at, id"
        )
        return [_reservation(row) for row in rows]

    def reservations_between(self, from_at: int, until_at: int) -> list[Reservation]:
        """Return bookings whose window touches this one, ended and cancelled ones too, by start."""
        rows = self._connection.rows(
            f"{_SELECT} WHERE from_at < ? AND until_at > ? ORDER BY from_at, id",
            (until_at, from_at),
        )
        return [_reservation(row) for row in rows]

    def insert_blackout(self, blackout: Blackout) -> Blackout:
        """Insert a maintenance window (its id is ignored) and return it with its id."""
        cursor = self._connection.write(
            "INSERT INTO blackouts (from_at, until_at, note, devices) VALUES (?, ?, ?, ?)",
            (blackout.from_at, blackout.until_at, blackout.note, encoded(blackout.devices)),
        )
        return msgspec.structs.replace(blackout, id=cursor.lastrowid or 0)

    def cancel_blackout(self, blackout_id: int, at: int) -> bool:
        """Take a blackout back; False when there is none, or it was taken back before."""
        cursor = self._connection.write(
            "UPDATE blackouts SET cancelled_at = ? WHERE id = ? AND cancelled_at IS NULL",
            (at, blackout_id),
        )
        return cursor.rowcount == 1

    def blackouts(self, now: int) -> list[Blackout]:
        """Return blackouts in force or to come, by start."""
        rows = self._connection.rows(
            "SELECT id, from_at, until_at, note, devices FROM blackouts"
            " WHERE until_at > ? AND cancelled_at IS NULL ORDER BY from_at, id",
            (now,),
        )
        return [
            Blackout(blackout_id, from_at, until_at, note, decoded_devices(devices))
            for blackout_id, from_at, until_at, note, devices in rows
        ]


def _values(reservation: Reservation) -> tuple[object, ...]:
    return (
        reservation.owner.uid,
        encoded(reservation.owner),
        reservation.gpus,
        reservation.from_at,
        reservation.until_at,
        reservation.state.value,
        encoded(reservation.gpu_uuids),
        reservation.gpu_type,
        reservation.name,
        encoded(reservation.devices),
        reservation.created_at,
        reservation.ended_at,
        reservation.series_id,
        reservation.rule,
        reservation.account,
    )


def _reservation(row: Row) -> Reservation:
    return Reservation(
        id=ReservationId(row[0]),
        owner=decoded_person(row[2]),
        gpus=row[3],
        from_at=row[4],
        until_at=row[5],
        state=ReservationState(row[6]),
        gpu_uuids=decoded_devices(row[7]),
        gpu_type=row[8],
        name=row[9],
        devices=decoded_devices(row[10]),
        created_at=row[11],
        ended_at=row[12],
        series_id=None if row[13] is None else ReservationId(row[13]),
        rule=row[14],
        account=row[15],
    )
