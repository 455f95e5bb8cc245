"""Pages of the queue are the serving order, cut anywhere."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from gpuboard.model.world import Usage
from gpuboard.policy.queue import WaitingQueue
from gpuboard.policy.queuepage import place_of, queue_page
from tests.support.policy_facts import MINUTE, box, job

NOW = 1000 * MINUTE

waiting_jobs = st.lists(
    st.builds(
        dict,
        uid=st.integers(1, 4),
        submitted_at=st.integers(0, 5).map(lambda n: n * MINUTE),
        count=st.integers(0, 2),
        preemptible=st.booleans(),
        is_held=st.sampled_from([False, False, False, True]),
        begin_at=st.sampled_from([None, None, None, NOW - 1, NOW + 5, NOW + 9]),
    ),
    max_size=30,
)


def lab(rows, head):
    queue = WaitingQueue(job(number, **values) for number, values in enumerate(rows, 1))
    usage = tuple(Usage(uid, 3600.0 * uid) for uid in (1, 2))
    return queue, box(4, usage=usage, head=head)


@settings(max_examples=300)
@given(waiting_jobs, st.integers(0, 30), st.integers(0, 33), st.integers(0, 12))
def test_a_page_is_that_part_of_the_serving_order(rows, head, offset, limit):
    queue, world = lab(rows, head or None)
    whole = [*queue.serving_order(world, NOW), *queue.resting()]
    page = queue_page(queue, world, NOW, (offset, limit))
    assert list(page.ids) == whole[offset : offset + limit]
    assert page.total == len(whole) == len(rows)
    assert page.eligible == len(queue.serving_order(world, NOW))


@given(waiting_jobs, st.integers(0, 30), st.integers(1, 4), st.integers(0, 9))
def test_a_persons_page_holds_only_theirs_in_the_same_order(rows, head, uid, offset):
    queue, world = lab(rows, head or None)
    whole = [*queue.serving_order(world, NOW), *queue.resting()]
    own = [number for number in whole if rows[number - 1]["uid"] == uid]
    page = queue_page(queue, world, NOW, (offset, 5), uid)
    assert list(page.ids) == own[offset : offset + 5]
    assert page.total == len(own)


@given(waiting_jobs, st.integers(0, 30))
def test_place_counts_all_who_are_served_before(rows, head):
    queue, world = lab(rows, head or None)
    order = queue.serving_order(world, NOW)
    for number in range(1, len(rows) + 1):
        expected = order.index(number) if number in order else None
        assert place_of(queue, world, NOW, number) == expected
