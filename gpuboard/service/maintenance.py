"""Announced maintenance, told to everybody ahead of time, and to whoever asks for time that it takes."""

from __future__ import annotations

from collections.abc import Sequence

from gpuboard.engine.protocol import Engine
from gpuboard.model.ids import DeviceUuid
from gpuboard.model.instants import iso
from gpuboard.model.reservation import Blackout
from gpuboard.model.text import plain
from gpuboard.model.views.board import NoticeView
from gpuboard.service.clockwords import clock_words
from gpuboard.service.devices import DeviceNames

AHEAD_MS = 14 * 86_400_000
"""So long before its begin maintenance is among the notices to everybody."""


def maintenance_notices(engine: Engine, now: int) -> list[NoticeView]:
    """Return the maintenance that goes on or comes soon as notices; its number is below zero."""
    names = DeviceNames(engine.snapshot())
    return [
        NoticeView(
            -blackout.id,
            iso(blackout.from_at) or "",
            "maintenance",
            maintenance_words(blackout, names, now),
            iso(blackout.until_at),
        )
        for blackout in engine.blackouts()
        if now < blackout.until_at and blackout.from_at <= now + AHEAD_MS
    ]


def met_words(
    engine: Engine, from_at: int, until_at: int, now: int, devices: Sequence[DeviceUuid] = ()
) -> list[str]:
    """Return in words the maintenance that touches a window (ms), of some devices or of any."""
    names = DeviceNames(engine.snapshot())
    return [
        maintenance_words(blackout, names, now)
        for blackout in engine.blackouts()
        if blackout.from_at < until_at
        and from_at < blackout.until_at
        and (not devices or not blackout.devices or set(devices) & set(blackout.devices))
    ]


def maintenance_words(blackout: Blackout, names: DeviceNames, now: int) -> str:
    """Return `maintenance of GPU 2,3 from Tue 02:00 until Tue 04:00: new fans`."""
    labels = ",".join(ref.label for ref in names.refs(blackout.devices))
    what = f"maintenance of GPU {labels}" if labels else "maintenance of the whole box"
    begin, end = (clock_words(at, now) for at in (blackout.from_at, blackout.until_at))
    note = plain(blackout.note).strip()
    return f"{what} from {begin} until {end}" + (f": {note}" if note else "")
