"""`make soak SECONDS=120`: fresh seeds on every core for as long as told, then box-hours and steps.

With a goal (`make soak-goal`: `--steps 1000000 --box-hours 10000`) it goes on until both are reached,
and missing them within the seconds is a failure.

A seed that fails is shrunk and told, and with `--keep` added to `failed_seeds.txt`, which the suite
replays for ever.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import gc
import logging
import multiprocessing
import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.planted import planted
from tests.support.shrink import shrink
from tests.support.walk import STEPS, walk

SEEDS = Path(__file__).with_name("failed_seeds.txt")
SHRINK_S = 60.0
"""Shrinking a story is given up after so long."""
MOST_TOLD = 5
HOUR_MS = 3_600_000
_BATCH = 8


@dataclass
class Tally:
    """What some stories came to."""

    stories: int = 0
    steps: int = 0
    box_ms: int = 0
    crashes: int = 0
    failed: list[tuple[int, str]] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        self.stories += other.stories
        self.steps += other.steps
        self.box_ms += other.box_ms
        self.crashes += other.crashes
        self.failed += other.failed

    def words(self, seconds: float) -> str:
        return (
            f"{self.stories} stories, {self.steps:,} steps, {self.box_ms / HOUR_MS:,.0f} box-hours,"
            f" {self.crashes} deaths of the daemon, {len(self.failed)} failed,"
            f" {self.steps / max(seconds, 0.001):,.0f} steps/s"
        )


def kept_seeds() -> list[int]:
    """Return the seeds that ever failed."""
    lines = SEEDS.read_text().splitlines()
    return [int(line.split()[0]) for line in lines if line and not line.startswith("#")]


def live(seeds: list[int], until: float, bug: str = "") -> Tally:
    """Walk these stories until the time (monotonic, s) is over."""
    logging.disable(logging.CRITICAL)
    gc.set_threshold(100_000)
    tally = Tally()
    with planted(bug):
        for seed in seeds:
            if time.monotonic() > until:
                break
            tally.stories += 1
            try:
                story = walk(seed)
            except AssertionError as error:
                tally.failed.append((seed, str(error)))
                if bug:
                    break
            else:
                tally.steps += story.steps
                tally.box_ms += story.box_ms
                tally.crashes += story.crashes
    return tally


@dataclass(frozen=True)
class Goal:
    """How much is to be lived through; all zeros: as much as the time allows."""

    steps: int = 0
    box_hours: int = 0

    def is_set(self) -> bool:
        return bool(self.steps or self.box_hours)

    def is_reached(self, total: Tally) -> bool:
        return total.steps >= self.steps and total.box_ms >= self.box_hours * HOUR_MS


def soak(seconds: float, goal: Goal, first: int, jobs: int) -> Tally:
    """Walk fresh stories on so many cores, for so long or until the goal, if any, is reached."""
    began = time.monotonic()
    until = began + seconds
    total = Tally()
    context = multiprocessing.get_context("fork")
    with concurrent.futures.ProcessPoolExecutor(jobs, mp_context=context) as pool:
        batches: set[concurrent.futures.Future[Tally]] = set()
        while (goes_on := _goes_on(total, until, goal)) or batches:
            while goes_on and len(batches) < 2 * jobs:
                seeds = list(range(first, first + _BATCH))
                first += _BATCH
                batches.add(pool.submit(live, seeds, until))
            done, batches = concurrent.futures.wait(
                batches, timeout=1, return_when=concurrent.futures.FIRST_COMPLETED
            )
            for batch in done:
                found = batch.result()
                total.add(found)
                for _, words in found.failed:
                    print(words.partition("\n")[0], flush=True)
            if sys.stderr.isatty():
                spent = time.monotonic() - began
                print(
                    f"\r{spent:5.0f} s: {total.words(spent)}  ", end="", file=sys.stderr, flush=True
                )
    return total


def _goes_on(total: Tally, until: float, goal: Goal) -> bool:
    return time.monotonic() < until and not (goal.is_set() and goal.is_reached(total))


def tell(seed: int, words: str, *, keep: bool) -> None:
    """Say how a failing story can be told again, and keep its seed for the suite."""
    print(f"\n{words}\n", flush=True)
    length, without = shrink(seed, STEPS, time.monotonic() + SHRINK_S)
    print(
        f"seed {seed} fails; shrunk to {length - len(without)} of {STEPS} steps. "
        f"To see it, and shrink it further:\n  .venv/bin/python -m tests.support.walk {seed} --shrink",
        flush=True,
    )
    if keep:
        with SEEDS.open("a") as kept:
            kept.write(f"{seed}  {words.partition(chr(10))[0]}\n")


def main() -> int:
    """Soak, and tell what failed."""
    parser = argparse.ArgumentParser(prog="soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--steps", type=int, default=0, help="at least so many, then end [none]")
    parser.add_argument(
        "--box-hours", type=int, default=0, help="at least so many, then end [none]"
    )
    parser.add_argument("--first", type=int, default=None, help="first seed [fresh ones]")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--keep", action="store_true", help=f"add failing seeds to {SEEDS.name}")
    asked = parser.parse_args()
    logging.disable(logging.CRITICAL)
    first = asked.first if asked.first is not None else time.time_ns() // 1_000_000 % 2**30
    began = time.monotonic()
    goal = Goal(asked.steps, asked.box_hours)
    total = soak(asked.seconds, goal, first, asked.jobs)
    print(f"stories from seed {first}: {total.words(time.monotonic() - began)}", flush=True)
    for seed, words in total.failed[:MOST_TOLD]:
        tell(seed, words, keep=asked.keep)
    if goal.is_set() and not goal.is_reached(total):
        print(f"short of {goal.steps:,} steps and {goal.box_hours:,} box-hours", flush=True)
        return 1
    return 1 if total.failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
