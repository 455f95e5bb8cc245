"""Incarnations: whether a runtime's engine was restarted since an attempt was last seen running.

A restart can be over between two listings, and leaves exits that look like a person's own: the
engine's process is a further witness (`Runtime.incarnation`). An attempt is compared with the
incarnation that was there *before* the listing that showed it running, its end with the one that
was there *after* the listing that showed the end; so a restart at any moment in between shows.
"""

from __future__ import annotations

from gpuboard.engine.core import Core
from gpuboard.model.ids import JobId


class Incarnations:
    """Remembers by attempt under which incarnation it was last known to run."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._now: dict[str, str] = {}
        """By runtime: as of the last listing."""
        self._alive_under: dict[JobId, str] = {}

    def recover(self) -> None:
        """Take up, at start, what was known when the daemon ended."""
        for name in self._core.runtimes:
            known = self._core.journal.incarnation(name)
            if known:
                self._now[name] = known
                self._enrol(name)

    def listed(self, name: str, before: str, after: str) -> None:
        """Note a complete listing, and what the engine was before and after it (empty: unknown)."""
        if name not in self._now and before:
            self._now[name] = before
        self._enrol(name)
        if after:
            self._now[name] = after

    def _enrol(self, name: str) -> None:
        """Have attempts that are not known yet begin under the incarnation last known."""
        known = self._now.get(name)
        if known is not None:
            for job in self._core.ledger.of_runtime(name):
                self._alive_under.setdefault(job.id, known)

    def alive(self, job_id: JobId, before: str) -> None:
        """Note that a listing showed the attempt running."""
        if before:
            self._alive_under[job_id] = before

    def has_changed(self, name: str, job_id: JobId) -> bool:
        """Whether the engine was restarted since the attempt was last known to run."""
        known = self._alive_under.get(job_id)
        return known is not None and known != self._now.get(name, known)

    def keep(self, name: str) -> None:
        """Write the incarnation down once no attempt is left that knew another."""
        now = self._now.get(name)
        if now is not None and not any(
            self.has_changed(name, job.id) for job in self._core.ledger.of_runtime(name)
        ):
            self._core.journal.keep_incarnation(name, now)

    def forget(self, job_id: JobId) -> None:
        """Drop what is known of an attempt that ended."""
        self._alive_under.pop(job_id, None)
