"""What leaves the daemon about fair share: everybody's and every group's usage, decayed."""

from __future__ import annotations

import msgspec

from gpuboard.model.views import SCHEMA


class UsageRow(msgspec.Struct, frozen=True, kw_only=True):
    """A person's use."""

    user: str
    uid: int
    mine: bool
    running_gpus: int = 0
    queued_jobs: int = 0
    device_seconds: float = 0.0
    """Charged, decayed with the half-life."""
    share: float = 0.0
    """Of all decayed usage, 0..1."""
    factor: float = 0.0
    """Fair-share factor F, 0..1."""
    device_seconds_7d: float = 0.0
    """Charged in the last seven days, not decayed."""
    group: str = ""
    """The group that it is charged to; a person of several groups has a row for each, and what is the
    person's alone (queued jobs, the last seven days, the quota) is on the first."""
    rank: int | None = None
    """Place by fair share among all, 1 = served first; null where there are no groups."""
    quota_words: str = ""
    """What of a quota is used: `168 of 168 GPU-hours this week`; empty where nothing limits."""


class GroupRow(msgspec.Struct, frozen=True, kw_only=True):
    """A group's use."""

    name: str
    parent: str = ""
    shares: float = 1.0
    device_seconds: float = 0.0
    """Charged to it and to its parts, decayed."""
    running_gpus: int = 0
    quota_words: str = ""


class UsageView(msgspec.Struct, frozen=True, kw_only=True):
    """Usage of everybody."""

    schema: int = SCHEMA
    at: str
    half_life_s: int = 0
    people: list[UsageRow] = []
    groups: list[GroupRow] = []
    """Those of the configuration, in its order."""
    ranked: int = 0
    """How many ranks there are."""
