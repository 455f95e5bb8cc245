"""`make soak SECONDS=120`: fresh seeds on every core for as long as told, then box-hours and steps.

A seed that fails is shrunk, told and added to `failed_seeds.txt`, which the suite replays for ever.
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
            f"{self.stories} stories, {self.steps:,} steps, {self.box_ms / 3.6e6:,.0f} box-hours,"
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


def soak(seconds: float, first: int, jobs: int) -> Tally:
    """Walk fresh stories on so many cores."""
    began = time.monotonic()
    until = began + seconds
    total = Tally()
    context = multiprocessing.get_context("fork")
    with concurrent.futures.ProcessPoolExecutor(jobs, mp_context=context) as pool:
        batches: set[concurrent.futures.Future[Tally]] = set()
        while time.monotonic() < until or batches:
            while time.monotonic() < until and len(batches) < 2 * jobs:
                seeds = list(range(first, first + _BATCH))
                first += _BATCH
                batches.add(pool.submit(live, seeds, until))
            done, batches = concurrent.futures.wait(
                batches, timeout=1, return_when=concurrent.futures.FIRST_COMPLETED
            )
            for batch in done:
                total.add(batch.result())
            spent = time.monotonic() - began
            print(f"\r{spent:5.0f} s: {total.words(spent)}  ", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return total


def main() -> int:
    parser = argparse.ArgumentParser(prog="soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--first", type=int, default=None, help="first seed [fresh ones]")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    asked = parser.parse_args()
    logging.disable(logging.CRITICAL)
    first = asked.first if asked.first is not None else time.time_ns() // 1_000_000 % 2**30
    began = time.monotonic()
    total = soak(asked.seconds, first, asked.jobs)
    print(f"seeds from {first}: {total.words(time.monotonic() - began)}")
    for seed, words in total.failed:
        length, without = shrink(seed, STEPS)
        print(
            f"\n{words}\nshrunk to {length - len(without)} steps; replay: "
            f"python -m tests.support.walk {seed} --shrink"
        )
        with SEEDS.open("a") as kept:
            kept.write(f"{seed}  {words.partition(chr(10))[0]}\n")
    return 1 if total.failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
