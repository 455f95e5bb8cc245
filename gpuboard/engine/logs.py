"""Reading logs: from the runtime while an attempt is there, from the kept file afterwards.

The readers returned run on worker threads. They look at the ledger only by single lookups of
frozen jobs, which is safe from any thread.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

from gpuboard.engine.core import Core
from gpuboard.errors import GpuboardError, NotFound
from gpuboard.model.ids import JobId
from gpuboard.model.job import Job, JobState

_CHUNK_BYTES = 65_536
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
        if path.exists():
            yield from _from_file(path, tail)
            return
        running = _handle_of(core, job, wanted, follow=follow, is_cancelled=is_cancelled)
        if running is None or runtime is None:
            if path.exists():
                yield from _from_file(path, tail)
            return
        pieces = runtime.read_log(
            running, tail=tail, since_at=since_at, follow=follow, is_cancelled=is_cancelled
        )
        is_whole = tail is None and since_at is None
        try:
            yield from _with_rest(pieces, path, tail=tail, is_whole=is_whole)
        except NotFound as error:
            raise _no_log(job) from error

    return read


def _no_log(job: Job) -> NotFound:
    if job.started_at is None:
        return NotFound(f"job {job.id} has no log: it never ran")
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


def _with_rest(
    pieces: Iterator[bytes], path: Path, *, tail: int | None, is_whole: bool
) -> Iterator[bytes]:
    """Yield the runtime's pieces, then what the kept file has beyond them.

    An attempt that ends is removed soon after its log was kept: a reader may be cut off by that.
    """
    sent = 0
    try:
        for piece in pieces:
            sent += len(piece)
            yield piece
    except GpuboardError:
        if not path.exists():
            raise
    if path.exists():
        if is_whole:
            yield from _from_file(path, None, sent)
        elif not sent:
            yield from _from_file(path, tail)


def _from_file(path: Path, tail: int | None, offset: int = 0) -> Iterator[bytes]:
    with path.open("rb") as file:
        file.seek(offset)
        if tail is not None:
            yield from deque(file, maxlen=max(0, tail))
            return
        while piece := file.read(_CHUNK_BYTES):
            yield piece
