"""What is watched while a trace is played: contention, the head's promise, and that instants end."""

from __future__ import annotations

from collections.abc import Mapping

from gpuboard.errors import StateError
from gpuboard.model.ids import JobId
from gpuboard.model.plan import Plan

MOST_DECISIONS = 1000
"""So many at one instant, none of which ends a job, are a bug of the policy; the traces need 20."""


class Contention:
    """Devices asked for by unfinished jobs over devices there are, at least 1, as time goes on."""

    def __init__(self, gpus: int) -> None:
        self._gpus = gpus
        self._demand = 0
        self._sum_ms = 0.0
        self._at_submit: dict[JobId, float] = {}

    def advance(self, span_ms: int) -> None:
        """Let time go on."""
        self._sum_ms += max(1.0, self._demand / self._gpus) * span_ms

    def submit(self, job_id: JobId, gpus: int) -> None:
        """Count a job that comes."""
        self._demand += gpus
        self._at_submit[job_id] = self._sum_ms

    def end(self, job_id: JobId, gpus: int, there_ms: int) -> float:
        """Count a job no more; return the mean contention while it was there."""
        self._demand -= gpus
        contended = self._sum_ms - self._at_submit.pop(job_id)
        return contended / there_ms if there_ms else 1.0


class PromiseWatch:
    """Who is head since the last decision, and how often a head's promise was broken."""

    def __init__(self) -> None:
        self.head: JobId | None = None
        self.broken = 0
        """How often its start was moved later, or another became head in its place."""
        self._start_at: int | None = None

    def excuse(self) -> None:
        """Expect no promise to be kept: a device is lost."""
        self._start_at = None

    def look(self, plan: Plan, started: Mapping[JobId, int]) -> None:
        """Hold a plan, already carried out, against the promise of the one before it."""
        promised_at = self._start_at
        if self.head is not None and promised_at is not None:
            start_at = started.get(self.head, plan.head_start_at)
            is_same = plan.head == self.head or self.head in started
            if not is_same or start_at is None or start_at > promised_at:
                self.broken += 1
        self.head, self._start_at = plan.head, plan.head_start_at


class RestWatch:
    """Sees to it that every instant comes to an end."""

    def __init__(self) -> None:
        self._since = (0, 0)
        """The instant of the last decision, and how many jobs had ended by then."""
        self._decisions = 0

    def look(self, now: int, ended: int) -> None:
        """Count the decisions of an instant. Raises StateError for a policy that comes to no end."""
        self._decisions = self._decisions + 1 if (now, ended) == self._since else 0
        self._since = (now, ended)
        if self._decisions > MOST_DECISIONS:
            raise StateError(
                f"the policy does not come to rest: {MOST_DECISIONS} decisions at "
                f"{now / 1000:.0f} s of the trace, and none ends a job",
                hint="this is a bug; send the command line and the trace to whoever maintains gpuboard",
            )
