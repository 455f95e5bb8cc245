"""A job in the foreground: its output is followed through all attempts, and ^C ends it.

As with `docker run`, ^C (or SIGTERM) ends the job: the first one cancels it and its last words are
still shown, a second one leaves at once while the job is being stopped. When the terminal goes
away (SIGHUP) only the command ends: the job goes on, `gpuboard logs -f @` has it.
"""

from __future__ import annotations

import signal
from functools import partial
from types import FrameType, TracebackType
from typing import Any, Self

from gpuboard.cli import follow, words
from gpuboard.cli.session import Session
from gpuboard.errors import GpuboardError

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Foreground:
    """Inside its block, the first interrupt cancels the adopted job; a second is KeyboardInterrupt.

    The handler makes its request itself, so that the stream which it interrupts loses no byte.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._job_id: int | None = None
        self._before: dict[signal.Signals, Any] = {}
        self.signal_number = 0
        """The first interrupt; 0 while there was none."""

    def __enter__(self) -> Self:
        """Take over the signals."""
        for number in _SIGNALS:
            self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give them back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def adopt(self, job_id: int) -> None:
        """Name the job that an interrupt cancels; one that came during the submission counts."""
        self._job_id = job_id
        if self.signal_number:
            self._cancel()

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if self.signal_number:
            raise KeyboardInterrupt
        self.signal_number = number
        if self._job_id is not None:
            self._cancel()

    def _cancel(self) -> None:
        self._session.note(f"cancelling job {self._job_id}; ^C again leaves at once")
        try:
            self._session.client.post("/jobs/cancel", {"jobs": [str(self._job_id)]})
        except GpuboardError as error:
            self._session.warn(f"job {self._job_id} could not be cancelled: {error.message}")


def follow_to_the_end(session: Session, job_id: int) -> dict[str, Any]:
    """Show the output of all attempts of a job; return the job as it ended."""
    write = follow.write_stderr if session.as_json else follow.write_stdout
    say_waiting = _WaitingNotes(session)
    attempt = 0
    while True:
        job = follow.wait_for(session, job_id, follow.has_started, on_change=say_waiting)
        if job["attempt"] > attempt and job["started_at"]:
            attempt = job["attempt"]
            if job["devices"]:
                session.note(f"job {job_id} runs on GPU {words.devices_words(job['devices'])}")
            for port in job.get("ports", ()):
                session.note(f"port {words.port_words(port)}")
            follow.LogTail(session, job_id, attempt).copy(write)
        job = follow.wait_for(session, job_id, partial(_is_over, attempt))
        if follow.is_final(job):
            return job


class _WaitingNotes:
    """Says why and until when the job waits, each time that this reads differently."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._said = ""

    def __call__(self, job: dict[str, Any]) -> None:
        if job["state"] != "queued":
            return
        why = words.start_words(job, words.at_ms({})) or job["reason"]
        if why and why != self._said:
            self._session.note(f"job {job['id']} waits: {why}")
        self._said = why


def _is_over(attempt: int, job: dict[str, Any]) -> bool:
    """Whether this attempt has ended: with the job, or back in the queue."""
    return follow.is_final(job) or job["attempt"] > attempt or job["state"] == "queued"
