"""Use cases on the queue as a whole: any page of it, filtered, and one's own part of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from gpuboard.errors import InvalidRequest, NotFound
from gpuboard.model.ids import JobId
from gpuboard.model.instants import iso
from gpuboard.model.job import Job, JobState
from gpuboard.model.person import Caller
from gpuboard.model.views.jobs import JobList
from gpuboard.service.context import ServiceContext
from gpuboard.service.devices import DeviceNames
from gpuboard.service.jobviews import EXPLAINED, JobViews, QueueReasons
from gpuboard.service.rights import Action, may
from gpuboard.service.selectors import uid_of

MAX_PAGE = 1000
_MAX_WORDS = 200
_STATES = (*(str(state) for state in JobState if not state.is_final), "held")

Later = Callable[[], Callable[[], JobList]]
"""Runs on a worker; what it returns runs on the engine's thread and gives the page."""


class QueueService:
    """What everybody may see of the live jobs, page by page."""

    def __init__(self, context: ServiceContext) -> None:
        self._context = context
        self._engine = context.engine
        self._reasons = QueueReasons(context.engine)

    def own(self, caller: Caller, limit: int) -> JobList:
        """Return the caller's live jobs, running first; `total` counts everybody's."""
        jobs, places, _ = self._page_of(caller.uid, 0, limit)
        total = len(self._engine.running_jobs()) + self._engine.queue_length()
        return self._listed(caller, jobs, places, total, 0)

    def page(
        self,
        caller: Caller,
        *,
        mine: bool = False,
        user: str = "",
        states: Sequence[str] = (),
        text: str = "",
        offset: int = 0,
        limit: int = 100,
    ) -> JobList | Later:
        """Return live jobs, running first, then in serving order; a search as a function for a worker.

        Raises InvalidRequest for a state or a person that there is not.
        """
        limit = max(0, min(limit, MAX_PAGE))
        wanted = _states(states)
        uid: int | None = caller.uid if mine else None
        if user and not mine:
            uid = uid_of(self._engine, caller, user)
        words = text[:_MAX_WORDS].lower().split()
        if not words and not wanted:
            jobs, places, total = self._page_of(uid, offset, limit)
            return self._listed(caller, jobs, places, total, offset)
        return self._search(caller, _wish(caller, uid, wanted, words), offset, limit)

    def _page_of(
        self, uid: int | None, offset: int, limit: int
    ) -> tuple[list[Job], Mapping[JobId, int], int]:
        running = [
            job for job in self._engine.running_jobs() if uid is None or job.owner.uid == uid
        ]
        shown = running[offset : offset + limit]
        start = max(0, offset - len(running))
        part = self._engine.queue_slice(start, limit - len(shown), uid)
        return [*shown, *part.jobs], part.places, len(running) + part.total

    def _search(
        self, caller: Caller, is_wanted: Callable[[Job], bool], offset: int, limit: int
    ) -> Later:
        """Return the search; jobs that end meanwhile are left out of the page."""
        running = [job.id for job in self._engine.running_jobs() if is_wanted(job)]
        scan = self._engine.queue_scan(is_wanted)

        def work() -> Callable[[], JobList]:
            queued, places = scan()
            found = [*running, *queued]
            return lambda: self._listed(
                caller, self._known(found[offset : offset + limit]), places, len(found), offset
            )

        return work

    def _known(self, ids: Sequence[JobId]) -> list[Job]:
        jobs = []
        for job_id in ids:
            try:
                jobs.append(self._engine.job(job_id))
            except NotFound:
                continue
        return jobs

    def _listed(
        self,
        caller: Caller,
        jobs: Sequence[Job],
        places: Mapping[JobId, int],
        total: int,
        offset: int,
    ) -> JobList:
        now = self._context.clock.now_ms()
        views = JobViews(
            self._engine,
            caller,
            now,
            DeviceNames(self._engine.snapshot()),
            places=places,
            reasons=self._reasons.first(self._engine.queue(EXPLAINED)),
        )
        return JobList(
            at=iso(now) or "",
            jobs=[views.view(job) for job in jobs],
            total=total,
            offset=offset,
            revision=self._engine.revision(),
        )


def _wish(
    caller: Caller, uid: int | None, states: Sequence[str], words: Sequence[str]
) -> Callable[[Job], bool]:
    """Return whether a job is meant; what it runs is searched only where the caller may read it."""

    def is_wanted(job: Job) -> bool:
        if uid is not None and job.owner.uid != uid:
            return False
        state = "held" if job.is_held and job.state is JobState.QUEUED else str(job.state)
        if states and state not in states:
            return False
        if not words:
            return True
        spec = job.spec
        shown = f"{job.id} {spec.name} {job.owner.name} {state} {spec.gpu_type}"
        if may(caller, Action.READ_PRIVATE, job.owner.uid):
            shown = f"{shown} {' '.join(spec.command)} {spec.image}"
        shown = shown.lower()
        return all(word in shown for word in words)

    return is_wanted


def _states(words: Sequence[str]) -> list[str]:
    found = [part.strip().lower() for text in words for part in text.split(",") if part.strip()]
    for word in found:
        if word not in _STATES:
            raise InvalidRequest(
                f"no live job is ever {word[:40]!r}", field="state", hint=", ".join(_STATES)
            )
    return found
