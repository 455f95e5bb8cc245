"""The schema: strict, guarded, and moved from version to version whole or not at all."""

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest
import sqlite_utils

from gpuboard.errors import HostError
from gpuboard.model.job import FINAL_STATES, JobState, StopCause
from gpuboard.model.reservation import ReservationState
from gpuboard.store import Store, schema
from gpuboard.store.connection import connect
from tests.support.records import new_job

TABLES = {
    "people", "jobs", "leases", "reservations", "drains", "blackouts", "notices", "events", "usage", "state",
    "device_hours", "account_usage", "ports",
    "_sqlite_migrations",
}  # fmt: skip
RELEASED = len(schema.STEPS)
NEXT = (
    *schema.STEPS,
    ("m002", ("ALTER TABLE jobs ADD COLUMN colour TEXT", "CREATE TABLE extra (a INTEGER) STRICT")),
    ("m003", ("CREATE INDEX extra_a ON extra (a)",)),
)


@pytest.fixture
def database(store):
    found = sqlite_utils.Database(connect(store.path), execute_plugins=False)
    yield found
    found.close()


def test_every_table_is_strict(database):
    """A column's type is kept by SQLite, the migrations' own table included."""
    names = set(database.table_names()) - {"sqlite_sequence"}
    assert names == TABLES
    assert {name for name in names if not database[name].strict} == set()


def test_ids_are_never_used_again(database):
    """AUTOINCREMENT wherever people see a number."""
    for table in ("jobs", "leases", "reservations", "blackouts", "notices", "events"):
        assert "AUTOINCREMENT" in database[table].schema


def test_the_live_lease_of_a_device_is_a_partial_unique_index(database):
    """The rule `no device twice` lies in the file, beside every program that writes to it."""
    [index] = [one for one in database["leases"].indexes if one.name == "leases_live"]
    assert (index.columns, bool(index.unique), bool(index.partial)) == (["device"], True, True)


def test_the_states_of_the_schema_are_those_of_the_model(database):
    """A state added to the model and not to the schema would be refused on its first write."""
    jobs, reservations = database["jobs"].schema, database["reservations"].schema
    for word in (*JobState, *StopCause):
        assert f"'{word.value}'" in jobs
    for state in ReservationState:
        assert f"'{state.value}'" in reservations
    live = ", ".join(f"'{state.value}'" for state in JobState if state not in FINAL_STATES)
    [index] = database.conn.execute(
        "SELECT sql FROM sqlite_schema WHERE name = 'jobs_live'"
    ).fetchone()
    assert f"({live})" in index


LIVE = ("queued", "starting", "running", "stopping")


@pytest.mark.parametrize(
    ("ask", "index"),
    [
        (lambda store: store.load_live_jobs(), "jobs_live"),
        (lambda store: store.last_job(1), "jobs_uid"),
        (lambda store: store.jobs_by_token(1, "x"), "jobs_token"),
        (lambda store: store.recent_runs(1, 1, 1), "jobs_runs"),
        (lambda store: store.recent_parts(1, 9), "jobs_ran_of"),
        (lambda store: store.recent_parts(None, 9), "jobs_ran"),
        (lambda store: store.released_since(1), "leases_released"),
        (lambda store: store.find_jobs(), "SCAN jobs'"),
        (lambda store: store.find_jobs(uid=1), "jobs_uid"),
        (lambda store: store.find_jobs(name="x"), "jobs_name"),
        (lambda store: store.find_jobs(uid=1, name="x"), "jobs_of_name (uid=? AND name=?)"),
        (lambda store: store.find_jobs(uid=1, name="x*"), "jobs_of_name (uid=? AND name>?"),
        (lambda store: store.find_jobs(uid=1, name="x", states=LIVE), "jobs_live_of (uid=?"),
        (lambda store: store.find_jobs(array_id=1), "jobs_array"),
        (lambda store: store.live_leases(), "SEARCH leases"),
        (lambda store: store.leases_between(1, 2), "leases_released"),
        (lambda store: store.charged_since(1, 2), "leases_released"),
        (lambda store: store.live_reservations(), "reservations_live"),
        (lambda store: store.events_after(7, job_id=1), "events_job"),
        (lambda store: store.events_after(7), "PRIMARY KEY"),
        (lambda store: store.last_event_id(), "SEARCH events"),
    ],
)
def test_frequent_questions_are_answered_by_an_index(store, ask, index):
    """A record of a million jobs must not slow a submission: the store's own queries, explained."""
    asked = []
    store._connection._raw.set_trace_callback(asked.append)
    ask(store)
    store._connection._raw.set_trace_callback(None)
    assert asked
    for query in asked:
        assert index in str(store._connection.rows(f"EXPLAIN QUERY PLAN {query}"))


def columns(connection):
    return {row[1] for row in connection.execute("PRAGMA table_info(jobs)")}


def version(connection):
    return connection.execute("PRAGMA user_version").fetchone()[0]


def test_a_migration_keeps_every_row_and_is_applied_once(state_dir, monkeypatch):
    """An older database is brought forward at the next start, with a backup of the old version."""
    old = Store(state_dir)
    with old.transaction() as tx:
        jobs = tx.insert_jobs([new_job(), new_job()])
    old.close()
    monkeypatch.setattr(schema, "VERSION", len(NEXT))
    monkeypatch.setattr(schema.migrate, "__kwdefaults__", {"steps": NEXT})
    for _ in range(2):
        new = Store(state_dir)
        assert new.load_live_jobs() == jobs
        with closing(connect(new.path)) as connection:
            assert (version(connection), "colour" in columns(connection)) == (len(NEXT), True)
        new.close()
    [backup] = os.listdir(f"{state_dir}/backups")
    with closing(connect(f"{state_dir}/backups/{backup}", read_only=True)) as connection:
        assert (version(connection), "colour" in columns(connection)) == (RELEASED, False)
        assert connection.execute("SELECT count(*) FROM jobs").fetchone() == (2,)


def test_leases_of_before_sharing_are_whole_ones_and_stay_guarded(tmp_path):
    """A box that is updated keeps what it leased; the new rules hold for the old rows."""
    path = tmp_path / "old.db"
    steps = schema.STEPS[: [name for name, _ in schema.STEPS].index("m006_shares")]
    with closing(sqlite3.connect(path, isolation_level=None)) as old:
        schema.migrate(old, steps=steps)
        old.execute("INSERT INTO people VALUES (1, 1, 'ann', '/', '[]', 0)")
        for number, device in ((1, "GPU-a"), (2, "GPU-b")):
            old.execute(
                "INSERT INTO reservations (id, uid, owner, gpus, from_at, until_at, state, gpu_uuids,"
                " gpu_type, name, devices, created_at)"
                " VALUES (?, 1, '{}', 1, 0, 9, 'active', '[]', '', '', '[]', 0)",
                (number,),
            )
            old.execute(
                "INSERT INTO leases (device, uid, reservation_id, attempt, granted_at, until_at)"
                " VALUES (?, 1, ?, 1, 0, 9)",
                (device, number),
            )
        schema.migrate(old)
        assert old.execute("SELECT part, memory_bytes FROM leases").fetchall() == [(1.0, None)] * 2
        for columns in ("'GPU-a', NULL, NULL", "'GPU-b', 1, 9"):
            with pytest.raises(sqlite3.IntegrityError):
                old.execute(
                    "INSERT INTO leases (device, memory_bytes, capacity_bytes, uid, reservation_id,"
                    f" attempt, granted_at, until_at) VALUES ({columns}, 1, 1, 1, 0, 9)"
                )


def test_a_migration_that_fails_leaves_the_old_version(state_dir, monkeypatch):
    """What the first steps did is undone with the last one's failure; the message says so."""
    Store(state_dir).close()
    broken = (*NEXT, ("m004", ("ALTER TABLE nothing ADD COLUMN x",)))
    monkeypatch.setattr(schema, "VERSION", len(broken))
    monkeypatch.setattr(schema.migrate, "__kwdefaults__", {"steps": broken})
    with pytest.raises(HostError) as caught:
        Store(state_dir)
    assert "is as it was" in caught.value.message
    with closing(connect(f"{state_dir}/gpuboard.db")) as connection:
        assert (version(connection), "colour" in columns(connection)) == (RELEASED, False)
    monkeypatch.undo()
    Store(state_dir).close()


def test_a_migration_that_would_leave_rows_without_their_parent_is_undone(state_dir):
    """Foreign keys are off while tables are rebuilt, so they are checked before the commit."""
    store = Store(state_dir)
    with store.transaction() as tx:
        tx.insert_jobs([new_job()])
    store.close()
    with closing(connect(f"{state_dir}/gpuboard.db")) as connection:
        with pytest.raises(sqlite3.IntegrityError):
            schema.migrate(connection, steps=(*schema.STEPS, ("m002", ("DELETE FROM people",))))
        assert version(connection) == RELEASED
        assert connection.execute("SELECT count(*) FROM people").fetchone() == (1,)


def test_bookings_of_the_first_version_belong_to_no_series(state_dir, monkeypatch):
    """A database of version 1 opens with its bookings as they were, and a backup beside it."""
    with monkeypatch.context() as older:
        older.setattr(schema, "VERSION", 1)
        older.setattr(schema.migrate, "__kwdefaults__", {"steps": schema.STEPS[:1]})
        Store(state_dir).close()
    with closing(connect(f"{state_dir}/gpuboard.db")) as connection:
        assert "series_id" not in booking_columns(connection)
        connection.execute("INSERT INTO people VALUES (7, 7, 'ann', '/', '[]', 0)")
        connection.execute(
            "INSERT INTO reservations (uid, owner, gpus, from_at, until_at, state, gpu_uuids, gpu_type,"
            ' name, devices, created_at) VALUES (7, \'{"uid":7,"gid":7,"name":"ann","home":"/"}\','
            " 2, 5, 9, 'booked', '[]', '', 'x', '[]', 1)"
        )
        connection.commit()
    store = Store(state_dir)
    [booking] = store.live_reservations()
    store.close()
    assert (booking.gpus, booking.series_id, booking.rule) == (2, None, "")
    assert len(os.listdir(f"{state_dir}/backups")) == 1


def booking_columns(connection):
    return {row[1] for row in connection.execute("PRAGMA table_info(reservations)")}


KILLED = """
import os, signal, sys
from gpuboard.store import schema
from gpuboard.store.connection import connect
sys.path.insert(0, sys.argv[3])
from tests.store.test_schema import NEXT
import sqlite_utils.migrations  # before the count: what is traced is SQL alone
connection = connect(sys.argv[1])
left = int(sys.argv[2])
def trace(sql):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
connection.set_trace_callback(trace)
schema.migrate(connection, steps=NEXT)
"""


@pytest.mark.slow
def test_a_migration_killed_at_any_statement_is_whole_or_nothing(state_dir, tmp_path):
    """SIGKILL before the 1st, 2nd, 3rd ... statement until one run comes through."""
    store = Store(state_dir)
    with store.transaction() as tx:
        tx.insert_jobs([new_job()])
    pristine = str(tmp_path / "pristine.db")
    store.backup(pristine)
    store.close()
    killed = 0
    for point in range(0, 200, 4):
        path = str(tmp_path / f"{point}.db")
        with open(pristine, "rb") as source, open(path, "wb") as target:
            target.write(source.read())
        run = subprocess.run(
            [sys.executable, "-c", KILLED, path, str(point), os.getcwd()], check=False
        )
        with closing(connect(path)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            assert (version(connection), "colour" in columns(connection)) in (
                (RELEASED, False),
                (len(NEXT), True),
            )
            assert connection.execute("SELECT count(*) FROM jobs").fetchone() == (1,)
        if run.returncode == 0:
            break
        assert run.returncode == -signal.SIGKILL
        killed += 1
    else:
        pytest.fail("no run came through")
    assert killed > 3


def test_opening_a_database_of_this_version_does_not_load_sqlite_utils(state_dir):
    """It costs 100 ms and is needed only to migrate."""
    Store(state_dir).close()
    code = (
        "import sys; from gpuboard.store import Store; Store(sys.argv[1]).close();"
        "sys.exit('sqlite_utils' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code, state_dir], check=False).returncode == 0
