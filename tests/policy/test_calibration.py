"""Habits and the calibration of forecasts."""

from __future__ import annotations

import math
import random

import pytest

from gpuboard.model.ids import JobId, Uid
from gpuboard.model.plan import StartForecast
from gpuboard.policy.calibration import FEWEST_RESIDUALS, Calibration
from gpuboard.policy.forecast import forecast_starts
from gpuboard.policy.habits import Habits
from gpuboard.policy.queue import WaitingQueue
from tests.support.policy_facts import MINUTE, box, held, job

HOUR = 3_600_000
TOLD = StartForecast(JobId(1), expected_start_at=2 * HOUR, latest_start_at=10 * HOUR)


def test_a_run_lasts_the_median_part_of_its_limit():
    habits = Habits({Uid(1): (0.1, 0.2, 0.3, 0.9, 1.0)})
    assert habits.span_s(Uid(1), 1000) == 300


def test_a_run_that_goes_on_lasts_what_longer_ones_lasted():
    habits = Habits({Uid(1): (0.1, 0.2, 0.3, 0.9, 1.0)})
    assert habits.span_s(Uid(1), 1000, 500) == 950
    assert habits.span_s(Uid(1), 1000, 1000) is None


def test_a_newcomer_is_judged_by_everybody():
    habits = Habits({Uid(1): (1.0,)}, (0.5,) * 9)
    assert habits.span_s(Uid(1), 100) == habits.span_s(Uid(2), 100) == 50
    assert Habits().span_s(Uid(1), 100) is None


def test_about_goes_by_the_owner_s_habit():
    world = box(1, holders=(held(50, 0, until=200, uid=3, started_at=100 * MINUTE, grace_s=0),))
    habits = Habits({Uid(3): (0.25,) * 5})
    told = forecast_starts(world, WaitingQueue((job(1),)), 100 * MINUTE, habits=habits)[JobId(1)]
    assert (told.expected_start_at, told.latest_start_at) == (125 * MINUTE, 200 * MINUTE)


def test_only_the_named_jobs_are_answered():
    queue = WaitingQueue((job(1), job(2), job(3)))
    assert list(forecast_starts(box(1), queue, 0, only=[JobId(2)])) == [2]


def test_before_anything_is_learnt_p90_is_by_limits():
    assert Calibration().widen(TOLD, 0).p90_start_at == TOLD.latest_start_at


def test_waits_of_a_minute_teach_nothing():
    calibration = Calibration()
    for _ in range(FEWEST_RESIDUALS):
        calibration.observe(TOLD, TOLD, 0, 60_000)
    assert calibration.widen(TOLD, 0).p90_start_at == TOLD.latest_start_at


def test_nothing_is_said_of_a_job_of_which_nothing_can_be_said():
    silent = StartForecast(JobId(1), None)
    assert Calibration().widen(silent, 0) == silent


@pytest.mark.parametrize("spread", [0.2, 1.0, 3.0])
def test_nine_of_ten_starts_fall_before_p90(spread):
    rng, calibration, held_count = random.Random(7), Calibration(), 0
    for _ in range(2000):
        told = StartForecast(JobId(1), round(rng.uniform(0.1, 5) * HOUR), 100 * HOUR)
        said = calibration.widen(told, 0)
        started_at = round(told.expected_start_at * rng.lognormvariate(0, spread)) + 61_000
        held_count += started_at <= said.p90_start_at
        calibration.observe(told, said, 0, started_at)
    assert 0.88 <= held_count / 2000 <= 0.93


@pytest.mark.parametrize("lag", [1, 300])
def test_nine_of_ten_starts_fall_before_p90_though_waits_become_unlike_what_was_foretold(lag):
    """Habits that drift: what the last forecasts were off by is too little, then too much.

    With a lag of 300 jobs each start is known only when so many more have been told.
    """
    rng, calibration, held_count, coming = random.Random(7), Calibration(), 0, []
    for number in range(6000):
        told = StartForecast(JobId(1), round(rng.uniform(0.1, 5) * HOUR), 10**6 * HOUR)
        said = calibration.widen(told, 0)
        drift = 1.5 + 1.5 * math.sin(number / 700)
        started_at = round(told.expected_start_at * rng.lognormvariate(drift, 0.5)) + 61_000
        held_count += started_at <= said.p90_start_at
        coming.append((told, said, 0, started_at))
        if len(coming) >= lag:
            calibration.observe(*coming.pop(0))
    assert 0.88 <= held_count / 6000 <= 0.92


def test_no_later_than_grows_only_as_far_as_it_was_broken():
    calibration = Calibration()
    for number in range(100):
        said = calibration.widen(TOLD, 0)
        calibration.observe(TOLD, said, 0, TOLD.latest_start_at - HOUR + number * 60_000)
    widened = calibration.widen(TOLD, 0)
    assert TOLD.latest_start_at < widened.latest_start_at < TOLD.latest_start_at + HOUR
    assert TOLD.expected_start_at <= widened.p90_start_at <= widened.latest_start_at
