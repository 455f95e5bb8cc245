"""Habits: what part of their limits people's runs have used, and how long a run should last by it.

Of a person with few runs so far, everybody's last ones count too. The median, not the mean: of a
distribution with one peak near zero and one at the limit the mean is never right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

from gpuboard.model.ids import Uid

RUNS_TO_REMEMBER = 40
"""Of each person, the last ones."""
RUNS_OF_ALL = 100
ENOUGH_RUNS = 5
"""With fewer runs than this a person's own history says too little alone."""


class Habits:
    """The used parts of limits (0..1), by person, newest last. Not changed once made."""

    def __init__(
        self, parts: Mapping[Uid, Sequence[float]] | None = None, of_all: Sequence[float] = ()
    ) -> None:
        self._parts = parts or {}
        self._of_all = of_all
        self._usual: dict[Uid, float | None] = {}

    def span_s(self, uid: Uid, limit_s: float, ran_s: float = 0.0) -> int | None:
        """Return how long in all (s) a run of this limit should last that has lasted `ran_s` so far.

        None: nobody's run says so, or it has outlived all that are known.
        """
        part = self._usual_part(uid) if ran_s <= 0 else self._part(uid, ran_s / max(limit_s, 1))
        return None if part is None else round(part * limit_s)

    def _usual_part(self, uid: Uid) -> float | None:
        if uid not in self._usual:
            self._usual[uid] = self._part(uid, -1.0)
        return self._usual[uid]

    def _part(self, uid: Uid, more_than: float) -> float | None:
        known = list(self._parts.get(uid, ())[-RUNS_TO_REMEMBER:])
        if len(known) < ENOUGH_RUNS:
            known += self._of_all[-RUNS_OF_ALL:]
        known = [part for part in known if part > more_than]
        return median(known) if known else None
