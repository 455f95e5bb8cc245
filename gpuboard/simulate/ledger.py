"""Who was charged what while a trace is played: usage that fades, and the hours of the last week."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from gpuboard.model.ids import Uid
from gpuboard.model.world import Spent, Usage
from gpuboard.policy.usage import charge, decayed
from gpuboard.policy.week import HOUR_MS, WEEK_MS

HALF_LIVES_AHEAD = 20
"""Only ratios of usage count, so rather than that all of it decays all the time, what is new is
written up; after so many half-lives all is written down again, lest numbers outgrow a float's digits."""


class Ledger:
    """Devices held and charged, person by person. Instants in ms."""

    def __init__(self, half_life_s: int, shares: Mapping[Uid, float], *, is_weekly: bool) -> None:
        self._half_life_s = half_life_s
        self._shares = shares
        self._is_weekly = is_weekly
        """Whether anybody asks for the hours of the last week."""
        self._held: dict[Uid, int] = {}
        self._charged_at: dict[Uid, int] = {}
        self._used: dict[Uid, float] = {}
        """Device-seconds as they count at `_decayed_at`; what came later is written up to it."""
        self._usage: dict[Uid, Usage] = {}
        """The same, as the policy wants it."""
        self._decayed_at = 0
        self._spent: dict[tuple[Uid, int], float] = {}

    def hold(self, uid: Uid, gpus: int, now: int) -> None:
        """Let a person hold so many devices more."""
        self._charge(uid, now)
        self._held[uid] = self._held.get(uid, 0) + gpus

    def release(self, uid: Uid, gpus: int, held_from: int, now: int) -> None:
        """Let a person hold so many devices less, which they have held since `held_from`."""
        self._charge(uid, now)
        self._held[uid] -= gpus
        if not self._held[uid]:
            del self._held[uid]
        if self._is_weekly:
            for hour_at, span_ms in _hours(held_from, now):
                known = self._spent.get((uid, hour_at), 0.0)
                self._spent[uid, hour_at] = known + gpus * span_ms / 1000

    def age(self, now: int) -> None:
        """Let usage fade before its numbers become too large."""
        half_life_ms = self._half_life_s * 1000
        if half_life_ms > 0 and now - self._decayed_at >= HALF_LIVES_AHEAD * half_life_ms:
            self.decay(now)

    def decay(self, now: int) -> None:
        """Write all usage down to what it counts at `now`: needed where not only ratios count."""
        left = decayed(1.0, self._decayed_at, now, self._half_life_s)
        for uid, used in self._used.items():
            self._set_used(uid, used * left)
        self._decayed_at = now

    def usage(self, now: int) -> tuple[Usage, ...]:
        """Return everybody's usage, in the right proportions, charged up to `now`."""
        for uid in self._held:
            self._charge(uid, now)
        return tuple(self._usage.values())

    def spent(self, now: int) -> tuple[Spent, ...]:
        """Return what jobs that have ended held in the hours of the last week."""
        if self._spent:
            old = [key for key in self._spent if key[1] + HOUR_MS + WEEK_MS <= now]
            for key in old:
                del self._spent[key]
        return tuple(
            Spent(uid, "", hour_at, seconds) for (uid, hour_at), seconds in self._spent.items()
        )

    def _charge(self, uid: Uid, now: int) -> None:
        """Charge a person for what they held since they were last charged."""
        held = self._held.get(uid, 0)
        if held:
            new = charge(0.0, held, self._charged_at[uid], now, self._half_life_s)
            left = decayed(1.0, self._decayed_at, now, self._half_life_s)
            self._set_used(uid, self._used.get(uid, 0.0) + new / left)
        self._charged_at[uid] = now

    def _set_used(self, uid: Uid, device_seconds: float) -> None:
        self._used[uid] = device_seconds
        self._usage[uid] = Usage(uid, device_seconds, self._shares.get(uid, 1.0))


def _hours(from_at: int, until_at: int) -> Iterator[tuple[int, int]]:
    """Yield the hours that a span touches, each with how much of it (ms)."""
    hour_at = from_at - from_at % HOUR_MS
    while hour_at < until_at:
        yield hour_at, min(until_at, hour_at + HOUR_MS) - max(from_at, hour_at)
        hour_at += HOUR_MS
