"""A broken invariant in production: nothing new starts, everybody is told, and all else goes on."""

from __future__ import annotations

import msgspec
import pytest

from gpuboard.errors import StateError
from gpuboard.model.ids import JobId
from gpuboard.runtimes.simulated import Script
from tests.support.engine import ANN, Box, uuid


def break_leases(box: Box) -> None:
    """Let a lease be of a job that is not there, as a bug would."""
    device, lease = next(iter(box.engine.core.ledger.leases.items()))
    box.engine.core.ledger.leases[device] = msgspec.structs.replace(lease, job_id=JobId(999))
    box.engine.core.ledger.revision += 1


def test_lease_that_contradicts_the_jobs_stops_scheduling_and_nothing_else(box: Box) -> None:
    """I3 and I4 are held after every change; ends, limits and cancellations go on."""
    ends = box.submit(gpus=1, script=Script(run_s=20))
    stays = box.submit(gpus=0, limit_s=60, script=Script(run_s=500))
    box.settle()
    break_leases(box)
    box.step()
    assert "leased to job 999" in box.engine.halted_words()
    waits = box.submit(gpus=1, script=Script(run_s=5))
    box.advance(30)
    assert box.state(waits) == "queued"
    assert "scheduling has stopped" in box.engine.explain(waits).causes[0].words
    box.engine.cancel(waits, ANN)
    assert box.state(waits) == "cancelled"
    box.advance(40)
    assert box.state(stays) == "timed_out"
    assert box.engine.job(ends).exit_code is not None or box.state(ends) == "running"


def test_second_start_of_an_attempt_is_refused(box: Box) -> None:
    """I2, at the last moment at which it can be held."""
    job_id = box.submit(script=Script(run_s=500))
    box.settle()
    with pytest.raises(StateError, match="would be started twice"):
        box.engine._starter._start(box.job(job_id))
    assert box.runtime.truth.starts == [box.job(job_id).runtime_name]


def test_broken_room_does_not_keep_the_others_from_working(box: Box) -> None:
    """What halts one part of a step leaves limits and ends to the others."""
    job_id = box.submit(limit_s=30, script=Script(run_s=500))
    box.settle()

    def fail() -> None:
        raise StateError("this part is broken")

    box.engine._bookings.keep_time = fail
    box.advance(50)
    assert box.engine.halted_words() == "this part is broken"
    assert box.state(job_id) == "timed_out"
    assert box.job(job_id).devices == (uuid(0),)


def test_the_engine_sleeps_though_a_plan_is_due_that_is_not_made(box: Box) -> None:
    """It asked for its next step at once, again and again, for as long as scheduling was stopped."""
    box.submit(begin_at=box.clock.now_ms() + 20_000)
    box.settle()
    box.engine.halt(StateError("broken"))
    box.advance(30)
    assert box.engine.next_wake_boot_ms() - box.clock.boot_ms() > 1000
