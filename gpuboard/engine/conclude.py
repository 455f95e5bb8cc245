"""How an attempt ended: one pure rule table from what was seen and what was asked to a verdict."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from gpuboard.errors import NotExecutable
from gpuboard.model.durations import format_duration
from gpuboard.model.exits import exit_words
from gpuboard.model.job import Job, JobState, StopCause, Verdict
from gpuboard.runtimes.ports import is_taken
from gpuboard.runtimes.protocol import Observed, RunState

_SIGKILL, _SIGTERM, _UNKNOWN_EXIT = 137, 143, 255
_FROM_OUTSIDE = (_SIGKILL, _SIGTERM, _UNKNOWN_EXIT)
"""Exit codes that a stop from outside leaves behind."""


@dataclass(frozen=True)
class Circumstances:
    """What the engine knows beside the observation."""

    rebooted: bool = False
    """The box was rebooted since the attempt started."""
    engine_restarted: bool = False
    """The runtime did not answer for a while since the attempt was last seen running."""


def conclude(job: Job, seen: Observed | None, around: Circumstances, max_attempts: int) -> Verdict:
    """Return the verdict on an attempt of which no process lives. `seen` None: the runtime forgot it."""
    if job.stop_cause is not None and not _ended_before_the_stop(job, seen):
        return _stopped(job, seen)
    if seen is None:
        words = "its container was removed"
        if job.started_at is None:  # perhaps by us: a crash between removal and commit leaves this
            words = "its start was cut short and its container is gone"
        if around.rebooted:
            words = "the box was rebooted"
        return _lost(job, words, None, max_attempts)
    if seen.state is RunState.CREATED:
        return _never_ran(job, seen, around, max_attempts)
    return _exited(job, seen, around, max_attempts)


def start_failed(words: str, error: BaseException | None = None) -> Verdict:
    """Return the verdict on an attempt whose start the runtime refused; the error may have a code."""
    code = error.status if isinstance(error, NotExecutable) else None
    return Verdict(JobState.FAILED, words, exit_code=code)


def back_to_queue(words: str) -> Verdict:
    """Return the verdict on an attempt that surely never ran: its job is tried again."""
    return Verdict(JobState.LOST, words, requeue=True)


def honour_cancel(job: Job, verdict: Verdict) -> Verdict:
    """Return the verdict with a cancel kept that was answered before the end was committed.

    Whatever the attempt ended with by itself stands; but what was lost, or would be queued again,
    is cancelled: its person was told so.
    """
    if job.stop_cause is not StopCause.CANCEL or not (
        verdict.requeue or verdict.state is JobState.LOST
    ):
        return verdict
    words = f"cancelled by {job.stop_by}"
    if verdict.state is JobState.LOST:
        words += f"; before that, {verdict.reason}"
    return msgspec.structs.replace(verdict, state=JobState.CANCELLED, reason=words, requeue=False)


def _ended_before_the_stop(job: Job, seen: Observed | None) -> bool:
    """Whether it ended by itself before anybody asked for the stop."""
    return (
        seen is not None
        and seen.state is RunState.EXITED
        and seen.ended_at is not None
        and job.stop_requested_at is not None
        and seen.ended_at < job.stop_requested_at
    )


def _stopped(job: Job, seen: Observed | None) -> Verdict:
    state, words = {
        StopCause.CANCEL: (JobState.CANCELLED, f"cancelled by {job.stop_by}"),
        StopCause.TIME_LIMIT: (
            JobState.TIMED_OUT,
            f"reached its limit of {format_duration(job.spec.limit_s)}",
        ),
        StopCause.PREEMPTION: (JobState.PREEMPTED, job.reason or "preempted"),
        StopCause.DEVICE_FAULT: (JobState.FAILED, job.reason or "its device failed"),
        StopCause.MISMATCH: (JobState.FAILED, job.reason or "its devices are not its lease's"),
    }[job.stop_cause or StopCause.CANCEL]
    return Verdict(
        state,
        words,
        exit_code=seen.exit_code if seen else None,
        oom_killed=seen.oom_killed if seen else False,
        ended_at=seen.ended_at if seen else None,
        requeue=job.stop_cause is StopCause.PREEMPTION,
    )


def _never_ran(job: Job, seen: Observed, around: Circumstances, max_attempts: int) -> Verdict:
    if job.started_at is not None:
        return _lost(job, "the container engine lost it", seen, max_attempts)
    if around.rebooted:
        return _lost(job, "the box was rebooted during its start", seen, max_attempts)
    if seen.error and job.ports and is_taken(seen.error):
        return back_to_queue(seen.error)
    if seen.error or seen.exit_code is not None:
        words = seen.error or exit_words(seen.exit_code, seen.oom_killed)
        return Verdict(JobState.FAILED, f"start failed: {words}", exit_code=seen.exit_code)
    words = "start unknown: the runtime's answer was lost and it never ran as far as can be seen"
    if job.spec.requeue and job.attempt < max_attempts:
        return back_to_queue(words)
    return Verdict(JobState.FAILED, words)


def _exited(job: Job, seen: Observed, around: Circumstances, max_attempts: int) -> Verdict:
    if seen.exit_code in _FROM_OUTSIDE and not seen.oom_killed:
        if around.rebooted:
            return _lost(job, "the box was rebooted", seen, max_attempts)
        if around.engine_restarted and seen.exit_code != _UNKNOWN_EXIT:
            return _lost(job, "the container engine was restarted", seen, max_attempts)
        if around.engine_restarted:  # measured on 26.1: so said of one that ended well meanwhile
            words = (
                "it ended while the container engine was away, which does not know its exit code"
            )
            return _lost(job, words, msgspec.structs.replace(seen, exit_code=None), max_attempts)
    if seen.exit_code is None:
        words = (
            "the box was rebooted" if around.rebooted else "it ended; its exit code is not known"
        )
        return _lost(job, words, seen, max_attempts)
    if seen.exit_code == 0:
        return Verdict(JobState.SUCCEEDED, "", 0, seen.oom_killed, seen.ended_at)
    words = exit_words(seen.exit_code, seen.oom_killed)
    if seen.exit_code == _SIGKILL and not seen.oom_killed:
        words += ", from outside gpuboard"
    return Verdict(JobState.FAILED, words, seen.exit_code, seen.oom_killed, seen.ended_at)


def _lost(job: Job, words: str, seen: Observed | None, max_attempts: int) -> Verdict:
    may_rerun = job.spec.requeue and job.attempt < max_attempts
    return Verdict(
        JobState.LOST,
        words,
        exit_code=seen.exit_code if seen else None,
        oom_killed=seen.oom_killed if seen else False,
        ended_at=seen.ended_at if seen else None,
        requeue=may_rerun,
    )
