"""The rule table from what was seen and what was asked to how an attempt ended."""

from __future__ import annotations

import msgspec
import pytest

from gpuboard.engine.conclude import Circumstances, back_to_queue, conclude, honour_cancel
from gpuboard.model.ids import JobId
from gpuboard.model.job import Job, JobSpec, JobState, StopCause
from gpuboard.runtimes.protocol import Observed, RunState
from tests.support.engine import ANN

JOB = Job(
    id=JobId(1),
    owner=ANN,
    spec=JobSpec(limit_s=60),
    state=JobState.RUNNING,
    submitted_at=0,
    start_issued=True,
    started_at=10,
)
CALM, REBOOTED, RESTARTED = (
    Circumstances(),
    Circumstances(rebooted=True),
    Circumstances(engine_restarted=True),
)


def exited(code: int | None, *, oom: bool = False, at: int | None = None) -> Observed:
    return Observed("gb-1-1", "c1", RunState.EXITED, exit_code=code, oom_killed=oom, ended_at=at)


CREATED = Observed("gb-1-1", "c1", RunState.CREATED)


@pytest.mark.parametrize(
    ("seen", "around", "state", "words"),
    [
        (exited(0), CALM, "succeeded", ""),
        (exited(0, oom=True), CALM, "succeeded", ""),
        (exited(3), CALM, "failed", "exit code 3"),
        (exited(137), CALM, "failed", "outside gpuboard"),
        (exited(137, oom=True), CALM, "failed", "memory"),
        (exited(137, oom=True), RESTARTED, "failed", "memory"),
        (exited(127), CALM, "failed", "not found"),
        (exited(4294967295), CALM, "failed", "unknown"),
        (exited(137), RESTARTED, "lost", "engine was restarted"),
        (exited(5), RESTARTED, "failed", "exit code 5"),
        (exited(255), RESTARTED, "lost", "does not know its exit code"),
        (exited(255), CALM, "failed", "255"),
        (exited(0), REBOOTED, "succeeded", ""),
        (exited(137), REBOOTED, "lost", "rebooted"),
        (exited(255), REBOOTED, "lost", "rebooted"),
        (exited(None), REBOOTED, "lost", "rebooted"),
        (exited(None), CALM, "lost", "not known"),
        (None, CALM, "lost", "removed"),
        (None, REBOOTED, "lost", "rebooted"),
        (CREATED, CALM, "lost", "engine lost it"),
    ],
)
def test_end_of_a_job_that_nobody_stopped(seen, around, state, words) -> None:
    """137 three ways, the OOM flag, reboots and restarts: each told apart."""
    verdict = conclude(JOB, seen, around, 3)
    assert str(verdict.state) == state
    assert words in verdict.reason
    assert not verdict.requeue


@pytest.mark.parametrize(
    ("cause", "state", "requeue"),
    [
        (StopCause.CANCEL, "cancelled", False),
        (StopCause.TIME_LIMIT, "timed_out", False),
        (StopCause.PREEMPTION, "preempted", True),
        (StopCause.DEVICE_FAULT, "failed", False),
        (StopCause.MISMATCH, "failed", False),
    ],
)
@pytest.mark.parametrize("seen", [exited(143, at=200), exited(0, at=200), None])
def test_end_of_a_job_that_was_stopped(cause, state, requeue, seen) -> None:
    """The cause decides; the exit code is kept as it was."""
    job = msgspec.structs.replace(JOB, stop_cause=cause, stop_by="ann", stop_requested_at=100)
    verdict = conclude(job, seen, CALM, 3)
    assert (str(verdict.state), verdict.requeue) == (state, requeue)
    assert verdict.exit_code == (seen.exit_code if seen else None)


def test_job_that_ended_before_the_stop_was_asked_for_ended_by_itself() -> None:
    """A cancel that came too late cancels nothing."""
    job = msgspec.structs.replace(
        JOB, stop_cause=StopCause.CANCEL, stop_by="ann", stop_requested_at=100
    )
    assert conclude(job, exited(0, at=99), CALM, 3).state is JobState.SUCCEEDED
    assert conclude(job, exited(0, at=100), CALM, 3).state is JobState.CANCELLED


@pytest.mark.parametrize("seen", [exited(137, at=99), None])
def test_cancel_of_a_job_that_was_already_lost_stands(seen) -> None:
    """It was answered: the job neither comes back nor ends as lost."""
    spec = JobSpec(limit_s=60, requeue=True)
    job = msgspec.structs.replace(
        JOB, spec=spec, stop_cause=StopCause.CANCEL, stop_by="ann", stop_requested_at=100
    )
    verdict = honour_cancel(job, conclude(job, seen, RESTARTED, 3))
    assert (verdict.state, verdict.requeue) == (JobState.CANCELLED, False)
    assert "cancelled by ann" in verdict.reason
    assert honour_cancel(job, back_to_queue("no answer")).state is JobState.CANCELLED
    ended = conclude(job, exited(3, at=99), RESTARTED, 3)
    assert honour_cancel(job, ended) == ended
    preempted = msgspec.structs.replace(job, stop_cause=StopCause.PREEMPTION)
    assert honour_cancel(preempted, back_to_queue("no answer")).requeue


def test_lost_job_is_rerun_only_if_asked_and_not_for_ever() -> None:
    """`--requeue`, up to max_attempts."""
    job = msgspec.structs.replace(JOB, spec=JobSpec(limit_s=60, requeue=True))
    assert conclude(job, None, CALM, 3).requeue
    assert not conclude(msgspec.structs.replace(job, attempt=3), None, CALM, 3).requeue


def test_start_that_never_showed_is_told_with_the_runtimes_words() -> None:
    """Created with an error or a code: the start failed; without: nobody knows."""
    job = msgspec.structs.replace(JOB, state=JobState.STARTING, started_at=None)
    failed = msgspec.structs.replace(CREATED, error="hook failed", exit_code=128)
    assert conclude(job, failed, CALM, 3).reason == "start failed: hook failed"
    assert "start unknown" in conclude(job, CREATED, CALM, 3).reason
    assert conclude(job, CREATED, REBOOTED, 3).state is JobState.LOST
