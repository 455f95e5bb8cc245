"""The one connection: durable, exclusive while writing, and honest about what went wrong."""

import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest

import gpuboard.store
from gpuboard.errors import StateError, Unavailable
from gpuboard.store import Store
from gpuboard.store.connection import connect
from tests.support.records import new_job

WRITER = """
import sys
from gpuboard.store import Store
from tests.support.records import new_job
store = Store(sys.argv[1])
while True:
    with store.transaction() as tx:
        [job] = tx.insert_jobs([new_job()])
        tx.append_event(1, "job.submitted", job_id=job.id)
    print(job.id, flush=True)
"""


def insert(store, count=1):
    with store.transaction() as tx:
        return tx.insert_jobs([new_job()] * count)


@pytest.mark.parametrize("after", [1, 7, 40])
def test_a_killed_writer_loses_nothing_that_it_acknowledged(state_dir, after):
    """kill -9 at any moment: what was said to be committed is there, with its event, undamaged."""
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, state_dir], stdout=subprocess.PIPE, text=True
    )
    try:
        acknowledged = [int(writer.stdout.readline()) for _ in range(after)]
    finally:
        writer.send_signal(signal.SIGKILL)
    acknowledged += [int(line) for line in writer.stdout.read().split("\n")[:-1]]
    writer.wait()
    store = Store(state_dir)
    jobs = {job.id for job in store.load_live_jobs()}
    assert jobs >= set(acknowledged)
    assert jobs == {event.job_id for event in store.events_after(0, limit=10**6)}
    assert store.check_database() == "ok"
    store.close()


def test_the_connection_is_set_up_for_durability(store):
    """WAL, synchronous=FULL, foreign keys, a bounded log, and 0600 in 0700."""
    with closing(connect(store.path)) as other:
        assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    pragmas = {name: store._connection.row(f"PRAGMA {name}") for name in
               ("synchronous", "foreign_keys", "journal_size_limit", "trusted_schema")}  # fmt: skip
    assert pragmas == {
        "synchronous": (2,), "foreign_keys": (1,), "journal_size_limit": (64 * 2**20,), "trusted_schema": (0,),
    }  # fmt: skip
    insert(store)
    for name in os.listdir(store.state_dir):
        assert os.stat(os.path.join(store.state_dir, name)).st_mode & 0o777 == 0o600, name
    assert os.stat(store.state_dir).st_mode & 0o777 == 0o700


def test_a_write_outside_a_transaction_is_refused(store):
    """So no change can ever stand without its event."""
    for write in (lambda: store.insert_jobs([new_job()]), lambda: store.append_event(1, "x"),
                  lambda: store.set_state("a", "b")):  # fmt: skip
        with pytest.raises(StateError):
            write()
    assert store.load_live_jobs() == []


def test_an_inner_transaction_joins_the_outer_one(store):
    """What fails outside undoes what was done inside."""
    with pytest.raises(ZeroDivisionError), store.transaction():
        insert(store)
        1 / 0  # noqa: B018
    assert store.load_live_jobs() == []


def test_a_number_beyond_the_database_is_refused_and_undone(store):
    """No integer is cut in silence."""
    with pytest.raises(StateError), store.transaction() as tx:
        insert(store)
        tx.append_event(2**63, "x")
    assert store.load_live_jobs() == []
    insert(store)


def test_another_thread_is_refused(store):
    """One connection, one thread: sharing it loses money (measured)."""
    caught = []

    def read():
        try:
            store.load_live_jobs()
        except StateError as error:
            caught.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    thread.join()
    assert len(caught) == 1


def test_a_database_held_by_another_program_is_unavailable_and_reads_go_on(store):
    """An admin's sqlite3 shell in a transaction: writers wait, then say so; nothing changed."""
    insert(store)
    with closing(connect(store.path)) as shell:
        shell.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable) as caught:
            insert(store)
        assert store.path in caught.value.message
        assert len(store.load_live_jobs()) == 1
        shell.execute("ROLLBACK")
    insert(store)
    assert len(store.load_live_jobs()) == 2


@pytest.mark.timeout(20)
def test_the_log_is_folded_back_unless_somebody_reads(store):
    """A reader in the way is said, not waited for; afterwards the log is empty."""
    insert(store, 100)
    wal = f"{store.path}-wal"
    assert os.path.getsize(wal) > 0
    with closing(connect(store.path)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM jobs").fetchone()
        insert(store)
        store._connection._raw.execute("PRAGMA busy_timeout = 60000")
        store._connection._busy_timeout_ms = 60_000
        assert not store.checkpoint()  # it does not wait: the time-out of this test says so
        reader.execute("ROLLBACK")
    assert store.checkpoint()
    assert os.path.getsize(wal) == 0


def test_strict_tables_refuse_a_text_in_an_integer_column(store):
    """SQLite alone would keep `12x` where a number belongs."""
    with closing(connect(store.path)) as shell, pytest.raises(sqlite3.IntegrityError):
        shell.execute("INSERT INTO drains (device, at, by, note) VALUES ('x', '12x', '', '')")


def test_parameters_that_repeat_have_names():
    """From Python 3.14 on a numbered one (`?1`) with a sequence is refused."""
    folder = Path(gpuboard.store.__file__).parent
    numbered = [path.name for path in folder.glob("*.py") if re.search(r"\?\d", path.read_text())]
    assert numbered == []
