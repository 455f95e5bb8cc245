"""Jobs as they leave the daemon: words for state and reason, instants spelled, private things left out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from gpuboard.engine.protocol import Engine
from gpuboard.errors import GpuboardError, NotFound
from gpuboard.model.durations import format_duration
from gpuboard.model.exits import exit_words
from gpuboard.model.ids import JobId
from gpuboard.model.instants import iso
from gpuboard.model.job import EventRow, Job, JobState
from gpuboard.model.person import Caller
from gpuboard.model.plan import Cause, Explanation, StartForecast, WaitCause
from gpuboard.model.text import change_words
from gpuboard.model.views.events import EventView
from gpuboard.model.views.jobs import JobDetail, JobView, MountView, PortView
from gpuboard.model.views.waits import AheadView, CauseView, PriorityView, WhyView
from gpuboard.service.clockwords import clock_words
from gpuboard.service.devices import DeviceNames
from gpuboard.service.rights import Action, may

EXPLAINED = 5
"""How many of the queue's first jobs have their full reason in lists; the others are told their place."""
_PRIVATE_DETAIL = ("reason", "image_id", "spec_hash", "handle")
_SECRET_WORDS = ("TOKEN", "SECRET", "PASSWORD", "PASSWD", "KEY", "CREDENTIAL")


class JobViews:
    """Makes views of jobs at one instant, for one caller."""

    def __init__(
        self,
        engine: Engine,
        caller: Caller,
        now: int,
        names: DeviceNames,
        *,
        places: Mapping[JobId, int] | None = None,
        reasons: Mapping[JobId, Cause] | None = None,
    ) -> None:
        self._engine = engine
        self._caller = caller
        self._now = now
        self._names = names
        self._forecasts: Mapping[JobId, StartForecast] = engine.forecasts()
        self._places = places or {}
        self._reasons = reasons or {}

    def view(self, job: Job) -> JobView:
        """Return a job as lists show it."""
        spec = job.spec
        is_private = not self._may(Action.READ_PRIVATE, job)
        is_queued = job.state is JobState.QUEUED
        forecast = self._forecasts.get(job.id) if is_queued else None
        return JobView(
            id=job.id,
            name=spec.name,
            user=job.owner.name,
            uid=job.owner.uid,
            mine=job.owner.uid == self._caller.uid,
            state=str(job.state),
            reason=self._reason(job),
            runtime=str(spec.runtime),
            image="" if is_private else spec.image,
            command=[] if is_private else list(spec.command),
            gpus=spec.gpus,
            gpu_type=spec.gpu_type,
            gpu_memory_bytes=spec.gpu_memory_bytes,
            nvlink=spec.nvlink,
            devices=self._names.refs(job.devices),
            ports=[] if is_private else _ports(job),
            limit_s=spec.limit_s,
            attempt=job.attempt,
            submitted_at=iso(job.submitted_at) or "",
            begin_at=iso(spec.begin_at),
            expected_start_at=iso(forecast.expected_start_at) if forecast else None,
            latest_start_at=iso(forecast.latest_start_at) if forecast else None,
            p90_start_at=iso(forecast.p90_start_at) if forecast else None,
            place=self._places.get(job.id),
            started_at=iso(job.started_at),
            ends_at=self._ends_at(job),
            ended_at=iso(job.ended_at),
            elapsed_s=self._elapsed_s(job),
            exit_code=job.exit_code,
            exit_words=_exit_words(job),
            oom_killed=job.oom_killed,
            held_by=job.held_by,
            preemptible=spec.preemptible,
            requeue=spec.requeue,
            array_id=job.array_id,
            array_index=job.array_index,
            depends_on=[f"{d.kind}:{d.job_id}" for d in spec.depends_on],
            reservation_id=job.reservation_id,
            note=spec.note if self._may(Action.READ_NOTE, job) else "",
            account=spec.account,
            class_name=spec.class_name,
        )

    def detail(self, job: Job, events: Iterable[EventRow]) -> JobDetail:
        """Return everything of one job that the caller may know."""
        spec = job.spec
        is_private = not self._may(Action.READ_PRIVATE, job)
        shown = [self.event(row, is_private=is_private) for row in events]
        if is_private:
            return JobDetail(job=self.view(job), events=shown)
        is_own = job.owner.uid == self._caller.uid
        return JobDetail(
            job=self.view(job),
            env={k: v if is_own else _masked(k, v) for k, v in spec.env.items()},
            mounts=[MountView(m.source, m.target, m.read_only) for m in spec.mounts],
            script=spec.script,
            workdir=spec.workdir,
            shm_bytes=spec.shm_bytes,
            cpus=spec.cpus,
            memory_bytes=spec.memory_bytes,
            stop_signal=spec.stop_signal,
            grace_s=spec.grace_s,
            image_id=job.image_id,
            events=shown,
        )

    def event(self, row: EventRow, *, is_private: bool) -> EventView:
        """Return one line of history."""
        detail = dict(row.detail)
        if is_private:
            detail = {k: v for k, v in detail.items() if k not in _PRIVATE_DETAIL}
        return EventView(
            id=row.id,
            at=iso(row.at) or "",
            kind=row.kind,
            words=event_words(row.kind, detail),
            job_id=row.job_id,
            reservation_id=row.reservation_id,
            device=row.device,
            user=self._engine.person_of(row.uid) if row.uid is not None else "",
            detail=detail,
        )

    def why(self, job: Job) -> WhyView:
        """Say why a job waits; for one that does not, what it does or how it ended."""
        if job.state is not JobState.QUEUED:
            return WhyView(id=job.id, state=str(job.state), words=self._not_waiting(job))
        explained = self.explained(job)
        standing = self._engine.queue_standing(job.id)
        return WhyView(
            id=job.id,
            state=str(job.state),
            words=" ".join((why_words(explained), *self._class_words(job, explained))),
            causes=self.causes(explained.causes),
            place=explained.place,
            ahead_gpus=explained.ahead_gpus,
            expected_start_at=iso(explained.expected_start_at),
            latest_start_at=iso(explained.latest_start_at),
            p90_start_at=iso(explained.p90_start_at),
            no_start=no_start_words(explained),
            would_start_now=explained.would_start_now,
            ahead=[self._ahead(each) for each in standing.ahead],
            priority=PriorityView(share=standing.share, lead_s=standing.lead_s),
            promised_start_at=iso(explained.promised_start_at),
            rank=explained.rank,
            ranked=explained.ranked,
        )

    def explained(self, job: Job) -> Explanation:
        """Return why a job waits, in the words that the caller may read."""
        explained = self._engine.explain(job.id)
        if self._may(Action.READ_REASON, job):
            return explained
        causes = tuple(
            msgspec.structs.replace(cause, words=cause.words_for_others or cause.words)
            for cause in explained.causes
        )
        return msgspec.structs.replace(explained, causes=causes)

    def _class_words(self, job: Job, explained: Explanation) -> Iterator[str]:
        """Yield what a job's class and group have to do with its place, in sentences."""
        if explained.promised_start_at is not None and job.spec.class_name:
            at = clock_words(explained.promised_start_at, self._now)
            yield f"As one of class {job.spec.class_name} it is promised a start by {at}."
        if explained.rank is not None:
            group = f" charged to {job.spec.account}" if job.spec.account else " in no group"
            ranked = explained.ranked
            yield f"{job.owner.name},{group}, is number {explained.rank} of {ranked} by fair share."

    def _ahead(self, job: Job) -> AheadView:
        forecast = self._forecasts.get(job.id)
        return AheadView(
            id=job.id,
            user=job.owner.name,
            gpus=job.spec.gpus,
            limit_s=job.spec.limit_s,
            expected_start_at=iso(forecast.expected_start_at) if forecast else None,
        )

    def causes(self, causes: Iterable[Cause]) -> list[CauseView]:
        """Return the reasons as data."""
        return [
            CauseView(
                cause=str(cause.cause),
                words=cause.words,
                count=cause.count,
                devices=self._names.refs(cause.devices),
                job_ids=list(cause.job_ids),
                reservation_id=cause.reservation_id,
                user=cause.user,
                until_at=iso(cause.until_at),
            )
            for cause in causes
        ]

    def _not_waiting(self, job: Job) -> str:
        reason = self._reason(job)
        words = f"job {job.id} does not wait: it "
        words += f"is {job.state}" if not job.state.is_final else f"has ended ({job.state})"
        return f"{words}: {reason}" if reason else words

    def _may(self, action: Action, job: Job) -> bool:
        return may(self._caller, action, job.owner.uid, job.spec.account)

    def _reason(self, job: Job) -> str:
        is_private = not self._may(Action.READ_REASON, job)
        if job.state is JobState.QUEUED:
            return self._waiting_reason(job, is_private=is_private)
        if job.state in (JobState.STARTING, JobState.STOPPING):
            progress = self._engine.progress_of(job.id)
            if progress and not is_private:
                return progress
            since = job.stop_requested_at if job.state is JobState.STOPPING else job.leased_at
            span = format_duration(max(0, (self._now - (since or self._now)) // 1000))
            return f"{job.state} for {span}"
        if is_private:
            return ""
        if job.state is JobState.RUNNING:
            return self._engine.progress_of(job.id) or job.reason
        return job.reason

    def _waiting_reason(self, job: Job, *, is_private: bool) -> str:
        known = self._reasons.get(job.id)
        if known is not None:
            return (known.words_for_others if is_private else "") or known.words
        if job.is_held:
            by = "its owner" if job.held_by == "user" else "an admin"
            return f"held by {by}" + (f": {job.reason}" if job.reason and not is_private else "")
        open_ids = [d.job_id for d in job.spec.depends_on if self._is_live(d.job_id)]
        if open_ids:
            more = f" and {len(open_ids) - 5} more" if len(open_ids) > 5 else ""
            return f"waits for job {', '.join(map(str, open_ids[:5]))}{more} to end"
        if job.spec.begin_at is not None and job.spec.begin_at > self._now:
            return f"not before {clock_words(job.spec.begin_at, self._now)}"
        place = self._places.get(job.id)
        if place is None:
            return "waiting"
        return "next to be served" if place == 0 else f"{place} ahead in the queue"

    def _is_live(self, job_id: JobId) -> bool:
        try:
            return not self._engine.job(job_id).state.is_final
        except NotFound:
            return False

    def _ends_at(self, job: Job) -> str | None:
        """Return when its limit stops it."""
        return iso(job.limit_at) if job.state.holds_devices else None

    def _elapsed_s(self, job: Job) -> int | None:
        if job.started_at is None:
            return None
        end = job.ended_at if job.ended_at is not None else self._now
        return max(0, (end - job.started_at) // 1000)


class QueueReasons:
    """Full reasons of the queue's first jobs, made once for each change and shared by all callers."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._revision = -1
        self._reasons: dict[JobId, Cause] = {}

    def first(self, queue: Iterable[Job]) -> Mapping[JobId, Cause]:
        """Return the first reason of each of the first jobs of the queue."""
        if self._engine.revision() != self._revision:
            self._revision = self._engine.revision()
            self._reasons = {}
            for job in list(queue)[:EXPLAINED]:
                if job.is_held:
                    continue
                try:
                    causes = self._engine.explain(job.id).causes
                except GpuboardError:
                    continue
                self._reasons[job.id] = first_cause(causes)
        return self._reasons


def first_cause(causes: Sequence[Cause]) -> Cause:
    """Return the weightiest reason."""
    return causes[0] if causes else Cause(WaitCause.HOST, "about to start")


def why_words(explained: Explanation) -> str:
    """Return one paragraph for a person."""
    sentences = [_sentence(cause.words) for cause in explained.causes] or ["It is about to start."]
    is_told = any(cause.cause is WaitCause.AHEAD for cause in explained.causes)
    if explained.place is not None and explained.place > 0 and not is_told:
        jobs = "1 job" if explained.place == 1 else f"{explained.place} jobs"
        gpus = "1 GPU" if explained.ahead_gpus == 1 else f"{explained.ahead_gpus} GPUs"
        sentences.append(f"{jobs} ({gpus}) ahead.")
    if no_start := no_start_words(explained):
        sentences.append(_sentence(no_start))
    if explained.would_start_now:
        sentences.append(f"It would start now {change_words(explained.would_start_now)}.")
    return " ".join(sentences)


_NO_START = (
    (WaitCause.HELD, "it is held"),
    (WaitCause.HOST, "the box cannot start it as things are"),
    (WaitCause.NO_SUCH_DEVICE, "this box has not enough such GPUs in service"),
    (WaitCause.DEPENDENCY_BROKEN, "it can never start"),
    (WaitCause.DEPENDENCY, "other jobs have to end first"),
    (WaitCause.DEVICE_UNAVAILABLE, "GPUs that are out of service are not counted on"),
)
"""Why nobody knows a start time, the weightiest first."""


def no_start_words(explained: Explanation) -> str:
    """Return why a waiting job has no start time; empty when it has one, or is about to start."""
    starts = (explained.expected_start_at, explained.latest_start_at, explained.promised_start_at)
    if not explained.causes or any(at is not None for at in starts):
        return ""
    found = {cause.cause for cause in explained.causes}
    why = next((words for cause, words in _NO_START if cause in found), "")
    return f"no start time is known: {why}" if why else "no start time is known yet"


def _sentence(words: str) -> str:
    text = words[:1].upper() + words[1:]
    return text if text.endswith((".", "!", "?")) else text + "."


def _ports(job: Job) -> list[PortView]:
    """Return the job's ports, with where they lead to while it runs.

    The owner's and the admins' alone, as the command is: everybody sees with `ss` that something
    listens, nobody needs to be told whose notebook it is.
    """
    at = {each.port: each.host_port for each in job.ports} if job.state.holds_devices else {}
    return [PortView(port, at.get(port)) for port in job.spec.ports]


def _exit_words(job: Job) -> str:
    if job.exit_code is None or (job.exit_code == 0 and not job.oom_killed):
        return ""
    return exit_words(job.exit_code, job.oom_killed)


def _masked(name: str, value: str) -> str:
    upper = name.upper()
    return "***" if any(word in upper for word in _SECRET_WORDS) else value


_KINDS = {
    "job.submitted": "submitted",
    "job.starting": "starting",
    "job.created": "created",
    "job.running": "running",
    "job.stopping": "stopping",
    "job.succeeded": "succeeded",
    "job.failed": "failed",
    "job.cancelled": "cancelled",
    "job.timed_out": "reached its limit",
    "job.preempted": "preempted",
    "job.lost": "lost",
    "job.over_budget": "over its budget of GPU memory",
    "job.devices_closed": "its GPUs were closed to it",
    "job.held": "held",
    "job.released": "released",
    "job.updated": "changed",
    "reservation.created": "booked",
    "reservation.started": "booking began",
    "reservation.bound": "booking got its devices",
    "reservation.ended": "booking ended",
    "reservation.no_show": "booking released: nobody came to it",
    "reservation.cancelled": "booking cancelled",
    "reservation.changed": "booking changed",
    "device.drained": "device drained",
    "device.resumed": "device back in service",
    "admin.notice": "notice",
    "admin.blackout": "blackout announced",
    "admin.blackout_cancelled": "blackout taken back",
}


def event_words(kind: str, detail: Mapping[str, object]) -> str:
    """Return an event in words: what happened, and why if that is known."""
    words = _KINDS.get(kind, kind)
    why = detail.get("reason") or detail.get("note") or detail.get("text")
    if why:
        words = f"{words}: {why}"
    if detail.get("requeued"):
        words += "; back in the queue"
    return words
