"""What leaves the daemon for administrators: its configuration as loaded, its database, its engines."""

from __future__ import annotations

import msgspec

from gpuboard.model.views import SCHEMA
from gpuboard.model.views.devices import DeviceRef


class SettingView(msgspec.Struct, frozen=True, kw_only=True):
    """One key of the configuration in force."""

    section: str
    key: str
    value: str
    """As it would be written in the file; what may hold a secret is never shown."""
    is_default: bool


class DrainView(msgspec.Struct, frozen=True, kw_only=True):
    """A device out of service."""

    device: DeviceRef
    at: str
    by: str
    note: str = ""


class BlackoutView(msgspec.Struct, frozen=True, kw_only=True):
    """A maintenance window in force or to come; no devices: all."""

    id: int
    from_at: str
    until_at: str
    note: str = ""
    devices: list[DeviceRef] = []


class RuntimeView(msgspec.Struct, frozen=True, kw_only=True):
    """What runs jobs."""

    name: str
    version: str = ""
    fault: str = ""
    """Why nothing can be started in it; empty while all is well."""


class DatabaseView(msgspec.Struct, frozen=True, kw_only=True):
    """The record on the disk."""

    path: str
    version: int
    """Of its schema."""
    sqlite: str
    size_bytes: int
    wal_bytes: int
    """The write-ahead log, folded back every five minutes."""
    free_bytes: int
    """What may still be written there."""
    backup: str = ""
    """The newest automatic backup; empty: none yet."""
    backup_at: str | None = None


class AdminState(msgspec.Struct, frozen=True, kw_only=True):
    """`gpuboard admin state`: how the daemon itself is."""

    schema: int = SCHEMA
    at: str
    version: str
    started_at: str
    halted: str = ""
    """Why nothing is scheduled any more; empty while all is well."""
    config_file: str = ""
    """Empty: there is none, all is default."""
    settings: list[SettingView] = []
    runtimes: list[RuntimeView] = []
    driver: str = ""
    driver_fault: str = ""
    database: DatabaseView
    checked_at: str | None = None
    """When an administrator had the database checked last; it is looked over at every start too."""
    check_words: str = ""
    drains: list[DrainView] = []
    blackouts: list[BlackoutView] = []


class AdminResult(msgspec.Struct, frozen=True, kw_only=True):
    """What an admin's action did."""

    schema: int = SCHEMA
    ok: bool = True
    words: str
    id: int | None = None
