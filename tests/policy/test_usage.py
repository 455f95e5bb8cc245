"""Decay, charge and fair share against their formulae."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuboard.model.world import PolicySettings, Usage
from gpuboard.policy.usage import charge, charged_interval, decayed, fair_share_factors

WEEK_S = 7 * 86400


def test_usage_halves_in_a_half_life():
    assert decayed(100.0, 0, WEEK_S * 1000, WEEK_S) == pytest.approx(50.0)


def test_a_clock_set_back_neither_decays_nor_charges():
    assert decayed(100.0, 5000, 0, WEEK_S) == 100.0
    assert charge(100.0, 4, 5000, 0, WEEK_S) == 100.0


def test_a_short_charge_is_devices_times_seconds():
    assert charge(0.0, 4, 0, 60_000, WEEK_S) == pytest.approx(240.0, rel=1e-4)


def test_holding_for_ever_approaches_the_closed_form():
    assert charge(0.0, 2, 0, 100 * WEEK_S * 1000, WEEK_S) == pytest.approx(2 * WEEK_S / math.log(2))


def test_without_a_half_life_nothing_fades():
    assert charge(10.0, 2, 0, 5000, 0) == 20.0
    assert decayed(10.0, 0, 10**12, 0) == 10.0


@given(st.integers(0, 10**9), st.integers(0, 10**9), st.integers(0, 10**9), st.floats(0, 1e9))
def test_splitting_a_span_changes_nothing(first, second, third, start):
    """P11, P13: the charge of a whole is that of its parts, wherever it is cut."""
    a, b, c = sorted((first, second, third))
    whole = charge(start, 3, a, c, WEEK_S)
    parts = charge(charge(start, 3, a, b, WEEK_S), 3, b, c, WEEK_S)
    assert parts == pytest.approx(whole, rel=1e-9, abs=1e-6)


def test_a_lease_of_the_past_counts_decayed():
    assert charged_interval(1, 0, 1000, 1000 + WEEK_S * 1000, WEEK_S) == pytest.approx(
        0.5, rel=1e-4
    )


def test_the_factor_is_a_half_for_who_used_exactly_their_share():
    factors = fair_share_factors([Usage(1, 100.0), Usage(2, 100.0)], PolicySettings())
    assert factors == {1: pytest.approx(0.5), 2: pytest.approx(0.5)}


def test_a_larger_share_makes_the_same_usage_weigh_less():
    factors = fair_share_factors([Usage(1, 100.0, 3.0), Usage(2, 100.0, 1.0)], PolicySettings())
    assert factors[1] == pytest.approx(2 ** -(0.5 / 0.75))
    assert factors[1] > factors[2]


def test_who_used_nothing_has_the_full_factor_and_who_has_no_share_none():
    factors = fair_share_factors(
        [Usage(1, 0.0), Usage(2, 5.0), Usage(3, 5.0, 0.0)], PolicySettings()
    )
    assert factors[1] == 1.0
    assert factors[3] == 0.0
