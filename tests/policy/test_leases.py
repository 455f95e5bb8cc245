"""Table tests of leases: for how long one is safe, whose turn it is, and who gives way."""

from __future__ import annotations

from gpuboard.model.world import PolicySettings, Usage
from gpuboard.policy.lanes import LaneClass
from gpuboard.policy.leases import LeaseRules
from gpuboard.policy.plan import plan_round
from gpuboard.policy.queue import WaitingQueue
from gpuboard.policy.turns import TurnOrder
from tests.support.policy_facts import MINUTE, box, held, job

NOW = 100 * MINUTE
HOUR = PolicySettings(lease_s=3600)
OLD = {"preemptible": True, "ran_s": 7200}


def world(*holders, usage=(), settings=HOUR):
    return box(1, holders=holders, usage=usage, settings=settings)


def rules(*holders, usage=(), settings=HOUR) -> LeaseRules:
    return LeaseRules(world(*holders, usage=usage, settings=settings), NOW)


def lender(since: int, **changes):
    """A preemptible job of user 9 that has held a device since a minute."""
    return held(
        50, 0, until=5000, preemptible=True, started_at=since * MINUTE, grace_s=0, **changes
    )


def test_a_lease_protects_from_whoever_had_less():
    """Only when the hour is over does one with more give way to one who had less."""
    usage = (Usage(9, 50_000.0), Usage(1, 0.0))
    assert rules(usage=usage).gives_way_at(lender(70), job(1, **OLD)) == 130 * MINUTE


def test_nobody_gives_way_to_one_who_is_less_than_half_a_lease_behind():
    """Two who both want more stay within a lease of each other, and do not swap all the time."""
    usage = (Usage(9, 1_700.0), Usage(1, 0.0))
    assert rules(usage=usage).gives_way_at(lender(10), job(1, **OLD)) is None


def test_a_newcomer_waits_five_minutes_and_no_hour():
    """A job that has hardly run comes before the end of leases of people who had no less."""
    answer = rules().gives_way_at(lender(98), job(1, preemptible=True))
    assert answer == 98 * MINUTE + 300_000


def test_what_a_stop_costs_makes_leases_longer():
    """A tenth of the work is lost at most: a checkpoint of ten minutes makes the hour 100 minutes."""
    assert rules(settings=PolicySettings(lease_s=3600, checkpoint_cost_s=600)).lease_ms == 6_000_000


def test_an_ordinary_job_and_one_in_its_booking_give_way_to_no_turn():
    """Turns are among those that said that they may be stopped, outside of bookings."""
    ordinary = held(50, 0, until=5000, started_at=0)
    assert rules().gives_way_at(ordinary, job(1, preemptible=True)) is None
    assert rules().gives_way_at(lender(0, reservation_id=7), job(1, preemptible=True)) is None


def test_what_is_left_of_a_lease_counts_as_had():
    """A round that has just granted a lease and the next one agree on who had the least."""
    assert rules(lender(100, lease_until_at=160 * MINUTE)).had(9) == 3600.0


def test_whoever_had_less_is_served_first_and_the_other_is_stopped_for_it():
    """Of two people the one who had less gets the device when the other's lease is over."""
    usage = (Usage(9, 50_000.0), Usage(1, 9_000.0), Usage(2, 0.0))
    queue = WaitingQueue([job(1, uid=1, **OLD), job(2, uid=2, **OLD)])
    plan = plan_round(world(lender(10), usage=usage), queue, NOW)
    assert [stop.job_id for stop in plan.stops] == [50]
    assert (plan.fill_head, "job 2" in plan.stops[0].reason) == (2, True)


def test_a_lease_that_runs_is_not_cut_short():
    """Until it is over nobody is stopped, and the plan is made again by then."""
    usage = (Usage(9, 50_000.0), Usage(1, 0.0))
    waiting = WaitingQueue([job(1, **OLD)])
    plan = plan_round(world(lender(70, lease_until_at=130 * MINUTE), usage=usage), waiting, NOW)
    assert (plan.stops, plan.fill_head, plan.wake_at) == ((), 1, 130 * MINUTE)


def test_a_preemptible_job_starts_on_no_device_that_a_promise_needs_within_a_minute():
    """It would be stopped at once; it waits until the head has its devices."""
    holder = held(51, 0, until=100.5)
    both = box(2, holders=(holder,))
    plan = plan_round(both, WaitingQueue([job(1, 2), job(2, preemptible=True)]), NOW)
    assert (plan.starts, plan.stops, plan.head) == ((), (), 1)


def test_who_is_stopped_for_the_head_is_no_turn_of_others():
    """A later job takes an idle device of the head, which then needs one more lent one: that is its own.

    A newcomer that was served first had one job after the other stopped, since the head's promise
    moved to each device that was being cleared.
    """
    lenders = [
        held(50 + n, n, until=5000, preemptible=True, started_at=0, grace_s=10) for n in range(4)
    ]
    jobs = (job(1, 3, minutes=600), job(2, 1, minutes=500, uid=2), job(3, preemptible=True, uid=3))
    world = box(5, holders=tuple(lenders), settings=HOUR)
    plan = plan_round(world, WaitingQueue(jobs), NOW)
    assert [start.job_id for start in plan.starts] == [2]
    reasons = [stop.reason for stop in plan.stops]
    assert reasons[:3] == ["job 1 is next and needs its devices"] * 3
    assert [reason for reason in reasons[3:] if "job 3 " in reason] == reasons[3:] != []


def test_a_round_that_asks_whose_turn_it_is_again_looks_at_each_job_once():
    """What a person was granted meanwhile counts; their jobs are sorted already."""
    queue = WaitingQueue([job(n, uid=1 + n % 3, **OLD) for n in range(1, 10)])
    looked: list[int] = []

    def find(job_id):
        looked.append(job_id)
        return queue.get(job_id)

    ranks = rules(usage=(Usage(1, 0.0), Usage(2, 100.0), Usage(3, 200.0)))
    order = TurnOrder(queue.lanes(NOW, LaneClass.PREEMPTIBLE), ranks, find)

    def people() -> list[int]:
        return [waiting.uid for waiting, _ in order.jobs(lambda waiting, kind: False)]

    assert people() == [1, 1, 1, 2, 2, 2, 3, 3, 3]
    ranks.grant(1, 1, NOW + 60 * MINUTE)
    assert people() == [2, 2, 2, 3, 3, 3, 1, 1, 1]
    assert sorted(looked) == list(range(1, 10))


def test_nobody_is_asked_to_give_way_again_for_people_who_had_more(monkeypatch):
    """Who does not give way to one does not for whoever had more: one person is asked for, not forty."""
    asked: list[int] = []
    know = LeaseRules.gives_way_at

    def noted(self, holder, waiting, **how):
        asked.append(waiting.uid)
        return know(self, holder, waiting, **how)

    monkeypatch.setattr(LeaseRules, "gives_way_at", noted)
    lenders = [
        held(50 + n, n, uid=90, until=5000, preemptible=True, started_at=NOW, grace_s=0)
        for n in range(4)
    ]
    usage = (Usage(90, 1e9), *(Usage(uid, uid * 1000.0) for uid in range(1, 41)))
    jobs = [job(n, 5, uid=n, **OLD) for n in range(1, 41)]
    plan = plan_round(
        box(5, holders=tuple(lenders), usage=usage, settings=HOUR), WaitingQueue(jobs), NOW
    )
    assert plan.stops == ()
    assert set(asked) == {1}
