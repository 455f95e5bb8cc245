"""What a simulation is judged by; the keys are those of `gpuboard simulate --json`.

Bounded slowdown: Feitelson, "Metrics for parallel job scheduling" (2001), with 10 s. Jain's index:
Jain, Chiu, Hawe (1984). Finish-time fairness: Themis (Mahajan et al., NSDI 2020), with the mean
contention while the job was there, as Shockwave (Zheng et al., NSDI 2023) takes it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from gpuboard.simulate.played import Outcome, Played, wait_s

SLOWDOWN_BOUND_S = 10
UNFAIR_OVER = 1.05
"""A job with a finish-time ratio above this was treated unfairly."""


def metrics_of(played: Played, gpus: int) -> dict[str, float | int | None]:
    """Return the metrics of one policy; spans in seconds, decisions in ms.

    `jain_index` is over people, of their mean part of time spent running rather than waiting. For
    `utilisation` see `_utilisation`.
    """
    outcomes = played.outcomes
    waits = sorted(wait_s(outcome) for outcome in outcomes)
    half_box = [wait_s(outcome) for outcome in outcomes if outcome.job.gpus * 2 >= gpus]
    began_s = min(outcome.job.submit_s for outcome in outcomes)
    makespan_s = max(outcome.end_s for outcome in outcomes) - began_s
    ratios = [_finish_time_ratio(outcome) for outcome in outcomes]
    decisions = sorted(played.decision_ms)
    return {
        "wait_mean_s": _mean(waits),
        "wait_p50_s": quantile(waits, 0.5),
        "wait_p95_s": quantile(waits, 0.95),
        "wait_max_s": waits[-1],
        "bounded_slowdown_mean": _mean([_bounded_slowdown(outcome) for outcome in outcomes]),
        "half_box_wait_max_s": max(half_box, default=None),
        "utilisation": _utilisation(played, gpus),
        "makespan_s": makespan_s,
        "jain_index": _jain(_by_person(outcomes, [_running_part(one) for one in outcomes])),
        "ftf_worst_person": max(_by_person(outcomes, ratios)),
        "ftf_over_1_05": sum(ratio > UNFAIR_OVER for ratio in ratios) / len(ratios),
        "promise_violations": played.promise_violations,
        "preemptions": played.preemptions,
        "decision_p50_ms": quantile(decisions, 0.5),
        "decision_p99_ms": quantile(decisions, 0.99),
    }


def quantile(ascending: Sequence[float], part: float) -> float:
    """Return the smallest value that at least `part` of all do not exceed (nearest rank)."""
    if not ascending:
        return 0.0
    return ascending[max(0, math.ceil(part * len(ascending)) - 1)]


def _utilisation(played: Played, gpus: int) -> float:
    """Return the part of the device-time that did work, from the first submission to the last.

    What comes after is the trace's end, not the policy: one long job that is served late leaves
    the box empty around it (HPC2N at 16 devices: five days of one device, 3 % of the whole span).
    Where jobs come in less than half the time that their work takes, all of it is such an end, and
    the whole span counts. Devices held for the cost of stops did no work. Four digits: of a year of
    16 devices the next one is ten device-hours, a job or two that is left when the last one comes.
    """
    jobs = [outcome.job for outcome in played.outcomes]
    began_s = min(job.submit_s for job in jobs)
    until_s: float = max(job.submit_s for job in jobs)
    work = sum(job.gpus * job.runtime_s for job in jobs)
    if until_s - began_s < work / gpus / 2:
        until_s = max(outcome.end_s for outcome in played.outcomes)
    if until_s <= began_s:
        return 0.0
    held = within = 0.0
    for run in played.runs:
        devices = len(run.devices)
        held += devices * (run.end_s - run.start_s)
        within += devices * max(0.0, min(run.end_s, until_s) - run.start_s)
    return round(within * (work / held if held else 0.0) / (gpus * (until_s - began_s)), 4)


def _bounded_slowdown(outcome: Outcome) -> float:
    runtime_s = outcome.job.runtime_s
    return max(1.0, (wait_s(outcome) + runtime_s) / max(runtime_s, SLOWDOWN_BOUND_S))


def _running_part(outcome: Outcome) -> float:
    there_s = outcome.end_s - outcome.job.submit_s
    return outcome.job.runtime_s / there_s if there_s > 0 else 1.0


def _finish_time_ratio(outcome: Outcome) -> float:
    alone_s = max(outcome.job.runtime_s, 1) * outcome.contention
    return (outcome.end_s - outcome.job.submit_s) / alone_s


def _by_person(outcomes: Sequence[Outcome], values: Sequence[float]) -> list[float]:
    """Return each person's mean."""
    of: dict[str, list[float]] = {}
    for outcome, value in zip(outcomes, values, strict=True):
        of.setdefault(outcome.job.user, []).append(value)
    return [_mean(own) for own in of.values()]


def _jain(values: Sequence[float]) -> float:
    squares = sum(value * value for value in values)
    return sum(values) ** 2 / (len(values) * squares) if squares else 1.0


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
