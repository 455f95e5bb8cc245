"""The capacity profile against a plain model of it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gpuboard.policy.profile import FOREVER, Profile

BLOCKS = st.lists(
    st.tuples(st.integers(0, 255), st.integers(0, 30), st.integers(0, 30)), max_size=8
)


@given(BLOCKS, st.integers(0, 30), st.integers(1, 10))
def test_the_profile_agrees_with_counting_minute_by_minute(blocks, from_at, length):
    profile = Profile(0, 255)
    free = [255] * 100
    for devices, start, end in blocks:
        profile.block(devices, start, end)
        for minute in range(start, end):
            free[minute] &= ~devices
    window = free[from_at : from_at + length]
    throughout = 255
    for mask in window:
        throughout &= mask
    assert profile.free_throughout(from_at, from_at + length) == throughout
    assert profile.least_free(from_at, from_at + length) == min(m.bit_count() for m in window)


def test_releases_add_up():
    profile = Profile.of_releases(10, 0b001, {20: 0b010, 15: 0b100})
    assert [profile.free_throughout(at, at + 1) for at in (10, 15, 20, 99)] == [1, 5, 7, 7]
    assert list(profile.instants(12)) == [12, 15, 20]


def test_a_copy_is_independent():
    profile = Profile(0, 3)
    twin = profile.copy()
    twin.block(1, 0, FOREVER)
    assert profile.free_throughout(0, FOREVER) == 3
    assert twin.free_throughout(5, 6) == 2
