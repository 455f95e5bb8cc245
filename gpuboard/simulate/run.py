"""One call from a trace to the table of metrics: what `gpuboard simulate` shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from gpuboard.errors import InvalidRequest
from gpuboard.simulate.metrics import metrics_of
from gpuboard.simulate.played import Played
from gpuboard.simulate.policies import Policy, policy_of
from gpuboard.simulate.simulation import Conditions, Simulation
from gpuboard.simulate.trace import TraceJob, read_trace

SCHEMA = 1
USUAL = ("fifo", "easy", "fairshare")


def run_simulation(
    trace: Path | Sequence[TraceJob],
    *,
    gpus: int,
    policies: Sequence[str] | Mapping[str, Policy] = USUAL,
    conditions: Conditions | None = None,
    on_progress: Callable[[str, float], None] = lambda _policy, _part: None,
    on_played: Callable[[str, Played], None] = lambda _policy, _played: None,
) -> dict[str, Any]:
    """Play a trace on a box of `gpus` equal devices under each policy; return the JSON value.

    `on_progress` hears each policy's name with the part (0..1) that is done, `on_played` all that
    happened. Raises InvalidRequest for an unreadable trace, an unknown policy or weight, or a job
    wider than the box.
    """
    conditions = conditions or Conditions()
    if not isinstance(policies, Mapping):
        policies = {name: policy_of(name) for name in policies}
    jobs = read_trace(trace) if isinstance(trace, Path) else list(trace)
    check(jobs, gpus, conditions)
    results = {}
    for name, policy in policies.items():

        def report(part: float, name: str = name) -> None:
            on_progress(name, part)

        under = conditions_under(policy, conditions)
        played = Simulation(jobs, gpus, policy.settings, under).play(report)
        if not played.outcomes:
            raise InvalidRequest(
                f"under {name} none of the {len(jobs)} jobs may ever run: its quota is too small",
                field="--compare",
            )
        on_played(name, played)
        results[name] = metrics_of(played, gpus)
    return {
        "schema": SCHEMA,
        "trace": trace.name if isinstance(trace, Path) else "",
        "gpus": gpus,
        "policies": results,
    }


def conditions_under(policy: Policy, conditions: Conditions) -> Conditions:
    """Return the conditions with what the policy, or the setting compared, has otherwise."""
    return msgspec.structs.replace(conditions, order=policy.order, **policy.conditions)


def without_wider(jobs: Sequence[TraceJob], gpus: int) -> list[TraceJob]:
    """Return the jobs that a box of so many devices could ever run."""
    return [job for job in jobs if job.gpus <= gpus]


def check(jobs: Sequence[TraceJob], gpus: int, conditions: Conditions) -> None:
    """Raise InvalidRequest for no jobs, for ones wider than the box, or for shares of nobody."""
    if not jobs:
        raise InvalidRequest(
            f"no job is left that a box of {gpus} GPUs could run",
            hint="more --gpus",
            field="--gpus",
        )
    wider = [job.gpus for job in jobs if job.gpus > gpus]
    if wider:
        raise InvalidRequest(
            f"a job of the trace wants {max(wider)} GPUs, the box has {gpus}",
            hint=f"--gpus {max(wider)}, or --skip-wider to leave {len(wider)} of {len(jobs)} jobs out",
            field="--gpus",
        )
    unknown = sorted(set(conditions.shares) - {job.user for job in jobs})
    if unknown:
        raise InvalidRequest(
            f"no job of the trace is {unknown[0]}'s", hint="--weight USER=2", field="--weight"
        )
