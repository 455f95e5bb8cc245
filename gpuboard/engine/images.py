"""Images: what a tag means is settled when a job is taken; what is missing is fetched while it waits.

The id behind a job's image is looked up right after the submission and recorded: a tag that moves
later does not change what runs. Where pulling is allowed, a job is not served before its image is
on the box, and others pass it meanwhile, so that a pull costs neither its limit nor anybody's
devices; one fetch serves all jobs of that image. Elsewhere an image that is not there (yet) is left
to the start. The start itself never pulls: an image that was removed again sends the job back here.

Only so many are pulled at a time. Whose turn is next goes by people, not by images: somebody with
forty of them must not keep another's one image waiting behind them all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial

import msgspec

from gpuboard.engine.change import Change
from gpuboard.engine.conclude import start_failed
from gpuboard.engine.core import Core, log
from gpuboard.engine.ending import cancel_dependents, ended_job
from gpuboard.engine.workers import HANDS, Lane
from gpuboard.errors import NotFound, RequestError, Unavailable
from gpuboard.model.ids import JobId, Uid
from gpuboard.model.job import Job, JobState, RuntimeName

Key = tuple[RuntimeName, str]
"""Runtime and reference."""


@dataclass
class Fetch:
    """An image whose id is not known yet to these jobs."""

    jobs: set[JobId] = field(default_factory=set)
    is_running: bool = False
    is_pull: bool = False
    """Whether it is missing and has to be pulled; else it is only looked up."""
    failures: int = 0
    next_boot_ms: int = 0


class Images:
    """Has images looked up and fetched, and lets jobs be served once theirs is there."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._fetches: dict[Key, Fetch] = {}
        self._pulling: set[Key] = set()
        """Those that a worker pulls now."""
        self._gone: set[JobId] = set()
        """Jobs whose image, settled before, was not there at their start."""
        core.on_end.append(self._ended)

    @property
    def _may_pull(self) -> bool:
        return self._core.config.docker.pull == "missing"

    def require(self, jobs: Iterable[Job]) -> None:
        """Have the ids of queued jobs' images settled; where pulling is allowed, serve none before."""
        core = self._core
        for job in jobs:
            is_settled = bool(job.image_id) and job.id not in self._gone
            if job.state is not JobState.QUEUED or not job.spec.image or is_settled:
                continue
            if job.spec.runtime not in core.runtimes:
                continue
            self._fetches.setdefault(_key(job), Fetch()).jobs.add(job.id)
            if self._may_pull:
                core.ledger.prepare(job.id, is_preparing=True)

    def is_gone(self, job: Job, error: BaseException | None) -> bool:
        """Note that an image which was there is not there any more, if it can be fetched again."""
        is_gone = self._may_pull and _is_missing(error)
        if is_gone:
            self._gone.add(job.id)
        return is_gone

    def run(self) -> None:
        """Begin the look-ups that are due, and as many pulls as there is room for."""
        for key in self._due(is_pull=False):
            self._fetch(key, self._fetches[key])
        self._begin_pulls()

    def _begin_pulls(self) -> None:
        pulls = self._due(is_pull=True) if self._has_room() else []
        while pulls and self._has_room():
            key = min(pulls, key=partial(self._turn, self._pulled_for()))
            pulls.remove(key)
            self._fetch(key, self._fetches[key])

    def _due(self, *, is_pull: bool) -> list[Key]:
        """Return what is to be looked up, or pulled, now; forget what nobody waits for any more."""
        boot, due = self._core.clock.boot_ms(), []
        for key, fetch in tuple(self._fetches.items()):
            if fetch.is_running or fetch.is_pull is not is_pull or boot < fetch.next_boot_ms:
                continue
            fetch.jobs -= self._core.ledger.holding.keys()  # their start looks for itself
            if fetch.jobs:
                due.append(key)
            else:
                del self._fetches[key]
        return due

    def next_boot_ms(self) -> int | None:
        """Return when (boot time, ms) the next fetch is due; an end wakes one that waits for room."""
        has_room = self._has_room()
        return min(
            (
                fetch.next_boot_ms
                for fetch in self._fetches.values()
                if not fetch.is_running and (has_room or not fetch.is_pull)
            ),
            default=None,
        )

    def _has_room(self) -> bool:
        return len(self._pulling) < HANDS[Lane.PULL]

    def _pulled_for(self) -> Counter[Uid]:
        """Count the pulls that are under way by person."""
        return Counter(uid for key in self._pulling for uid in self._people_of(self._fetches[key]))

    def _turn(self, pulled_for: Counter[Uid], key: Key) -> tuple[int, int]:
        """Return what orders pulls: how many its people have under way, then who came first."""
        fetch = self._fetches[key]
        people = self._people_of(fetch)
        return min((pulled_for[uid] for uid in people), default=0), min(fetch.jobs)

    def _people_of(self, fetch: Fetch) -> set[Uid]:
        jobs = self._core.ledger.jobs
        return {jobs[job_id].owner.uid for job_id in fetch.jobs if job_id in jobs}

    def _fetch(self, key: Key, fetch: Fetch) -> None:
        fetch.is_running = True
        runtime = self._core.runtimes[key[0]]
        work = partial(runtime.resolve_image, key[1], fetch.is_pull, partial(self._get_on, fetch))
        lane = Lane.PULL if fetch.is_pull else Lane.LOOK
        if fetch.is_pull:
            self._pulling.add(key)
        self._core.workers.submit(work, partial(self._fetched, key), lane)

    def _get_on(self, fetch: Fetch, words: str) -> None:
        """Tell, from the pull's thread; a pull that nobody waits for any more ends here."""
        if not fetch.jobs:
            raise Unavailable("nobody waits for it any more")
        self._tell(fetch, words)

    def _tell(self, fetch: Fetch, words: str) -> None:
        for job_id in tuple(fetch.jobs):
            self._core.progress[job_id] = words

    def _fetched(self, key: Key, image_id: str | None, error: BaseException | None) -> None:
        fetch = self._fetches[key]
        fetch.is_running = False
        self._pulling.discard(key)
        if image_id:
            self._admit(self._let_go(key), image_id)
        elif _is_missing(error) and not fetch.is_pull:
            self._miss(key, fetch)
        else:
            self._failed(key, fetch, error)

    def _miss(self, key: Key, fetch: Fetch) -> None:
        """Have an image that is not on the box pulled in its turn, or leave it to the start."""
        if self._may_pull:
            fetch.is_pull = True
            self._tell(fetch, f"its image {key[1]} waits to be pulled")
            self._begin_pulls()
        else:
            self._let_go(key)

    def _failed(self, key: Key, fetch: Fetch, error: BaseException | None) -> None:
        log.warning("image %s: %s", key[1], error)
        fetch.failures += not isinstance(error, Unavailable)
        is_final = isinstance(error, RequestError)
        if is_final or fetch.failures >= self._core.config.jobs.max_attempts:
            waiting = self._let_go(key)
            if self._may_pull:
                self._fail(waiting, f"start failed: {error}")
            return
        pause_s = min(self._core.pace.backoff_max_s, 5.0 * 2 ** max(0, fetch.failures - 1))
        fetch.next_boot_ms = self._core.clock.boot_ms() + int(pause_s * 1000)
        if self._may_pull:
            self._tell(fetch, f"its image is not there yet: {error}")

    def _admit(self, jobs: Iterable[Job], image_id: str) -> None:
        """Record what the tag means; a job that was taken for another image than this ends."""
        moved = [job for job in jobs if job.image_id not in ("", image_id)]
        change = Change("image.admitted")
        for job in jobs:
            if not job.image_id:
                change.jobs[job.id] = msgspec.structs.replace(job, image_id=image_id)
        if change.jobs:
            self._core.journal.commit(change)
        for job in moved:
            words = f"the image {job.spec.image} it was taken for ({job.image_id[:19]}) is gone"
            self._fail([job], f"start failed: {words}; the name now means another one")

    def _let_go(self, key: Key) -> list[Job]:
        """Let the image's jobs be served; return those that still wait."""
        core = self._core
        waiting = []
        for job_id in sorted(self._fetches.pop(key).jobs):
            core.progress.pop(job_id, None)
            job = core.ledger.jobs.get(job_id)
            if job is not None and job.state is JobState.QUEUED:
                if core.ledger.is_preparing(job_id):
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
            core.forget_ended(change.jobs)

    def _ended(self, job_id: JobId) -> None:
        """Look after a job whose attempt ended: it may be queued again."""
        job = self._core.ledger.jobs.get(job_id)
        if job is not None:
            self.require([job])
        else:
            for fetch in self._fetches.values():
                fetch.jobs.discard(job_id)
        self._gone.discard(job_id)


def _key(job: Job) -> Key:
    return job.spec.runtime, job.spec.image


def _is_missing(error: BaseException | None) -> bool:
    return isinstance(error, NotFound) and error.field == "image"
