"""How good the forecast is: told to jobs of a trace as they come, and held against what happened.

Not every job is told one, since each costs two runs forward: jobs are chosen at random, from a
seed, so that about `forecasts` are. Those that waited over a minute are judged.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from gpuboard.errors import InvalidRequest
from gpuboard.model.ids import JobId, Uid
from gpuboard.model.plan import StartForecast
from gpuboard.model.world import PolicySettings
from gpuboard.policy.calibration import UNWORTHY_MS, Calibration
from gpuboard.policy.forecast import forecast_starts
from gpuboard.policy.habits import RUNS_OF_ALL, RUNS_TO_REMEMBER, Habits
from gpuboard.simulate.metrics import quantile
from gpuboard.simulate.policies import Order, Policy, policy_of
from gpuboard.simulate.run import check, conditions_under
from gpuboard.simulate.simulation import Conditions, Simulation
from gpuboard.simulate.trace import TraceJob, read_trace

SCHEMA = 1
FORECASTS = 3500
MOST_JOBS_AHEAD = 100_000


def run_forecast(
    trace: Path | Sequence[TraceJob],
    *,
    gpus: int,
    policy: str | Policy = "fairshare",
    conditions: Conditions | None = None,
    forecasts: int = FORECASTS,
    on_progress: Callable[[float], None] = lambda _part: None,
) -> dict[str, Any]:
    """Play a trace, forecast about `forecasts` jobs as they come, and return the JSON value.

    `forecast.no_later_than_held` and `forecast.p90_coverage` are parts (0..1) of the jobs judged,
    null where there are none. Raises InvalidRequest as `run_simulation` does.
    """
    chosen = policy_of(policy) if isinstance(policy, str) else policy
    if chosen.order is not Order.VIRTUAL_SUBMIT_TIME:
        raise InvalidRequest(
            f"forecasts are made for policies that the daemon has, not by {chosen.order.value}",
            hint="--policy fairshare",
            field="--forecast",
        )
    under = conditions_under(chosen, conditions or Conditions())
    jobs = read_trace(trace) if isinstance(trace, Path) else list(trace)
    check(jobs, gpus, under)
    chance = min(1.0, forecasts / max(1, len(jobs)))
    foretold = _Foretold(jobs, gpus, chosen.settings, under, chance)
    foretold.play(on_progress)
    return {
        "schema": SCHEMA,
        "trace": trace.name if isinstance(trace, Path) else "",
        "gpus": gpus,
        "policy": policy if isinstance(policy, str) else "",
        "forecast": foretold.metrics(),
    }


class _Telling(msgspec.Struct, frozen=True, gc=False):
    """What was said of a job, and when (ms)."""

    at: int
    raw: StartForecast
    said: StartForecast


class _Foretold(Simulation):
    """A simulation in which some jobs are told when they will start."""

    def __init__(
        self,
        jobs: Sequence[TraceJob],
        gpus: int,
        settings: PolicySettings,
        conditions: Conditions,
        chance: float,
    ) -> None:
        super().__init__(jobs, gpus, settings, conditions)
        self._chance = chance
        self._random = random.Random(conditions.seed)  # noqa: S311 - a sample, not a secret
        self._new: list[JobId] = []
        self._parts: dict[Uid, list[float]] = {}
        self._parts_of_all: list[float] = []
        self._calibration = Calibration()
        self._told: dict[JobId, _Telling] = {}
        self._judged: list[tuple[int, _Telling]] = []

    def metrics(self) -> dict[str, float | int | None]:
        """Return the figures over the jobs judged; spans in seconds."""
        judged = self._judged
        about = [(start, told, told.said.expected_start_at) for start, told in judged]
        return {
            "jobs": len(judged),
            "no_later_than_held": _part_before(judged, "latest_start_at"),
            "p90_coverage": _part_before(judged, "p90_start_at"),
            "median_error_s": quantile(
                sorted(abs(start - at) / 1000 for start, _, at in about if at is not None), 0.5
            )
            if judged
            else None,
        }

    def _submit(self, job_id: JobId, job: TraceJob) -> bool:
        if self._random.random() < self._chance:
            self._new.append(job_id)
        return super()._submit(job_id, job)

    def _end_jobs(self) -> bool:
        known = len(self._outcomes)
        ended = super()._end_jobs()
        for outcome in self._outcomes[known:]:
            part = outcome.job.runtime_s / outcome.job.limit_s
            own = self._parts.setdefault(self._uids[outcome.job.user], [])
            own.append(part)
            self._parts_of_all.append(part)
            del own[:-RUNS_TO_REMEMBER], self._parts_of_all[:-RUNS_OF_ALL]
        return ended

    def _start(self, job_id: JobId, *args: Any, **kwargs: Any) -> None:
        super()._start(job_id, *args, **kwargs)
        told = self._told.pop(job_id, None)
        if told is not None and self._now - told.at > UNWORTHY_MS:
            self._calibration.observe(told.raw, told.said, told.at, self._now)
            self._judged.append((self._now, told))

    def _advance(self, to_at: int) -> None:
        """Before time goes on, tell those that came and were not started at once."""
        if to_at > self._now and self._new:
            waiting = [job_id for job_id in self._new if job_id in self._queue]
            self._new.clear()
            if waiting:
                self._tell(waiting)
        super()._advance(to_at)

    def _tell(self, waiting: list[JobId]) -> None:
        self._ledger.decay(self._now)
        world = msgspec.structs.replace(
            self._world,
            holders=tuple(self._holders.values()),
            bookings=self._book.current(self._now),
            head=self._promise.head,
            fill_head=self._fill_head,
            usage=self._ledger.usage(self._now),
            usage_at=self._now,
        )
        made = forecast_starts(
            world,
            self._queue,
            self._now,
            max_jobs=MOST_JOBS_AHEAD,
            only=waiting,
            habits=Habits(self._parts, self._parts_of_all),
        )
        for job_id, raw in made.items():
            said = self._calibration.widen(raw, self._now)
            self._told[job_id] = _Telling(self._now, raw, said)


def _part_before(judged: Sequence[tuple[int, _Telling]], name: str) -> float | None:
    """Return the part of starts that fell no later than the instant of that name."""
    held = sum(start <= (getattr(told.said, name) or math.inf) for start, told in judged)
    return held / len(judged) if judged else None
