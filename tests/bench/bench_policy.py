"""How long one decision takes with 10, 1,000 and 100,000 jobs queued.

Run: python tests/bench/bench_policy.py. Prints p50 and p99 in ms, each against the cost at 1,000
(target: p99 under 5 ms at 100,000, and within 2x of 1,000), then the forecast of 1,000 jobs.
CPU time of the thread, so that what else runs on the machine does not count.
"""

from __future__ import annotations

import random
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from gpuboard.model.world import (
    Booking,
    DeviceFact,
    Holder,
    Usage,
    Waiting,
    World,
)
from gpuboard.policy.forecast import forecast_starts
from gpuboard.policy.plan import plan_round
from gpuboard.policy.queue import WaitingQueue

NOW = 1_700_000_000_000
ROUNDS = 400


def waiting(number: int, chance: random.Random) -> Waiting:
    return Waiting(
        number,
        chance.randrange(50),
        NOW - chance.randrange(7 * 86_400_000),
        chance.choice((1, 1, 1, 2, 2, 4, 8)),
        chance.randrange(60, 7 * 86_400),
        preemptible=chance.random() < 0.1,
        predicted_s=chance.randrange(60, 86_400),
    )


def world(chance: random.Random) -> World:
    """Sixteen devices, ten held, four bookings ahead, fifty people."""
    devices = tuple(DeviceFact(f"GPU-{n}", n, "H100", numa_node=n // 8) for n in range(16))
    holders = tuple(
        Holder(
            -1 - n, n, (devices[n].uuid,), NOW + chance.randrange(1, 100) * 600_000, started_at=NOW
        )
        for n in range(10)
    )
    bookings = tuple(
        Booking(n, n, 4, NOW + n * 7_200_000, NOW + n * 7_200_000 + 3_600_000) for n in range(1, 5)
    )
    usage = tuple(Usage(uid, chance.random() * 1e6) for uid in range(50))
    return World(devices, holders, bookings, usage, NOW)


def measure(queued: int) -> tuple[float, float]:
    """Return p50 and p99 (ms) of rounds between which a job leaves and another comes."""
    chance = random.Random(queued)
    queue = WaitingQueue(waiting(number, chance) for number in range(1, queued + 1))
    took: list[float] = []
    for turn in range(ROUNDS):
        now_world = world(chance)
        queue.remove(1 + turn % queued)
        queue.add(waiting(queued + 1 + turn, chance))
        began = time.thread_time()
        plan_round(now_world, queue, NOW)
        took.append((time.thread_time() - began) * 1000)
    return statistics.median(took), statistics.quantiles(took, n=100)[98]


def main() -> None:
    results = {queued: measure(queued) for queued in (10, 1_000, 100_000)}
    base = results[1_000]
    for queued, (median, high) in results.items():
        print(
            f"{queued:>7} queued: p50 {median:.3f} ms ({median / base[0]:.2f}x), "
            f"p99 {high:.3f} ms ({high / base[1]:.2f}x of 1,000 queued)"
        )
    chance = random.Random(1)
    jobs = WaitingQueue(waiting(number, chance) for number in range(1, 1_001))
    began = time.thread_time()
    forecast_starts(world(chance), jobs, NOW)
    print(f"forecast of 1,000 jobs, both ways: {time.thread_time() - began:.2f} s")


if __name__ == "__main__":
    main()
