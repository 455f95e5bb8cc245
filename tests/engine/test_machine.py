"""The same box under Hypothesis: it places people's wishes and faults itself, and shrinks what fails.

Random stories find rare timing; the machine finds short stories and keeps them (SAFETY.md C6).
"""

from __future__ import annotations

import logging
import os
import random
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from gpuboard.runtimes.simulated import Effect
from tests.support.folk import BOOKINGS, WISHES
from tests.support.simstore import fast_folder
from tests.support.walk import Walk
from tests.support.weather import CALLS, FAULTS

EXAMPLES = int(os.environ.get("GPUBOARD_MACHINE_EXAMPLES", "40"))
DICE = st.integers(0, 15)


class BoxMachine(RuleBasedStateMachine):
    """A box that can do what a story can, one rule a thing."""

    def __init__(self) -> None:
        super().__init__()
        logging.disable(logging.CRITICAL)
        self.folder = tempfile.TemporaryDirectory(dir=fast_folder())

    @initialize(seed=st.integers(0, 3))
    def begin(self, seed: int) -> None:
        self.story = Walk(seed, Path(self.folder.name) / "state")

    @rule(dice=DICE)
    def submit(self, dice: int) -> None:
        self.story.guarded(lambda: self.story.folk.submit(random.Random(dice)))

    @precondition(lambda self: self.story.folk.submitted)
    @rule(wish=st.sampled_from(sorted(set(WISHES))), dice=DICE)
    def ask(self, wish: str, dice: int) -> None:
        self.story.guarded(lambda: self.story.folk.do(wish, random.Random(dice)))

    @rule(wish=st.sampled_from(sorted(set(BOOKINGS))), dice=DICE)
    def book(self, wish: str, dice: int) -> None:
        self.story.guarded(lambda: self.story.folk.do(wish, random.Random(dice)))

    @rule(kind=st.sampled_from(sorted(set(FAULTS) - {"lose"})), dice=DICE)
    def fault(self, kind: str, dice: int) -> None:
        self.story.guarded(lambda: self.story.strike(kind, random.Random(dice)))

    @rule(call=st.sampled_from(CALLS), effect=st.sampled_from(list(Effect)))
    def lose(self, call: str, effect: Effect) -> None:
        self.story.box.runtime.lose(call, effect, 5.0)

    @rule(after=st.integers(0, 12))
    def die_soon(self, after: int) -> None:
        self.story._crash_in = after

    @rule(ms=st.sampled_from((10, 1000, 3000, 60_000)), pieces=st.integers(0, 6))
    def go_on(self, ms: int, pieces: int) -> None:
        self.story.pass_time(ms)
        self.story.work(pieces, random.Random(0))

    @invariant()
    def holds(self) -> None:
        if hasattr(self, "story"):
            self.story.invariants.check()

    def teardown(self) -> None:
        try:
            if hasattr(self, "story"):
                self.story._crash_in = None
                self.story.clear_up()
        finally:
            if hasattr(self, "story"):
                self.story.box.store.close()
            self.folder.cleanup()
            logging.disable(logging.NOTSET)


def test_no_sequence_of_rules_breaks_the_box() -> None:
    """Whatever Hypothesis puts together, every step is right and every job ends with its truth."""
    run_state_machine_as_test(
        BoxMachine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=30,
            deadline=None,
            database=None,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )
