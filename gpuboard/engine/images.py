"""Images: fetched while a job waits, so that a pull costs neither its limit nor anybody's devices.

Where pulling is allowed, a job is not served before its image was found on the box: it is looked
for, and pulled, from the submission on; others pass it meanwhile. One fetch serves all jobs of that
image. The start itself never pulls: an image that was removed again sends the job back here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial

from gpuboard.engine.change import Change
from gpuboard.engine.conclude import start_failed
from gpuboard.engine.core import Core, log
from gpuboard.engine.ending import cancel_dependents, ended_job
from gpuboard.engine.workers import Lane
from gpuboard.errors import RequestError, Unavailable
from gpuboard.model.ids import JobId
from gpuboard.model.job import Job, JobState, RuntimeName

Key = tuple[RuntimeName, str]
"""Runtime and reference."""


@dataclass
class Fetch:
    """An image that is not known to be there yet."""

    jobs: set[JobId] = field(default_factory=set)
    is_running: bool = False
    failures: int = 0
    next_boot_ms: int = 0


class Images:
    """Has images fetched, and lets jobs be served once theirs is there."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._there: set[Key] = set()
        self._fetches: dict[Key, Fetch] = {}
        core.on_end.append(self._ended)

    def require(self, jobs: Iterable[Job]) -> None:
        """Keep queued jobs from being served until their image is there."""
        core = self._core
        if core.config.docker.pull != "missing":
            return
        for job in jobs:
            key = _key(job)
            if job.state is not JobState.QUEUED or not job.spec.image or key in self._there:
                continue
            if job.spec.runtime not in core.runtimes:
                continue
            self._fetches.setdefault(key, Fetch()).jobs.add(job.id)
            core.ledger.prepare(job.id, is_preparing=True)

    def is_gone(self, job: Job, error: BaseException | None) -> bool:
        """Note that an image which was there is not there any more, if that is what happened."""
        if self._core.config.docker.pull != "missing" or not isinstance(error, RequestError):
            return False
        is_gone = error.code == "not_found" and error.field == "image"
        if is_gone:
            self._there.discard(_key(job))
        return is_gone

    def run(self) -> None:
        """Begin the fetches that are due."""
        boot = self._core.clock.boot_ms()
        for key, fetch in self._fetches.items():
            if not fetch.is_running and boot >= fetch.next_boot_ms:
                self._fetch(key, fetch)

    def next_boot_ms(self) -> int | None:
        """Return when (boot time, ms) the next fetch is due."""
        return min(
            (f.next_boot_ms for f in self._fetches.values() if not f.is_running), default=None
        )

    def _fetch(self, key: Key, fetch: Fetch) -> None:
        fetch.is_running = True
        runtime = self._core.runtimes[key[0]]
        work = partial(runtime.resolve_image, key[1], True, partial(self._tell, fetch))
        self._core.workers.submit(work, partial(self._fetched, key), Lane.PULL)

    def _tell(self, fetch: Fetch, words: str) -> None:
        for job_id in tuple(fetch.jobs):
            self._core.progress[job_id] = words

    def _fetched(self, key: Key, _image_id: str | None, error: BaseException | None) -> None:
        fetch = self._fetches[key]
        fetch.is_running = False
        if error is None:
            self._there.add(key)
            self._let_go(key)
            return
        log.warning("image %s: %s", key[1], error)
        fetch.failures += not isinstance(error, Unavailable)
        is_final = isinstance(error, RequestError)
        if is_final or fetch.failures >= self._core.config.jobs.max_attempts:
            self._fail(self._let_go(key), f"start failed: {error}")
            return
        pause_s = min(self._core.pace.backoff_max_s, 5.0 * 2 ** max(0, fetch.failures - 1))
        fetch.next_boot_ms = self._core.clock.boot_ms() + int(pause_s * 1000)
        self._tell(fetch, f"its image is not there yet: {error}")

    def _let_go(self, key: Key) -> list[Job]:
        """Let the image's jobs be served; return those that still wait."""
        core = self._core
        waiting = []
        for job_id in sorted(self._fetches.pop(key).jobs):
            core.progress.pop(job_id, None)
            job = core.ledger.jobs.get(job_id)
            if job is not None and job.state is JobState.QUEUED:
                core.ledger.prepare(job_id, is_preparing=False)
                waiting.append(job)
        core.ledger.revision += 1
        core.plan_soon()
        return waiting

    def _fail(self, jobs: Iterable[Job], words: str) -> None:
        core, now = self._core, self._core.clock.now_ms()
        for waiting in jobs:
            job = core.ledger.jobs.get(waiting.id)
            if job is None:
                continue  # cancelled with one that it depended on
            change = Change("image.failed")
            ended = ended_job(job, start_failed(words), now)
            change.job(ended, "job.failed", reason=ended.reason)
            cancel_dependents(core, change, ended, now)
            core.journal.commit(change)
            for forget in core.on_end:
                forget(job.id)

    def _ended(self, job_id: JobId) -> None:
        """Look after a job whose attempt ended: it may be queued again."""
        job = self._core.ledger.jobs.get(job_id)
        if job is not None:
            self.require([job])
            return
        for fetch in self._fetches.values():
            fetch.jobs.discard(job_id)


def _key(job: Job) -> Key:
    return job.spec.runtime, job.spec.image
