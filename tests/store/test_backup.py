"""Backups: whole, checked, private, and made while the database is in use."""

import os
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from gpuboard.errors import HostError
from gpuboard.store import Store
from gpuboard.store.backup import KEEP
from gpuboard.store.connection import connect
from tests.support.records import new_job


def insert(store, count=1):
    with store.transaction() as tx:
        return tx.insert_jobs([new_job()] * count)


def test_a_backup_is_one_private_file_with_everything_committed(store, tmp_path):
    """What lies only in the write-ahead log is in it too."""
    jobs = insert(store, 50)
    target = tmp_path / "copy.db"
    store.backup(str(target))
    assert target.stat().st_mode & 0o777 == 0o600
    assert sorted(os.listdir(tmp_path)) == ["copy.db", "state"]
    with closing(connect(str(target), read_only=True)) as copy:
        assert copy.execute("SELECT count(*) FROM jobs").fetchone() == (len(jobs),)
        assert copy.execute("PRAGMA journal_mode").fetchone() == ("delete",)


def test_a_backup_is_made_on_another_thread_while_the_writer_goes_on(store, tmp_path):
    """Every copy is a moment of the database: as many events as jobs."""
    done = threading.Event()
    failures = []

    def copy():
        try:
            for n in range(5):
                store.backup(str(tmp_path / f"{n}.db"))
        except BaseException as error:
            failures.append(error)
        finally:
            done.set()

    thread = threading.Thread(target=copy)
    thread.start()
    while not done.is_set():
        with store.transaction() as tx:
            [job] = tx.insert_jobs([new_job()])
            tx.append_event(1, "job.submitted", job_id=job.id)
    thread.join()
    assert failures == []
    for n in range(5):
        with closing(connect(str(tmp_path / f"{n}.db"), read_only=True)) as copied:
            counts = [
                copied.execute(f"SELECT count(*) FROM {t}").fetchone() for t in ("jobs", "events")
            ]
        assert counts[0] == counts[1]


def test_a_backup_that_cannot_be_written_is_said_and_leaves_nothing(store, tmp_path):
    """No such folder, a folder in its place: a message with the path."""
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken/file").write_text("")
    for target in (tmp_path / "none/copy.db", tmp_path / "taken"):
        with pytest.raises(HostError) as caught:
            store.backup(str(target))
        assert str(target) in caught.value.message
    assert sorted(os.listdir(tmp_path)) == ["state", "taken"]


def test_a_backup_of_a_damaged_database_is_refused_and_the_old_one_stays(store, tmp_path):
    """A bad copy must not replace a good one."""
    insert(store, 500)
    target = tmp_path / "copy.db"
    store.backup(str(target))
    good = target.read_bytes()
    store.checkpoint()
    path = Path(store.path)
    data = bytearray(path.read_bytes())
    for page in range(3, len(data) // 4096, 2):
        data[page * 4096 : page * 4096 + 600] = b"\xa5" * 600
    path.write_bytes(data)
    with pytest.raises(HostError):
        store.backup(str(target))
    assert target.read_bytes() == good
    assert store.check_database() != "ok"


def test_automatic_backups_are_kept_in_number(store):
    """The newest is named, the oldest ones go."""
    assert store.newest_backup() == ""
    paths = []
    for n in range(KEEP + 3):
        paths.append(store.backup_daily(f"day-{n:02}"))
        os.utime(paths[-1], ns=(n * 10**9, n * 10**9))
    left = {os.path.join(store.backup_folder, name) for name in os.listdir(store.backup_folder)}
    assert paths[-1] == store.newest_backup()
    assert len(left) <= KEEP + 1
    assert paths[0] not in left


def test_the_check_finds_rows_that_refer_to_nothing(store):
    """A shell without foreign keys can do harm; the check says which row."""
    insert(store)
    assert store.check_database() == "ok"
    with closing(sqlite3.connect(store.path)) as shell:
        shell.execute("DELETE FROM people")
        shell.commit()
    assert "jobs refers to a missing row of people" in store.check_database()


def test_the_check_of_a_file_that_is_none_is_words(tmp_path):
    """`check_database` answers, whatever the file."""
    store = Store(str(tmp_path / "state"))
    store.close()
    Path(store.path).write_bytes(b"x" * 5000)
    assert store.check_database() == "file is not a database"
    Path(store.path).unlink()
    assert "unable to open" in store.check_database()
