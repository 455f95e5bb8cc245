"""Instants in words, by the clock of the box: what the policy says of its world, said of now."""

from __future__ import annotations

from gpuboard.engine.zone import utc_offsets
from gpuboard.policy import words


def clock_words(at: int, now: int) -> str:
    """Return an instant as people say it: `14:10` today, `Tue 14:10` this week, else with its date."""
    return words.clock_words(at, now, utc_offsets(now))
