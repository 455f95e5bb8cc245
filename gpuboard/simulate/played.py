"""What came of a trace: who ran where and when, and how well promises were kept."""

from __future__ import annotations

import msgspec

from gpuboard.simulate.trace import TraceJob


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """What became of one job; instants in seconds after the trace's begin."""

    job: TraceJob
    start_s: float
    """When it first ran."""
    end_s: float
    contention: float
    """Devices asked for by unfinished jobs over devices there are, at least 1, while it was there."""


class Run(msgspec.Struct, frozen=True, gc=False):
    """One stay on devices, up to the end or to a stop; instants in seconds after the trace's begin."""

    user: str
    devices: tuple[int, ...]
    """By number."""
    start_s: float
    end_s: float


class Played(msgspec.Struct, frozen=True):
    """A trace as it went under one policy."""

    outcomes: list[Outcome]
    decision_ms: list[float]
    promise_violations: int
    """How often the head's promised start was moved later or another job became head in its place, or
    a booking lacked a device."""
    preemptions: int
    runs: list[Run]
    refused: int = 0
    """Jobs that a quota forbids for ever."""

    @property
    def until_s(self) -> float:
        """When the last run ended."""
        return max((run.end_s for run in self.runs), default=0.0)


def wait_s(outcome: Outcome) -> float:
    """Return how long a job was there and did not run, cost of stops included."""
    return outcome.end_s - outcome.job.submit_s - outcome.job.runtime_s
