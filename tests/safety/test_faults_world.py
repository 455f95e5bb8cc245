"""Faults that need a world of their own: lost answers, hours, reboots, clocks; on simulated runtime and clock.

Each of them that can be had on a real engine is tried there too: `test_faults_answers.py` (8, 9),
`test_faults_time.py` (14, 17, 24, 28, 35), `test_faults_engine.py` (30).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gpuboard.errors import CannotStartNow, Conflict, DeviceDriverFailed, HostError
from gpuboard.model.device import DeviceProcess, Health
from gpuboard.runtimes.simulated import Effect, Script
from tests.support.engine import ANN, BEN, Box, uuid


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    """A simulated box of four devices, after its first steps."""
    box = Box(tmp_path / "state")
    box.settle()
    yield box
    box.check_invariants()
    box.store.close()


def finished(box: Box, job_id: int, seconds: int = 400) -> str:
    """Let time pass until the job has ended; return its state."""
    for _ in range(seconds):
        if box.job(job_id).state.is_final:
            break
        box.clock.advance(1000)
        box.step()
    box.settle()
    return box.state(job_id)


def test_fault_08_answer_of_the_create_is_lost(box: Box, record_property) -> None:
    """Whether it takes effect now, late or never: one container, one run, nothing left."""
    for effect in Effect:
        box.runtime.lose("create", effect, 10)
        assert finished(box, box.submit(script=Script(run_s=5))) == "succeeded"
        box.advance(30)
        assert not box.runtime.containers
    assert len(box.runtime.truth.starts) == 3
    record_property("seen", "now, later, never: one run each, the late container swept")


def test_fault_09_answer_of_the_start_is_lost(box: Box, record_property) -> None:
    """Looked at, never repeated; one that never came is removed and said so."""
    seen = []
    for effect in Effect:
        box.runtime.lose("start", effect, 10)
        job = box.submit(script=Script(run_s=30))
        seen.append(f"{effect}: {finished(box, job)}")
    assert seen == ["now: succeeded", "later: succeeded", "never: failed"]
    assert len(box.runtime.truth.starts) == 2
    record_property("seen", ", ".join(seen) + " (start unknown); no second start")


def test_fault_14_process_that_the_engine_does_not_know(box: Box, record_property) -> None:
    """It is killed by the kernel's word; nobody gets its devices before."""
    ghost = box.submit(gpus=4, script=Script(run_s=400))
    other = box.submit(gpus=4, script=Script(run_s=5))
    box.settle()
    box.runtime.ghost(box.job(ghost).runtime_name)
    assert finished(box, ghost) == "lost"
    assert finished(box, other) == "succeeded"
    record_property("seen", f"killed, lost: {box.job(ghost).reason}; the next job ran after it")


def test_fault_17_engine_is_down_for_an_hour(box: Box, record_property) -> None:
    """Said so; submissions are taken, nothing is called lost, limits count on and kills wait."""
    runs = box.submit(gpus=2, limit_s=1800, script=Script(run_s=1e6))
    box.settle()
    box.runtime.is_down = True
    box.advance(10)
    waits = box.submit()
    box.advance(3600, by=20)
    assert (box.state(runs), box.state(waits)) == ("stopping", "queued")
    assert box.engine.explain(waits).causes[0].cause == "host"
    words = box.engine.capabilities().faults["simulated"]
    box.runtime.is_down = False
    box.advance(10)
    assert (box.state(runs), box.state(waits)) == ("timed_out", "running")
    record_property("seen", f"'{words}'; after it: timed_out at its limit, the waiting one runs")


def test_fault_19_listing_fails_or_is_cut(box: Box, record_property) -> None:
    """No decision from an error."""
    job = box.submit(script=Script(run_s=100))
    box.settle()
    for _ in range(5):
        box.runtime.lose("observe", Effect.NEVER)
    box.advance(30)
    assert box.state(job) == "running"
    record_property("seen", "five failed listings: still running")


def test_fault_24_process_that_sigkill_does_not_end(box: Box, record_property) -> None:
    """Its lease stays, its device is drained, the others go on."""
    script = Script(run_s=1e6, term_exit_code=None, is_unkillable=True)
    job, other = box.submit(script=script), box.submit(script=Script(run_s=30))
    box.settle()
    box.engine.cancel(job, BEN)
    box.advance(90)
    assert (box.state(job), box.state(other)) == ("stopping", "succeeded")
    assert box.engine.leases()[uuid(0)].job_id == job
    assert uuid(0) in box.engine.drains()
    record_property("seen", f"{box.engine.progress_of(job)}, lease kept, device drained, other ran")


@pytest.mark.parametrize("choice", ["stop", "keep"])
def test_fault_25_device_lost_under_a_job(tmp_path: Path, choice: str, record_property) -> None:
    """Drained either way; the job is stopped or kept as the configuration says; others go on."""
    from gpuboard.config import Config, JobsConfig

    box = Box(tmp_path / "s", config=Config(jobs=JobsConfig(on_device_fault=choice)))
    box.settle()
    hit, other = (box.submit(script=Script(run_s=500)) for _ in range(2))
    box.settle()
    box.probe.faults[uuid(0)] = (Health.LOST, "fell off the bus")
    box.advance(15)
    assert uuid(0) in box.engine.drains()
    assert box.state(hit) == ("failed" if choice == "stop" else "running")
    assert box.state(other) == "running"
    later = box.submit()
    box.settle()
    assert box.job(later).devices != (uuid(0),)
    record_property("seen", f"{choice}: {box.state(hit)}, drained, the other job runs")
    box.store.close()


@pytest.mark.parametrize("noticed", ["at once", "by the next daemon"])
@pytest.mark.parametrize("choice", ["stop", "keep"])
def test_fault_25_container_may_no_longer_open_its_gpus(
    tmp_path: Path, choice: str, noticed: str, record_property
) -> None:
    """As after a daemon-reload: the job is stopped or kept as configured; the device stays in use.

    A container that never could open them is no news.

    "NVML: Unknown Error" is simulated here: no NVML is asked, the runtime says that its container was
    shut out. A real container's rules are changed in `test_faults_points.py` (device.closed).
    """
    from gpuboard.config import Config, JobsConfig

    box = Box(tmp_path / "s", config=Config(jobs=JobsConfig(on_device_fault=choice)))
    box.settle()
    hit, other = (box.submit(script=Script(run_s=500)) for _ in range(2))
    box.settle()
    name = box.job(hit).runtime_name
    box.runtime.can_open |= {name: True, box.job(other).runtime_name: False}
    box.advance(5)
    box.runtime.can_open[name] = False
    if noticed == "by the next daemon":
        box.restart()
    box.advance(30)
    assert box.state(hit) == ("failed" if choice == "stop" else "running")
    assert box.state(other) == "running"
    kinds = [event.kind for event in box.engine.events(0, 1000, hit)]
    assert kinds.count("job.devices_closed") == 1
    assert uuid(0) not in box.engine.drains()
    record_property("seen", f"{choice}: {box.state(hit)}: {box.job(hit).reason[:60]}")
    box.store.close()


def test_fault_28_reboot(box: Box, record_property) -> None:
    """Another boot id: what ran is lost by the reboot, or rerun for who asked for it."""
    plain = box.submit(script=Script(run_s=500))
    rerun = box.submit(script=Script(run_s=500), requeue=True)
    box.settle()
    box.runtime.reboot()
    box.clock.reboot()
    box.restart()
    box.advance(5)
    assert (box.state(plain), box.job(plain).reason) == ("lost", "the box was rebooted")
    assert (box.state(rerun), box.job(rerun).attempt) == ("running", 2)
    record_property("seen", "lost: the box was rebooted; requeued one runs as attempt 2")


def test_fault_30_engines_disk_is_full(box: Box, record_property) -> None:
    """Back to the queue with growing pauses, and failed with the words when it does not end."""
    job = box.submit(script=Script(create_error=HostError("no space left on device")))
    box.settle()
    assert box.state(job) == "queued"
    box.advance(4)
    assert box.job(job).attempt == 2
    assert finished(box, job, 900) == "failed"
    assert "no space left" in box.job(job).reason
    record_property(
        "seen", f"{box.job(job).attempt} attempts with pauses, then: {box.job(job).reason}"
    )


def test_fault_30_box_that_is_full_keeps_the_job_until_there_is_room(
    box: Box, record_property
) -> None:
    """Nothing ran and nobody is to blame: it waits in the queue, tried seldom, and runs after."""
    job = box.submit(script=Script(create_error=CannotStartNow("no space left on device")))
    tries = []
    create = box.runtime.create
    box.runtime.create = lambda request: tries.append(request.name) or create(request)
    box.advance(3600, by=5)
    assert box.state(job) == "queued"
    assert 5 <= len(tries) <= 25, tries
    box.scripts[box.job(job).spec.name] = Script(run_s=500)
    box.advance(320, by=5)
    assert box.state(job) == "running"
    record_property("seen", f"tried {len(tries)} times in an hour, ran when there was room")


@pytest.mark.parametrize("jump_ms", [86_400_000, -3_600_000])
def test_fault_35_clock_jumps(box: Box, jump_ms: int, record_property) -> None:
    """Limits are kept by time since boot: nobody is killed, nobody runs longer."""
    job = box.submit(limit_s=300, script=Script(run_s=200))
    limited = box.submit(limit_s=100, script=Script(run_s=1e6))
    box.settle()
    box.clock.jump(jump_ms)
    box.advance(60)
    assert (box.state(job), box.state(limited)) == ("running", "running")
    assert finished(box, limited) == "timed_out"
    assert finished(box, job) == "succeeded"
    record_property("seen", f"{jump_ms / 3.6e6:+.0f} h: ran on, timed out at its 100 s")


def test_fault_45_cancel_meets_exit_start_and_cancel(box: Box, record_property) -> None:
    """One end, the lease freed once."""
    exits = box.submit(script=Script(run_s=2, exit_code=3))
    box.settle()
    box.clock.advance(3000)
    box.runtime.settle()  # it has ended, nobody has looked
    box.clock.advance(50)
    box.engine.cancel(exits, ANN)
    box.engine.cancel(exits, ANN, force=True)
    assert finished(box, exits) == "failed"
    starting = box.submit(script=Script(run_s=100))
    box.engine.step()
    box.engine.cancel(starting, ANN)
    assert finished(box, starting) == "cancelled"
    with pytest.raises(Conflict):
        box.engine.cancel(starting, ANN)
    for job in (exits, starting):
        kinds = [e.kind for e in box.engine.events(0, 1000, job)]
        assert sum(k in ("job.failed", "job.cancelled") for k in kinds) == 1
    assert not box.store.live_leases()
    record_property(
        "seen", "exit first: failed with its code; during the start: cancelled; one end each"
    )


def test_fault_46_device_setup_broken_by_an_upgrade(box: Box, record_property) -> None:
    """The job's reason is the engine's own words; a device on which nothing starts is drained."""
    words = "could not apply device request: unresolvable CDI devices nvidia.com/gpu=0"
    broken = Script(start_error=DeviceDriverFailed(words))
    jobs = [box.submit(gpu_uuids=(uuid(0),), script=broken) for _ in range(3)]
    for job in jobs:
        assert finished(box, job) == "failed"
        assert "unresolvable CDI" in box.job(job).reason
    assert "unresolvable CDI" in box.engine.drains()[uuid(0)].note
    record_property("seen", f"failed: {box.job(jobs[0]).reason[:60]}...; drained after three")


def test_fault_27_driver_names_somebody_on_a_free_device(box: Box, record_property) -> None:
    """Not given out while it is so."""
    for i in range(4):
        box.probe.foreign[uuid(i)] = (DeviceProcess(pid=5, uid=4000, user="zoe"),)
    box.settle()
    job = box.submit()
    box.advance(5)
    assert box.state(job) == "queued"
    who = box.engine.foreign_use()[uuid(0)]
    box.probe.foreign.clear()
    box.advance(3)
    assert box.state(job) == "running"
    record_property("seen", f"waited while {who} was on it, ran after")
