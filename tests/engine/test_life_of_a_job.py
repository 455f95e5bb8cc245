"""From submission to the end: each way through the states."""

from __future__ import annotations

from gpuboard.runtimes.simulated import Script
from tests.support.engine import Box, uuid


def test_job_that_fits_runs_at_once_and_ends_with_its_exit_code(box: Box) -> None:
    """Submitted, started on a free device, exited, recorded, removed."""
    job_id = box.submit(script=Script(run_s=30, exit_code=3, log=b"hello\n"))
    box.settle()
    job = box.job(job_id)
    assert job.state == "running"
    assert job.devices == (uuid(0),)
    assert box.store.live_leases()[0].job_id == job_id
    box.advance(31)
    job = box.job(job_id)
    assert (job.state, job.exit_code, job.reason) == ("failed", 3, "exit code 3")
    assert not box.store.live_leases()
    assert not box.runtime.containers
    read = box.engine.read_log(job_id)
    assert b"".join(read(lambda: False)) == b"hello\n"


def test_exit_code_zero_is_success(box: Box) -> None:
    """A job that ends with 0 has succeeded."""
    job_id = box.submit(script=Script(run_s=5))
    box.settle()
    box.advance(6)
    assert box.state(job_id) == "succeeded"
    assert box.job(job_id).exit_code == 0
