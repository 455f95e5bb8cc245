"""Dependencies: when they are met, and what becomes of jobs whose dependency can never be met.

Such a job is cancelled with the reason, in the transaction that ended the other one (Slurm does so
with kill_invalid_depend; its default, to leave the job queued for ever, makes `wait` hang). The
cancellation is an end like any other, so it goes on along the chain.
"""

from __future__ import annotations

from enum import StrEnum

from gpuboard.model.job import Dependency, DependencyKind, JobState


class Standing(StrEnum):
    """Where a dependency stands."""

    OPEN = "open"
    MET = "met"
    BROKEN = "broken"


def standing(dependency: Dependency, state: JobState) -> Standing:
    """Say whether a dependency is met by a job in this state."""
    if not state.is_final:
        return Standing.OPEN
    if dependency.kind is DependencyKind.AFTER_ANY:
        return Standing.MET
    wants_success = dependency.kind is DependencyKind.AFTER_OK
    is_success = state is JobState.SUCCEEDED
    return Standing.MET if wants_success == is_success else Standing.BROKEN


def broken_words(dependency: Dependency, state: JobState) -> str:
    """Say why a dependency can never be met."""
    return f"{dependency.kind}:{dependency.job_id} can never be met: job {dependency.job_id} {_ENDED[state]}"


_ENDED = {
    JobState.SUCCEEDED: "succeeded",
    JobState.FAILED: "failed",
    JobState.CANCELLED: "was cancelled",
    JobState.TIMED_OUT: "reached its limit",
    JobState.PREEMPTED: "was preempted",
    JobState.LOST: "was lost",
}
