"""The words of `gpuboard admin state`."""

from __future__ import annotations

from typing import Any

from gpuboard.cli import words
from gpuboard.cli.tables import Cell, Column, print_table
from gpuboard.model.sizes import format_size
from gpuboard.model.text import plain


def print_state(answer: dict[str, Any]) -> None:
    """Print the daemon, its database, what is out of service, and the configuration."""
    now = words.at_ms(answer)
    for line in _facts(answer, now):
        print(plain(line))
    for drain in answer["drains"]:
        note = f": {drain['note']}" if drain["note"] else ""
        since = words.clock(drain["at"], now)
        label = drain["device"]["label"]
        print(plain(f"GPU {label} is drained by {drain['by']} since {since}{note}"))
    for blackout in answer["blackouts"]:
        begin, end = (words.clock(blackout[key], now) for key in ("from_at", "until_at"))
        on = words.devices_words(blackout["devices"]) or "all GPUs"
        note = f": {blackout['note']}" if blackout["note"] else ""
        print(plain(f"blackout {blackout['id']} from {begin} until {end}, {on}{note}"))
    print()
    rows: list[list[str | Cell]] = [
        [
            f"{one['section']}.{one['key']}",
            Cell(one["value"], "" if one["is_default"] else "strong"),
            "default" if one["is_default"] else "set",
        ]
        for one in answer["settings"]
    ]
    print_table((Column("KEY"), Column("VALUE", least=12), Column("FROM")), rows)


def _facts(answer: dict[str, Any], now: int) -> list[str]:
    database = answer["database"]
    backup = (
        f"newest backup {words.clock(database['backup_at'], now)}: {database['backup']}"
        if database["backup"]
        else "no automatic backup yet"
    )
    size, wal, free = (format_size(database[f"{key}_bytes"]) for key in ("size", "wal", "free"))
    lines = [
        f"gpuboard {answer['version']}, since {words.clock(answer['started_at'], now)}",
        f"configuration {answer['config_file'] or '(no file: all is default)'}",
        f"database {database['path']}, version {database['version']}, SQLite {database['sqlite']}",
        f"  {size}, log {wal}, {free} free; {backup}",
    ]
    if answer["checked_at"]:
        lines.append(f"  checked {words.clock(answer['checked_at'], now)}: {answer['check_words']}")
    if answer["halted"]:
        lines.append(f"scheduling has stopped: {answer['halted']}")
    lines += [
        f"runtime {one['name']} {one['fault'] or one['version']}".rstrip()
        for one in answer["runtimes"]
    ]
    driver = answer["driver_fault"] or answer["driver"]
    return [*lines, f"driver {driver}"] if driver else lines
