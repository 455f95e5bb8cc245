"""Start times of waiting jobs."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from gpuboard.model.world import PolicySettings
from gpuboard.policy.forecast import forecast_starts
from gpuboard.policy.queue import WaitingQueue
from tests.support.policy_facts import MINUTE, booked, box, gpus, held, job
from tests.support.policy_world import Arrival, Lab

NOW = 100 * MINUTE


def forecast(world, *jobs, **options):
    return forecast_starts(world, WaitingQueue(jobs), NOW, **options)


def minutes(answer) -> dict:
    return {
        number: (
            one.expected_start_at and one.expected_start_at / MINUTE,
            one.latest_start_at and one.latest_start_at / MINUTE,
        )
        for number, one in answer.items()
    }


def test_no_later_than_goes_by_limits_and_about_by_prediction():
    world = box(1, holders=(held(50, 0, until=130, started_at=NOW, predicted_s=600),))
    answer = forecast(world, job(1, predicted_s=300), job(2))
    assert minutes(answer) == {1: (110, 130), 2: (115, 190)}


def test_a_holder_that_outlived_its_prediction_is_given_more_time():
    world = box(1, holders=(held(50, 0, until=130, started_at=NOW - 20 * MINUTE, predicted_s=60),))
    (one,) = forecast(world, job(1)).values()
    assert NOW < one.expected_start_at < one.latest_start_at == 130 * MINUTE


def test_a_job_with_nothing_to_be_said_of_it_is_none():
    answer = forecast(box(1), job(1, is_held=True), job(2, 5), job(3, depends_on=(77,)), job(4))
    assert minutes(answer) == {1: (None, None), 2: (None, None), 3: (None, None), 4: (100, 100)}


def test_dependents_start_after_what_they_wait_for():
    answer = forecast(box(2), job(1, minutes=10), job(2, depends_on=(1,)))
    assert minutes(answer)[2] == (110, 110)


def test_begin_times_and_bookings_are_waited_for():
    world = box(1, bookings=(booked(1, 1, 110, 140),))
    answer = forecast(world, job(1, minutes=30), job(2, minutes=5, begin_at=103 * MINUTE))
    assert minutes(answer) == {1: (140, 140), 2: (103, 103)}


def test_the_devices_are_told():
    assert forecast(box(2), job(1, 2))[1].devices == gpus(0, 1)


def test_only_the_first_jobs_are_asked_after():
    answer = forecast(box(1), *(job(n) for n in range(1, 9)), max_jobs=3)
    assert sorted(answer) == [1, 2, 3]


def test_a_cancelled_forecast_ends_at_once():
    answer = forecast(box(1), job(1), job(2), is_cancelled=lambda: True)
    assert minutes(answer) == {1: (None, None), 2: (None, None)}


def test_the_queue_asked_about_is_left_alone():
    queue = WaitingQueue([job(1), job(2)])
    forecast_starts(box(1), queue, NOW)
    assert len(queue) == 2


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_jobs_that_use_their_whole_limit_start_exactly_when_forecast(data):
    """P14 at its sharpest: where nothing ends early and nobody comes, "no later than" is the start."""
    width = data.draw(st.integers(1, 6))
    jobs = [
        job(
            number,
            data.draw(st.integers(1, width)),
            minutes=data.draw(st.integers(1, 90)),
            uid=data.draw(st.integers(1, 3)),
            submitted_at=NOW,
        )
        for number in range(1, data.draw(st.integers(2, 15)))
    ]
    bookings = (booked(1, data.draw(st.integers(1, width)), 130, 160, uid=3),)
    world = box(width, bookings=bookings)
    told = forecast(world, *jobs)
    lab = Lab(world.devices, now=NOW, bookings={1: replace(bookings[0])})
    lab.run([Arrival(one, one.limit_s) for one in jobs])
    assert lab.started == {number: one.latest_start_at for number, one in told.items()}


def test_every_preemptible_job_has_a_forecast_under_leases():
    """A stopped job goes on where it was, so the run forward ends, and says of each when it starts."""
    world = box(2, settings=PolicySettings(lease_s=3600))
    jobs = [
        job(n, 2 if n % 3 else 1, minutes=160 * 60, uid=n % 5, preemptible=True)
        for n in range(1, 21)
    ]
    made = forecast_starts(world, WaitingQueue(jobs), NOW)
    assert [one.job_id for one in made.values() if one.latest_start_at is None] == []
