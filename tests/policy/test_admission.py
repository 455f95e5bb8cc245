"""Which bookings are accepted, and what a refusal offers."""

from __future__ import annotations

from gpuboard.model.plan import WaitCause, Window
from gpuboard.policy.admission import admit
from gpuboard.policy.queue import WaitingQueue
from tests.support.policy_facts import MINUTE, booked, box, gpus, held, job, wish, without

NOW = 100 * MINUTE


def ask(world, request, *jobs, replacing=()):
    return admit(world, WaitingQueue(jobs), request, NOW, replacing=replacing)


def test_a_free_window_is_accepted_with_the_devices_it_would_get():
    answer = ask(box(2), wish(2, 110, 140))
    assert (answer.accepted, answer.devices) == (True, gpus(0, 1))


def test_a_window_that_begins_now_is_accepted():
    assert ask(box(1), wish(1, 100, 140)).accepted


def test_leases_by_limit_are_in_the_way_and_the_next_window_is_offered():
    answer = ask(box(1, holders=(held(50, 0, until=120),)), wish(1, 110, 140))
    assert not answer.accepted
    assert [cause.cause for cause in answer.causes] == [WaitCause.DEVICES_BUSY]
    assert answer.nearest == (Window(120 * MINUTE, 150 * MINUTE),)


def test_other_bookings_are_in_the_way_and_windows_before_and_after_are_offered():
    answer = ask(box(1, bookings=(booked(1, 1, 130, 160),)), wish(1, 140, 150))
    assert answer.causes[0].words == "1 GPU is booked by user5 from 02:10 until 02:40"
    assert answer.nearest == (
        Window(120 * MINUTE, 130 * MINUTE),
        Window(160 * MINUTE, 170 * MINUTE),
    )


def test_what_is_offered_is_accepted():
    world = box(4, bookings=(booked(1, 3, 130, 160),), holders=(held(50, 0, 1, until=125),))
    answer = ask(world, wish(3, 105, 145))
    assert answer.nearest
    for window in answer.nearest:
        request = wish(3, window.from_at / MINUTE, window.until_at / MINUTE)
        assert ask(world, request).accepted


def test_the_heads_promise_is_protected():
    world = box(2, holders=(held(50, 0, until=120),), head=1)
    answer = ask(world, wish(1, 130, 140), job(1, 2, minutes=30))
    assert [cause.cause for cause in answer.causes] == [WaitCause.WOULD_DELAY_HEAD]
    assert ask(world, wish(1, 150, 160), job(1, 2, minutes=30)).accepted


def test_preemptible_jobs_are_in_nobodys_way():
    world = box(1, holders=(held(50, 0, until=900, preemptible=True, grace_s=30),))
    assert ask(world, wish(1, 100, 140)).accepted


def test_a_blackout_is_in_the_way():
    dark = booked(-1, 1, 110, 140, uid=-1, is_blackout=True, gpu_uuids=gpus(0))
    answer = ask(box(1, bookings=(dark,)), wish(1, 120, 150))
    assert answer.causes[0].words == "maintenance from 01:50 until 02:20"


def test_more_than_the_box_has_is_refused_without_an_offer():
    answer = ask(box(2), wish(3, 110, 140))
    assert [cause.cause for cause in answer.causes] == [WaitCause.NO_SUCH_DEVICE]
    assert answer.nearest == ()


def test_devices_out_of_service_are_not_promised():
    answer = ask(without(box(2), 0), wish(2, 110, 140))
    assert [cause.cause for cause in answer.causes] == [WaitCause.DEVICE_UNAVAILABLE]


def test_a_window_without_length_is_refused():
    assert not ask(box(1), wish(1, 120, 120)).accepted
    assert not ask(box(1), wish(1, 80, 90)).accepted


def test_a_booking_may_be_replaced_by_one_that_overlaps_it():
    world = box(1, bookings=(booked(1, 1, 130, 160),))
    assert not ask(world, wish(1, 140, 170)).accepted
    assert ask(world, wish(1, 140, 170), replacing=(1,)).accepted


def test_an_active_booking_may_be_lengthened_on_its_own_devices():
    world = box(
        2, bookings=(booked(1, 1, 90, 120, devices=gpus(0)),), holders=(held(50, 1, until=500),)
    )
    assert ask(world, wish(1, 90, 150), replacing=(1,)).accepted


def test_devices_named_by_the_booking_are_the_ones_it_gets():
    assert ask(box(3), wish(1, 110, 140, gpu_uuids=gpus(2))).devices == gpus(2)
    world = box(3, holders=(held(50, 2, until=120),))
    assert not ask(world, wish(1, 110, 140, gpu_uuids=gpus(2))).accepted


def test_jobs_about_to_start_come_before_a_booking_of_the_same_moment():
    assert not ask(box(1), wish(1, 110, 140), job(1)).accepted
