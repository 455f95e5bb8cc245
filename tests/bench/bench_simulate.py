"""What the scheduler must show on real logs: known waits, promises kept, fairness, forecasts, cost.

    python -m tests.bench simulate [PART...]      parts: anchors properties policies forecast cost

Needs the traces (GPUBOARD_TRACES, or shared/traces beside the checkout). Prints a line a figure
with its target; exits 1 where one is missed. Every part plays whole logs; all of it takes minutes.
"""

from __future__ import annotations

import csv
import gzip
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gpuboard.simulate.forecasting import run_forecast
from gpuboard.simulate.policies import POLICIES
from gpuboard.simulate.run import run_simulation, without_wider
from gpuboard.simulate.simulation import Conditions
from gpuboard.simulate.trace import COLUMNS, TraceJob, read_trace
from tests.support.watched_trace import watch

ROOT = Path(__file__).resolve().parents[2]
TRACES = Path(os.environ.get("GPUBOARD_TRACES", ROOT.parent / "shared" / "traces"))
SIXTEEN = ("kth16", "hpc2n16", "philly16")
missed: list[str] = []


def jobs_of(name: str, gpus: int) -> list[TraceJob]:
    """Return the jobs of a log that the box could run."""
    return without_wider(read_trace(TRACES / f"{name}.csv.gz"), gpus)


def told(what: str, value: float | None, target: str, *, is_met: bool) -> None:
    """Print a figure beside its target, and remember a miss."""
    shown = "none" if value is None else f"{value:,.4g}" if abs(value) < 10 else f"{value:,.1f}"
    print(f"{what:<58} {shown:>12}   {target}{'' if is_met else '   MISSED'}", flush=True)
    if not is_met:
        missed.append(what)


def near(what: str, value: float, known: float, part: float = 0.01) -> None:
    """Hold a figure to a known one."""
    told(what, value, f"{known:,} within {part:.0%}", is_met=abs(value - known) <= part * known)


def at_most(what: str, value: float, most: float) -> None:
    """Hold a figure to a bound."""
    told(what, value, f"at most {most:,}", is_met=value <= most)


def anchors() -> None:
    """Compare with what an independent simulator makes of two logs (DESIGN.md section 6)."""
    for name, gpus, known in (
        ("kth_sp2", 100, {"fifo": 390_092, "easy": 6_889}),
        ("hpc2n_s", 240, {"fifo": 5_628, "easy": 3_558}),
    ):
        tables = run_simulation(jobs_of(name, gpus), gpus=gpus, policies=list(known))["policies"]
        for policy, wait_s in known.items():
            near(f"{name} {policy}: mean wait, s", tables[policy]["wait_mean_s"], wait_s)
        if name == "kth_sp2":
            near(f"{name} easy: bounded slowdown", tables["easy"]["bounded_slowdown_mean"], 90.4)


def properties() -> None:
    """Play whole logs with every property looked at."""
    plays = [(name, gpus, Conditions()) for name, gpus in (("kth_sp2", 100), ("hpc2n_s", 240))]
    for name in SIXTEEN:
        plays += [(name, 16, Conditions(bookings_a_day=2, preemptible=part)) for part in (0, 0.3)]
    for name, gpus, conditions in plays:
        booked, part = conditions.bookings_a_day, conditions.preemptible
        words = f"{name} at {gpus}: bookings {booked:g}/day, preemptible {part:g}"
        try:
            played, looked = watch(
                jobs_of(name, gpus), gpus, POLICIES["fairshare"].settings, conditions
            )
        except AssertionError as error:
            told(f"{words}: {error}"[:120], None, "no property broken", is_met=False)
            continue
        counts = ", ".join(f"{key} {count:,}" for key, count in sorted(looked.items()))
        told(
            words, played.promise_violations, f"0 promises broken; looked at {counts}", is_met=True
        )


def policies() -> None:
    """Compare with multifactor and EASY on the logs of 16 GPUs, and take turns by leases."""
    for name in SIXTEEN:
        tables = run_simulation(jobs_of(name, 16), gpus=16, policies=["multifactor", "fairshare"])[
            "policies"
        ]
        ours, other = tables["fairshare"], tables["multifactor"]
        told(
            f"{name}: utilisation",
            ours["utilisation"],
            f"multifactor's {other['utilisation']:.4f}",
            is_met=ours["utilisation"] >= other["utilisation"],
        )
        hours = [table["half_box_wait_max_s"] / 3600 for table in (ours, other)]
        is_met = name != "kth16" or hours[0] <= 0.9 * hours[1]
        told(
            f"{name}: longest half-box wait, h",
            hours[0],
            f"multifactor's {hours[1]:.1f}",
            is_met=is_met,
        )
    table = run_simulation(
        jobs_of("philly16", 16),
        gpus=16,
        policies=["fairlease"],
        conditions=Conditions(preemptible=1.0),
    )["policies"]["fairlease"]
    at_most("philly16 by leases: worst person's finish-time ratio", table["ftf_worst_person"], 4)
    at_most("philly16 by leases: jobs over 1.05", table["ftf_over_1_05"], 0.05)


def forecast() -> None:
    """Hold forecasts against what came."""
    for name, gpus, median_s in (("hpc2n_s", 240, 1_165), ("kth_sp2", 100, 2_439)):
        found: dict[str, Any] = run_forecast(jobs_of(name, gpus), gpus=gpus)["forecast"]
        held, p90 = found["no_later_than_held"], found["p90_coverage"]
        told(f"{name}: no later than held", held, "at least 0.94", is_met=held >= 0.94)
        told(f"{name}: p90 covers", p90, "0.88 to 0.92", is_met=0.88 <= p90 <= 0.92)
        at_most(f"{name}: median error, s", found["median_error_s"], median_s)


def cost() -> None:
    """Run the command itself: a log in its time, 100,000 jobs in theirs and in bounded memory."""
    with tempfile.TemporaryDirectory() as folder:
        long = Path(folder, "long.csv.gz")
        _write(long, _repeated(jobs_of("kth16", 16), 100_000))
        for what, path, gpus, most_s in (
            ("kth_sp2 at 100", TRACES / "kth_sp2.csv.gz", 100, 5),
            ("100,000 jobs at 16", long, 16, 60),
        ):
            cpu_s, wall_s, peak_mb = _timed(path, gpus)
            at_most(f"{what}: CPU time, s (wall {wall_s:.1f})", cpu_s, most_s)
            at_most(f"{what}: memory, MB", peak_mb, 500)


def _repeated(jobs: list[TraceJob], count: int) -> list[TraceJob]:
    """Return so many jobs: the log one time after the other."""
    span_s = jobs[-1].submit_s + 60
    return [
        TraceJob(n, job.user, job.submit_s + span_s * (n // len(jobs)), job.gpus, job.runtime_s, job.limit_s)
        for n in range(count)
        for job in (jobs[n % len(jobs)],)
    ]  # fmt: skip


def _write(path: Path, jobs: list[TraceJob]) -> None:
    with gzip.open(path, "wt", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(COLUMNS)
        rows.writerows((j.job_id, j.user, j.submit_s, j.gpus, j.runtime_s, j.limit_s) for j in jobs)


def _timed(path: Path, gpus: int) -> tuple[float, float, float]:
    """Return CPU seconds, wall seconds and peak memory (MB) of one run of the command."""
    words = ["simulate", str(path), "--gpus", str(gpus), "--policy", "fairshare", "--json"]
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "gpuboard", *words], check=True, capture_output=True, cwd=ROOT
    )
    wall_s, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    assert json.loads(done.stdout)["policies"]["fairshare"]["promise_violations"] == 0
    return after.ru_utime - before.ru_utime, wall_s, after.ru_maxrss / 1024


PARTS: dict[str, Callable[[], None]] = {
    "anchors": anchors,
    "properties": properties,
    "policies": policies,
    "forecast": forecast,
    "cost": cost,
}


def main(names: list[str]) -> int:
    """Measure the parts named, or all; return 1 where a target is missed."""
    if not TRACES.is_dir():
        print(f"no traces in {TRACES}: set GPUBOARD_TRACES")
        return 0
    for name in names or PARTS:
        PARTS[name]()
    print("missed: " + ", ".join(missed) if missed else "every target is met")
    return bool(missed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
