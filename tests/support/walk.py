"""A seeded story of a whole box: people, time and faults in any order, invariants after each step.

Every step throws dice of its own, made of the seed and the step's number: so a step can be left out
of a story and the rest stays what it was, which is how a failing story is shrunk.

`python -m tests.support.walk SEED [--steps N] [--without 3,7-9] [--bug NAME] [--shrink]` tells it.
"""

from __future__ import annotations

import argparse
import logging
import random
import tempfile
from collections.abc import Callable, Collection
from pathlib import Path

from gpuboard.engine.crash import Crash
from gpuboard.engine.workers import Lane, StepWorkers
from gpuboard.errors import CannotStartNow, GpuboardError, HostError
from gpuboard.runtimes.protocol import RunRequest
from gpuboard.runtimes.simulated import Script
from tests.support.engine import Box
from tests.support.folk import Folk, some_config
from tests.support.invariants import Invariants
from tests.support.simstore import SimulationStore, fast_folder
from tests.support.weather import FAULTS, Weather

STEPS = 150
BROKEN = (AssertionError, GpuboardError, LookupError, TypeError, ValueError)
"""What a story ends with that found a bug."""
PLAN_EVERY = 50
"""Steps between two forecasts: nothing is decided by them."""


class WalkWorkers(StepWorkers):
    """Step workers in which forecasts, and what waits behind them, take their time."""

    def __init__(self) -> None:
        super().__init__()
        self._resting: list[tuple] = []

    def submit(self, work, on_done, lane) -> None:
        """Let forecasts wait for `release`."""
        if lane is Lane.PLAN:
            self._resting.append((work, on_done, lane))
        else:
            super().submit(work, on_done, lane)

    def release(self) -> None:
        """Let forecasts be made with the other work."""
        for waiting in self._resting:
            super().submit(*waiting)
        self._resting.clear()

    def close(self, timeout_s: float) -> bool:
        """Forget what rests, too."""
        self._resting.clear()
        return super().close(timeout_s)


class Walk:
    """One story."""

    def __init__(
        self, seed: int, state_dir: Path, *, faults: bool = True, without: Collection[int] = ()
    ) -> None:
        self.seed = seed
        self.faults = faults
        self.without = frozenset(without)
        self.random = dice = random.Random(seed)
        self.scale = dice.choice((1, 1, 10, 60))
        """How slow this box's life is: minutes, or days."""
        self.may_jump = dice.random() < 0.5
        self.hears = dice.choice((0.0, 0.3, 0.9))
        """How likely an event of the container engine reaches the daemon before a step."""
        self.trace: list[str] = []
        self.step = 0
        self.steps = 0
        """Steps of the engine so far."""
        self.crashes = 0
        self.box_ms = 0
        self._crash_in: int | None = None
        self.box = Box(
            state_dir,
            gpus=dice.choice((1, 2, 4, 4, 8)),
            config=some_config(dice, self.scale, dice.choice(("never", "missing"))),
            script=self._script,
            workers=WalkWorkers(),
            make_store=SimulationStore,
        )
        self.invariants = Invariants(self.box)
        self.weather = Weather(self.box, self.invariants)
        self.folk = Folk(self.box, self.invariants, self.scale)
        self._take_over()

    def _take_over(self) -> None:
        """Be there for a daemon that has just begun."""
        self.box.crash.hook = self._crash_point
        self.box.engine.recheck_with(self.weather.why_not)

    def say(self, *words: object) -> None:
        at = self.box.clock.boot_ms()
        self.trace.append(f"{self.step:4d} {at / 1000:11.2f} " + " ".join(map(str, words)))

    def _script(self, request: RunRequest) -> Script:
        # the outcome hangs on the attempt alone, not on when it is asked for
        dice = random.Random(request.name)
        run_s = dice.choice((0.5, 5, 30, 90, 400)) * self.scale
        fate = dice.random()
        start_error = HostError("the hook failed") if fate < 0.03 else None
        create_error = HostError("no space left on device") if 0.03 <= fate < 0.05 else None
        if 0.05 <= fate < 0.06:
            create_error = CannotStartNow("the engine takes no more containers")
        return Script(
            run_s=run_s,
            exit_code=dice.choice((0, 0, 0, 1, 3, 137, 4294967295)),
            log=request.name.encode() + b"\n",
            oom_killed=dice.random() < 0.05,
            term_exit_code=dice.choice((143, 0, None)),
            start_error=start_error,
            create_error=create_error,
        )

    def _crash_point(self, name: str) -> None:
        if self._crash_in is None:
            return
        self._crash_in -= 1
        if self._crash_in < 0:
            self._crash_in = None
            self.say("CRASH at", name)
            raise Crash(name)

    def run(self, steps: int = STEPS) -> None:
        """Live through the steps, then through clear weather to the end of every job."""
        for number in range(steps):
            if number not in self.without:
                self.step = number
                self.random.seed((self.seed << 24) | number)
                self.live()
        self.clear_up()

    def live(self) -> None:
        """One step of the story: perhaps something happens; time passes; work is done; all is held."""
        dice = self.random
        what, amount, crash = dice.random(), dice.random(), dice.random()
        self._crash_in = dice.randrange(16) if self.faults and crash < 0.06 else None
        self.guarded(lambda: self._something_happens(what))
        dice.seed(dice.getrandbits(32) ^ int(amount * 2**20))
        self.pass_time(dice.choice((10, 60, 200, 1000, 3000, 3000, 20_000)) * self.scale)
        self.work(dice.randrange(4), dice)
        self._crash_in = None

    def pass_time(self, ms: int) -> None:
        self.box.clock.advance(ms)
        self.box_ms += ms
        self.weather.move_on(ms)

    def work(self, pieces: int, dice: random.Random) -> None:
        """Do some of the work that waits, in any order, and make a step of the engine."""
        workers = self.box.workers
        for _ in range(pieces):
            if len(workers):
                index = dice.randrange(len(workers))
                self.guarded(lambda i=index: self.box.workers.run(i), is_step=True)
        if dice.random() < self.hears:
            self.box.engine.look_soon()
        self.guarded(self.box.step, is_step=True)
        self.steps += 1
        if not self.steps % PLAN_EVERY:
            self.box.workers.release()
        self.invariants.check()

    def guarded(self, act: Callable[[], object], *, is_step: bool = False) -> None:
        """Let a death of the daemon, a full disk and a locked database be what they are in production.

        An error of a step is followed by a fresh look; one of a request goes to whoever asked.
        """
        store = self.box.store
        try:
            act()
        except Crash:
            self.crashes += 1
            self.box.restart()
        except GpuboardError as error:
            if "of the simulation" not in str(error):
                raise
            if is_step:
                self.box.engine.disturbed()
        if self.box.store is not store:
            self._take_over()

    def _something_happens(self, what: float) -> None:
        dice = self.random
        if what < 0.25:
            self.say("submit", self.folk.submit(dice))
        elif what < 0.34:
            self.say(self.folk.ask(dice))
        elif what < 0.37:
            self.say(self.folk.book(dice))
        elif what < 0.53 and self.faults:
            kind = dice.choice(FAULTS)
            if kind != "jump" or self.may_jump:
                self.strike(kind, dice)

    def strike(self, kind: str, dice: random.Random) -> None:
        self.say(kind, self.weather.strike(kind, dice))

    def clear_up(self) -> None:
        """The weather clears: everything must come to its true end."""
        box = self.box
        self.faults = False
        self.say("the weather clears")
        self.weather.clear()
        for number in range(6000):
            if number % 20 == 0:  # stuck stops and failing hooks drain too
                self.folk.go_home()
            if box.engine.is_idle() and not box.engine.reservations() and not len(box.workers):
                break
            self._clear_step(3000 * self.scale)
        box.engine.look_soon()
        for _ in range(10):
            self._clear_step(5000)
        self.invariants.check_end(set(self.folk.submitted))

    def _clear_step(self, ms: int) -> None:
        self.pass_time(ms)
        while len(self.box.workers):
            self.box.workers.run()
        self.work(0, self.random)


def walk(seed: int, steps: int = STEPS, without: Collection[int] = ()) -> Walk:
    """Walk one story to its end in a folder that is gone afterwards. Raises AssertionError."""
    with tempfile.TemporaryDirectory(dir=fast_folder()) as folder:
        story = Walk(seed, Path(folder) / "state", without=without)
        try:
            story.run(steps)
        except BROKEN as error:
            tail = "\n".join(story.trace[-40:])
            raise AssertionError(f"seed {seed}: {error}\n{tail}") from error
        finally:
            story.box.store.close()
        return story


def main() -> int:
    """Tell one story."""
    from tests.support.planted import planted
    from tests.support.shrink import fails, numbers, shrink

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seed", type=int)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--without", type=numbers, default=frozenset())
    parser.add_argument("--bug", default="")
    parser.add_argument("--shrink", action="store_true")
    asked = parser.parse_args()
    logging.disable(logging.CRITICAL)
    with planted(asked.bug):
        steps, without = asked.steps, set(asked.without)
        if asked.shrink and fails(asked.seed, steps):
            steps, without = shrink(asked.seed, steps)
            kept = [n for n in range(steps) if n not in without]
            print(f"shrunk to {len(kept)} of {asked.steps} steps: {kept}")
        try:
            print("\n".join(walk(asked.seed, steps, without).trace))
        except AssertionError as error:
            print(error)
            return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
