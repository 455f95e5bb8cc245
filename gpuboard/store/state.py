"""How the database is as a file: sizes, version, newest backup. On any thread."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path

from gpuboard.model.instants import iso
from gpuboard.model.views.admin import DatabaseView
from gpuboard.store.backup import newest_backup
from gpuboard.store.schema import VERSION


def database_state(path: str, backup_folder: str) -> DatabaseView:
    """Return what is known of the file without opening it."""
    room = os.statvfs(Path(path).parent)
    backup = newest_backup(backup_folder)
    return DatabaseView(
        path=path,
        version=VERSION,
        sqlite=sqlite3.sqlite_version,
        size_bytes=_size(path),
        wal_bytes=_size(f"{path}-wal"),
        free_bytes=room.f_bavail * room.f_frsize,
        backup=backup,
        backup_at=iso(_changed_at(backup)) if backup else None,
    )


def _size(path: str) -> int:
    with contextlib.suppress(OSError):
        return Path(path).stat().st_size
    return 0


def _changed_at(path: str) -> int | None:
    with contextlib.suppress(OSError):
        return Path(path).stat().st_mtime_ns // 1_000_000
    return None
