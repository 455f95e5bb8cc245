"""Opening: what is wrong is refused by name, with the newest backup; nothing is ever made anew over it."""

import os
import random
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from gpuboard.errors import HostError
from gpuboard.store import Store, schema
from tests.support.records import new_job


@pytest.fixture
def kept(state_dir):
    """A closed database with rows and a backup; the path of both."""
    store = Store(state_dir)
    with store.transaction() as tx:
        tx.insert_jobs([new_job()] * 2000)
    backup = store.backup_daily("2026-11-22")
    store.checkpoint()
    store.close()
    return Path(store.path), backup


def refused(state_dir):
    with pytest.raises(HostError) as caught:
        Store(state_dir)
    return caught.value


def test_a_new_folder_gets_a_new_database_and_keeps_it(state_dir):
    """The second start finds what the first one wrote."""
    first = Store(state_dir)
    with first.transaction() as tx:
        [job] = tx.insert_jobs([new_job()])
    first.close()
    second = Store(state_dir)
    assert second.get_job(job.id) == job
    second.close()


def test_a_crash_while_the_database_is_made_leaves_none(state_dir, monkeypatch):
    """It is made beside its place: never is there an empty file where it belongs."""

    def crash(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(schema, "migrate", crash)
        Store(state_dir)
    assert not os.path.exists(f"{state_dir}/gpuboard.db")
    Store(state_dir).close()
    assert not os.path.exists(f"{state_dir}/gpuboard.db.new")


def test_a_database_of_a_newer_gpuboard_is_refused(kept, state_dir):
    """Both versions are named, and the way back."""
    path, backup = kept
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")
    before = path.read_bytes()
    newer = Path(backup).with_name("newer.db")
    newer.write_bytes(before)  # of no use to this gpuboard: it is not what the hint names
    error = refused(state_dir)
    assert "version 99" in error.message
    assert f"gpuboard's {schema.VERSION}" in error.message
    assert backup in error.hint
    assert path.read_bytes() == before


def test_an_empty_file_is_not_taken_for_a_new_database(kept, state_dir):
    """SQLite would open it as an empty one, and every job would be gone in silence."""
    path, backup = kept
    path.write_bytes(b"")
    error = refused(state_dir)
    assert "is empty" in error.message
    assert backup in error.hint
    assert path.read_bytes() == b""


def test_a_file_that_is_no_database_is_refused_and_kept(kept, state_dir):
    """Garbage may still be of use to somebody: it is not written over."""
    path, backup = kept
    path.write_bytes(b"not a database, but somebody's only copy of something" * 100)
    error = refused(state_dir)
    assert "damaged" in error.message
    assert backup in error.hint
    assert path.read_bytes().startswith(b"not a database")


def test_another_programs_database_is_refused(state_dir):
    """A database without our application id is not ours to change."""
    os.makedirs(state_dir)
    path = Path(state_dir) / "gpuboard.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE theirs (a)")
    error = refused(state_dir)
    assert "not a database of gpuboard" in error.message
    assert "no backup" in error.hint


def test_a_damaged_page_is_found_before_any_use(kept, state_dir):
    """SQLite answers from damaged pages without an error: so they are checked first."""
    path, backup = kept
    data = bytearray(path.read_bytes())
    noise = random.Random(7)
    for page in range(3, len(data) // 4096, 5):
        data[page * 4096 : page * 4096 + 600] = noise.randbytes(600)
    path.write_bytes(data)
    error = refused(state_dir)
    assert "damaged" in error.message
    assert backup in error.hint
    assert path.read_bytes() == data


def test_the_named_backup_brings_the_database_back(kept, state_dir):
    """The hint's own command works."""
    path, backup = kept
    path.write_bytes(b"x" * 8192)
    error = refused(state_dir)
    os.unlink(path)
    assert f"install -m 600 {backup} {path}" in error.hint
    assert os.system(f"install -m 600 {backup} {path}") == 0
    store = Store(state_dir)
    assert len(store.load_live_jobs()) == 2000
    store.close()


def test_a_missing_database_with_backups_is_not_made_anew(kept, state_dir):
    """Somebody moved it: an empty queue is not what they meant."""
    path, backup = kept
    path.unlink()
    error = refused(state_dir)
    assert "is missing" in error.message
    assert backup in error.hint
    assert not path.exists()


def test_a_missing_database_with_its_journal_is_not_made_anew(state_dir):
    """The journal may hold what the file has not got yet."""
    os.makedirs(state_dir)
    Path(f"{state_dir}/gpuboard.db-wal").write_bytes(b"x" * 100)
    assert "journal" in refused(state_dir).message


def test_a_folder_that_cannot_be_made_is_said(tmp_path):
    """A file where the folder should be: a message, not a trace."""
    (tmp_path / "state").write_text("")
    with pytest.raises(HostError) as caught:
        Store(str(tmp_path / "state"))
    assert "cannot be made" in caught.value.message


def test_a_folder_open_to_others_is_closed(tmp_path):
    """The record names who did what; the database's folder is the daemon's alone."""
    folder = tmp_path / "state"
    folder.mkdir(mode=0o755)
    Store(str(folder)).close()
    assert folder.stat().st_mode & 0o777 == 0o700
