"""What waiting jobs are told: their order, why they wait, when they should start."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence

import msgspec

from gpuboard.engine.core import Core
from gpuboard.engine.forecasting import Forecaster
from gpuboard.engine.ledger import waiting_of
from gpuboard.engine.protocol import NewJob, Trial, TrialWork
from gpuboard.engine.world import build_world
from gpuboard.model.ids import JobId
from gpuboard.model.job import Job
from gpuboard.model.person import Person
from gpuboard.model.plan import Cause, Explanation, StartForecast, WaitCause
from gpuboard.model.world import World
from gpuboard.policy.explain import explain_wait
from gpuboard.policy.forecast import forecast_starts
from gpuboard.policy.habits import Habits
from gpuboard.policy.plan import plan_round
from gpuboard.policy.queue import WaitingQueue

DRY_RUN_JOBS = 500
"""How far down the queue a dry run looks ahead."""
TRIAL_ID = JobId(1 << 60)
"""The number of a job that is only tried; no other has it."""
_LOOKING_AHEAD = threading.Lock()
"""One dry run at a time: it takes a core from the engine while it looks ahead."""


def serving_order(core: Core, limit: int | None) -> Sequence[Job]:
    """Return queued jobs in serving order; held and waiting-for-something ones last."""
    queue, jobs = core.ledger.queue, core.ledger.jobs
    now = core.clock.now_ms()
    eligible = queue.serving_order(build_world(core, now), now, limit)
    ordered = [jobs[job_id] for job_id in eligible]
    if limit is None or len(ordered) < limit:
        ordered += [jobs[job_id] for job_id in queue.resting()]
    return ordered if limit is None else ordered[:limit]


def explain(core: Core, job_id: JobId, forecast: Mapping[JobId, StartForecast]) -> Explanation:
    """Say why a queued job waits; what the box itself lacks comes first."""
    now = core.clock.now_ms()
    world = build_world(core, now)
    explained = explain_wait(world, core.ledger.queue, core.plan, job_id, now, forecast)
    job = core.ledger.jobs[job_id]
    if core.ledger.is_preparing(job_id) and not job.is_held:
        words = core.progress.get(job_id) or f"its image {job.spec.image} is being looked for"
        cause = Cause(WaitCause.HOST, words, words_for_others="it is being made ready to start")
        return msgspec.structs.replace(explained, causes=(cause,))
    own = host_cause(core, job)
    if core.ledger.is_resting(job) and not job.is_held:
        return msgspec.structs.replace(explained, causes=own)
    return msgspec.structs.replace(explained, causes=(*own, *explained.causes))


def host_cause(core: Core, job: Job) -> tuple[Cause, ...]:
    """Return why the box cannot start this job whatever the queue says."""
    name = str(job.spec.runtime)
    health = core.health.get(name)
    others = ""
    if core.halted:
        words = f"scheduling has stopped: {core.halted}"
    elif health is None:
        words = f"this box has no runtime {name}"
    elif health.fault():
        words = f"{name}: {health.fault()}"
    elif core.ledger.is_resting(job):
        words = others = f"{name} could not start a job of {job.owner.name}; it is tried again soon"
        words += f": {job.reason}" if job.reason else ""
    elif core.clock.boot_ms() < health.resume_boot_ms:
        words = f"{name} could not start a job, by the box's fault; it is tried again soon"
    elif job.spec.ports and job.id in core.progress:
        words, others = core.progress[job.id], "the box cannot start it just now"
    else:
        return ()
    return (Cause(WaitCause.HOST, words, words_for_others=others),)


def forecast_of(core: Core, forecaster: Forecaster, owner: Person, new: NewJob) -> TrialWork:
    """Return what says when and where such a job would start if submitted now; nothing is kept.

    The engine's thread only takes the picture; looking ahead is for a worker. What that returns is
    for the engine's thread again: it widens the forecast by how far off forecasts were.
    """
    now = core.clock.now_ms()
    world, queue = build_world(core, now), core.ledger.queue.snapshot()
    job_id = TRIAL_ID
    depends_on = tuple(d.job_id for d in new.spec.depends_on if d.job_id in core.ledger.jobs)
    asked = waiting_of(owner, new.spec, now)
    queue.add(msgspec.structs.replace(asked, job_id=job_id, depends_on=depends_on))
    habits = forecaster.habits_of(world, queue)

    def look_ahead() -> Callable[[], Trial]:
        with _LOOKING_AHEAD:
            told, explained = _trial(world, queue, job_id, now, habits)
        return lambda: _widened(forecaster, told, explained, now)

    return look_ahead


def _trial(
    world: World, queue: WaitingQueue, job_id: JobId, now: int, habits: Habits
) -> tuple[StartForecast, Explanation | None]:
    plan = plan_round(world, queue, now)
    start = next((s for s in plan.starts if s.job_id == job_id), None)
    if start is not None:
        return StartForecast(job_id, now, now, start.devices), None
    made = forecast_starts(world, queue, now, max_jobs=DRY_RUN_JOBS, only=(job_id,), habits=habits)
    told = made.get(job_id, StartForecast(job_id, None))
    return told, explain_wait(world, queue, plan, job_id, now)


def _widened(
    forecaster: Forecaster, told: StartForecast, explained: Explanation | None, now: int
) -> Trial:
    if explained is None:
        return told, None
    wide = forecaster.widened(told, now)
    return wide, msgspec.structs.replace(
        explained,
        expected_start_at=wide.expected_start_at,
        latest_start_at=wide.latest_start_at,
        p90_start_at=wide.p90_start_at,
    )
