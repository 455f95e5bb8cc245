"""Flights: which attempt has a call under way, and which observations are too old to judge it by.

An observation shows the world at some moment between its request and its answer. It may decide
about an attempt only if nothing was done to the attempt since the request went out.
"""

from __future__ import annotations

from gpuboard.model.ids import JobId


class Flights:
    """At most one call an attempt at a time."""

    def __init__(self) -> None:
        self._moment = 0
        self._airborne: dict[JobId, str] = {}
        self._touched: dict[JobId, int] = {}

    def now(self) -> int:
        """Return a mark for an observation about to be requested."""
        return self._moment

    def begin(self, job_id: JobId, what: str) -> None:
        """Note that a call is under way."""
        assert job_id not in self._airborne, f"job {job_id}: {what} beside {self._airborne[job_id]}"
        self._airborne[job_id] = what
        self.touch(job_id)

    def land(self, job_id: JobId) -> None:
        """Note that the call ended, however it did."""
        self._airborne.pop(job_id, None)
        self.touch(job_id)

    def touch(self, job_id: JobId) -> None:
        """Make every earlier observation too old for this job."""
        self._moment += 1
        self._touched[job_id] = self._moment

    def is_busy(self, job_id: JobId) -> bool:
        """Whether a call about it is under way."""
        return job_id in self._airborne

    def doing(self, job_id: JobId) -> str:
        """Return what is under way, or an empty string."""
        return self._airborne.get(job_id, "")

    def count(self) -> int:
        """Return how many calls are under way."""
        return len(self._airborne)

    def may_judge(self, job_id: JobId, mark: int) -> bool:
        """Whether an observation requested at `mark` is young enough for this job."""
        return job_id not in self._airborne and self._touched.get(job_id, 0) <= mark

    def forget_before(self, mark: int) -> None:
        """Drop what makes no observation too old any more: those that are to come are all younger."""
        self._touched = {job_id: at for job_id, at in self._touched.items() if at > mark}
