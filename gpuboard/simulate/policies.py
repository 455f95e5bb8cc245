"""The policies that a simulation compares: the daemon's own plan with other parameters."""

from __future__ import annotations

from collections.abc import Mapping

from gpuboard.errors import InvalidRequest
from gpuboard.model.world import PolicySettings

EVERYTHING = 1 << 30

POLICIES: Mapping[str, PolicySettings] = {
    "fifo": PolicySettings(priority_window_s=0, backfill=False),
    "easy": PolicySettings(
        priority_window_s=0, backfill_scan=EVERYTHING, backfill_shortest_first=False
    ),
    "fairshare": PolicySettings(),
}
"""By name: strict first in first out; that with EASY backfill in queue order; gpuboard's default."""


def policy_named(name: str) -> PolicySettings:
    """Return a policy's parameters. Raises InvalidRequest for a name that is none."""
    known = POLICIES.get(name)
    if known is None:
        raise InvalidRequest(
            f"there is no policy {name!r}", hint=f"one of {', '.join(POLICIES)}", field="--policy"
        )
    return known
