"""How fast one person may ask: an allowance that refills, and few turns at the engine at a time.

A request beyond the allowance waits for its place; one that would wait too long is refused, after a
pause, so that asking again and again gains nothing. Within the allowance a person has only so many
calls at the engine's thread at once: however much they ask, others wait for two of theirs at most.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable

from gpuboard.api.peer import Peer
from gpuboard.config import ApiConfig
from gpuboard.errors import TooManyRequests

BURST_S = 5.0
"""The allowance of so many seconds may be used at once."""
LONGEST_WAIT_S = 2.0
PENALTY_S = 1.0
"""A refusal is told after so long."""
TURNS = 2
"""Calls of one person at the engine's thread at a time."""
_REMEMBERED = 1024


class Allowance:
    """The generic cell rate algorithm (ITU-T I.371, virtual scheduling), by uid."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._due: dict[int, float] = {}
        """When (s) all that a person asked so far would have been asked at their steady rate."""

    def wait_s(self, uid: int, per_second: float) -> float:
        """Return how long a request must wait, and count it; more than `LONGEST_WAIT_S`: not counted."""
        now = self._clock()
        due = max(self._due.get(uid, now), now)
        wait_s = max(0.0, due - BURST_S - now)
        if wait_s <= LONGEST_WAIT_S:
            if len(self._due) >= _REMEMBERED:
                self._due = {one: at for one, at in self._due.items() if at > now}
            self._due[uid] = due + 1 / per_second
        return wait_s


class Throttle:
    """Holds each person to the configured rates. Root, unless in a container, is let through."""

    def __init__(self, limits: ApiConfig) -> None:
        self._limits = limits
        self._requests = Allowance()
        self._submissions = Allowance()
        self._turns: dict[int, asyncio.Semaphore] = {}
        self._users: dict[int, int] = {}

    def configure(self, limits: ApiConfig) -> None:
        """Hold further requests to other rates."""
        self._limits = limits

    async def admit(self, peer: Peer, *, is_submission: bool) -> None:
        """Wait until the request is within its person's rates. Raises TooManyRequests."""
        if _is_exempt(peer):
            return
        limits = self._limits
        rates = [(self._requests, limits.max_requests_per_second, "requests")]
        if is_submission:
            rates.append((self._submissions, limits.max_submissions_per_second, "submissions"))
        for allowance, per_second, what in rates:
            if per_second is None:
                continue
            wait_s = allowance.wait_s(peer.uid, per_second)
            if wait_s > LONGEST_WAIT_S:
                await asyncio.sleep(PENALTY_S)
                raise TooManyRequests(
                    f"more than {per_second:g} {what} a second are not served",
                    hint=f"try again in {wait_s:.0f} s; an array submits many jobs in one request",
                )
            if wait_s > 0:
                await asyncio.sleep(wait_s)

    @contextlib.asynccontextmanager
    async def turn(self, peer: Peer) -> AsyncIterator[None]:
        """Wait for one of the person's turns at the engine, and hold it for the block."""
        if _is_exempt(peer):
            yield
            return
        uid = peer.uid
        turns = self._turns.setdefault(uid, asyncio.Semaphore(TURNS))
        self._users[uid] = self._users.get(uid, 0) + 1
        try:
            async with turns:
                yield
        finally:
            self._users[uid] -= 1
            if not self._users[uid]:
                del self._users[uid], self._turns[uid]


def _is_exempt(peer: Peer) -> bool:
    return peer.uid == 0 and not peer.is_contained
