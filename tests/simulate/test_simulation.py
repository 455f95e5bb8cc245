"""The simulator against hand-made cases, and against published logs with known answers."""

from __future__ import annotations

import msgspec
import pytest

from gpuboard.errors import InvalidRequest, StateError
from gpuboard.model.plan import Plan, Stop
from gpuboard.policy.plan import Round
from gpuboard.simulate.metrics import quantile
from gpuboard.simulate.policies import POLICIES
from gpuboard.simulate.run import run_simulation
from gpuboard.simulate.simulation import Conditions, Simulation
from gpuboard.simulate.trace import TraceJob, read_trace


def job(number: int, submit: int, gpus: int, runtime: int, limit: int | None = None, user="ann"):
    return TraceJob(number, user, submit, gpus, runtime, limit or runtime)


def starts(policy: str, *jobs: TraceJob, gpus: int = 4) -> dict[int, float]:
    played = Simulation(jobs, gpus, POLICIES[policy].settings).play()
    return {outcome.job.job_id: outcome.start_s for outcome in played.outcomes}


BLOCKED = (job(1, 0, 3, 100), job(2, 1, 4, 50), job(3, 2, 1, 90), job(4, 3, 1, 200))


def test_strict_fifo_lets_nobody_pass():
    assert starts("fifo", *BLOCKED) == {1: 0, 2: 100, 3: 150, 4: 150}


def test_easy_lets_pass_who_delays_nobody():
    assert starts("easy", *BLOCKED) == {1: 0, 2: 100, 3: 2, 4: 150}


def test_easy_goes_by_limits_not_by_run_times():
    jobs = (job(1, 0, 3, 100), job(2, 1, 4, 50), job(3, 2, 1, 10, limit=300))
    assert starts("easy", *jobs) == {1: 0, 2: 100, 3: 150}


def test_fairshare_serves_first_who_used_less():
    jobs = (
        job(1, 0, 4, 7200, user="ann"),
        job(2, 10, 4, 100, user="ann"),
        job(3, 20, 4, 100, user="ann"),
        job(4, 30, 4, 100, user="bob"),
    )
    began = starts("fairshare", *jobs)
    assert began[4] < began[3]
    assert starts("easy", *jobs)[4] > starts("easy", *jobs)[3]


def test_jobs_of_no_length_come_and_go():
    assert starts("easy", job(1, 0, 4, 0, limit=10), job(2, 0, 4, 5)) == {1: 0, 2: 0}


def test_metrics_are_what_they_are_called():
    result = run_simulation(BLOCKED, gpus=4, policies=["fifo"])
    table = result["policies"]["fifo"]
    assert (result["schema"], result["gpus"]) == (1, 4)
    assert table["wait_mean_s"] == (0 + 99 + 148 + 147) / 4
    assert table["wait_max_s"] == 148
    assert table["half_box_wait_max_s"] == 99
    assert table["makespan_s"] == 350
    assert table["utilisation"] == round((300 + 200 + 90 + 200) / (4 * 350), 4)
    slowdowns = [1, (99 + 50) / 50, (148 + 90) / 90, (147 + 200) / 200]
    assert table["bounded_slowdown_mean"] == pytest.approx(sum(slowdowns) / 4)
    assert table["jain_index"] == 1.0
    assert table["promise_violations"] == 0


def test_utilisation_counts_while_jobs_come():
    """A long job at the very end leaves the box empty, whatever the policy; one that waits does not."""
    steady = [job(n, n * 100, 4, 100) for n in range(10)]
    last = job(99, 1000, 1, 1500)
    table = run_simulation([*steady, last], gpus=4, policies=["easy"])["policies"]["easy"]
    assert (table["utilisation"], table["makespan_s"]) == (1.0, 2500)
    half = run_simulation([job(1, 0, 2, 1000), job(2, 1000, 1, 1)], gpus=4, policies=["easy"])
    assert half["policies"]["easy"]["utilisation"] == 0.5


def test_the_nearest_rank_is_the_quantile():
    assert [quantile([1, 2, 3, 4], part) for part in (0.0, 0.25, 0.5, 0.51, 1.0)] == [1, 1, 2, 3, 4]


def test_unknown_policies_and_too_wide_jobs_are_refused():
    with pytest.raises(InvalidRequest, match="no policy"):
        run_simulation(BLOCKED, gpus=4, policies=["best"])
    with pytest.raises(InvalidRequest, match="wants 4 GPUs"):
        run_simulation(BLOCKED, gpus=3)


def test_progress_ends_at_the_whole():
    heard: list[tuple[str, float]] = []
    run_simulation(BLOCKED, gpus=4, policies=["easy"], on_progress=lambda *now: heard.append(now))
    assert heard[-1] == ("easy", 1.0)


def test_the_hpc2n_log_gives_the_known_waits(traces):
    """Correctness anchors of DESIGN.md section 6, within 1 %."""
    result = run_simulation(traces / "hpc2n_s.csv.gz", gpus=240)["policies"]
    assert result["fifo"]["wait_mean_s"] == pytest.approx(5628, rel=0.01)
    assert result["easy"]["wait_mean_s"] == pytest.approx(3558, rel=0.01)
    assert [table["promise_violations"] for table in result.values()] == [0, 0, 0]


def test_a_policy_that_comes_to_no_end_is_a_bug_said_in_one_line(monkeypatch):
    """A plan that starts and stops the same job at one instant for ever is an error, no endless run."""
    jobs = (job(1, 0, 4, 100), job(2, 0, 4, 100))
    playing = Simulation(jobs, 4, POLICIES["fairshare"].settings, Conditions(preemptible=1.0))
    run = Round.run

    def run_and_stop(round_: Round) -> Plan:
        plan = run(round_)
        stops = tuple(Stop(holder.job_id, "no reason") for holder in round_.world.holders)
        return msgspec.structs.replace(plan, stops=stops, wake_at=round_.now)

    monkeypatch.setattr(Round, "run", run_and_stop)
    with pytest.raises(StateError, match=r"does not come to rest: \d+ decisions at 0 s"):
        playing.play()


@pytest.mark.parametrize(
    ("trace", "first", "last", "part"), [("philly16", 0, 300, 1.0), ("kth16", 14_300, 14_600, 0.3)]
)
def test_bookings_and_jobs_that_may_be_stopped_come_to_rest(traces, trace, first, last, part):
    """Cuts of logs, with two bookings a day: no instant goes on for ever, no promise is broken."""
    jobs = read_trace(traces / f"{trace}.csv.gz")[first:last]
    conditions = Conditions(preemptible=part, bookings_a_day=2)
    played = Simulation(jobs, 16, POLICIES["fairshare"].settings, conditions).play()
    assert len(played.outcomes) == len(jobs)
    assert played.promise_violations == 0


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_kth_log_gives_the_known_waits(traces):
    """Correctness anchors of DESIGN.md section 6, within 1 %."""
    result = run_simulation(traces / "kth_sp2.csv.gz", gpus=100, policies=["fifo", "easy"])[
        "policies"
    ]
    assert result["fifo"]["wait_mean_s"] == pytest.approx(390_092, rel=0.01)
    assert result["easy"]["wait_mean_s"] == pytest.approx(6_889, rel=0.01)
    assert result["easy"]["bounded_slowdown_mean"] == pytest.approx(90.4, rel=0.01)
    assert [table["promise_violations"] for table in result.values()] == [0, 0]


def test_no_plan_is_made_where_none_could_start_anything():
    """Two of three narrow jobs end beside a head that wants the whole box: the plan would only say when."""
    narrow = [TraceJob(n, "ann", 0, 1, 100 * n, 100 * n) for n in (1, 2, 3)]
    played = Simulation(
        [*narrow, TraceJob(4, "bob", 10, 4, 50, 50)], 4, POLICIES["fairshare"].settings
    ).play()
    assert [outcome.start_s for outcome in played.outcomes] == [0, 0, 0, 300]
    assert len(played.decision_ms) == 3, "the first jobs, the head's promise, and its start"


def test_no_plan_is_made_for_what_is_too_long_to_run_before_the_head():
    """Neither one that comes nor one that waits could start on what an end leaves: the head needs it."""
    jobs = [
        TraceJob(1, "ann", 0, 2, 1000, 1000),
        TraceJob(2, "ann", 0, 1, 100, 300),
        TraceJob(3, "bob", 10, 4, 50, 50),
        TraceJob(4, "cy", 20, 1, 1200, 1200),
        TraceJob(5, "cy", 150, 1, 700, 700),
    ]
    played = Simulation(jobs, 4, POLICIES["fairshare"].settings).play()
    began = {outcome.job.job_id: outcome.start_s for outcome in played.outcomes}
    assert began == {1: 0, 2: 0, 3: 1000, 4: 1050, 5: 150}
    assert len(played.decision_ms) == 5, (
        "two at first, the head, the one that fits, the head, the last"
    )
