"""Opening the database: made once, migrated with a backup first, refused when anything is wrong.

An empty file opens in SQLite as a new, empty database, and a damaged page answers queries without
an error: so a file is only ours with our application id, and a check comes before any use. What is
wrong is said with the newest backup's name; nothing is ever made anew over it.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

from gpuboard.errors import HostError
from gpuboard.model.instants import iso
from gpuboard.store import schema
from gpuboard.store.backup import backup_database, newest_backup, prune_backups, quick_check
from gpuboard.store.connection import (
    BUSY_TIMEOUT_MS,
    Connection,
    connect,
    restore_command,
    restore_hint,
    told,
)

BACKUP_FOLDER = "backups"
"""Beside the database; automatic backups live here."""


def open_connection(
    path: str, *, on_full: Callable[[], object], busy_timeout_ms: int = BUSY_TIMEOUT_MS
) -> Connection:
    """Return the daemon's connection to a checked database of this version.

    `on_full` is called when a write finds the disk full. The caller holds the daemon's lock.
    Raises HostError: newer than this gpuboard, damaged, not a database of ours, missing although
    backups of it exist, migration failed.
    """
    backups = str(Path(path).parent / BACKUP_FOLDER)
    try:
        if not Path(path).exists():
            _create(path, backups)
        _prepare(path, backups, busy_timeout_ms)
    except sqlite3.Error as error:
        raise told(error, path, lambda: newest_backup(backups)) from error
    except OSError as error:
        raise HostError(
            f"the database {path} cannot be used: {error.strerror}",
            hint="look at the folder's owner and permissions",
        ) from error
    return Connection(
        path,
        newest_backup=lambda: newest_backup(backups),
        on_full=on_full,
        busy_timeout_ms=busy_timeout_ms,
    )


def make_private_folder(path: str) -> None:
    """Make the folder, closed to others; one of ours that is open to them is closed. Raises HostError."""
    folder = Path(path)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.stat()
        if found.st_uid == os.geteuid() and found.st_mode & 0o077:
            folder.chmod(0o700)
    except OSError as error:
        raise HostError(
            f"the folder {folder} cannot be made: {error.strerror}",
            hint="make it, or change state_dir",
        ) from error


def _create(path: str, backups: str) -> None:
    """Make a new database beside its place and rename it: a crash leaves none, never an empty one."""
    backup = newest_backup(backups)
    if backup:
        raise HostError(
            f"the database {path} is missing, but there are backups of it",
            hint=f"{restore_command(backup, path)}; to begin anew, move {backups} away",
        )
    with contextlib.suppress(FileNotFoundError):
        leftover = Path(f"{path}-wal").stat()
        if leftover.st_size:
            raise HostError(
                f"the database {path} is missing, but its journal {path}-wal is there",
                hint="put the file back; to begin anew, move the journal away",
            )
    beside = f"{path}.new"
    for name in (beside, f"{beside}-journal"):
        Path(name).unlink(missing_ok=True)
    os.close(os.open(beside, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    with contextlib.closing(connect(beside)) as connection:
        connection.execute("PRAGMA synchronous = FULL")
        schema.migrate(connection)
    Path(beside).rename(path)
    folder = os.open(Path(path).parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _prepare(path: str, backups: str, busy_timeout_ms: int) -> None:
    """Check the file, and migrate it when it is of an older version."""
    Path(path).chmod(0o600)
    with contextlib.closing(connect(path, busy_timeout_ms=busy_timeout_ms)) as connection:
        version = _checked_version(connection, path, backups)
        if version < schema.VERSION:
            _migrate(connection, path, backups, version)


def _checked_version(connection: sqlite3.Connection, path: str, backups: str) -> int:
    backup = newest_backup(backups, schema.VERSION)
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if application != schema.APPLICATION_ID:
        empty = Path(path).stat().st_size == 0
        raise HostError(
            f"{path} is {'empty' if empty else 'not a database of gpuboard'}",
            hint=restore_hint(path, backup),
        )
    if version > schema.VERSION:
        raise HostError(
            f"the database {path} is of version {version}, newer than this gpuboard's {schema.VERSION}",
            hint="install the newer gpuboard again; or " + restore_hint(path, backup),
        )
    quick_check(connection, path, backup)
    return version


def _migrate(connection: sqlite3.Connection, path: str, backups: str, version: int) -> None:
    _backup_before(path, backups, version)
    connection.execute("PRAGMA synchronous = FULL")
    try:
        schema.migrate(connection)
    except sqlite3.Error as error:
        raise HostError(
            f"the database {path} cannot be brought from version {version} to {schema.VERSION},"
            f" and is as it was: {error}",
            hint="install the older gpuboard again, and report this",
        ) from error


def _backup_before(path: str, backups: str, version: int) -> None:
    Path(backups).mkdir(mode=0o700, exist_ok=True)
    stamp = (iso(int(time.time()) * 1000) or "").replace(":", "").replace("-", "")
    backup_database(path, f"{backups}/{stamp}-version-{version}.db")
    prune_backups(backups)
