"""Table tests of the plan: one rule each."""

from __future__ import annotations

import gc

import pytest
from msgspec.structs import replace

from gpuboard.model.world import PolicySettings, Quota, Usage
from gpuboard.policy.plan import plan_round
from gpuboard.policy.queue import WaitingQueue
from tests.support.policy_facts import (
    MINUTE,
    booked,
    box,
    devices,
    gpus,
    held,
    job,
    without,
)

NOW = 100 * MINUTE


def plan(world, *jobs, now=NOW):
    return plan_round(world, WaitingQueue(jobs), now)


def started(answer) -> dict[int, tuple[str, ...]]:
    return {start.job_id: start.devices for start in answer.starts}


def test_an_empty_box_starts_the_queue_in_order():
    answer = plan(box(4), job(2, 2), job(1, 2), job(3, 1))
    assert started(answer) == {1: gpus(0, 1), 2: gpus(2, 3)}
    assert answer.head == 3


def test_the_first_job_that_does_not_fit_is_promised_the_earliest_start_by_limits():
    world = box(2, holders=(held(50, 0, until=130), held(51, 1, until=120)))
    answer = plan(world, job(1, 2), job(2, 1))
    assert (answer.head, answer.head_start_at) == (1, 130 * MINUTE)


def test_a_later_job_starts_now_only_if_it_ends_by_the_heads_start():
    world = box(2, holders=(held(50, 0, until=130),))
    assert started(plan(world, job(1, 2), job(2, 1, minutes=30))) == {2: gpus(1)}
    assert started(plan(world, job(1, 2), job(2, 1, minutes=31))) == {}


def test_the_grace_counts_when_a_job_must_be_gone():
    world = box(2, holders=(held(50, 0, until=130),))
    assert started(plan(world, job(1, 2), job(2, 1, minutes=30, grace_s=1))) == {}


def test_a_later_job_may_use_devices_that_the_head_leaves():
    world = box(4, holders=(held(50, 0, 1, until=130),))
    answer = plan(world, job(1, 3), job(2, 1, minutes=600), job(3, 1, minutes=600))
    assert started(answer) == {2: gpus(3)}


def test_the_shortest_predicted_job_is_backfilled_first():
    world = box(2, holders=(held(50, 0, until=130),))
    jobs = [
        job(1, 2),
        job(2, 1, minutes=20, predicted_s=900),
        job(3, 1, minutes=25, predicted_s=60),
    ]
    assert started(plan(world, *jobs)) == {3: gpus(1)}


def test_a_short_job_passes_its_own_persons_longer_ones_but_not_other_peoples():
    world = box(2, holders=(held(50, 0, until=130),))
    jobs = [
        job(1, 2, uid=9),
        job(2, 1, uid=1, minutes=25, predicted_s=1200),
        job(3, 1, uid=2, minutes=25, predicted_s=60),
        job(4, 1, uid=1, minutes=25, predicted_s=600),
    ]
    assert started(plan(world, *jobs)) == {4: gpus(1)}


def test_without_backfill_nothing_passes_the_head():
    settings = PolicySettings(backfill=False)
    world = box(2, holders=(held(50, 0, until=130),), settings=settings)
    assert started(plan(world, job(1, 2), job(2, 1, minutes=1))) == {}


def test_a_head_stays_head_although_a_job_of_higher_order_comes():
    world = box(
        2,
        holders=(held(50, 0, until=130),),
        usage=(Usage(1, 1e6), Usage(2, 0.0)),
        head=8,
    )
    answer = plan(world, job(8, 2, uid=1), job(9, 2, uid=2))
    assert (answer.head, answer.head_start_at) == (8, 130 * MINUTE)
    assert plan(replace(world, head=None), job(8, 2, uid=1), job(9, 2, uid=2)).head == 9


@pytest.mark.parametrize("change", [{"is_held": True}, {"begin_at": 200 * MINUTE}, None])
def test_a_head_that_may_not_start_any_more_is_head_no_longer(change):
    world = box(1, holders=(held(50, 0, until=130),), head=1)
    jobs = [job(2)] if change is None else [job(1, **change), job(2)]
    assert plan(world, *jobs).head == 2


def test_those_who_used_less_are_served_first_within_the_window():
    world = box(1, usage=(Usage(1, 9e5), Usage(2, 1e5)))
    assert list(started(plan(world, job(1, uid=1), job(2, uid=2)))) == [2]


def test_a_window_of_zero_is_first_in_first_out():
    world = box(1, usage=(Usage(1, 9e5),), settings=PolicySettings(priority_window_s=0))
    assert list(started(plan(world, job(1, uid=1), job(2, uid=2)))) == [1]


@pytest.mark.parametrize(
    "change",
    [
        {"is_held": True},
        {"depends_on": (7,)},
        {"is_dependency_broken": True},
        {"begin_at": NOW + 1},
    ],
)
def test_a_job_that_is_not_eligible_waits_and_blocks_nobody(change):
    assert started(plan(box(1), job(1, **change), job(2))) == {2: gpus(0)}


def test_the_plan_wakes_at_the_next_begin_time():
    assert plan(box(1), job(1, begin_at=NOW + 5), job(2, begin_at=NOW + 9)).wake_at == NOW + 5


def test_a_begin_time_that_has_come_counts_no_more():
    assert started(plan(box(1), job(1, begin_at=NOW))) == {1: gpus(0)}


def test_lost_gpu_never_receives_a_job():
    answer = plan(without(box(2), 0), job(1), job(2))
    assert started(answer) == {1: gpus(1)}


def test_a_job_wider_than_the_devices_in_service_holds_nobody_up():
    answer = plan(without(box(2), 0), job(1, 2), job(2))
    assert (started(answer), answer.head) == ({2: gpus(1)}, None)


def test_what_runs_on_a_drained_device_still_counts_as_held():
    world = without(box(2, holders=(held(50, 0, until=130),)), 0)
    assert started(plan(world, job(1), job(2))) == {1: gpus(1)}


def test_named_devices_and_types_are_kept_to():
    world = box(0)
    world = replace(world, devices=devices("V100", "A100", "A100", "V100"))
    answer = plan(
        world, job(1, gpu_uuids=gpus(3)), job(2, gpu_type="a100"), job(3, gpu_type="H100")
    )
    assert started(answer) == {1: gpus(3), 2: gpus(1)}


def test_an_unnamed_job_leaves_the_devices_that_the_head_names():
    facts = devices("A100", "V100", "V100")
    world = replace(box(0), devices=facts, holders=(held(50, 1, until=130),))
    answer = plan(world, job(1, 2, gpu_type="V100"), job(2, minutes=600))
    assert answer.head == 1
    assert started(answer) == {2: gpus(0)}


def test_jobs_without_devices_start_whatever_the_queue():
    world = box(1, holders=(held(50, 0, until=130),))
    assert started(plan(world, job(1), job(2, 0))) == {2: ()}


def test_nothing_starts_that_could_still_run_when_a_booking_begins():
    world = box(2, bookings=(booked(1, 2, 130, 140),))
    assert started(plan(world, job(1, minutes=31))) == {}
    assert started(plan(world, job(1, minutes=30))) == {1: gpus(0)}


def test_a_booking_gets_its_devices_at_its_first_moment():
    answer = plan(box(2, bookings=(booked(1, 2, 100, 140),)), job(1))
    assert [(bind.reservation_id, bind.devices) for bind in answer.binds] == [(1, gpus(0, 1))]
    assert started(answer) == {}
    assert answer.wake_at == 140 * MINUTE


def test_the_owners_job_starts_in_the_booking_ahead_of_the_queue():
    world = box(2, bookings=(booked(1, 1, 100, 140, uid=2),), holders=(held(50, 0, until=130),))
    answer = plan(world, job(1, uid=1), job(2, uid=2, minutes=40))
    (start,) = answer.starts
    assert (start.job_id, start.devices, start.reservation_id) == (2, gpus(1), 1)


def test_the_owners_job_must_end_within_the_booking():
    world = box(1, bookings=(booked(1, 1, 100, 140, uid=2, devices=gpus(0)),))
    assert started(plan(world, job(2, uid=2, minutes=41))) == {}


def test_a_booking_that_comes_short_is_completed_as_devices_get_free():
    world = box(2, bookings=(booked(1, 2, 90, 140),), holders=(held(50, 0, until=101),))
    answer = plan(world, job(1, minutes=1))
    assert [bind.devices for bind in answer.binds] == [gpus(1)]


def test_the_head_finds_its_start_before_or_after_a_booking():
    world = box(2, bookings=(booked(1, 1, 130, 140),), holders=(held(50, 0, until=110),))
    assert plan(world, job(1, 2, minutes=20)).head_start_at == 110 * MINUTE
    assert plan(world, job(1, 2, minutes=21)).head_start_at == 140 * MINUTE


def test_nothing_starts_in_a_blackout_nor_could_run_into_one():
    dark = booked(1, 2, 130, 140, uid=-1, is_blackout=True, gpu_uuids=gpus(0, 1))
    world = box(2, bookings=(dark,))
    assert started(plan(world, job(1, minutes=31), job(2, 0, minutes=31))) == {}
    assert started(plan(world, job(1, minutes=30), job(2, 0, minutes=30))) == {1: gpus(0), 2: ()}
    assert started(plan(world, job(1, minutes=1), now=135 * MINUTE)) == {}


def test_a_blackout_of_one_device_leaves_the_others():
    dark = booked(1, 1, 90, 140, uid=-1, is_blackout=True, gpu_uuids=gpus(0))
    assert started(plan(box(2, bookings=(dark,)), job(1), job(2))) == {1: gpus(1)}


def test_no_job_starts_on_a_device_whose_maintenance_falls_into_its_limit():
    """Also where the other idle devices are booked by name and promises are moved to make room."""
    dark = booked(1, 1, 115, 118, uid=-1, is_blackout=True, gpu_uuids=gpus(2))
    named = booked(2, 1, 120, 140, gpu_uuids=gpus(1))
    world = box(3, bookings=(dark, named), holders=(held(50, 0, until=110),))
    assert started(plan(world, job(1, minutes=100))) == {}
    assert started(plan(world, job(1, minutes=15))) != {}


def test_a_quota_of_running_devices_lets_others_pass():
    settings = PolicySettings(default_quota=Quota(running_gpus=2))
    world = box(4, holders=(held(50, 0, until=130, uid=1),), settings=settings)
    assert started(plan(world, job(1, 2, uid=1), job(2, 1, uid=1), job(3, 1, uid=2))) == {
        2: gpus(1),
        3: gpus(2),
    }


def test_the_heads_own_quota_is_kept_for_it():
    settings = PolicySettings(default_quota=Quota(running_gpus=2))
    world = box(2, holders=(held(50, 0, until=130, uid=9),), settings=settings)
    answer = plan(world, job(1, 2, uid=1), job(2, 1, uid=1, minutes=5))
    assert (answer.head, started(answer)) == (1, {})


def test_no_more_of_an_array_run_than_its_limit():
    part = {"array_id": 1, "array_limit": 2}
    world = box(4, holders=(held(50, 0, until=130, array_id=1),))
    assert started(plan(world, job(1, **part), job(2, **part), job(3))) == {
        1: gpus(1),
        3: gpus(2),
    }


def test_preemptible_jobs_take_what_is_left():
    world = box(2, bookings=(booked(1, 2, 130, 140),))
    answer = plan(world, job(1, minutes=600, preemptible=True), job(2, minutes=20))
    assert started(answer) == {2: gpus(0), 1: gpus(1)}


def test_preemptible_jobs_are_stopped_for_the_head():
    world = box(2, holders=(held(50, 0, until=500, preemptible=True, grace_s=30),))
    answer = plan(world, job(1, 2))
    assert [stop.job_id for stop in answer.stops] == [50]
    assert answer.head_start_at == NOW + 30_000


def test_promise_stays_where_it_is_in_its_last_second():
    """A holder that ends within the second is not taken to end later than it must."""
    world = box(2, holders=(held(50, 0, until=130),))
    last = 130 * MINUTE - 447
    answer = plan(replace(world, head=1), job(1, 2), now=last)
    assert (answer.head, answer.head_start_at) == (1, 130 * MINUTE)
    overdue = plan(replace(world, head=1), job(1, 2), now=130 * MINUTE)
    assert overdue.head_start_at == 130 * MINUTE + 1000


def test_preemptible_jobs_run_on_until_the_head_can_use_their_devices():
    world = box(
        2, holders=(held(50, 0, until=500, preemptible=True, grace_s=30), held(51, 1, until=130))
    )
    answer = plan(world, job(1, 2))
    assert answer.stops == ()
    assert answer.head_start_at == 130 * MINUTE
    assert answer.wake_at == 130 * MINUTE - 32_000
    later = plan(replace(world, head=1), job(1, 2), now=answer.wake_at)
    assert [stop.job_id for stop in later.stops] == [50]
    assert later.head_start_at == 130 * MINUTE


def test_preemptible_jobs_are_gone_when_a_booking_begins():
    holder = held(50, 0, until=500, preemptible=True, grace_s=60)
    world = box(1, holders=(holder,), bookings=(booked(1, 1, 130, 140),))
    assert plan(world).wake_at == 129 * MINUTE - 2_000
    assert [stop.job_id for stop in plan(world, now=129 * MINUTE - 2_000).stops] == [50]


def test_an_ordinary_holder_is_never_stopped():
    world = box(1, holders=(held(50, 0, until=500),), bookings=(booked(1, 1, 130, 140),))
    assert plan(world, job(1), now=135 * MINUTE).stops == ()


def test_idle_devices_outside_a_booking_are_bound_rather_than_a_preemptible_job_stopped():
    holder = held(50, 0, until=500, preemptible=True)
    world = box(2, holders=(holder,), bookings=(booked(1, 1, 100, 140),))
    answer = plan(world)
    assert ([bind.devices for bind in answer.binds], answer.stops) == ([gpus(1)], ())


def test_a_booking_does_not_take_the_devices_that_the_head_names():
    holder = held(50, 0, until=110)
    world = box(3, holders=(holder,), bookings=(booked(1, 1, 100, 400),), head=1)
    answer = plan(world, job(1, 2, gpu_uuids=gpus(0, 1)))
    assert [bind.devices for bind in answer.binds] == [gpus(2)]
    assert answer.head_start_at == 110 * MINUTE


def test_a_booking_of_a_type_moves_aside_for_nothing_else():
    facts = devices("A100", "V100")
    world = replace(box(0), devices=facts, bookings=(booked(1, 1, 130, 140, gpu_type="V100"),))
    assert started(plan(world, job(1, minutes=600))) == {1: gpus(0)}


def test_an_array_with_a_limit_does_not_hide_those_behind_it():
    part = {"array_id": 1, "array_limit": 1}
    settings = PolicySettings(backfill_scan=10)
    world = box(2, holders=(held(90, 0, until=130, array_id=1),), settings=settings)
    jobs = [job(n, **part) for n in range(1, 40)]
    assert started(plan(world, *jobs, job(50, uid=2))) == {50: gpus(1)}


def test_a_lent_device_of_a_booking_delays_only_itself():
    """The borrower's grace holds its own device past the booking's end, and not the other ones."""
    booking = booked(7, 2, 0, 10, devices=gpus(0, 1))
    borrower = held(1, 1, until=60, preemptible=True, grace_s=1200)
    world = box(2, bookings=(booking,), holders=(borrower,))
    queue = WaitingQueue()
    queue.add(job(2))
    plan = plan_round(world, queue, 0)
    assert (plan.head, plan.head_start_at) == (2, 10 * MINUTE)


def test_devices_kept_for_one_preemptible_job_are_not_the_next_rounds_for_another():
    """Devices that others were stopped for stay that job's in the next round of the same instant."""
    leaving = held(9, 1, 2, until=101, uid=3, preemptible=True, stopping=True, grace_s=60)
    for lease_s in (0, 600):
        world = box(
            6,
            settings=PolicySettings(lease_s=lease_s),
            holders=(leaving,),
            usage=(Usage(3, 21_000.0), Usage(4, 20_000.0)),
        )
        jobs = (
            job(1, 5, 90, uid=4, preemptible=True, ran_s=2000),
            job(7, 2, 57, uid=3, preemptible=True, ran_s=2000),
        )
        first = plan(world, *jobs)
        assert (started(first), first.fill_head) == ({}, 1)
        assert started(plan(replace(world, fill_head=1), *jobs)) == {}


def test_a_long_line_beside_the_preemptible_head_keeps_no_other_persons_jobs_from_being_looked_at():
    """As for ordinary jobs: of a bounded scan each line gets as much as the others."""
    ahead = held(50, 0, until=130, preemptible=False)
    world = box(2, holders=(ahead,), settings=PolicySettings(backfill_scan=6))
    wide = job(1, 2, preemptible=True)
    line = [job(n, minutes=600, uid=2, preemptible=True) for n in range(2, 20)]
    short = job(30, minutes=20, uid=3, preemptible=True)
    answer = plan(world, wide, *line, short)
    assert (answer.fill_head, started(answer)) == (1, {30: gpus(1)})


def test_booked_unused_devices_are_lent_beside_a_preemptible_head_that_gets_them_later():
    """The head gets them when the booking is over; until then a job that can be stopped may have them."""
    unused = booked(7, 2, 50, 140, devices=gpus(0, 1))
    world = box(3, holders=(held(50, 2, until=130),), bookings=(unused,))
    answer = plan(world, job(1, 3, preemptible=True), job(2, minutes=600, uid=2, preemptible=True))
    assert (answer.fill_head, started(answer)) == (1, {2: gpus(0)})


def test_the_next_round_has_nothing_left_to_start_beside_a_preemptible_head():
    """P12: the round that starts jobs sees promises laid out as the next one will.

    Each had been laid out beside those known before it, so that the round after the first start took
    other devices for the head's, and started job 2 on one that the first had kept.
    """
    now = NOW / MINUTE
    ends_s = {(1, 8): 1403.636, (0, 3): 17656.636, (11, 12): 21356.636, (5, 7): 8490}
    ordinary = tuple(
        held(50 + n, *on, until=now + end_s / 60, grace_s=0)
        for n, (on, end_s) in enumerate(ends_s.items())
    )
    bookings = (
        booked(6, 6, now + 26444.57 / 60, now + 31030.82 / 60),
        booked(7, 6, now + 3501.775 / 60, now + 7897.689 / 60),
    )
    jobs = [
        job(1, 10, minutes=386 / 60, uid=6, preemptible=True),
        job(2, 1, minutes=600, uid=4, preemptible=True, submitted_at=20),
        job(3, 1, minutes=2400, uid=4, preemptible=True, submitted_at=30),
        job(4, 1, minutes=3840, uid=4, preemptible=True, submitted_at=10),
        job(5, 2, minutes=43334 / 60, uid=3),
    ]
    world = box(13, holders=ordinary, bookings=bookings, head=5, fill_head=1)
    first = plan(world, *jobs)
    running = tuple(
        held(one.job_id, *_numbers(one.devices), until=now + 600, preemptible=True, grace_s=0)
        for one in first.starts
    )
    left = [one for one in jobs if one.job_id not in started(first)]
    after = replace(world, holders=ordinary + running, head=first.head, fill_head=first.fill_head)
    assert plan(after, *left).starts == ()


def _numbers(uuids: tuple[str, ...]) -> list[int]:
    return [int(uuid.removeprefix("GPU-")) for uuid in uuids]


def test_a_round_leaves_nothing_to_the_cyclic_collector():
    """Its passes over all that lives, a queue of 100,000 included, would be a decision's worst case."""
    lender = held(50, 0, until=500, preemptible=True)
    world = box(2, holders=(lender,), settings=PolicySettings(lease_s=3600))
    queue = WaitingQueue([job(1, 2), job(2), job(3, preemptible=True), job(4, 2, preemptible=True)])

    def left_by_a_round() -> int:
        gc.collect()
        gc.disable()
        try:
            plan_round(world, queue, NOW)
            return gc.collect()
        finally:
            gc.enable()

    # whatever else this process does at the moment, in other threads, leaves something too
    assert min(left_by_a_round() for _ in range(5)) == 0
