"""Use cases on jobs: submit, look, explain, cancel, hold, release, update, logs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec

from gpuboard.engine import audit
from gpuboard.engine.protocol import JobSearch, NewJob
from gpuboard.errors import GpuboardError, InvalidRequest, PermissionDenied
from gpuboard.model.ids import DeviceUuid, JobId
from gpuboard.model.instants import iso, parse_instant
from gpuboard.model.job import Job, JobState
from gpuboard.model.person import Caller
from gpuboard.model.plan import Cause, Explanation, StartForecast
from gpuboard.model.requests import CancelRequest, JobSelection, SubmitRequest, UpdateRequest
from gpuboard.model.views.jobs import ActionResult, ActionResults, JobDetail, JobList, SubmitResult
from gpuboard.model.views.waits import DryRunView, WhyView
from gpuboard.service.charging import Charging
from gpuboard.service.commandline import submit_line
from gpuboard.service.context import ServiceContext
from gpuboard.service.devices import DeviceNames
from gpuboard.service.jobchange import JobChanges
from gpuboard.service.jobviews import JobViews, QueueReasons, first_cause, why_words
from gpuboard.service.maintenance import met_words
from gpuboard.service.rights import Action, insist, may, no_such_job, not_yours
from gpuboard.service.selectors import JobSelectors, uid_of
from gpuboard.service.turns import Turns, in_turns
from gpuboard.service.validation import (
    SpecReader,
    Submission,
)

LogReader = Callable[[Callable[[], bool]], Iterator[bytes]]
"""Called on a worker thread with an `is_cancelled`; yields the log's bytes."""

MAX_LISTED = 10_000
_SHOWN_AFTER_SUBMIT = 100
_PLACED = 1000
"""How many of the queue's first jobs have their place told in filtered lists."""


class JobService:
    """What people do with jobs."""

    def __init__(self, context: ServiceContext) -> None:
        self._context = context
        self._engine = context.engine
        self._selectors = JobSelectors(context.engine)
        self._reasons = QueueReasons(context.engine)

    # asking for work

    def submit(self, caller: Caller, request: SubmitRequest) -> SubmitResult:
        """Put a job, or an array, into the queue. Raises what the request's fields deserve."""
        insist(caller, Action.SUBMIT)
        submission = self._reader(caller).read(request)
        jobs = self._engine.submit(
            caller.person,
            submission.jobs,
            token=submission.token,
            array_limit=submission.array_limit,
            held_by=submission.held_by,
        )
        # a known token gives jobs of an earlier request: nothing was checked of those
        self._engine.vouch([job for job in jobs if job.spec is submission.jobs[0].spec])
        views = self._views(caller)
        shown = [views.view(job) for job in jobs[:_SHOWN_AFTER_SUBMIT]]
        return SubmitResult(ids=[job.id for job in jobs], jobs=shown)

    def dry_run(
        self, caller: Caller, request: SubmitRequest
    ) -> Callable[[], Callable[[], DryRunView]]:
        """Return what says which devices the job would get and when; nothing is stored.

        It looks ahead on a worker, and its answer is made on the engine's thread.
        """
        insist(caller, Action.SUBMIT)
        submission = self._reader(caller).read(request)
        look_ahead = self._engine.forecast_of(caller.person, submission.jobs[0])

        def work() -> Callable[[], DryRunView]:
            trial = look_ahead()
            return lambda: self._dry_view(caller, request, submission, *trial())

        return work

    def _dry_view(
        self,
        caller: Caller,
        request: SubmitRequest,
        submission: Submission,
        forecast: StartForecast,
        explained: Explanation | None,
    ) -> DryRunView:
        names, now = self._names(), self._context.clock.now_ms()
        new = submission.jobs[0]
        starts_at = (forecast.expected_start_at, forecast.latest_start_at)
        ends_at = max((at for at in starts_at if at is not None), default=now)
        until_at = ends_at + new.spec.limit_s * 1000
        return DryRunView(
            would_start_now=explained is None and not submission.held_by,
            devices=names.refs(forecast.devices),
            expected_start_at=iso(forecast.expected_start_at),
            latest_start_at=iso(forecast.latest_start_at),
            p90_start_at=iso(forecast.p90_start_at),
            words=_dry_words(new, names, forecast.devices)
            if explained is None
            else why_words(explained),
            causes=self._views(caller).causes(explained.causes) if explained else [],
            command_line=submit_line(request),
            notices=met_words(self._engine, now, until_at, now, new.spec.gpu_uuids),
        )

    def _reader(self, caller: Caller) -> SpecReader:
        return SpecReader(
            caller,
            self._context.config,
            self._context.clock.now_ms(),
            self._names(),
            lambda selector: [job.id for job in self._own(caller, [selector])],
            find_live=lambda name: self._live_of(caller, name),
            charging=self._charging(),
        )

    def _live_of(self, caller: Caller, name: str) -> list[JobId]:
        """Return the caller's jobs of exactly this name that have not ended, by number."""
        live = self._engine.live_jobs()
        return sorted(
            job.id for job in live if job.owner.uid == caller.uid and job.spec.name == name
        )

    def _charging(self) -> Charging:
        return Charging(self._context.config, self._context.groups.gid_of)

    # looking

    def live(
        self,
        caller: Caller,
        *,
        mine: bool = False,
        user: str = "",
        states: Sequence[str] = (),
        limit: int = 500,
    ) -> JobList:
        """Return jobs that have not ended: running first, then the queue in serving order."""
        limit = max(0, min(limit, MAX_LISTED))
        first = self._engine.queue_slice(0, max(limit, _PLACED))
        queue, places = first.jobs, dict(first.places)
        running = self._engine.running_jobs()
        if mine or user or states:
            chosen = self._chosen(caller, mine=mine, user=user, states=_states(states))
            rank = {job.id: number for number, job in enumerate((*running, *queue))}
            jobs = sorted(chosen, key=lambda job: (rank.get(job.id, len(rank)), job.id))
            total = len(jobs)
        else:
            jobs = [*running, *queue]
            total = len(running) + self._engine.queue_length()
        views = self._views(caller, places, self._reasons.first(queue))
        now = self._context.clock.now_ms()
        return JobList(at=iso(now) or "", jobs=[views.view(j) for j in jobs[:limit]], total=total)

    def _chosen(
        self, caller: Caller, *, mine: bool, user: str, states: Sequence[JobState]
    ) -> list[Job]:
        return [
            job
            for job in self._engine.live_jobs()
            if (not mine or job.owner.uid == caller.uid)
            and (not user or job.owner.name == user)
            and (not states or job.state in states)
        ]

    def history(
        self,
        caller: Caller,
        *,
        user: str = "",
        states: Sequence[str] = (),
        name: str = "",
        since: str = "",
        until: str = "",
        limit: int = 100,
        before_id: int | None = None,
    ) -> JobList:
        """Return jobs of the record, newest first."""
        now = self._context.clock.now_ms()
        uid = uid_of(self._engine, caller, user) if user else None
        limit = max(0, min(limit, MAX_LISTED))
        wanted: JobSearch = {
            "states": [str(state) for state in _states(states)],
            "uid": uid,
            "name": name,
            "since_at": parse_instant(since, now_ms=now, field="since") if since else None,
            "until_at": parse_instant(until, now_ms=now, field="until") if until else None,
            "before_id": JobId(before_id) if before_id is not None else None,
        }
        jobs = self._engine.find_jobs(**wanted, limit=limit)
        total = len(jobs) if len(jobs) < limit else self._engine.count_jobs(**wanted)
        views = self._views(caller)
        return JobList(at=iso(now) or "", jobs=[views.view(j) for j in jobs], total=total)

    def show(self, caller: Caller, selector: str) -> JobDetail:
        """Return everything of one job that the caller may know."""
        job = self._selectors.one(caller, selector)
        if job.owner.uid != caller.uid and may(caller, Action.READ_PRIVATE, job.owner.uid):
            audit.allowed(caller.uid, Action.READ_PRIVATE, job.owner.uid, f"jobs {job.id}")
        events = self._engine.events(0, 200, job.id)
        return self._views_of(caller, job).detail(job, events)

    def why(self, caller: Caller, selector: str) -> WhyView:
        """Say why a job waits, when it starts, what would start it now."""
        job = self._selectors.one(caller, selector)
        return self._views(caller).why(job)

    def resolve(self, caller: Caller, selectors: Sequence[str]) -> list[int]:
        """Return the job numbers behind numbers, ranges `4-7`, `@`, names and array ids."""
        return [job.id for job in self._selectors.many(caller, selectors)]

    # touching

    def cancel(self, caller: Caller, request: CancelRequest) -> Turns[ActionResults]:
        """Cancel jobs: queued ones end at once, running ones are stopped."""

        def act(job: Job) -> tuple[Job, str]:
            after = self._engine.cancel(job.id, caller.person, force=request.force)
            if after.state is JobState.CANCELLED:
                return after, "cancelled"
            return after, f"is being stopped (SIGKILL after {after.spec.grace_s} s)"

        return self._each(caller, request.jobs, act, skip_ended=True)

    def hold(self, caller: Caller, request: JobSelection) -> Turns[ActionResults]:
        """Hold queued jobs back."""

        def act(job: Job) -> tuple[Job, str]:
            is_others = caller.is_admin and job.owner.uid != caller.uid
            held_by = "admin" if is_others else "user"
            return self._engine.hold(job.id, caller.person, held_by), "held"

        return self._each(caller, request.jobs, act)

    def release(self, caller: Caller, request: JobSelection) -> Turns[ActionResults]:
        """End holds."""

        def act(job: Job) -> tuple[Job, str]:
            if job.held_by == "admin" and not may(caller, Action.RELEASE_ADMIN_HOLD):
                audit.refused(
                    caller.uid, Action.RELEASE_ADMIN_HOLD, job.owner.uid, f"jobs {job.id}"
                )
                raise PermissionDenied(
                    f"job {job.id} is held by an administrator",
                    hint=f"why: gpuboard why {job.id}; only an administrator releases it",
                )
            return self._engine.release(job.id, caller.person), "released"

        return self._each(caller, request.jobs, act)

    def update(self, caller: Caller, request: UpdateRequest) -> Turns[ActionResults]:
        """Change jobs that have not ended."""
        others = msgspec.structs.replace(request, jobs=[], time_limit=None)
        action = Action.LIMIT_JOB if others == UpdateRequest() else Action.CHANGE_JOB

        reader, names, charging = self._reader(caller), self._names(), self._charging()
        changes = JobChanges(self._context, caller, reader, names, charging)

        def act(job: Job) -> tuple[Job, str]:
            spec = changes.applied(job, request)
            return self._engine.update(job.id, caller.person, spec), "changed"

        return self._each(caller, request.jobs, act, action=action)

    def _each(
        self,
        caller: Caller,
        selectors: Sequence[str],
        act: Callable[[Job], tuple[Job, str]],
        *,
        action: Action = Action.STOP_JOB,
        skip_ended: bool = False,
    ) -> Turns[ActionResults]:
        """Do something to each job named; one that fails does not keep the others from it.

        The jobs that are the caller's to touch are settled first; then some are done a turn.
        """
        jobs = self._selectors.many(caller, selectors)
        if skip_ended and len(jobs) > 1:
            jobs = [job for job in jobs if not job.state.is_final] or jobs
        refused = self._refused(caller, action, jobs)
        if len(jobs) == 1 and refused:
            raise not_yours(str(jobs[0].id))

        def one(job: Job) -> ActionResult:
            if job.id in refused:
                words = no_such_job(str(job.id)).message
                return ActionResult(id=job.id, ok=False, words=words, code=PermissionDenied.code)
            try:
                after, words = act(self._engine.job(job.id))
            except GpuboardError as error:
                if len(jobs) == 1 and isinstance(error, PermissionDenied):
                    raise
                return ActionResult(id=job.id, ok=False, words=error.message, code=error.code)
            return ActionResult(
                id=job.id, ok=True, words=words, job=self._views(caller).view(after)
            )

        return in_turns(jobs, one, lambda results: ActionResults(results=results))

    def _refused(self, caller: Caller, action: Action, jobs: Sequence[Job]) -> set[JobId]:
        """Return which of the jobs are not the caller's to touch. One audit line, however many."""
        others = [job for job in jobs if job.owner.uid != caller.uid]
        barred = [j for j in others if not may(caller, action, j.owner.uid, j.spec.account)]
        refused = {job.id for job in barred}
        for note, some in (
            (audit.refused, barred),
            (audit.allowed, [job for job in others if job.id not in refused]),
        ):
            if some:
                owners = {job.owner.uid for job in some}
                whose = owners.pop() if len(owners) == 1 else None
                note(caller.uid, action, whose, audit.jobs_words(job.id for job in some))
        return refused

    def log(
        self,
        caller: Caller,
        selector: str,
        *,
        attempt: int | None = None,
        tail: int | None = None,
        since_at: int | None = None,
        follow: bool = False,
    ) -> LogReader:
        """Return a function that yields the log on a worker thread. Owner and admins only."""
        job = self._selectors.one(caller, selector)
        if not may(caller, Action.READ_LOG, job.owner.uid):
            audit.refused(caller.uid, Action.READ_LOG, job.owner.uid, f"jobs {job.id}")
            raise not_yours(str(job.id))
        if job.owner.uid != caller.uid:
            audit.allowed(caller.uid, Action.READ_LOG, job.owner.uid, f"jobs {job.id}")
        return self._engine.read_log(
            job.id, attempt=attempt, tail=tail, since_at=since_at, follow=follow
        )

    # inside

    def _own(self, caller: Caller, selectors: Sequence[str]) -> list[Job]:
        """Return the jobs that one may wait for. Whoever asks notes the refusal: a submission."""
        jobs = self._selectors.many(caller, selectors)
        for job in jobs:
            if not may(caller, Action.DEPEND_ON, job.owner.uid):
                raise not_yours(str(job.id))
        return jobs

    def _names(self) -> DeviceNames:
        return DeviceNames(self._engine.snapshot())

    def _views(
        self,
        caller: Caller,
        places: dict[JobId, int] | None = None,
        reasons: Mapping[JobId, Cause] | None = None,
    ) -> JobViews:
        return JobViews(
            self._engine,
            caller,
            self._context.clock.now_ms(),
            self._names(),
            places=places,
            reasons=reasons,
        )

    def _views_of(self, caller: Caller, job: Job) -> JobViews:
        """Return views that know a queued job's place and reason."""
        if job.state is not JobState.QUEUED or job.is_held:
            return self._views(caller)
        explained = self._engine.explain(job.id)
        places = {job.id: explained.place} if explained.place is not None else {}
        return self._views(caller, places, {job.id: first_cause(explained.causes)})


def _states(words: Sequence[str]) -> list[JobState]:
    found = []
    for word in (part.strip().lower() for text in words for part in text.split(",")):
        if not word:
            continue
        try:
            found.append(JobState(word))
        except ValueError:
            raise InvalidRequest(
                f"there is no state {word[:40]!r}", field="state", hint=", ".join(JobState)
            ) from None
    return found


def _dry_words(new: NewJob, names: DeviceNames, devices: Sequence[DeviceUuid]) -> str:
    if not new.spec.gpus:
        return "It would start now."
    return f"It would start now on GPU {','.join(ref.label for ref in names.refs(devices))}."
