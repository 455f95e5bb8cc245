"""A seeded walk through people, time and faults: every step keeps the invariants, every job its truth."""

from __future__ import annotations

import logging

import pytest

from tests.support.walk import walk


@pytest.fixture(autouse=True)
def _quiet() -> object:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("seed", range(8))
def test_no_story_breaks_the_box(seed: int) -> None:
    """Whatever dies when: no job lost, none started twice, no device in two hands, true exit codes."""
    walk(seed)


def test_same_seed_is_the_same_story() -> None:
    """A failing seed can be replayed."""
    assert walk(3, steps=60).trace == walk(3, steps=60).trace
