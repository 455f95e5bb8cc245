"""The schema: every table, its rules, and the migrations that lead to it.

`sqlite_utils` runs the migrations and is imported only then, since it costs 100 ms. All pending
ones are one exclusive transaction together with `user_version`: killed half way, the old version
stays. Never change a released migration; add one.

There is deliberately no CHECK that compares two instants: the wall clock may jump back between
them, and a lease that cannot be closed is worse than an odd record. Nor is there `json_valid`:
under `trusted_schema = OFF` SQLite 3.40 refuses it as unsafe.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence

APPLICATION_ID = 0x67707562
"""`gpub` in the file's header: this database is ours."""

MIGRATIONS_TABLE = """
CREATE TABLE _sqlite_migrations (
  id INTEGER PRIMARY KEY,
  migration_set TEXT NOT NULL,
  name TEXT NOT NULL,
  applied_at TEXT NOT NULL,
  UNIQUE (migration_set, name)
) STRICT
"""
"""sqlite-utils would make its own, without STRICT."""

FIRST = (
    """
    CREATE TABLE people (
      uid INTEGER PRIMARY KEY CHECK (uid >= 0),
      gid INTEGER NOT NULL,
      name TEXT NOT NULL,
      home TEXT NOT NULL,
      groups TEXT NOT NULL,
      seen_at INTEGER NOT NULL
    ) STRICT
    """,
    """
    CREATE TABLE reservations (
      id INTEGER PRIMARY KEY AUTOINCREMENT,
      uid INTEGER NOT NULL REFERENCES people (uid),
      owner TEXT NOT NULL,
      gpus INTEGER NOT NULL CHECK (gpus > 0),
      from_at INTEGER NOT NULL,
      until_at INTEGER NOT NULL CHECK (until_at > from_at),
      state TEXT NOT NULL CHECK (state IN ('booked', 'active', 'ended', 'cancelled')),
      gpu_uuids TEXT NOT NULL,
      gpu_type TEXT NOT NULL,
      name TEXT NOT NULL,
      devices TEXT NOT NULL,
      created_at INTEGER NOT NULL,
      ended_at INTEGER
    ) STRICT
    """,
    "CREATE INDEX reservations_live ON reservations (from_at) WHERE state IN ('booked', 'active')",
    "CREATE INDEX reservations_until ON reservations (until_at)",
    """
    CREATE TABLE jobs (
      id INTEGER PRIMARY KEY AUTOINCREMENT,
      uid INTEGER NOT NULL REFERENCES people (uid),
      owner TEXT NOT NULL,
      spec TEXT NOT NULL,
      name TEXT NOT NULL,
      gpus INTEGER NOT NULL CHECK (gpus >= 0),
      limit_s INTEGER NOT NULL CHECK (limit_s >= 0),
      state TEXT NOT NULL CHECK (state IN (
        'queued', 'starting', 'running', 'stopping',
        'succeeded', 'failed', 'cancelled', 'timed_out', 'preempted', 'lost')),
      submitted_at INTEGER NOT NULL,
      attempt INTEGER NOT NULL CHECK (attempt >= 1),
      reason TEXT NOT NULL,
      held_by TEXT NOT NULL CHECK (held_by IN ('', 'user', 'admin')),
      array_id INTEGER REFERENCES jobs (id),
      array_index INTEGER,
      array_limit INTEGER CHECK (array_limit > 0),
      token TEXT NOT NULL,
      image_id TEXT NOT NULL,
      start_issued INTEGER NOT NULL CHECK (start_issued IN (0, 1)),
      handle TEXT NOT NULL,
      reservation_id INTEGER REFERENCES reservations (id),
      devices TEXT NOT NULL,
      leased_at INTEGER,
      started_at INTEGER,
      started_boot_ms INTEGER,
      boot_id TEXT NOT NULL,
      stop_cause TEXT CHECK (stop_cause IN (
        'cancel', 'time_limit', 'preemption', 'device_fault', 'mismatch')),
      stop_by TEXT NOT NULL,
      stop_requested_at INTEGER,
      ended_at INTEGER,
      exit_code INTEGER,
      oom_killed INTEGER NOT NULL CHECK (oom_killed IN (0, 1)),
      CHECK (state IN ('queued', 'starting', 'running', 'stopping') OR ended_at IS NOT NULL)
    ) STRICT
    """,
    """
    CREATE UNIQUE INDEX jobs_token ON jobs (uid, token, ifnull(array_index, -1))
    WHERE token <> ''
    """,
    """
    CREATE INDEX jobs_live ON jobs (id)
    WHERE state IN ('queued', 'starting', 'running', 'stopping')
    """,
    "CREATE INDEX jobs_uid ON jobs (uid, id)",
    "CREATE INDEX jobs_name ON jobs (name, id)",
    "CREATE INDEX jobs_array ON jobs (array_id) WHERE array_id IS NOT NULL",
    """
    CREATE INDEX jobs_runs ON jobs (uid, gpus, limit_s, id)
    WHERE state IN ('succeeded', 'failed', 'timed_out')
      AND started_at IS NOT NULL AND ended_at IS NOT NULL
    """,
    """
    CREATE TABLE leases (
      id INTEGER PRIMARY KEY AUTOINCREMENT,
      device TEXT NOT NULL CHECK (device <> ''),
      uid INTEGER NOT NULL REFERENCES people (uid),
      job_id INTEGER REFERENCES jobs (id),
      reservation_id INTEGER REFERENCES reservations (id),
      attempt INTEGER NOT NULL CHECK (attempt >= 1),
      granted_at INTEGER NOT NULL,
      until_at INTEGER NOT NULL,
      released_at INTEGER,
      CHECK (job_id IS NOT NULL OR reservation_id IS NOT NULL)
    ) STRICT
    """,
    "CREATE UNIQUE INDEX leases_live ON leases (device) WHERE released_at IS NULL",
    "CREATE INDEX leases_released ON leases (released_at)",
    "CREATE INDEX leases_job ON leases (job_id) WHERE job_id IS NOT NULL",
    """
    CREATE TABLE drains (
      device TEXT PRIMARY KEY CHECK (device <> ''),
      at INTEGER NOT NULL,
      by TEXT NOT NULL,
      note TEXT NOT NULL
    ) STRICT
    """,
    """
    CREATE TABLE blackouts (
      id INTEGER PRIMARY KEY AUTOINCREMENT,
      from_at INTEGER NOT NULL,
      until_at INTEGER NOT NULL CHECK (until_at > from_at),
      note TEXT NOT NULL,
      devices TEXT NOT NULL,
      cancelled_at INTEGER
    ) STRICT
    """,
    """
    CREATE TABLE notices (
      id INTEGER PRIMARY KEY AUTOINCREMENT,
      at INTEGER NOT NULL,
      by TEXT NOT NULL,
      text TEXT NOT NULL,
      until_at INTEGER,
      cleared_at INTEGER
    ) STRICT
    """,
    """
    CREATE TABLE events (
      id INTEGER PRIMARY KEY AUTOINCREMENT,
      at INTEGER NOT NULL,
      kind TEXT NOT NULL CHECK (kind <> ''),
      job_id INTEGER REFERENCES jobs (id),
      reservation_id INTEGER REFERENCES reservations (id),
      device TEXT,
      uid INTEGER,
      detail TEXT NOT NULL
    ) STRICT
    """,
    "CREATE INDEX events_job ON events (job_id, id) WHERE job_id IS NOT NULL",
    """
    CREATE TABLE usage (
      uid INTEGER PRIMARY KEY REFERENCES people (uid),
      device_seconds REAL NOT NULL CHECK (device_seconds >= 0),
      at INTEGER NOT NULL,
      shares REAL NOT NULL CHECK (shares >= 0)
    ) STRICT
    """,
    """
    CREATE TABLE state (
      key TEXT PRIMARY KEY CHECK (key <> ''),
      value TEXT NOT NULL
    ) STRICT, WITHOUT ROWID
    """,
)

SERIES = (
    "ALTER TABLE reservations ADD COLUMN series_id INTEGER REFERENCES reservations (id)",
    "ALTER TABLE reservations ADD COLUMN rule TEXT NOT NULL DEFAULT ''",
)

HOURS = (
    """
    CREATE TABLE device_hours (
      hour_at INTEGER NOT NULL,
      device TEXT NOT NULL CHECK (device <> ''),
      uid INTEGER NOT NULL CHECK (uid >= -1),
      seen_s REAL NOT NULL CHECK (seen_s >= 0),
      used_s REAL NOT NULL CHECK (used_s >= 0),
      idle_s REAL NOT NULL CHECK (idle_s >= 0),
      PRIMARY KEY (hour_at, device, uid)
    ) STRICT, WITHOUT ROWID
    """,
    "CREATE INDEX jobs_started ON jobs (started_at, uid, submitted_at, attempt) WHERE started_at IS NOT NULL",
)

FENCED = ("ALTER TABLE jobs ADD COLUMN fenced TEXT NOT NULL DEFAULT ''",)

GROUPS = (
    """
    CREATE TABLE account_usage (
      uid INTEGER NOT NULL REFERENCES people (uid),
      account TEXT NOT NULL CHECK (account <> ''),
      device_seconds REAL NOT NULL CHECK (device_seconds >= 0),
      at INTEGER NOT NULL,
      PRIMARY KEY (uid, account)
    ) STRICT, WITHOUT ROWID
    """,
    "ALTER TABLE reservations ADD COLUMN account TEXT NOT NULL DEFAULT ''",
)

SHARES = (
    """
    ALTER TABLE leases ADD COLUMN memory_bytes INTEGER CHECK (memory_bytes > 0)
    """,
    """
    ALTER TABLE leases ADD COLUMN capacity_bytes INTEGER
      CHECK ((capacity_bytes IS NULL) = (memory_bytes IS NULL))
    """,
    """
    ALTER TABLE leases ADD COLUMN part REAL NOT NULL DEFAULT 1
      CHECK (part > 0 AND part <= 1 AND (part = 1 OR memory_bytes IS NOT NULL))
    """,
    "DROP INDEX leases_live",
    """
    CREATE UNIQUE INDEX leases_live ON leases (device)
    WHERE released_at IS NULL AND memory_bytes IS NULL
    """,
    """
    CREATE UNIQUE INDEX leases_shared ON leases (device, job_id)
    WHERE released_at IS NULL AND memory_bytes IS NOT NULL
    """,
    """
    CREATE TRIGGER leases_alone BEFORE INSERT ON leases
    WHEN NEW.released_at IS NULL AND NEW.memory_bytes IS NULL AND EXISTS (
      SELECT 1 FROM leases WHERE device = NEW.device
      AND released_at IS NULL AND memory_bytes IS NOT NULL)
    BEGIN
      SELECT raise(ABORT, 'the device is shared');
    END
    """,
    """
    CREATE TRIGGER leases_together BEFORE INSERT ON leases
    WHEN NEW.released_at IS NULL AND NEW.memory_bytes IS NOT NULL AND (
      EXISTS (
        SELECT 1 FROM leases WHERE device = NEW.device
        AND released_at IS NULL AND memory_bytes IS NULL)
      OR NEW.memory_bytes + (
        SELECT ifnull(sum(memory_bytes), 0) FROM leases WHERE device = NEW.device
        AND released_at IS NULL AND memory_bytes IS NOT NULL) > NEW.capacity_bytes)
    BEGIN
      SELECT raise(ABORT, 'the device has no room for this share');
    END
    """,
    """
    CREATE TRIGGER leases_stay_ended BEFORE UPDATE ON leases
    WHEN OLD.released_at IS NOT NULL AND NEW.released_at IS NULL
      OR OLD.device IS NOT NEW.device OR OLD.memory_bytes IS NOT NEW.memory_bytes
    BEGIN
      SELECT raise(ABORT, 'a lease that ended, its device and its share stay as they are');
    END
    """,
)
"""Leases of a part of a device's memory. Beside the index that allows a device one lease of its own,
triggers keep the two kinds apart and the shares within the device, whoever writes."""

_RAN = """state IN ('succeeded', 'failed', 'timed_out')
      AND started_at IS NOT NULL AND ended_at IS NOT NULL"""
RUNS = (
    # without them a forecast walks all that is queued to find what ran last
    f"CREATE INDEX jobs_ran ON jobs (id) WHERE {_RAN}",
    f"CREATE INDEX jobs_ran_of ON jobs (uid, id) WHERE {_RAN}",
)

RAN = ("ALTER TABLE jobs ADD COLUMN ran_s INTEGER NOT NULL DEFAULT 0 CHECK (ran_s >= 0)",)

PORTS = (
    """
    CREATE TABLE ports (
      host_port INTEGER PRIMARY KEY CHECK (host_port BETWEEN 1024 AND 65535),
      port INTEGER NOT NULL CHECK (port BETWEEN 1 AND 65535),
      job_id INTEGER NOT NULL REFERENCES jobs (id),
      UNIQUE (job_id, port)
    ) STRICT
    """,
    "ALTER TABLE jobs ADD COLUMN ports TEXT NOT NULL DEFAULT ''",
)
"""Ports of the box that live attempts have: no port twice, whoever writes. The job's own column is
the record of its last attempt."""

NAMES = (
    # without them a name among a person's live jobs, or one that they never gave, walks all they had
    "CREATE INDEX jobs_of_name ON jobs (uid, name, id)",
    """
    CREATE INDEX jobs_live_of ON jobs (uid, name, id)
    WHERE state IN ('queued', 'starting', 'running', 'stopping')
    """,
)

STEPS: tuple[tuple[str, Sequence[str]], ...] = (
    ("m001_first", FIRST),
    ("m002_series", SERIES),
    ("m003_hours", HOURS),
    ("m004_fenced", FENCED),
    ("m005_groups", GROUPS),
    ("m006_shares", SHARES),
    ("m007_runs", RUNS),
    ("m008_ran", RAN),
    ("m009_ports", PORTS),
    ("m010_names", NAMES),
)
"""Migrations by name, oldest first; a database that has had n of them is of version n."""

VERSION = len(STEPS)
"""What `PRAGMA user_version` says of a database of this gpuboard."""


def migrate(
    connection: sqlite3.Connection,
    *,
    steps: Sequence[tuple[str, Sequence[str]]] = STEPS,
) -> None:
    """Bring a database (an empty one too) to the version of `steps`, in one exclusive transaction.

    The caller holds the daemon's lock and has taken a backup. Raises sqlite3.Error, with nothing changed.
    """
    from sqlite_utils import Database
    from sqlite_utils.migrations import Migrations

    migrations = Migrations("gpuboard")
    for name, statements in steps:
        migrations(name=name)(_runner(statements))
    connection.execute("BEGIN EXCLUSIVE")
    try:
        known = connection.execute(
            "SELECT 1 FROM sqlite_schema WHERE name = '_sqlite_migrations'"
        ).fetchone()
        if known is None:
            connection.execute(MIGRATIONS_TABLE)
        migrations.apply(Database(connection, execute_plugins=False))
        _refuse_orphans(connection)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {len(steps)}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _refuse_orphans(connection: sqlite3.Connection) -> None:
    orphan = connection.execute("PRAGMA foreign_key_check").fetchone()
    if orphan is not None:
        raise sqlite3.IntegrityError(f"row {orphan[1]} of {orphan[0]} would refer to nothing")


def _runner(statements: Sequence[str]) -> Callable[[object], None]:
    def run(db: object) -> None:
        connection: sqlite3.Connection = db.conn  # type: ignore[attr-defined]
        for statement in statements:  # one by one: `executescript` would commit
            connection.execute(statement)

    return run
