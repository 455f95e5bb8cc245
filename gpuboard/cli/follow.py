"""Waiting for jobs and following their output, across restarts of the daemon.

The state is asked for, never inferred: an answer that does not come changes nothing, and a torn
log stream is taken up again where it broke. Where a log outgrew its bound, that place is not known any
more: its last lines come again, and it is said.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from gpuboard.cli import words
from gpuboard.cli.session import Session
from gpuboard.errors import TimedOut, Unavailable

FIRST_PAUSE_S = 0.02
LONGEST_PAUSE_S = 1.0
DAEMON_PATIENCE_S = 120.0
"""A daemon that restarts (an upgrade, a crash) is waited for this long."""
SURELY_KEPT_BYTES = 1 << 12
"""The beginning of a log that is not longer was let go by nobody: no admin can bound it closer."""
RESUMED_LINES = 100

Job = dict[str, Any]


class Pauses:
    """Pauses between questions: short at first, since many jobs start or end at once."""

    def __init__(self, until: float | None = None) -> None:
        self.until = until
        """Monotonic deadline; None = none."""
        self._next_s = FIRST_PAUSE_S

    def wait(self) -> None:
        """Sleep until the next question. Raises TimedOut when the deadline has passed."""
        left_s = None if self.until is None else self.until - time.monotonic()
        if left_s is not None and left_s <= 0:
            raise TimedOut("it did not happen in time")
        time.sleep(self._next_s if left_s is None else min(self._next_s, left_s))
        self._next_s = min(self._next_s * 1.5, LONGEST_PAUSE_S)


def patiently(session: Session, ask: Callable[[], Job], *, patience_s: float | None = None) -> Job:
    """Return the answer, waiting for a daemon that is away. Raises Unavailable when it stays away."""
    since: float | None = None
    while True:
        try:
            return ask()
        except Unavailable:
            now = time.monotonic()
            if since is None:
                since = now
                session.note("the daemon does not answer; the job goes on, waiting for the daemon")
            if now - since > (DAEMON_PATIENCE_S if patience_s is None else patience_s):
                raise
            time.sleep(LONGEST_PAUSE_S)
            session.reconnect()


def look(session: Session, job_id: int) -> Job:
    """Return the job's view."""
    answer = patiently(session, lambda: session.client.get(f"/jobs/{job_id}"))
    job: Job = answer["job"]
    return job


def wait_for(
    session: Session,
    job_id: int,
    is_there: Callable[[Job], bool],
    *,
    until: float | None = None,
    on_change: Callable[[Job], None] | None = None,
) -> Job:
    """Return the job once it is there. Raises TimedOut when the monotonic deadline passes."""
    pauses = Pauses(until)
    seen: tuple[Any, ...] = ()
    while True:
        job = look(session, job_id)
        if is_there(job):
            return job
        looks = (job["state"], job["attempt"], job["expected_start_at"], job["reason"])
        if looks != seen and on_change is not None:
            on_change(job)
        seen = looks
        pauses.wait()


def is_final(job: Job) -> bool:
    """Whether the job has ended."""
    return job["state"] in words.FINAL


def has_started(job: Job) -> bool:
    """Whether the job runs, or ran."""
    return job["state"] in ("running", "stopping") or is_final(job)


def exit_code(job: Job) -> int:
    """Return the exit code that stands for the job: its own, but never 0 unless it succeeded."""
    if job["state"] == "succeeded":
        return 0
    code = job["exit_code"] or 1
    if code < 0:  # as subprocess reports a signal
        return 128 - code
    return int(code) if code <= 255 else 1


class LogTail:
    """One attempt's output (None: the present one's), copied to a stream of bytes as it comes."""

    def __init__(self, session: Session, job_id: int, attempt: int | None) -> None:
        self._session = session
        self._path = f"/jobs/{job_id}/log"
        self._attempt = attempt
        self._written = 0
        self._is_cut = False
        """Whether so much of the log was let go that its bytes cannot be counted from its beginning."""

    def copy(self, write: Callable[[bytes], object]) -> None:
        """Copy until the attempt has ended. Raises Unavailable when the daemon stays away."""
        while True:
            try:
                self._copy_rest(write)
            except Unavailable:
                patiently(self._session, lambda: self._session.client.get("/ping"))
            else:
                return

    def _copy_rest(self, write: Callable[[bytes], object]) -> None:
        skip = self._written
        tail = None
        if self._written and (self._is_cut or self._outgrew(skip)):
            self._is_cut = True
            skip, tail = 0, RESUMED_LINES
            self._session.note("the log outgrew its bound meanwhile: its last lines again")
        for piece in self._stream(follow=True, tail=tail):
            fresh = piece[skip:]
            skip = max(0, skip - len(piece))
            if fresh:
                write(fresh)
                self._written += len(fresh)

    def _outgrew(self, written: int) -> bool:
        """Whether less is left of the log than was written of it: waiting for more could last for ever."""
        if written <= SURELY_KEPT_BYTES:
            return False
        return sum(len(piece) for piece in self._stream(follow=False)) < written

    def _stream(self, **how: object) -> Iterator[bytes]:
        return self._session.client.stream(self._path, attempt=self._attempt, **how)


def write_stdout(piece: bytes) -> None:
    """Write the job's own bytes, at once."""
    sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()


def write_stderr(piece: bytes) -> None:
    """Write the job's own bytes where they do not mix with JSON."""
    sys.stderr.buffer.write(piece)
    sys.stderr.buffer.flush()


def resolve(session: Session, selectors: Sequence[str]) -> list[int]:
    """Return the job numbers behind numbers, ranges, names and `@`, as the daemon reads them."""
    ids: list[int] = session.client.get("/resolve", job=list(selectors))["ids"]
    return ids
