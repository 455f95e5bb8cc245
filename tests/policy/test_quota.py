"""Quotas of people and groups: hard ones hold, soft ones while others wait, weeks free by themselves."""

from __future__ import annotations

from gpuboard.model.world import Group, PolicySettings, Quota, Spent, Usage
from gpuboard.policy.explain import explain_wait
from gpuboard.policy.forecast import forecast_starts
from gpuboard.policy.plan import plan_round
from gpuboard.policy.queue import WaitingQueue
from gpuboard.policy.quota import never_fits, queued_shortfall
from gpuboard.policy.week import HOUR_MS, WEEK_MS
from tests.support.policy_facts import MINUTE, box, gpus, held, job

NOW = 10 * WEEK_MS
SOFT = frozenset({"running_gpus", "queued_jobs", "gpu_hours_per_week"})
GROUPS = (Group("lab"), Group("vision", "lab"), Group("robots", "lab"))


def plan(world, *jobs, now=NOW):
    return plan_round(world, WaitingQueue(jobs), now)


def started(answer) -> set[int]:
    return {start.job_id for start in answer.starts}


def words(world, *jobs, of: int) -> str:
    queue = WaitingQueue(jobs)
    explained = explain_wait(world, queue, plan_round(world, queue, NOW), of, NOW)
    return explained.causes[0].words


def test_a_groups_quota_counts_all_of_it_and_its_parts():
    """Two people of two projects together pass the lab's limit; another lab's person starts."""
    settings = PolicySettings(groups=GROUPS, group_quotas={"lab": Quota(running_gpus=2)})
    world = box(
        4,
        holders=(held(50, 0, until=NOW / MINUTE + 60, uid=1, account="vision"),),
        settings=settings,
    )
    jobs = (
        job(1, uid=1, account="vision"),
        job(2, uid=2, account="robots"),
        job(3, uid=3),
    )
    assert started(plan(world, *jobs)) == {1, 3}
    assert words(world, *jobs, of=2).startswith(
        "the quota of group lab allows 2 GPUs at once, 2 are in use, 1 wanted"
    )


def test_a_soft_limit_holds_only_while_others_wait():
    """Above it a person gets what nobody else wants, and nothing while somebody does."""
    settings = PolicySettings(quotas={1: Quota(running_gpus=1, soft=SOFT)})
    world = box(3, holders=(held(50, 0, until=NOW / MINUTE + 60, uid=1),), settings=settings)
    assert started(plan(world, job(1, uid=1), job(2, uid=1))) == {1, 2}
    # user 2 waits for more than there is: then user 1's limit holds
    jobs = (job(1, uid=1, minutes=5), job(2, 3, uid=2))
    assert started(plan(world, *jobs)) == set()
    assert "while others wait" in words(world, *jobs, of=1)


def test_people_above_their_soft_limits_do_not_keep_each_other_waiting():
    """Devices never stay idle because two people are both above theirs."""
    settings = PolicySettings(default_quota=Quota(running_gpus=1, soft=SOFT))
    holders = (
        held(50, 0, until=NOW / MINUTE + 60, uid=1),
        held(51, 1, until=NOW / MINUTE + 60, uid=2),
    )
    world = box(4, holders=holders, settings=settings)
    assert started(plan(world, job(1, uid=1), job(2, uid=2))) == {1, 2}


def spent(uid: int, hours_ago: int, gpu_hours: float, account: str = "") -> Spent:
    return Spent(uid, account, NOW - hours_ago * HOUR_MS, gpu_hours * 3600)


def test_a_week_is_full_until_the_first_of_it_is_a_week_ago():
    """A job that passes the weekly limit waits, says the numbers and when, and the plan wakes for it."""
    settings = PolicySettings(default_quota=Quota(gpu_hours_per_week=168))
    world = box(2, settings=settings, spent=(spent(1, 100, 160), spent(1, 2, 8)))
    answer = plan(world, job(1, uid=1), job(2, uid=2))
    assert started(answer) == {2}
    frees_at = NOW - 100 * HOUR_MS + HOUR_MS + WEEK_MS
    assert answer.wake_at == frees_at
    said = words(world, job(1, uid=1), of=1)
    assert said.startswith("the quota allows 168 GPU-hours a week, 168 are used, 1 wanted; frees ")
    assert started(plan(world, job(1, uid=1), now=frees_at)) == {1}


def test_what_runs_counts_up_to_its_limit():
    """Two jobs of 60 hours do not both start on a week of 100."""
    settings = PolicySettings(default_quota=Quota(gpu_hours_per_week=100))
    world = box(2, settings=settings)
    jobs = (job(1, uid=1, minutes=3600), job(2, uid=1, minutes=3600), job(3, uid=1, minutes=600))
    assert started(plan(world, *jobs)) == {1, 3}
    running = held(50, 0, until=NOW / MINUTE + 3600, uid=1, started_at=NOW - HOUR_MS, grace_s=0)
    assert started(plan(box(2, settings=settings, holders=(running,)), jobs[1])) == set()


def test_a_shorter_job_behind_one_that_is_too_long_for_its_week_starts():
    """What fits into the rest of a week is not kept back by what does not."""
    settings = PolicySettings(default_quota=Quota(gpu_hours_per_week=10))
    world = box(2, settings=settings, spent=(spent(1, 5, 9),))
    assert started(plan(world, job(1, uid=1, minutes=120), job(2, uid=1, minutes=30))) == {2}


def test_a_job_over_a_quota_never_becomes_head():
    """Whoever comes next is served, and nothing is kept for the one that may not start."""
    settings = PolicySettings(default_quota=Quota(gpu_hours_per_week=1))
    world = box(2, settings=settings, spent=(spent(1, 5, 1),), head=1)
    answer = plan(world, job(1, 2, uid=1), job(2, 2, uid=2, minutes=10))
    assert (answer.head, started(answer)) == (None, {2})


def test_what_can_never_fit_is_named_with_its_numbers():
    """A hard limit below what a job wants by itself; a soft one forbids nothing for ever."""
    hard = PolicySettings(default_quota=Quota(gpu_hours_per_week=10, running_gpus=4))
    assert never_fits(hard, job(1, 5)).name == "running_gpus"
    found = never_fits(hard, job(1, 2, minutes=360))
    assert (found.name, found.limit, found.wanted) == ("gpu_hours_per_week", 10, 12)
    assert never_fits(hard, job(1, 2, minutes=300)) is None
    soft = PolicySettings(default_quota=Quota(gpu_hours_per_week=10, running_gpus=4, soft=SOFT))
    assert never_fits(soft, job(1, 5, minutes=6000)) is None
    of_group = PolicySettings(groups=GROUPS, group_quotas={"lab": Quota(running_gpus=1)})
    assert never_fits(of_group, job(1, 2, account="robots")).unit == "lab"


def test_queued_jobs_are_limited_by_person_and_group():
    """Hard: never more; soft: only while somebody else has a job in the queue."""
    queue = WaitingQueue([job(1, uid=1, account="vision"), job(2, uid=2, account="robots")])
    person = PolicySettings(default_quota=Quota(queued_jobs=2))
    assert queued_shortfall(person, queue, 1, "", 1) is None
    assert queued_shortfall(person, queue, 1, "", 2).used == 1
    group = PolicySettings(groups=GROUPS, group_quotas={"lab": Quota(queued_jobs=2)})
    assert queued_shortfall(group, queue, 3, "vision", 1).unit == "lab"
    assert queued_shortfall(group, queue, 3, "", 1) is None
    alone = PolicySettings(default_quota=Quota(queued_jobs=1, soft=SOFT))
    assert queued_shortfall(alone, WaitingQueue([job(1, uid=1)]), 1, "", 5) is None
    assert queued_shortfall(alone, queue, 1, "", 1).is_soft


def test_a_booking_is_the_owners_whatever_the_quota():
    """A job in its owner's booking starts above every limit, and uses the week."""
    from tests.support.policy_facts import booked

    settings = PolicySettings(default_quota=Quota(gpu_hours_per_week=1, running_gpus=0))
    begin = NOW / MINUTE
    window = booked(7, 1, begin - 10, begin + 600, uid=1, devices=gpus(0))
    world = box(2, settings=settings, bookings=(window,), spent=(spent(1, 3, 1),))
    assert started(plan(world, job(1, uid=1, minutes=60), job(2, uid=1))) == {1}


def test_a_forecast_knows_that_a_week_must_pass():
    """It says when the week frees, for a job that waits for it and for one that will have to."""
    settings = PolicySettings(default_quota=Quota(gpu_hours_per_week=10))
    world = box(2, settings=settings, spent=(spent(1, 100, 10),))
    told = forecast_starts(world, WaitingQueue([job(1, uid=1)]), NOW)
    assert told[1].latest_start_at == NOW - 100 * HOUR_MS + HOUR_MS + WEEK_MS
    busy = box(2, settings=settings)
    both = forecast_starts(busy, WaitingQueue([job(1, uid=1, minutes=600), job(2, uid=1)]), NOW)
    assert both[1].latest_start_at == NOW
    assert both[2].latest_start_at >= NOW + WEEK_MS + 10 * HOUR_MS


def test_a_forecast_charges_groups():
    """What runs for one group puts its people behind those of the other in the forecast too."""
    settings = PolicySettings(groups=GROUPS, priority_window_s=7 * 86400)
    usage = (Usage(1, 50.0, account="vision"), Usage(2, 60.0, account="robots"))
    world = box(
        1,
        settings=settings,
        usage=usage,
        usage_at=NOW,
        head=3,
        holders=(held(50, 0, until=NOW / MINUTE + 60, uid=3, account="vision", started_at=NOW),),
    )
    jobs = [job(1, uid=1, account="vision"), job(2, uid=2, account="robots"), job(3, uid=4)]
    told = forecast_starts(world, WaitingQueue(jobs), NOW)
    assert told[2].latest_start_at < told[1].latest_start_at
