"""Copies of the database, and checks of it: consistent while it is in use, from any thread.

Copying the file of a database in WAL mode loses what is in the WAL; SQLite's own backup does not.
A copy is one step: made in several by another connection than the writer's, it begins anew with
every commit. It is written beside its place, checked, synced and renamed: there are no half ones.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path
from uuid import uuid4

from gpuboard.errors import HostError
from gpuboard.store.connection import connect, damaged, told

KEEP = 10
"""How many automatic backups stay."""


def backup_database(source: str, target: str) -> None:
    """Write a checked copy of `source` to `target` (0600), replacing what was there.

    Call it from any thread. Raises HostError (disk full, damage, no such folder).
    """
    beside = f"{target}.{uuid4().hex[:8]}.part"
    try:
        os.close(os.open(beside, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        _copy(source, beside)
        _sync(beside)
        Path(beside).replace(target)
        _sync(str(Path(target).parent))
    except sqlite3.Error as error:
        raise told(error, source, str) from error
    except OSError as error:
        raise HostError(
            f"the backup {target} cannot be written: {error.strerror}",
            hint="name a file in a folder that exists and has room",
        ) from error
    finally:
        for name in (beside, f"{beside}-journal"):
            with contextlib.suppress(FileNotFoundError):
                Path(name).unlink()


def check_database(path: str) -> str:
    """Return `ok`, or what SQLite's full integrity and foreign-key checks find. From any thread."""
    try:
        with contextlib.closing(connect(path, read_only=True)) as connection:
            found = [row[0] for row in connection.execute("PRAGMA integrity_check(10)")]
            orphans = connection.execute("PRAGMA foreign_key_check").fetchall()
    except sqlite3.Error as error:
        return str(error)
    found += [
        f"row {row[1]} of {row[0]} refers to a missing row of {row[2]}" for row in orphans[:10]
    ]
    return "; ".join(line for line in found if line != "ok") or "ok"


def newest_backup(folder: str, up_to_version: int | None = None) -> str:
    """Return the path of the newest backup (of a schema that this gpuboard reads), or an empty string."""
    try:
        found = [(entry.stat().st_mtime_ns, entry.path) for entry in os.scandir(folder)]
        databases = [path for _, path in sorted(found, reverse=True) if path.endswith(".db")]
        return next(
            (
                path
                for path in databases
                if up_to_version is None or _version(path) <= up_to_version
            ),
            "",
        )
    except OSError:
        return ""


def _version(path: str) -> int:
    """Return `user_version` from the file's header (SQLite's file format, offset 60)."""
    with Path(path).open("rb") as file:
        return int.from_bytes(file.read(64)[60:])


def prune_backups(folder: str, keep: int = KEEP) -> None:
    """Remove all but the newest automatic backups."""
    found = sorted(Path(folder).glob("*.db"), key=lambda path: path.stat().st_mtime_ns)
    for path in found[: max(0, len(found) - keep)]:
        path.unlink(missing_ok=True)


def quick_check(connection: sqlite3.Connection, path: str, backup: str) -> None:
    """Raise HostError when a page is damaged: plain reads answer from it without an error."""
    found = [row[0] for row in connection.execute("PRAGMA quick_check(5)")]
    if found != ["ok"]:
        raise damaged(path, "; ".join(found)[:300], backup)


def _copy(source: str, target: str) -> None:
    with (
        contextlib.closing(connect(source, read_only=True)) as origin,
        contextlib.closing(connect(target)) as copy,
    ):
        origin.backup(copy, pages=-1)
        copy.execute("PRAGMA journal_mode = DELETE")  # one file that can be moved by itself
        quick_check(copy, target, "")


def _sync(path: str) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
