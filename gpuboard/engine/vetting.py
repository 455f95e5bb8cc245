"""Vetting: before a start, whether its person still is who they were when they asked for it.

The answer comes from the box's directory of people, which may be slow, hang or be away (LDAP): it is
asked on a worker, for one job of a person at a time, so that neither the engine's thread nor anybody
else's job waits for it. What is certain holds the job until an admin looks; what is not lets it wait
in the queue, passed by others, and is asked again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

import msgspec

from gpuboard.engine.core import Core, log
from gpuboard.engine.protocol import Vetted
from gpuboard.engine.workers import Lane
from gpuboard.model.ids import JobId, Uid
from gpuboard.model.job import Job, JobState

PASSED_MS = 2_000
"""So long after a good answer the start has to come."""
SLOW_MS = 3_000
"""An answer that takes longer is not waited for with devices kept free."""
RETRY_MS = 30_000
_NEVER = 1 << 60


class _Look(msgspec.Struct):
    """A question under way, and the person's jobs that would have started meanwhile."""

    job: Job
    asked_boot_ms: int
    jobs: set[JobId]
    is_slow: bool = False


class Vetting:
    """Passes jobs, or has them looked at. On the engine's thread."""

    def __init__(self, core: Core, hold: Callable[[Job, str], None]) -> None:
        """`hold` holds a job for an admin."""
        self._core = core
        self._hold = hold
        self._looks: dict[Uid, _Look] = {}
        self._vouched: set[JobId] = set()
        self._passed: dict[JobId, tuple[int, Job]] = {}
        """Until when (boot time, ms), and as what."""
        self._aside: dict[JobId, int] = {}
        """Jobs set aside, and when (boot time, ms) to try them again."""
        self.check: Callable[[Job], Vetted] | None = None
        """Looks, on a worker. None: whoever is in the queue may start."""
        core.on_end.append(self._forget)

    def vouch(self, jobs: Iterable[Job]) -> None:
        """Pass jobs of a submission that was checked just now, for the plan that follows it."""
        self._vouched.update(job.id for job in jobs)

    def end_round(self) -> None:
        """Note that a plan was carried out: who did not start with it is looked at before the next."""
        self._vouched.clear()

    def is_passed(self, job: Job) -> bool:
        """Whether a job may start now; if that is not known, have it looked at."""
        if self.check is None:
            return True
        if job.id in self._vouched:
            return True
        until, passed = self._passed.get(job.id, (0, None))
        if passed is not None and passed.spec is job.spec and self._core.clock.boot_ms() < until:
            return True
        look = self._looks.get(job.owner.uid)
        if look is None:
            look = _Look(job, self._core.clock.boot_ms(), set())
            self._looks[job.owner.uid] = look
            self._core.workers.submit(
                partial(self.check, job), partial(self._answered, look), Lane.VET
            )
        look.jobs.add(job.id)
        if look.is_slow:
            self._set_aside(job.id, _SLOW_WORDS, _NEVER)
        return False

    def run(self) -> None:
        """Set aside what waits for too long; try again what was set aside."""
        boot = self._core.clock.boot_ms()
        for look in self._looks.values():
            if not look.is_slow and boot >= look.asked_boot_ms + SLOW_MS:
                look.is_slow = True
                for job_id in look.jobs:
                    self._set_aside(job_id, _SLOW_WORDS, _NEVER)
        for job_id in [job_id for job_id, at in self._aside.items() if boot >= at]:
            self._take_back(job_id)

    def next_boot_ms(self) -> int | None:
        """Return when (boot time, ms) `run` has something to do."""
        due = [x.asked_boot_ms + SLOW_MS for x in self._looks.values() if not x.is_slow]
        return min((*due, *self._aside.values()), default=None)

    def _answered(self, look: _Look, vetted: Vetted | None, error: BaseException | None) -> None:
        core, job_id = self._core, look.job.id
        del self._looks[look.job.owner.uid]
        for other in look.jobs:
            self._take_back(other)
        job = core.ledger.jobs.get(job_id)
        core.plan_now()
        if job is None or job.state is not JobState.QUEUED or job.is_held:
            return
        if vetted is None:
            log.warning("job %d: its owner could not be looked up: %s", job_id, error)
            vetted = Vetted(f"its owner could not be looked up: {error}", is_certain=False)
        if not vetted.words:
            self._passed[job_id] = (core.clock.boot_ms() + PASSED_MS, look.job)
        elif vetted.is_certain:
            self._hold(job, vetted.words)
        else:
            self._set_aside(job_id, f"{vetted.words}; looked up again soon", RETRY_MS)

    def _set_aside(self, job_id: JobId, words: str, retry_ms: int) -> None:
        """Let others pass the job for so long, or until the answer comes."""
        core = self._core
        job = core.ledger.jobs.get(job_id)
        if job is None or job.state is not JobState.QUEUED:
            return
        core.progress[job_id] = words
        core.ledger.prepare(job_id, is_preparing=True)
        self._aside[job_id] = core.clock.boot_ms() + retry_ms
        core.plan_soon()

    def _take_back(self, job_id: JobId) -> None:
        core = self._core
        if self._aside.pop(job_id, None) is not None and core.ledger.is_preparing(job_id):
            core.progress.pop(job_id, None)
            core.ledger.prepare(job_id, is_preparing=False)
            core.plan_soon()

    def _forget(self, job_id: JobId) -> None:
        self._vouched.discard(job_id)
        self._passed.pop(job_id, None)
        self._aside.pop(job_id, None)


_SLOW_WORDS = "its owner is being looked up in the box's directory, which has not answered yet"
