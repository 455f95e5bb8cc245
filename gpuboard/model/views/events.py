"""What leaves the daemon of its history: one line an event."""

from __future__ import annotations

import msgspec

from gpuboard.model.views import SCHEMA


class EventView(msgspec.Struct, frozen=True):
    """One line of history."""

    id: int
    at: str
    kind: str
    words: str
    job_id: int | None = None
    reservation_id: int | None = None
    device: str | None = None
    user: str = ""
    detail: dict[str, str | int | float | bool | None] = {}


class EventList(msgspec.Struct, frozen=True, kw_only=True):
    """Events after an id."""

    schema: int = SCHEMA
    events: list[EventView] = []
