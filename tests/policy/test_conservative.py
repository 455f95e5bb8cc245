"""Promised classes: every job that does not fit has a start that only moves earlier."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from gpuboard.model.world import JobClass, PolicySettings, Promise, Quota
from gpuboard.policy.admission import admit
from gpuboard.policy.explain import explain_wait
from gpuboard.policy.plan import plan_round
from gpuboard.policy.queue import WaitingQueue
from tests.policy.test_properties import BookingKeeper, arrivals, equal_boxes, wishes
from tests.support.policy_facts import MINUTE, box, held, job, wish, without
from tests.support.policy_world import Lab

NOW = 100 * MINUTE
CLASSES = {"sure": JobClass(is_promised=True), "plain": JobClass()}
SURE = PolicySettings(classes=CLASSES, priority_window_s=0)
SOME = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


def sure(number: int, count: int = 1, minutes: float = 60, **changes):
    return job(number, count, minutes, class_name="sure", **changes)


def plan(world, *jobs, now=NOW):
    return plan_round(world, WaitingQueue(jobs), now)


def promised(answer) -> dict[int, float]:
    return {one.job_id: one.start_at / MINUTE for one in answer.promises}


def started(answer) -> set[int]:
    return {start.job_id for start in answer.starts}


def test_every_job_that_does_not_fit_is_promised_the_earliest_start():
    """In order, each around those before it; what fits between starts at once."""
    world = box(2, settings=SURE, holders=(held(50, 0, until=130),))
    answer = plan(world, sure(1, 2, 60), sure(2, 2, 30), sure(3, 1, 30), sure(4, 1, 31))
    assert promised(answer) == {1: 130, 2: 190, 4: 220}
    assert (started(answer), answer.head) == ({3}, None)


def test_promises_are_kept_where_they_were_and_compressed():
    """A job that ended early moves all of them earlier, in their order."""
    world = box(2, settings=SURE, holders=(held(50, 0, 1, until=160),))
    first = plan(world, sure(1, 2, 60), sure(2, 2, 30))
    assert promised(first) == {1: 160, 2: 220}
    early = replace(world, holders=(held(50, 0, 1, until=110),), promises=first.promises)
    assert promised(plan(early, sure(1, 2, 60), sure(2, 2, 30))) == {1: 110, 2: 170}
    empty = replace(world, holders=(), promises=first.promises)
    answer = plan(empty, sure(1, 2, 60), sure(2, 2, 30))
    assert (started(answer), promised(answer)) == ({1}, {2: 160})


def test_promises_give_each_other_their_devices_as_they_move_earlier():
    """The wide job's promise moves to 110; the narrow one may have an idle device until it ends."""
    world = box(8, settings=SURE, holders=(held(50, 0, 1, 2, 3, 4, 5, until=110),))
    old = (Promise(1, 120 * MINUTE, 7, 30 * MINUTE), Promise(2, 110 * MINUTE, 1, 60 * MINUTE))
    answer = plan(replace(world, promises=old), sure(1, 7, 30), sure(2, 1, 60))
    assert (started(answer), promised(answer)) == ({2}, {1: 110})


def test_a_newcomer_with_a_right_to_be_first_moves_no_promise():
    """Order says who is promised first, not who is moved."""
    boosted = {**CLASSES, "first": JobClass(boost_s=86400, is_promised=True)}
    world = box(1, settings=replace(SURE, classes=boosted), holders=(held(50, 0, until=160),))
    first = plan(world, sure(1, 1, 60))
    world = replace(world, promises=first.promises)
    answer = plan(world, sure(1, 1, 60), job(2, 1, 60, class_name="first"))
    assert promised(answer) == {1: 160, 2: 220}


def test_other_jobs_start_only_where_they_delay_no_promise():
    """Jobs of no promised class are backfilled around the promises, with a head of their own."""
    world = box(2, settings=SURE, holders=(held(50, 0, until=130),))
    answer = plan(world, sure(1, 2, 60), job(2, 1, 31), job(3, 1, 30))
    assert (started(answer), promised(answer)) == ({3}, {1: 130})
    assert (answer.head, answer.head_start_at / MINUTE) == (2, 190)


def test_a_promise_ends_with_what_it_was_made_on():
    """Held, bigger than it was, or over its quota: it is not kept; made anew as for a newcomer."""
    world = box(1, settings=SURE, holders=(held(50, 0, until=160),))
    world = replace(world, promises=plan(world, sure(1), sure(2)).promises)
    assert promised(plan(world, sure(1, is_held=True), sure(2))) == {2: 160}
    assert promised(plan(world, sure(1, minutes=90), sure(2))) == {2: 160, 1: 220}
    assert promised(plan(world, sure(1, minutes=30), sure(2))) == {1: 160, 2: 190}


def test_a_failed_device_makes_promises_anew():
    """What cannot be kept is promised again, later; what can is not touched."""
    world = box(2, settings=SURE, holders=(held(50, 0, 1, until=160),))
    world = replace(world, promises=plan(world, sure(1), sure(2)).promises)
    assert promised(plan(world, sure(1), sure(2))) == {1: 160, 2: 160}
    assert sorted(promised(plan(without(world, 1), sure(1), sure(2))).values()) == [160, 220]


def test_bookings_are_admitted_around_promises():
    """A window that would move a promise is refused, and says whose it is."""
    world = box(1, settings=SURE, holders=(held(50, 0, until=160),))
    queue = WaitingQueue([sure(1, user="ann")])
    answer = admit(world, queue, wish(1, 170, 180), NOW)
    assert not answer.accepted
    assert any("job 1" in cause.words for cause in answer.causes)
    assert admit(world, queue, wish(1, 220, 230), NOW).accepted


def test_why_names_the_promise():
    """A job that waits for its promised start is told it, and so is one that would delay it."""
    world = box(2, settings=SURE, holders=(held(50, 0, until=130),))
    queue = WaitingQueue([sure(1, 2, 60), job(2, 1, 31)])
    answer = plan_round(world, queue, NOW)
    assert explain_wait(world, queue, answer, 1, NOW).promised_start_at == 130 * MINUTE
    other = explain_wait(world, queue, answer, 2, NOW)
    assert any("job 1" in cause.words for cause in other.causes)


def test_no_more_than_a_bounded_number_is_promised():
    """Beyond it jobs wait as those of no such class: one is head, and promises are made as others end."""
    few = replace(SURE, most_promises=5)
    world = box(1, settings=few, holders=(held(50, 0, until=160),))
    answer = plan(world, *(sure(number) for number in range(1, 15)))
    assert len(answer.promises) == 5
    assert answer.head == 6


def test_every_waiting_job_of_such_a_class_is_promised_a_start():
    """As many as a lab has, and the last of them too."""
    world = box(2, settings=SURE, holders=(held(50, 0, until=160),))
    answer = plan(world, *(sure(number) for number in range(1, 81)))
    assert {promise.job_id for promise in answer.promises} == set(range(1, 81)) - {
        start.job_id for start in answer.starts
    }


class Promised:
    """Watches that promised starts never move later, and that jobs start by them."""

    def __init__(self) -> None:
        self.known: dict[int, int] = {}

    def __call__(self, lab, world, plan) -> None:
        now = {one.job_id: one.start_at for one in plan.promises}
        starting = {start.job_id for start in plan.starts}
        for job_id, start_at in self.known.items():
            if job_id in starting:
                assert lab.now <= start_at
            elif not lab.promises_changed:
                assert now[job_id] <= start_at
        self.known = now


@SOME
@given(st.data())
def test_promised_starts_never_move_later(data):
    """While nobody adds a reservation; beside jobs of other classes, bookings and preemptible jobs."""
    devices = data.draw(equal_boxes())
    window_s = data.draw(st.sampled_from([0, 1800, 7 * 86400]))
    lab = Lab(devices, PolicySettings(classes=CLASSES, priority_window_s=window_s))
    lab.on_plan = [Promised(), BookingKeeper()]
    jobs = [
        type(arrival)(
            replace(
                arrival.waiting, class_name=data.draw(st.sampled_from(["sure", "sure", "plain"]))
            ),
            arrival.runtime_s,
        )
        for arrival in data.draw(arrivals(devices, special=False))
    ]
    lab.run(jobs, data.draw(wishes(devices, special=False, most=3)))
    assert set(lab.ended) == {arrival.waiting.job_id for arrival in jobs}


@SOME
@given(st.data())
def test_planning_again_changes_nothing(data):
    """P2, P12 with promises, and P1 with preemptible jobs among them."""
    devices = data.draw(equal_boxes())
    lab = Lab(devices, PolicySettings(classes=CLASSES))
    apply = lab.apply

    def apply_and_ask_again(plan, ends):
        apply(plan, ends)
        world = lab.world()
        shuffled = replace(
            world,
            holders=tuple(reversed(world.holders)),
            bookings=tuple(reversed(world.bookings)),
            promises=tuple(reversed(world.promises)),
        )
        again = plan_round(world, lab.queue, lab.now)
        assert plan_round(shuffled, lab.queue, lab.now) == again
        assert (again.starts, again.binds, again.stops) == ((), (), ())
        assert again.promises == plan.promises

    lab.apply = apply_and_ask_again
    jobs = [
        type(arrival)(replace(arrival.waiting, class_name="sure"), arrival.runtime_s)
        for arrival in data.draw(arrivals(devices, special=False, preemptible=True))
    ]
    lab.run(jobs, data.draw(wishes(devices, special=False, most=3)))


def test_promised_jobs_that_may_start_together_keep_their_limits():
    """What the first of an array, or of a person, uses up is not there for the next of them."""
    world = box(4, settings=SURE, holders=(held(50, 0, 1, 2, 3, until=130),))
    array = [sure(n, 1, 30, array_id=1, array_limit=2) for n in (1, 2, 3)]
    first = plan(world, *array)
    assert promised(first) == {1: 130, 2: 130, 3: 130}
    empty = replace(world, holders=(), promises=first.promises)
    assert started(plan(empty, *array)) == {1, 2}
    limited = replace(SURE, default_quota=Quota(running_gpus=2))
    own = [sure(n, 1, 30) for n in (1, 2, 3)]
    assert started(plan(replace(empty, settings=limited), *own)) == {1, 2}
