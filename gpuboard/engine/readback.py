"""Read-back: which devices an attempt really got, by the runtime's own word.

Asked right after the start, and again with each listing that shows the attempt alive until there is
an answer: an engine that does not answer, or a daemon that dies in between, leaves nobody unread. Who
got other devices than their lease names is stopped.
"""

from __future__ import annotations

from functools import partial

from gpuboard.engine.core import Core, log
from gpuboard.engine.stopping import Stopper
from gpuboard.engine.workers import Lane
from gpuboard.model.ids import DeviceUuid, JobId
from gpuboard.model.job import Job, JobState, StopCause


class ReadBack:
    """Asks once an attempt, however often it takes, and compares."""

    def __init__(self, core: Core, stopper: Stopper) -> None:
        self._core = core
        self._stopper = stopper
        self._read: dict[JobId, int] = {}
        """Attempts that were asked about in this life of the daemon, or are being asked about."""
        core.on_end.append(self._forget)

    def look_at(self, job: Job) -> None:
        """Ask about a running job's attempt unless it is known."""
        is_running = job.state is JobState.RUNNING
        if not is_running or not job.devices or self._read.get(job.id) == job.attempt:
            return
        self._read[job.id] = job.attempt
        runtime, handle = self._core.runtime_of(job), job.handle
        self._core.workers.submit(
            lambda: runtime.devices_of(handle),
            partial(self._compare, job.id, job.attempt),
            Lane.LOOK,
        )

    def _compare(
        self,
        job_id: JobId,
        attempt: int,
        given: tuple[DeviceUuid, ...] | None,
        error: BaseException | None,
    ) -> None:
        job = self._core.current(job_id, attempt)
        if job is None or job.state is not JobState.RUNNING:
            return
        if error is not None:
            log.warning("job %d: its devices are not read back yet: %s", job_id, error)
            self._forget(job_id)
        elif given is not None and set(given) != set(job.devices):
            words = f"runtime gave {', '.join(given) or 'no device'}, not {', '.join(job.devices)}"
            log.error("job %d: StateError: %s", job_id, words)
            self._stopper.request(job, StopCause.MISMATCH, "gpuboard", reason=words, force=True)

    def _forget(self, job_id: JobId) -> None:
        self._read.pop(job_id, None)
