"""Adoption: an attempt that a crash left created is taken up, whatever else changed meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from gpuboard.engine.crash import Crash
from gpuboard.engine.workers import StepWorkers
from gpuboard.runtimes.simulated import Script
from tests.support.engine import ANN, Box


def driver_is_down(box: Box, _job_id: int) -> None:
    box.probe.fault = "the driver does not answer"


def limits_were_changed(box: Box, _job_id: int) -> None:
    jobs = msgspec.structs.replace(box.config.jobs, pids_limit=99, numa_bind=True)
    box.config = msgspec.structs.replace(box.config, jobs=jobs)


def job_is_renamed(box: Box, job_id: int) -> None:
    spec = msgspec.structs.replace(box.job(job_id).spec, name="another", note="by a slip")
    box.engine.update(job_id, ANN, spec)


@pytest.mark.parametrize("change", [driver_is_down, limits_were_changed, job_is_renamed])
def test_created_attempt_is_adopted_though_the_box_changed(
    box: Box, change: Callable[[Box, int], None]
):
    """An accepted job is not lost: one container, one start."""
    job_id = box.submit(gpus=2, script=Script(run_s=100))

    def die(name: str) -> None:
        if name == "start.created":
            raise Crash(name)

    box.crash.hook = die
    with pytest.raises(Crash):
        box.settle()
    change(box, job_id)
    box.restart()
    if change is job_is_renamed:
        assert box.job(job_id).spec.name == "another"
    box.settle()
    assert (box.state(job_id), box.job(job_id).attempt) == ("running", 1)
    assert box.runtime.truth.starts == [box.job(job_id).runtime_name]
    box.check_invariants()


def test_attempt_of_the_same_number_from_another_record_is_not_adopted(box: Box):
    """The database was put back, and its next job has a number that was used already."""
    job_id = box.submit(script=Script(run_s=100))
    box.settle()
    container = box.runtime.containers[box.job(job_id).runtime_name]
    later = msgspec.structs.replace(container.request, granted_at=container.request.granted_at + 1)
    assert later.spec_hash() != container.request.spec_hash()


def test_the_engine_sleeps_while_a_listing_hangs_and_a_test_of_the_runtime_is_due(
    tmp_path: Path,
) -> None:
    """The test waited for the listing's answer, and the engine for neither."""
    box = Box(tmp_path, workers=StepWorkers())
    box.runtime.is_down = True
    box.step()
    box.workers.run(0)  # the test of the runtime; its listing has no answer yet
    for _ in range(3):
        box.clock.advance(20_000)
        box.step()
    assert box.engine.next_wake_boot_ms() - box.clock.boot_ms() > 500
    box.store.close()


def test_nothing_is_kept_of_calls_about_jobs_that_ended(box: Box) -> None:
    """A service runs for months: what was done to each job ever need not be known."""
    for _ in range(30):
        box.submit(script=Script(run_s=2))
    box.advance(60)
    box.submit(script=Script(run_s=2000))
    box.advance(10)
    assert len(box.engine.core.flights._touched) < 5
