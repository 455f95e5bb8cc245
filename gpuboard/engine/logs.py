"""Reading logs: from the runtime while an attempt is there, from the kept file afterwards.

The readers returned run on worker threads. They look at the ledger only by single lookups of
frozen jobs, which is safe from any thread.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from gpuboard.engine.core import Core
from gpuboard.errors import GpuboardError, InvalidRequest, NotFound
from gpuboard.model.ids import JobId
from gpuboard.model.job import Job, JobState
from gpuboard.runtimes.logfiles import TIMES_SUFFIX, LogTimes, pieces_from, tail_offset

_POLL_S = 0.1
LogReader = Callable[[Callable[[], bool]], Iterator[bytes]]


def log_reader(
    core: Core,
    job: Job,
    *,
    attempt: int | None,
    tail: int | None,
    since_at: int | None,
    follow: bool,
) -> LogReader:
    """Return a function that yields the log of one attempt. Raises NotFound when there can be none."""
    wanted = attempt if attempt is not None else _latest_attempt(job, follow=follow)
    if not 1 <= wanted <= job.attempt:
        raise NotFound(f"job {job.id} has no attempt {wanted}", field="attempt")
    path = core.log_path(job.id, wanted)
    runtime = core.runtimes.get(job.spec.runtime)

    def read(is_cancelled: Callable[[], bool]) -> Iterator[bytes]:
        kept = _Kept(path, job, tail, since_at)
        if path.exists():
            yield from kept.pieces()
            return
        running = _handle_of(core, job, wanted, follow=follow, is_cancelled=is_cancelled)
        if running is None or runtime is None:
            if path.exists():
                yield from kept.pieces()
            elif job.attempt == wanted and job.started_at is None and job.state.is_final:
                raise _no_log(job)
            return
        try:
            pieces = runtime.read_log(
                running, tail=tail, since_at=since_at, follow=follow, is_cancelled=is_cancelled
            )
            yield from _with_rest(pieces, kept)
        except NotFound as error:
            raise _no_log(job) from error

    return read


def _no_log(job: Job) -> NotFound:
    if job.started_at is None:
        why = f": {job.reason}" if job.reason else ""
        return NotFound(f"job {job.id} has no log: it never ran{why}")
    return NotFound(
        f"the log of job {job.id} is not kept any more",
        hint="an admin sets for how long, and how much: [logs] in the configuration",
    )


def _latest_attempt(job: Job, *, follow: bool) -> int:
    """Return the attempt that people mean: the present one, or the last that ran if it did not yet."""
    if job.state is JobState.QUEUED and job.attempt > 1 and not follow:
        return job.attempt - 1
    return job.attempt


def _handle_of(
    core: Core, job: Job, attempt: int, *, follow: bool, is_cancelled: Callable[[], bool]
) -> str | None:
    """Return the handle of an attempt; wait for its start when following."""
    pause = threading.Event()
    while True:
        live = core.ledger.jobs.get(JobId(job.id))
        known = live if live is not None else job
        if known.attempt != attempt or (live is None and not job.state.is_final):
            return job.handle if job.attempt == attempt and job.handle else None
        if known.handle and known.start_issued:
            return known.handle
        if known.state.is_final or not follow or is_cancelled():
            return None
        pause.wait(_POLL_S)


def _with_rest(pieces: Iterator[bytes], kept: _Kept) -> Iterator[bytes]:
    """Yield the runtime's pieces, then what the kept file has beyond them.

    An attempt that ends is removed soon after its log was kept: a reader may be cut off by that.
    """
    sent = 0
    try:
        for piece in pieces:
            sent += len(piece)
            yield piece
    except GpuboardError:
        if not kept.path.exists():
            raise
    if kept.path.exists():
        if kept.is_wanted_whole:
            yield from kept.pieces(sent)
        elif not sent:
            yield from kept.pieces()


class _Kept:
    """The kept log of an ended attempt, as far as it is wanted."""

    def __init__(self, path: Path, job: Job, tail: int | None, since_at: int | None) -> None:
        self.path = path
        self._job = job
        self._tail = tail
        self._since_at = since_at

    @property
    def is_wanted_whole(self) -> bool:
        """Whether all of it is."""
        return self._tail is None and self._since_at is None

    def pieces(self, offset: int = 0) -> Iterator[bytes]:
        """Yield what is wanted of it, beyond an offset. Raises InvalidRequest where that cannot be told."""
        with self.path.open("rb") as file:
            if self._since_at is not None:
                offset = max(offset, self._offset_at(self._since_at, file.fileno()))
            if self._tail is not None:
                offset = max(offset, tail_offset(file.fileno(), self._tail))
            yield from pieces_from(file.fileno(), offset)

    def _offset_at(self, since_at: int, descriptor: int) -> int:
        """Return from where on it is not older than an instant."""
        end = os.fstat(descriptor).st_size
        times = LogTimes.read(self.path.with_suffix(TIMES_SUFFIX))
        if times.marks:
            found = times.position_at(since_at)
            return end if found is None else found
        started_at, ended_at = self._job.started_at, self._job.ended_at
        if started_at is None or since_at <= started_at:
            return 0
        if ended_at is not None and since_at > ended_at:
            return end
        raise InvalidRequest(
            f"the kept log of job {self._job.id} has no times: --since cannot be told",
            field="since",
            hint="leave out --since, or ask for its last lines: --tail 100",
        )
