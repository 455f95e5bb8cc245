"""What the other policies do, on cases small enough to see; stopped jobs and bookings in a trace."""

from __future__ import annotations

import pytest

from gpuboard.errors import InvalidRequest
from gpuboard.simulate.metrics import metrics_of
from gpuboard.simulate.played import Played
from gpuboard.simulate.policies import POLICIES
from gpuboard.simulate.run import run_simulation
from gpuboard.simulate.simulation import Conditions, Simulation
from gpuboard.simulate.trace import TraceJob


def play(policy: str, *jobs: TraceJob, **conditions) -> Played:
    chosen = POLICIES[policy]
    under = Conditions(order=chosen.order, **conditions)
    return Simulation(jobs, 4, chosen.settings, under).play()


def starts(played: Played) -> dict[int, float]:
    return {outcome.job.job_id: outcome.start_s for outcome in played.outcomes}


def job(number: int, submit: int, gpus: int, runtime: int, user: str = "ann") -> TraceJob:
    return TraceJob(number, user, submit, gpus, runtime, runtime)


def test_greedy_fifo_starts_what_fits_though_it_delays_who_is_first():
    jobs = (job(1, 0, 3, 100), job(2, 1, 4, 50), job(3, 2, 1, 300))
    assert starts(play("fifo-greedy", *jobs)) == {1: 0, 2: 302, 3: 2}


def test_shortest_job_first_serves_the_shortest_limit_first():
    jobs = (job(1, 0, 4, 100), job(2, 1, 4, 90), job(3, 2, 4, 10))
    assert starts(play("sjf", *jobs)) == {1: 0, 3: 100, 2: 110}


def test_multifactor_serves_first_who_used_less():
    jobs = (
        job(1, 0, 4, 7200),
        job(2, 10, 4, 100),
        job(3, 20, 4, 100, "bob"),
    )
    began = starts(play("multifactor", *jobs))
    assert began[3] < began[2]


def some_jobs() -> list[TraceJob]:
    return [job(n, n * 400, 1 + n * 7 % 4, 600 + n * 37 % 3000, f"u{n % 3}") for n in range(1, 200)]


def test_stopped_jobs_run_all_their_time_and_pay_for_the_stop():
    played = play("fairshare", *some_jobs(), preemptible=0.5, checkpoint_s=30)
    assert len(played.outcomes) == len(some_jobs())
    assert played.preemptions > 0
    lost = sum(one.end_s - one.start_s >= one.job.runtime_s for one in played.outcomes)
    assert lost == len(played.outcomes)
    assert metrics_of(played, 4)["preemptions"] == played.preemptions


@pytest.mark.parametrize("part", [0.0, 0.5])
def test_bookings_and_the_head_are_kept_whatever_is_preemptible(part):
    """P3 and P8 on a trace with bookings every few hours."""
    played = play("fairshare", *some_jobs(), preemptible=part, bookings_a_day=12)
    assert played.promise_violations == 0


def test_the_same_seed_gives_the_same_run():
    once, again = (play("fairshare", *some_jobs(), preemptible=0.5, seed=3) for _ in range(2))
    assert once.outcomes == again.outcomes


def test_a_larger_share_waits_less():
    jobs = [job(n, n, 2, 3600, "ann" if n % 2 else "bob") for n in range(1, 80)]

    def mean_wait(**conditions) -> float:
        outcomes = play("fairshare", *jobs, **conditions).outcomes
        own = [one.start_s - one.job.submit_s for one in outcomes if one.job.user == "ann"]
        return sum(own) / len(own)

    assert mean_wait(shares={"ann": 4.0}) < mean_wait()


def test_a_weight_of_nobody_is_refused():
    with pytest.raises(InvalidRequest, match="eve"):
        run_simulation([job(1, 0, 1, 1)], gpus=1, conditions=Conditions(shares={"eve": 2.0}))
