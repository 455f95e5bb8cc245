"""How the daemon itself is, as lines: versions, database, runtimes, drains, notices, blackouts."""

from __future__ import annotations

from dataclasses import dataclass

from gpuboard.model.sizes import format_size
from gpuboard.model.views.admin import AdminState, BlackoutView, SettingView
from gpuboard.model.views.board import BoardView
from gpuboard.tui.ink import Part, clean, fit
from gpuboard.tui.instants import clock_of

_NAME = 14


@dataclass(frozen=True)
class StateLine:
    """A line, and the blackout that it is about."""

    key: str
    parts: tuple[Part, ...]
    blackout: BlackoutView | None = None


def state_lines(state: AdminState, board: BoardView | None, now_s: int) -> list[StateLine]:
    """Return everything but the configuration."""
    facts = [*_daemon(state, now_s), *_database(state, now_s)]
    lines = [_line(f"fact {name}", name, words, role) for name, words, role in facts]
    lines += _drains(state, now_s)
    for notice in board.notices if board else ():
        until = f" until {clock_of(notice.until_at, now_s)}" if notice.until_at else ""
        words = f"{clean(notice.by)}, {clock_of(notice.at, now_s)}{until}: {clean(notice.text)}"
        lines.append(_line(f"notice {notice.id}", "notice", words, "warn"))
    for blackout in state.blackouts:
        on = ",".join(clean(ref.label) for ref in blackout.devices)
        window = f"{clock_of(blackout.from_at, now_s)} until {clock_of(blackout.until_at, now_s)}"
        words = f"{window}, {f'GPU {on}' if on else 'all GPUs'} {clean(blackout.note)}".rstrip()
        line = _line(f"blackout {blackout.id}", f"blackout {blackout.id}", words, "warn")
        lines.append(StateLine(line.key, line.parts, blackout))
    return lines


def setting_parts(row: SettingView) -> list[Part]:
    """Return a key of the configuration; what the file sets is bright."""
    name = f"{clean(row.section)}.{clean(row.key)}"
    return [
        (f"  {fit(name, 34)} ", "dim" if row.is_default else "accent!"),
        (clean(row.value), "text" if row.is_default else "strong!"),
        ("   default" if row.is_default else "   set", "faint" if row.is_default else "accent"),
    ]


def _daemon(state: AdminState, now_s: int) -> list[tuple[str, str, str]]:
    facts = [
        ("gpuboard", f"{clean(state.version)}, since {clock_of(state.started_at, now_s)}", "text")
    ]
    if state.halted:
        facts.append(("STOPPED", clean(state.halted), "bad"))
    facts.append(("configuration", clean(state.config_file) or "no file: all is default", "text"))
    for runtime in state.runtimes:
        words = clean(runtime.fault or runtime.version) or "ready"
        facts.append((clean(runtime.name), words, "bad" if runtime.fault else "text"))
    driver = clean(state.driver_fault or state.driver)
    facts.append(("driver", driver or "none", "bad" if state.driver_fault else "text"))
    return facts


def _database(state: AdminState, now_s: int) -> list[tuple[str, str, str]]:
    found = state.database
    size, wal, free = map(format_size, (found.size_bytes, found.wal_bytes, found.free_bytes))
    backup = "none yet"
    if found.backup:
        backup = f"{clock_of(found.backup_at, now_s)}: {clean(found.backup)}"
    check = "at its start only"
    if state.checked_at:
        check = f"{clock_of(state.checked_at, now_s)}: {clean(state.check_words)}"
    is_bad = bool(state.checked_at) and state.check_words != "ok"
    version = f"version {found.version}, SQLite {clean(found.sqlite)}"
    return [
        ("database", f"{clean(found.path)}, {version}", "text"),
        ("", f"{size}, log {wal}, {free} free on its disk", "text"),
        ("last backup", backup, "text" if found.backup else "warn"),
        ("last check", check, "bad" if is_bad else "text"),
    ]


def _drains(state: AdminState, now_s: int) -> list[StateLine]:
    lines = []
    for drain in state.drains:
        label = clean(drain.device.label)
        words = f"GPU {label}, by {clean(drain.by)} since {clock_of(drain.at, now_s)}"
        note = f": {clean(drain.note)}" if drain.note else ""
        lines.append(_line(f"drain {drain.device.uuid}", "drained", words + note, "drained"))
    return lines


def _line(key: str, name: str, words: str, role: str) -> StateLine:
    return StateLine(key, ((f"  {fit(name, _NAME)} ", "dim"), (words, role)))
