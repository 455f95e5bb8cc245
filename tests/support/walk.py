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
from collections.abc import Collection
from pathlib import Path

from gpuboard.config import Config, JobsConfig, PolicyConfig
from gpuboard.engine.crash import Crash
from gpuboard.engine.workers import Lane, StepWorkers
from gpuboard.errors import GpuboardError, HostError, RequestError
from gpuboard.model.ids import JobId
from gpuboard.model.job import JobState
from gpuboard.model.plan import ReservationRequest
from gpuboard.runtimes.protocol import RunRequest
from gpuboard.runtimes.simulated import Script
from tests.support.engine import ANN, BEN, Box, person, uuid
from tests.support.invariants import Invariants
from tests.support.simstore import SimulationStore, fast_folder
from tests.support.weather import FAULTS, Weather

PEOPLE = (ANN, BEN, person(1003, "cat"))
STEPS = 150
BROKEN = (AssertionError, GpuboardError, KeyError)
"""What a story ends with that found a bug."""


class WalkWorkers(StepWorkers):
    """Step workers that mostly let forecasts be: nothing is decided by them."""

    def __init__(self) -> None:
        super().__init__()
        self._forecasts = 0

    def submit(self, work, on_done, lane) -> None:
        """Take nine of ten forecasts for made."""
        if lane is Lane.PLAN:
            self._forecasts += 1
            if self._forecasts % 10:
                on_done({}, None)
                return
        super().submit(work, on_done, lane)


class Walk:
    """One story."""

    def __init__(
        self, seed: int, state_dir: Path, *, faults: bool = True, without: Collection[int] = ()
    ) -> None:
        self.seed = seed
        self.faults = faults
        self.without = frozenset(without)
        self.random = random.Random(seed)
        self.scale = self.random.choice((1, 1, 10, 60))
        """How slow this box's life is: minutes, or days."""
        self.may_jump = self.random.random() < 0.5
        gpus = self.random.choice((1, 2, 4, 4, 8))
        self.trace: list[str] = []
        self.step = 0
        self.steps = 0
        """Steps of the engine so far."""
        self.crashes = 0
        self.box_ms = 0
        self._crash_in: int | None = None
        jobs = JobsConfig(
            max_attempts=3, on_device_fault=self.random.choice(("stop", "stop", "keep"))
        )
        self.box = Box(
            state_dir,
            gpus=gpus,
            config=Config(jobs=jobs, policy=PolicyConfig(half_life_s=10**11)),
            script=self._script,
            workers=WalkWorkers(),
            make_store=SimulationStore,
        )
        self.invariants = Invariants(self.box)
        self.weather = Weather(self.box, self.invariants)
        self.box.crash.hook = self._crash_point
        self.submitted: list[JobId] = []

    def say(self, *words: object) -> None:
        at = self.box.clock.boot_ms()
        self.trace.append(f"{self.step:4d} {at / 1000:11.2f} " + " ".join(map(str, words)))

    def _script(self, request: RunRequest) -> Script:
        # the outcome hangs on the attempt alone, not on when it is asked for
        dice = random.Random(request.name)
        run_s = dice.choice((0.5, 5, 30, 90, 400)) * self.scale
        fate = dice.random()
        return Script(
            run_s=run_s,
            exit_code=dice.choice((0, 0, 0, 1, 3, 137)),
            log=request.name.encode() + b"\n",
            term_exit_code=dice.choice((143, 0, None)),
            start_error=HostError("the hook failed") if fate < 0.03 else None,
            create_error=HostError("no space left on device") if 0.03 <= fate < 0.05 else None,
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

    def work(self, pieces: int, dice: random.Random) -> None:
        """Do some of the work that waits, in any order, and make a step of the engine."""
        workers = self.box.workers
        for _ in range(pieces):
            if len(workers):
                index = dice.randrange(len(workers))
                self.guarded(lambda i=index: self.box.workers.run(i))
        self.guarded(self.box.step)
        self.steps += 1
        self.invariants.check()

    def guarded(self, act) -> None:
        """Let a death of the daemon, and a full disk, be what they are in production."""
        store = self.box.store
        try:
            act()
        except Crash:
            self.crashes += 1
            self.box.restart()
        except HostError as error:
            if "disk of the simulation" not in str(error):
                raise
            self.box.engine.disturbed()
        if self.box.store is not store:
            self.box.crash.hook = self._crash_point

    def _something_happens(self, what: float) -> None:
        if what < 0.25 and len(self.submitted) < 400:
            self.submit(self.random)
        elif what < 0.32 and self.submitted:
            self.ask(self.random)
        elif what < 0.34:
            self.book(self.random)
        elif what < 0.50 and self.faults:
            kind = self.random.choice(FAULTS)
            if kind != "jump" or self.may_jump:
                self.strike(kind, self.random)

    def strike(self, kind: str, dice: random.Random) -> None:
        self.say(kind, self.weather.strike(kind, dice))

    def submit(self, dice: random.Random) -> None:
        job_id = self.box.submit(
            owner=dice.choice(PEOPLE),
            gpus=min(self.box.probe.gpus, dice.choice((0, 1, 1, 2, 4))),
            limit_s=dice.choice((20, 60, 300)) * self.scale,
            requeue=dice.random() < 0.3,
            preemptible=dice.random() < 0.2,
            grace_s=dice.choice((1, 10)),
        )
        self.submitted.append(job_id)
        self.say("submit", job_id)

    def ask(self, dice: random.Random) -> None:
        """A person wants something of a job, a booking or a device; a refusal is an answer."""
        job_id = dice.choice(self.submitted[-30:])
        engine = self.box.engine
        device = uuid(dice.randrange(self.box.probe.gpus))
        wish = dice.choice(
            ("cancel", "cancel", "cancel", "hold", "release", "drain", "resume", "unbook")
        )
        force = dice.random() < 0.3
        try:
            if wish == "cancel":
                job = engine.cancel(job_id, ANN, force=force)
                assert job.state in (JobState.CANCELLED, JobState.STOPPING), (
                    f"cancel of {job_id}: {job.state}"
                )
                self.invariants.cancelled.setdefault(job_id, job.attempt)
            elif wish == "hold":
                engine.hold(job_id, ANN, "user")
            elif wish == "release":
                engine.release(job_id, ANN)
            elif wish == "drain":
                engine.drain([device], "admin", "looking at it")
            elif wish == "resume":
                engine.resume([device], "admin")
            elif booked := engine.reservations():
                engine.unreserve(booked[0].id, ANN)
            self.say(wish, job_id, device)
        except RequestError:
            pass

    def book(self, dice: random.Random) -> None:
        from_at = self.box.clock.now_ms() + dice.choice((0, 30, 120)) * 1000 * self.scale
        request = ReservationRequest(
            gpus=min(self.box.probe.gpus, dice.choice((1, 2))),
            from_at=from_at,
            until_at=from_at + dice.choice((30, 200)) * 1000 * self.scale,
        )
        try:
            booking = self.box.engine.reserve(dice.choice(PEOPLE), request)
            self.say("reserve", booking.id)
        except RequestError:
            pass

    def clear_up(self) -> None:
        """The weather clears: everything must come to its true end."""
        box = self.box
        self.faults = False
        self.say("the weather clears")
        self.weather.clear()
        box.engine.resume([uuid(i) for i in range(box.probe.gpus)], "admin")
        for job in list(box.engine.live_jobs()):
            if job.is_held:
                box.engine.release(job.id, ANN)
        for number in range(6000):
            if number % 20 == 0 and box.engine.drains():  # stuck stops and failing hooks drain too
                box.engine.resume(list(box.engine.drains()), "admin")
            if box.engine.is_idle() and not box.engine.reservations() and not len(box.workers):
                break
            self._clear_step(3000 * self.scale)
        box.engine.look_soon()
        for _ in range(10):
            self._clear_step(5000)
        self.invariants.check_end(set(self.submitted))

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


def fails(seed: int, steps: int = STEPS, without: Collection[int] = ()) -> str:
    """Return why a story fails, in one line; empty when it does not."""
    try:
        walk(seed, steps, without)
    except AssertionError as error:
        return str(error).partition("\n")[0]
    return ""


def shrink(seed: int, steps: int = STEPS) -> tuple[int, set[int]]:
    """Return a shorter failing story: its length, and the steps left out, greedily."""
    low, high = 0, steps
    while low < high:  # the shortest failing beginning, as far as halving finds it
        middle = (low + high) // 2
        if fails(seed, middle):
            high = middle
        else:
            low = middle + 1
    without: set[int] = set()
    size = max(1, high // 2)
    while size:
        for begin in range(0, high, size):
            chunk = set(range(begin, min(high, begin + size))) - without
            if chunk and fails(seed, high, without | chunk):
                without |= chunk
        size //= 2
    return high, without


def numbers(text: str) -> set[int]:
    """Read `3,7-9`."""
    found: set[int] = set()
    for part in filter(None, text.split(",")):
        low, _, high = part.partition("-")
        found |= set(range(int(low), int(high or low) + 1))
    return found


def main() -> int:
    """Tell one story."""
    from tests.support.planted import planted

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
