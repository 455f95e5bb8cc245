"""Candidates of backfill: which jobs are looked at, in which order, and how late."""

from __future__ import annotations

import gc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuboard.model.world import Usage
from gpuboard.policy.candidates import candidates_of
from gpuboard.policy.lanes import LaneClass, even_depth
from gpuboard.policy.profile import FOREVER
from gpuboard.policy.queue import ServingOrder, WaitingQueue
from tests.support.policy_facts import MINUTE, box, job

NOW = 1000 * MINUTE


def lanes_of(queue: WaitingQueue, bound_ms: int = FOREVER):
    return [(lane, bound_ms) for lane in queue.lanes(NOW, LaneClass.ORDINARY)]


def test_they_are_looked_for_in_all_lanes_equally_deep_and_answers_in_order():
    """One person's long line keeps nobody else's jobs from being looked at."""
    queue = WaitingQueue(
        [job(number, uid=1, submitted_at=number) for number in range(1, 101)]
        + [job(200 + number, uid=2, submitted_at=500 + number) for number in range(3)]
    )
    lanes, order = lanes_of(queue), ServingOrder(box(1))

    def scanned(some, limit: int) -> list[int]:
        return [candidate[1] for candidate in candidates_of(order, some, limit)]

    assert scanned(lanes, 10) == [1, 2, 3, 4, 5, 6, 7, 200, 201, 202]
    assert scanned(lanes, 1000) == queue.serving_order(box(1), NOW)
    assert scanned(lanes_of(queue, 0), 1000) == []


@pytest.mark.parametrize(
    ("lengths", "limit", "depth"),
    [
        ((), 5, 1),
        ((3, 9), 12, 9),
        ((3, 9), 11, 8),
        ((3, 9), 6, 3),
        ((5, 5, 5), 10, 3),
        ((1, 1, 1), 2, 1),
    ],
)
def test_the_depth_of_a_scan_uses_up_its_limit(lengths, limit, depth):
    assert even_depth(lengths, limit) == depth


@given(
    st.lists(
        st.builds(
            job,
            st.integers(1, 500),
            st.integers(1, 3),
            uid=st.integers(1, 4),
            submitted_at=st.integers(0, 9),
            predicted_s=st.none() | st.integers(1, 3),
            class_name=st.sampled_from(("", "urgent")),
        ),
        unique_by=lambda waiting: waiting.job_id,
    ),
    st.sets(st.integers(1, 500)),
    st.booleans(),
)
def test_each_persons_shortest_comes_first_in_that_persons_places(jobs, passed_over, is_shortest):
    """As if all were looked at, sorted, and dealt out again: that a person is looked at late is not seen."""
    world = box(1, usage=tuple(Usage(uid, uid / 3e6) for uid in range(1, 5)))
    order = ServingOrder(world)
    expected = [one for one in sorted(jobs, key=order.key) if one.job_id not in passed_over]
    if is_shortest:
        shortest = {
            uid: sorted(
                (waiting for waiting in expected if waiting.uid == uid),
                key=lambda one: one.limit_s if one.predicted_s is None else one.predicted_s,
            )
            for uid in range(1, 5)
        }
        expected = [shortest[waiting.uid].pop(0) for waiting in expected]
    found = candidates_of(
        order, lanes_of(WaitingQueue(jobs)), 1000, passed_over, shortest_first=is_shortest
    )
    assert [one[1] for one in found] == [waiting.job_id for waiting in expected]


def test_a_person_is_looked_at_when_it_is_their_place():
    """A round that has a device for the first of them pays for no more."""
    queue = WaitingQueue(job(n, 1 + n % 3, uid=n % 50, submitted_at=n) for n in range(500))
    looked: list[object] = []

    class Noted(set):
        def __contains__(self, job_id: object) -> bool:
            looked.append(job_id)
            return False

    found = candidates_of(ServingOrder(box(1)), lanes_of(queue), 1000, Noted(), shortest_first=True)
    assert [next(found)[1], next(found)[1]] == [0, 1]
    assert {job_id % 50 for job_id in looked} == {0, 1}


def test_hundreds_of_people_do_not_call_the_cyclic_collector():
    """It comes after 700 new objects, and with 100,000 jobs takes 10 ms each time that it looks at all."""
    queue = WaitingQueue(job(n, uid=n, submitted_at=n) for n in range(1, 201))
    lanes, order, calls = lanes_of(queue), ServingOrder(box(1)), []

    def note(phase: str, _: object) -> None:
        calls.append(phase)

    def calls_of_a_look() -> int:
        gc.collect()
        calls.clear()
        gc.callbacks.append(note)
        try:
            found = candidates_of(order, lanes, 1000, shortest_first=True)
            assert sum(1 for _ in found) == 200
        finally:
            gc.callbacks.remove(note)
        return len(calls)

    # whatever else this process does at the moment, in other threads, makes objects too
    assert min(calls_of_a_look() for _ in range(5)) == 0
