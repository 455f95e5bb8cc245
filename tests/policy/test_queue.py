"""The waiting queue: order, eligibility, snapshots."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from gpuboard.model.world import PolicySettings, Usage
from gpuboard.policy.lanes import LaneClass
from gpuboard.policy.queue import ServingOrder, WaitingQueue
from tests.support.policy_facts import MINUTE, box, job

NOW = 1000 * MINUTE


def test_one_person_is_served_first_in_first_out():
    queue = WaitingQueue([job(3), job(1), job(2, 4)])
    assert queue.serving_order(box(4), NOW) == [1, 2, 3]


def test_jobs_of_the_same_instant_are_served_by_number():
    queue = WaitingQueue([job(n, submitted_at=5) for n in (9, 3, 7)])
    assert queue.serving_order(box(4), NOW) == [3, 7, 9]


def test_the_head_comes_first_and_preemptible_jobs_last():
    queue = WaitingQueue([job(1, preemptible=True), job(2), job(3)])
    assert queue.serving_order(box(4, head=3), NOW) == [3, 2, 1]


def test_held_and_dependent_jobs_are_not_in_the_order_but_in_the_queue():
    queue = WaitingQueue(
        [job(1, is_held=True), job(2, depends_on=(9,)), job(3, is_dependency_broken=True), job(4)]
    )
    assert queue.serving_order(box(1), NOW) == [4]
    assert len(queue) == 4
    assert 1 in queue
    assert queue.get(1).is_held


def test_adding_again_replaces():
    queue = WaitingQueue([job(1, is_held=True)])
    queue.add(job(1))
    assert len(queue) == queue.jobs_of(1) == 1
    assert queue.serving_order(box(1), NOW) == [1]


def test_a_begin_time_comes_and_goes_with_the_clock():
    queue = WaitingQueue([job(1, begin_at=NOW)])
    assert queue.serving_order(box(1), NOW - 1) == []
    assert queue.next_begin_at(NOW - 1) == NOW
    assert queue.serving_order(box(1), NOW) == [1]
    assert queue.next_begin_at(NOW) is None
    assert queue.serving_order(box(1), NOW - 1) == [], "the clock was set back"
    assert queue.next_begin_at(NOW - 1) == NOW


def test_a_snapshot_knows_nothing_of_later_changes():
    queue = WaitingQueue([job(1), job(2), job(3, begin_at=NOW + 5)])
    twin = queue.snapshot()
    queue.remove(1)
    queue.add(job(4))
    queue.remove(3)
    assert twin.serving_order(box(1), NOW) == [1, 2]
    assert twin.next_begin_at(NOW) == NOW + 5
    assert queue.serving_order(box(1), NOW) == [2, 4]


def test_removing_what_is_not_there_is_no_error():
    queue = WaitingQueue([job(1), job(2)])
    queue.remove(5)
    assert queue.serving_order(box(1), NOW) == [1, 2]


def test_the_limit_cuts_the_order():
    queue = WaitingQueue([job(n) for n in range(1, 9)])
    assert queue.serving_order(box(1), NOW, 3) == [1, 2, 3]
    assert queue.serving_order(box(1, head=8), NOW, 2) == [8, 1]
    assert queue.serving_order(box(1), NOW, 0) == []


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(1, 30),
            st.integers(1, 4),
            st.integers(1, 3),
            st.booleans(),
            st.sampled_from([None, 50 * MINUTE, 150 * MINUTE]),
            st.booleans(),
        ),
        max_size=60,
    )
)
def test_lanes_give_the_order_that_sorting_everything_would(steps):
    """However jobs come, change and go, the heap over lanes agrees with a plain sort."""
    queue, known, now = WaitingQueue(), {}, 100 * MINUTE
    for number, uid, count, is_held, begin_at, leaves in steps:
        if leaves:
            queue.remove(number)
            known.pop(number, None)
        else:
            known[number] = job(
                number, count, uid=uid, is_held=is_held, begin_at=begin_at, submitted_at=uid * 7
            )
            queue.add(known[number])
        queue.lanes(now, LaneClass.ORDINARY)
    world = box(
        1, usage=(Usage(1, 50.0), Usage(2, 7.0)), settings=PolicySettings(priority_window_s=60)
    )
    order = ServingOrder(world)
    eligible = [
        one
        for one in known.values()
        if not one.is_held and (one.begin_at is None or one.begin_at <= now)
    ]
    assert queue.serving_order(world, now) == [
        one.job_id for one in sorted(eligible, key=order.key)
    ]
    assert {one.job_id for one in queue} == set(known)


def test_an_updated_job_moves_to_its_new_lane():
    queue = WaitingQueue([job(1, 4), job(2, 1)])
    queue.add(replace(job(1, 4), gpus=1, limit_s=60))
    (lane,) = queue.lanes(NOW, LaneClass.ORDINARY)
    assert list(lane.ids) == [1, 2]
    assert lane.shortest_ms == 60_000
    queue.remove(1)
    assert lane.shortest_ms == 3_600_000


def test_a_queue_and_its_snapshot_go_their_own_ways():
    queue = WaitingQueue([job(1), job(2)])
    twin = queue.snapshot()
    twin.add(job(3))
    twin.remove(1)
    queue.add(job(4))
    third = twin.snapshot()
    twin.remove(2)
    assert queue.serving_order(box(1), NOW) == [1, 2, 4]
    assert twin.serving_order(box(1), NOW) == [3]
    assert third.serving_order(box(1), NOW) == [2, 3]


def test_the_lanes_of_a_person_are_looked_at_only_when_their_turn_comes():
    """The order is found by people: a decision pays for those whose jobs it comes to."""
    queue = WaitingQueue(job(n, 1 + n % 4, uid=1 + n % 9) for n in range(1, 100))
    index = queue.lanes(NOW, LaneClass.ORDINARY)
    some = {lane.kind for lane in index if lane.kind.gpus > 1}
    order = ServingOrder(box(1))
    found = [job_id for job_id, _, _ in order.jobs_of_kinds(index, some)]
    assert found == [job_id for job_id in queue.serving_order(box(1), NOW) if 1 + job_id % 4 > 1]
    looked: list[int] = []
    count_first = order._first
    order._first = lambda lane, lead: looked.append(lane.key.uid) or count_first(lane, lead)
    next(order.jobs_of_kinds(index, some))
    assert set(looked) == {2}
