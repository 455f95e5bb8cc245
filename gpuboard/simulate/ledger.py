"""Who was charged what while a trace is played: usage that fades, and the hours of the last week."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from gpuboard.model.ids import Uid
from gpuboard.model.world import Spent, Usage
from gpuboard.policy.usage import charge_of_span, decayed
from gpuboard.policy.week import HOUR_MS, WEEK_MS

HALF_LIVES_AHEAD = 20
"""Only ratios of usage count, so rather than that all of it decays all the time, what is new is
written up; after so many half-lives all is written down again, lest numbers outgrow a float's digits."""


class Payer(NamedTuple):
    """Who is charged: a person, for one of their groups where there are any."""

    uid: Uid
    account: str
    shares: float


class Ledger:
    """Devices held and charged, payer by payer. Instants in ms."""

    def __init__(self, half_life_s: int, *, is_weekly: bool) -> None:
        self._half_life_s = half_life_s
        self._is_weekly = is_weekly
        """Whether anybody asks for the hours of the last week."""
        self._held: dict[Payer, int] = {}
        self._charged_at: dict[Payer, int] = {}
        self._used: dict[Payer, float] = {}
        """Device-seconds as they count at `_decayed_at`; what came later is written up to it."""
        self._usage: dict[Payer, Usage] = {}
        """The same, as the policy wants it."""
        self._decayed_at = self._left_at = 0
        self._left_then = 1.0
        self._spent: dict[tuple[Payer, int], float] = {}

    def hold(self, payer: Payer, gpus: int, now: int) -> None:
        """Let a person hold so many devices more."""
        self._charge(payer, now)
        self._held[payer] = self._held.get(payer, 0) + gpus

    def release(self, payer: Payer, gpus: int, held_from: int, now: int) -> None:
        """Let a person hold so many devices less, which they have held since `held_from`."""
        self._charge(payer, now)
        self._held[payer] -= gpus
        if not self._held[payer]:
            del self._held[payer]
        if self._is_weekly:
            for hour_at, span_ms in _hours(held_from, now):
                known = self._spent.get((payer, hour_at), 0.0)
                self._spent[payer, hour_at] = known + gpus * span_ms / 1000

    def age(self, now: int) -> None:
        """Let usage fade before its numbers become too large."""
        half_life_ms = self._half_life_s * 1000
        if half_life_ms > 0 and now - self._decayed_at >= HALF_LIVES_AHEAD * half_life_ms:
            self.decay(now)

    def decay(self, now: int) -> None:
        """Write all usage down to what it counts at `now`: needed where not only ratios count."""
        left = decayed(1.0, self._decayed_at, now, self._half_life_s)
        for payer, used in self._used.items():
            self._set_used(payer, used * left)
        self._decayed_at = self._left_at = now
        self._left_then = 1.0

    def usage(self, now: int) -> tuple[Usage, ...]:
        """Return everybody's usage, in the right proportions, charged up to `now`."""
        for payer in self._held:
            self._charge(payer, now)
        return tuple(self._usage.values())

    def spent(self, now: int) -> tuple[Spent, ...]:
        """Return what jobs that have ended held in the hours of the last week."""
        if self._spent:
            old = [key for key in self._spent if key[1] + HOUR_MS + WEEK_MS <= now]
            for key in old:
                del self._spent[key]
        return tuple(
            Spent(payer.uid, payer.account, hour_at, seconds)
            for (payer, hour_at), seconds in self._spent.items()
        )

    def _charge(self, payer: Payer, now: int) -> None:
        """Charge a person for what they held since they were last charged."""
        held = self._held.get(payer, 0)
        if held:
            span_s = (now - self._charged_at[payer]) / 1000
            new = charge_of_span(held, span_s, self._half_life_s)
            self._set_used(payer, self._used.get(payer, 0.0) + new / self._left(now))
        self._charged_at[payer] = now

    def _left(self, now: int) -> float:
        """Return what one device-second of `_decayed_at` counts at `now`."""
        if self._left_at != now:
            self._left_at = now
            self._left_then = decayed(1.0, self._decayed_at, now, self._half_life_s)
        return self._left_then

    def _set_used(self, payer: Payer, device_seconds: float) -> None:
        self._used[payer] = device_seconds
        self._usage[payer] = Usage(payer.uid, device_seconds, payer.shares, payer.account)


def _hours(from_at: int, until_at: int) -> Iterator[tuple[int, int]]:
    """Yield the hours that a span touches, each with how much of it (ms)."""
    hour_at = from_at - from_at % HOUR_MS
    while hour_at < until_at:
        yield hour_at, min(until_at, hour_at + HOUR_MS) - max(from_at, hour_at)
        hour_at += HOUR_MS
