"""People who came here, and what they were charged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from gpuboard.model.ids import Uid
from gpuboard.model.person import Person
from gpuboard.store.connection import Connection, Row
from gpuboard.store.rows import Table, encoded


class UsageRow(msgspec.Struct, frozen=True):
    """A person's account: decayed device-seconds as of `at`."""

    uid: Uid
    device_seconds: float
    at: int
    shares: float = 1.0


class AccountUsageRow(msgspec.Struct, frozen=True):
    """What a person owes for one of their groups: decayed device-seconds as of `at`."""

    uid: Uid
    account: str
    device_seconds: float
    at: int


_ENDED = """
SELECT leases.uid, ifnull(json_extract(spec, '$.account'), ifnull(account, '')),
  granted_at, released_at
FROM leases LEFT JOIN jobs ON jobs.id = job_id
LEFT JOIN reservations ON reservations.id = leases.reservation_id
WHERE released_at >= :since_at AND memory_bytes IS NULL
UNION ALL
SELECT leases.uid, ifnull(json_extract(spec, '$.account'), ''), min(granted_at), max(released_at)
FROM leases JOIN jobs ON jobs.id = job_id
WHERE released_at >= :since_at AND memory_bytes IS NOT NULL AND NOT EXISTS (
  SELECT 1 FROM leases AS live WHERE live.job_id = leases.job_id AND live.released_at IS NULL)
GROUP BY leases.job_id, leases.attempt
"""


class PeopleTable(Table):
    """Queries on `people` and `usage`."""

    def upsert_person(self, person: Person, seen_at: int) -> None:
        """Remember a person as they are now."""
        upsert_person(self._connection, person, seen_at)

    def get_person(self, uid: int) -> Person | None:
        """Return a person as they last came here."""
        row = self._connection.row(
            "SELECT uid, gid, name, home, groups FROM people WHERE uid = ?", (uid,)
        )
        return None if row is None else _person(row)

    def people(self) -> list[Person]:
        """Return everybody who ever came here, by uid."""
        rows = self._connection.rows("SELECT uid, gid, name, home, groups FROM people ORDER BY uid")
        return [_person(row) for row in rows]

    def save_usage(self, rows: Sequence[UsageRow]) -> None:
        """Write accounts, each whole; the person must be known."""
        self._connection.write_many(
            "INSERT INTO usage (uid, device_seconds, at, shares) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (uid) DO UPDATE SET device_seconds = excluded.device_seconds,"
            " at = excluded.at, shares = excluded.shares",
            [(row.uid, row.device_seconds, row.at, row.shares) for row in rows],
        )

    def load_usage(self) -> list[UsageRow]:
        """Return all accounts, by uid."""
        rows = self._connection.rows(
            "SELECT uid, device_seconds, at, shares FROM usage ORDER BY uid"
        )
        return [UsageRow(*row) for row in rows]

    def save_account_usage(self, rows: Sequence[AccountUsageRow]) -> None:
        """Write what people owe for groups, each whole; the person must be known."""
        self._connection.write_many(
            "INSERT INTO account_usage (uid, account, device_seconds, at) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (uid, account) DO UPDATE SET device_seconds = excluded.device_seconds,"
            " at = excluded.at",
            [(row.uid, row.account, row.device_seconds, row.at) for row in rows],
        )

    def load_account_usage(self) -> list[AccountUsageRow]:
        """Return what everybody owes for groups."""
        rows = self._connection.rows(
            "SELECT uid, account, device_seconds, at FROM account_usage ORDER BY uid, account"
        )
        return [AccountUsageRow(*row) for row in rows]

    def released_since(self, since_at: int) -> list[tuple[int, str, int, int]]:
        """Return (uid, group, from, until) of the leases that ended at or after an instant (ms).

        What a job held of shared devices is one, and only once it has ended.
        """
        return list(self._connection.rows(_ENDED, {"since_at": since_at}))

    def charged_since(self, since_at: int, now: int) -> Mapping[int, float]:
        """Return device-seconds held from `since_at` to `now` by uid, from the leases, not decayed."""
        rows = self._connection.rows(
            "SELECT uid, sum(part * max(0, min(ifnull(released_at, :now), :now) - max(granted_at, :since_at)))"
            " / 1000.0"
            " FROM leases WHERE granted_at < :now AND (released_at IS NULL OR released_at > :since_at)"
            " GROUP BY uid",
            {"since_at": since_at, "now": now},
        )
        return dict(rows)


def upsert_person(connection: Connection, person: Person, seen_at: int) -> None:
    """Remember a person as they are now."""
    connection.write(
        "INSERT INTO people (uid, gid, name, home, groups, seen_at) VALUES (?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (uid) DO UPDATE SET gid = excluded.gid, name = excluded.name,"
        " home = excluded.home, groups = excluded.groups, seen_at = excluded.seen_at",
        (person.uid, person.gid, person.name, person.home, encoded(person.groups), seen_at),
    )


def _person(row: Row) -> Person:
    uid, gid, name, home, groups = row
    return Person(Uid(uid), gid, name, home, tuple(msgspec.json.decode(groups)))
