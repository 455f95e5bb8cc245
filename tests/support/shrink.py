"""Shrinking: the shortest beginning of a failing story, with every step left out that it does not need."""

from __future__ import annotations

import re
import time
from collections.abc import Collection

from tests.support.walk import STEPS, walk


def fails(seed: int, steps: int = STEPS, without: Collection[int] = ()) -> str:
    """Return why a story fails, in one line; empty when it does not."""
    try:
        walk(seed, steps, without)
    except AssertionError as error:
        return str(error).partition("\n")[0]
    return ""


def _kind(words: str) -> str:
    """Return what failed, without the numbers of whom it hit."""
    return re.sub(r"[0-9]+", "", words)[:60]


def shrink(seed: int, steps: int = STEPS, until: float = float("inf")) -> tuple[int, set[int]]:
    """Return a shorter story that fails in the same way: its length, and the steps left out, greedily.

    What was reached by `until` (monotonic, s) is returned then.
    """
    kind = _kind(fails(seed, steps))

    def fails_so(length: int, left_out: Collection[int] = ()) -> bool:
        return _kind(fails(seed, length, left_out)) == kind

    low, high = 0, steps
    while (
        low < high and time.monotonic() < until
    ):  # the shortest failing beginning, as far as halving finds it
        middle = (low + high) // 2
        if fails_so(middle):
            high = middle
        else:
            low = middle + 1
    without: set[int] = set()
    size = max(1, high // 2)
    while size and time.monotonic() < until:
        for begin in range(0, high, size):
            chunk = set(range(begin, min(high, begin + size))) - without
            if chunk and time.monotonic() < until and fails_so(high, without | chunk):
                without |= chunk
        size //= 2
    return high, without


def numbers(text: str) -> set[int]:
    """Read `3,7-9`."""
    found: set[int] = set()
    for part in filter(None, text.split(",")):
        low, _, high = part.partition("-")
        found |= set(range(int(low), int(high or low) + 1))
    return found
