"""Serving orders that only a simulation has: what other schedulers go by."""

from __future__ import annotations

from gpuboard.model.world import World
from gpuboard.policy.queue import ServingOrder

MAX_AGE_MS = 7 * 86_400_000
"""Slurm's default PriorityMaxAge."""


class SaturatingOrder(ServingOrder):
    """Slurm's multifactor priority: age and fair share of equal weight, and age counts only so far.

    "Multifactor Priority Plugin" (slurm.schedmd.com). The same order as gpuboard's while nobody
    waits longer than `MAX_AGE_MS`; from then on a job gains nothing by waiting.
    """

    def __init__(self, world: World, now: int) -> None:
        super().__init__(world)
        self.oldest_at = now - MAX_AGE_MS
        """Jobs submitted before count as submitted then (ms)."""

    def counted(self, submitted_at: int) -> int:
        """Return when a job counts as submitted (ms): not before the age that counts at most."""
        return max(submitted_at, self.oldest_at)
