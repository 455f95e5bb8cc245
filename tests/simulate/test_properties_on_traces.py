"""P1 to P8, P10 and P12 on cuts of real logs; `tests/bench/bench_simulate.py` plays the whole of them."""

from __future__ import annotations

import pytest

from gpuboard.simulate.policies import POLICIES
from gpuboard.simulate.run import without_wider
from gpuboard.simulate.simulation import Conditions
from gpuboard.simulate.trace import read_trace
from tests.support.watched_trace import watch

JOBS = 700


@pytest.mark.parametrize("name", ["kth16", "hpc2n16", "philly16"])
@pytest.mark.parametrize(
    "conditions",
    [Conditions(), Conditions(bookings_a_day=2), Conditions(bookings_a_day=2, preemptible=0.3)],
    ids=["plain", "bookings", "bookings-preemptible"],
)
def test_properties_hold_on_a_log(traces, name: str, conditions: Conditions):
    """With the usual policy, alone, with two bookings a day, and with jobs that may be stopped."""
    jobs = without_wider(read_trace(traces / f"{name}.csv.gz"), 16)[:JOBS]
    _, looked = watch(jobs, 16, POLICIES["fairshare"].settings, conditions)
    assert set(looked) >= {"P1", "P2", "P5", "P6", "P10", "P12"}
