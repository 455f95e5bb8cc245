"""Usage and fair share: what a person was charged, how it fades, and where that puts their jobs.

Slurm's classic fair share ("Multifactor Priority Plugin", slurm.schedmd.com): usage decays with a
half-life H, `U(t+dt) = U(t) 2^(-dt/H) + r (1 - 2^(-dt/H)) H/ln 2` for r devices held all through
dt, and the factor is `F_u = 2^(-(U_u / sum U) / S_u)` with S_u the person's part of all shares.
Devices held are charged, not devices used.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from operator import attrgetter

from gpuboard.model.ids import Uid
from gpuboard.model.world import PolicySettings, Usage
from gpuboard.policy.fairtree import FairTree, Rank

_LN2 = math.log(2)


def decay_factor(span_s: float, half_life_s: int) -> float:
    """Return what is left of a charge after `span_s` seconds: `2^(-span/H)`; H <= 0 forgets nothing."""
    if half_life_s <= 0 or span_s <= 0:
        return 1.0
    return float(2.0 ** (-span_s / half_life_s))


def decayed(device_seconds: float, from_at: int, to_at: int, half_life_s: int) -> float:
    """Return the usage of `from_at` (ms) as it counts at `to_at` (ms). A clock set back decays nothing."""
    return device_seconds * decay_factor((to_at - from_at) / 1000, half_life_s)


def charge(
    device_seconds: float, devices: float, from_at: int, to_at: int, half_life_s: int
) -> float:
    """Return usage at `to_at` after holding `devices` devices from `from_at` on (instants in ms).

    Splitting the span into parts changes nothing: the charge is the exact integral of the decay.
    """
    span_s = max(0.0, (to_at - from_at) / 1000)
    left = decay_factor(span_s, half_life_s)
    return device_seconds * left + charge_of_span(devices, span_s, half_life_s)


def charge_of_span(devices: float, span_s: float, half_life_s: int) -> float:
    """Return what holding `devices` devices for a span counts at its end."""
    if half_life_s <= 0:
        return devices * span_s
    # expm1 keeps its digits where 1 - 2^(-dt/H) would lose them: dt is seconds, H is days.
    return devices * (-math.expm1(-_LN2 * span_s / half_life_s) * half_life_s / _LN2)


def charged_interval(
    devices: float, from_at: int, until_at: int, at: int, half_life_s: int
) -> float:
    """Return what a lease of `devices` from `from_at` until `until_at` counts at the later instant `at`."""
    charged = charge_of_span(devices, max(0.0, (until_at - from_at) / 1000), half_life_s)
    return decayed(charged, until_at, at, half_life_s)


def fair_share_factors(usage: Iterable[Usage], settings: PolicySettings) -> dict[Uid, float]:
    """Return `F_u` in (0, 1] by uid for the people in `usage`; whoever is absent has 1.

    Only ratios count, so the instant at which `usage` was read does not matter.
    """
    rows = list(usage)
    total = sum(row.device_seconds for row in rows)
    shares = sum(row.shares for row in rows)
    if settings.priority_window_s <= 0 or total <= 0 or shares <= 0:
        return {row.uid: 1.0 for row in rows}
    return {row.uid: _factor(row, total, shares) for row in rows}


def _factor(row: Usage, total: float, shares: float) -> float:
    if row.device_seconds <= 0:
        return 1.0
    if row.shares <= 0:
        return 0.0
    return float(2.0 ** -((row.device_seconds / total) / (row.shares / shares)))


_uid_of = attrgetter("uid")
_device_seconds_of = attrgetter("device_seconds")
_shares_of = attrgetter("shares")


class FairShare:
    """Everybody's fair-share factor F at one instant: by Fair Tree where there are groups."""

    def __init__(self, usage: Iterable[Usage], settings: PolicySettings) -> None:
        """Look at usage. Without groups, what a person is charged counts however it was charged."""
        rows = list(usage)
        self._tree = FairTree(rows, settings.groups) if settings.groups else None
        self._rows = dict(zip(map(_uid_of, rows), rows, strict=True))
        """Factors are made as they are asked for: a box has many people, a queue few of them."""
        self._total = sum(map(_device_seconds_of, rows))
        self._shares = sum(map(_shares_of, rows))
        self._counts = settings.priority_window_s > 0 and self._total > 0 and self._shares > 0

    def factor(self, uid: Uid, account: str = "") -> float:
        """Return F in [0, 1] of a person, charged to one of their groups; of somebody new, 1."""
        if self._tree is not None:
            return self._tree.rank(uid, account).factor
        row = self._rows.get(uid) if self._counts else None
        return 1.0 if row is None else _factor(row, self._total, self._shares)

    def rank(self, uid: Uid, account: str = "") -> Rank | None:
        """Return a person's rank; None where there are no groups."""
        return None if self._tree is None else self._tree.rank(uid, account)


def virtual_lead_ms(factor: float, boost_s: int, settings: PolicySettings) -> int:
    """Return `D * F + B` in ms: how much earlier than submitted a job counts as submitted."""
    return round(settings.priority_window_s * 1000 * factor) + boost_s * 1000
