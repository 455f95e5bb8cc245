"""Seeded stories of people, time and faults: every step keeps the invariants, every job its truth.

`make soak` walks fresh seeds for as long as told; here are some, and all that ever failed.
"""

from __future__ import annotations

import logging
import os
import time

import pytest

from tests.support.planted import PLANTED
from tests.support.soak import kept_seeds, live
from tests.support.walk import Walk, walk

BUDGET_S = float(os.environ.get("GPUBOARD_WALK_SECONDS", "0"))
"""For fresh seeds in a run of the suite."""
PATIENCE_S = 120


@pytest.fixture(autouse=True)
def _quiet() -> object:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("seed", range(4))
def test_no_story_breaks_the_box(seed: int) -> None:
    """Whatever dies when: no job lost, none started twice, no device in two hands, true exit codes."""
    assert walk(seed).folk.submitted, "a story without a job says nothing"


@pytest.mark.parametrize("seed", kept_seeds())
def test_story_that_once_failed_stays_mended(seed: int) -> None:
    """Every seed that ever found a bug is walked again."""
    assert walk(seed).folk.submitted, "a story without a job says nothing"


@pytest.mark.skipif(not BUDGET_S, reason="fresh stories: make soak, or GPUBOARD_WALK_SECONDS=15")
def test_fresh_stories_break_nothing() -> None:
    """Seeds that nobody has walked yet, for a few seconds."""
    first = time.time_ns() // 1_000_000 % 2**30
    tally = live(list(range(first, first + 10_000)), time.monotonic() + BUDGET_S)
    assert not tally.failed, f"add to tests/support/failed_seeds.txt: {tally.failed}"
    assert tally.steps


def test_same_seed_is_the_same_story() -> None:
    """A failing seed can be replayed."""
    assert walk(3, steps=60).trace == walk(3, steps=60).trace


def test_step_left_out_leaves_the_others_dice_alone() -> None:
    """What shrinking rests on."""
    whole: Walk = walk(3, steps=40)
    part: Walk = walk(3, steps=40, without=range(20, 40))
    early = [line for line in whole.trace if int(line.split()[0]) < 20]
    assert early
    assert part.trace[: len(early)] == early


IN_CI = ("double-lease", "lost-outcome", "start-without-intent", "forgotten-requeue")
"""Each is found in the first few stories; the others are looked for by `make soak`."""


@pytest.mark.timeout(PATIENCE_S + 30)
@pytest.mark.parametrize(
    "bug",
    [pytest.param(bug, marks=() if bug in IN_CI else pytest.mark.soak) for bug in sorted(PLANTED)],
)
def test_planted_bug_is_found_within_two_minutes(bug: str, record_property) -> None:
    """The simulation finds mistakes that brokers make: else its silence would say nothing."""
    began = time.monotonic()
    tally = live(list(range(100_000)), began + PATIENCE_S, bug)
    assert tally.failed, f"{bug} was not found in {tally.stories} stories"
    seed, words = tally.failed[0]
    found = f"{bug}: seed {seed} after {time.monotonic() - began:.1f} s: {words.splitlines()[0]}"
    record_property("seen", found)
    print(found)
