"""One call from a trace to the table of metrics: what `gpuboard simulate` shows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from gpuboard.errors import InvalidRequest
from gpuboard.simulate.metrics import metrics_of
from gpuboard.simulate.policies import policy_named
from gpuboard.simulate.simulation import Simulation
from gpuboard.simulate.trace import TraceJob, read_trace

SCHEMA = 1


def run_simulation(
    trace: Path | Sequence[TraceJob],
    *,
    gpus: int,
    policies: Sequence[str] = ("fifo", "easy", "fairshare"),
    on_progress: Callable[[str, float], None] = lambda _policy, _part: None,
) -> dict[str, Any]:
    """Play a trace on a box of `gpus` equal devices under each policy; return the JSON value.

    `on_progress` hears each policy's name with the part (0..1) that is done. Raises InvalidRequest
    for an unreadable trace, an unknown policy, or a job wider than the box.
    """
    settings = {name: policy_named(name) for name in policies}
    jobs = read_trace(trace) if isinstance(trace, Path) else list(trace)
    widest = max((job.gpus for job in jobs), default=0)
    if widest > gpus:
        raise InvalidRequest(
            f"a job of the trace wants {widest} GPUs, the box has {gpus}",
            hint=f"--gpus {widest}",
            field="--gpus",
        )
    results = {}
    for name, policy in settings.items():

        def report(part: float, name: str = name) -> None:
            on_progress(name, part)

        results[name] = metrics_of(Simulation(jobs, gpus, policy).play(report), gpus)
    return {
        "schema": SCHEMA,
        "trace": trace.name if isinstance(trace, Path) else "",
        "gpus": gpus,
        "policies": results,
    }
