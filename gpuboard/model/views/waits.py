"""What leaves the daemon about waiting: why a job waits, who is before it, when it should start."""

from __future__ import annotations

import msgspec

from gpuboard.model.views import SCHEMA
from gpuboard.model.views.devices import DeviceRef


class CauseView(msgspec.Struct, frozen=True):
    """One reason why a job waits."""

    cause: str
    words: str
    count: int = 1
    devices: list[DeviceRef] = []
    job_ids: list[int] = []
    reservation_id: int | None = None
    user: str = ""
    until_at: str | None = None
    """When it is over at the latest: of devices held, as their `until_at` on the board."""


class AheadView(msgspec.Struct, frozen=True, kw_only=True):
    """A waiting job that is served before another."""

    id: int
    user: str
    gpus: int
    limit_s: int
    expected_start_at: str | None = None


class PriorityView(msgspec.Struct, frozen=True, kw_only=True):
    """Where a waiting job's place comes from."""

    share: float
    """Its owner's part of everybody's decayed usage, 0..1."""
    lead_s: int
    """So much earlier than its submission it counts as submitted."""


class WhyView(msgspec.Struct, frozen=True, kw_only=True):
    """`gpuboard why`: why a job waits, when it starts, what would start it now."""

    schema: int = SCHEMA
    id: int
    state: str
    words: str
    """One paragraph for a person."""
    causes: list[CauseView] = []
    place: int | None = None
    ahead_gpus: int = 0
    expected_start_at: str | None = None
    latest_start_at: str | None = None
    no_start: str = ""
    """Why there is no start time, in words; empty where there is one."""
    would_start_now: str = ""
    p90_start_at: str | None = None
    """Nine of ten such forecasts began before it."""
    ahead: list[AheadView] = []
    """The next ones to be served before it, nearest first, at most three."""
    priority: PriorityView | None = None
    promised_start_at: str | None = None
    """What it was promised as the next one, or by its class: that only moves earlier."""
    rank: int | None = None
    """Its owner's place by fair share, 1 = first; null where there are no groups."""
    ranked: int = 0


class DryRunView(msgspec.Struct, frozen=True, kw_only=True):
    """`submit --dry-run`: which devices, when; nothing was stored."""

    schema: int = SCHEMA
    valid: bool = True
    would_start_now: bool
    devices: list[DeviceRef] = []
    expected_start_at: str | None = None
    latest_start_at: str | None = None
    p90_start_at: str | None = None
    words: str = ""
    causes: list[CauseView] = []
    command_line: str = ""
    """The same thing as a command line to copy."""
    notices: list[str] = []
    """Announced maintenance that it may meet, in words."""
