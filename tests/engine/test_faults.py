"""SAFETY.md C7, row by row, on the simulated runtime: each fault gets the outcome that it must get."""

from __future__ import annotations

import msgspec
import pytest

from gpuboard.config import Config, JobsConfig
from gpuboard.devices.roster import nameless_uuid
from gpuboard.engine import starting
from gpuboard.engine.core import Core
from gpuboard.engine.crash import Crash
from gpuboard.engine.workers import StepWorkers
from gpuboard.errors import (
    CannotStartNow,
    DeviceDriverFailed,
    HostError,
    NotExecutable,
    NotFound,
    Unavailable,
)
from gpuboard.model.device import DeviceProcess, Health
from gpuboard.model.job import Job, JobState
from gpuboard.model.plan import ReservationRequest
from gpuboard.runtimes.protocol import RunRequest, RunState
from gpuboard.runtimes.simulated import Container, Effect, Script
from tests.support.engine import ANN, BEN, Box, uuid


def die_at(box: Box, name: str) -> None:
    """Let the daemon die when it next passes this point, and the next one begin."""

    def hook(point: str) -> None:
        if point == name:
            raise Crash(name)

    box.crash.hook = hook
    with pytest.raises(Crash):
        for _ in range(20):
            box.settle(2)
            box.clock.advance(1000)
    box.restart()


def finished(box: Box, job_id: int, seconds: float = 700) -> str:
    """Let time pass until the job has ended; return its state."""
    for _ in range(int(seconds)):
        if box.job(job_id).state.is_final:
            break
        box.clock.advance(1000)
        box.step()
        box.check_invariants()
    box.settle()
    return box.state(job_id)


CRASHES = (
    *("start.intent.before", "start.intent.after", "start.create", "start.created"),
    *("start.issue.before", "start.issue.after", "start.start", "start.started"),
    *("start.running.before", "start.running.after", "end.look", "end.log_kept"),
    *("end.before", "end.after", "sweep.look", "sweep.removed"),
)


@pytest.mark.parametrize("point", CRASHES)
def test_daemon_dies_anywhere_and_the_job_still_ends_once_with_its_code(
    box: Box, point: str
) -> None:
    """Rows 1-7: at most one start an attempt, the true exit code, the whole log, nothing left over."""
    job_id = box.submit(script=Script(run_s=20, exit_code=7, log=b"whole\n"), requeue=True, gpus=2)
    die_at(box, point)
    assert finished(box, job_id) == "failed"
    assert box.job(job_id).exit_code == 7
    assert box.runtime.truth.starts == [box.job(job_id).runtime_name]
    assert b"".join(box.engine.read_log(job_id)(lambda: False)) == b"whole\n"
    box.settle()
    assert not box.runtime.containers
    assert not box.store.live_leases()


@pytest.mark.parametrize("point", ["start.issue.after", "start.start"])
def test_start_that_may_have_been_issued_is_never_issued_again(box: Box, point: str) -> None:
    """Row 4: without leave to rerun, a start whose fate is unknown ends the job as `start unknown`."""
    job_id = box.submit(script=Script(run_s=20))
    die_at(box, point)
    assert finished(box, job_id) == "failed"
    assert "start unknown" in box.job(job_id).reason
    assert box.runtime.truth.starts == []


@pytest.mark.parametrize("effect", list(Effect))
def test_lost_answer_of_create_makes_one_container(box: Box, effect: Effect) -> None:
    """Row 8: adopted, or swept when it comes late; the job runs once."""
    box.runtime.lose("create", effect, 10)
    job_id = box.submit(script=Script(run_s=5))
    assert finished(box, job_id) == "succeeded"
    assert len(box.runtime.truth.starts) == 1
    box.advance(30)
    assert not box.runtime.containers


@pytest.mark.parametrize("effect", list(Effect))
def test_lost_answer_of_start_is_looked_at_never_repeated(box: Box, effect: Effect) -> None:
    """Row 9: it ran, or it did not; it is never started a second time."""
    box.runtime.lose("start", effect, 10)
    job_id = box.submit(script=Script(run_s=30))
    state = finished(box, job_id)
    assert state == ("failed" if effect is Effect.NEVER else "succeeded")
    assert len(box.runtime.truth.starts) == (0 if effect is Effect.NEVER else 1)


def test_very_late_start_finds_nothing_to_start(box: Box) -> None:
    """An attempt given up is removed before its device goes to somebody else."""
    box.runtime.lose("start", Effect.LATER, 120)
    first = box.submit(gpus=4, limit_s=300, script=Script(run_s=30))
    second = box.submit(gpus=4, limit_s=300, script=Script(run_s=200))
    assert finished(box, first) == "failed"
    assert finished(box, second) == "succeeded"
    assert box.runtime.truth.starts == [box.job(second).runtime_name]


def test_late_start_finds_nothing_even_if_the_daemon_dies_after_the_end(box: Box) -> None:
    """The attempt is removed before its end is committed, not after."""
    box.runtime.lose("start", Effect.LATER, 90)
    box.submit(script=Script(run_s=300))

    def hook(point: str) -> None:
        if point == "end.after":
            raise Crash(point)

    box.settle()
    box.crash.hook = hook
    with pytest.raises(Crash):
        box.advance(80)
    box.clock.advance(60_000)
    box.runtime.settle()
    assert not box.runtime.truth.processes
    box.restart()
    box.check_invariants()


def test_hook_failure_is_the_jobs_clear_reason(box: Box) -> None:
    """Row 11: failed with the runtime's words, device free again."""
    error = HostError("nvidia-container-cli: driver mismatch")
    job_id = box.submit(script=Script(start_error=error))
    assert finished(box, job_id) == "failed"
    assert "driver mismatch" in box.job(job_id).reason
    assert not box.store.live_leases()
    assert not box.runtime.containers


@pytest.mark.parametrize(
    ("error", "owners", "is_drained"),
    [
        (HostError("the hook failed"), (ANN, ANN, BEN), True),
        (DeviceDriverFailed("driver mismatch"), (ANN, ANN, ANN), True),
        (HostError("/nvidia cannot be mounted"), (ANN, ANN, ANN, ANN), False),
        (HostError("the hook failed"), (ANN, BEN), False),
    ],
)
def test_device_on_which_nothing_starts_is_drained(box: Box, error, owners, is_drained) -> None:
    """Row 11: three jobs in a row, of two people or when the driver failed; one person takes none."""
    broken = Script(start_error=error)
    for owner in owners:
        job_id = box.submit(owner=owner, gpu_uuids=(uuid(0),), script=broken)
        assert finished(box, job_id) == "failed"
    assert (uuid(0) in box.engine.drains()) == is_drained
    if is_drained:
        assert error.message in box.engine.drains()[uuid(0)].note


def test_late_answer_of_an_older_check_does_not_take_the_runtime_away(tmp_path) -> None:
    """Only one test of a runtime is under way; its failure is followed by another."""
    box = Box(tmp_path / "state", workers=StepWorkers())
    box.runtime.is_down = True
    for _ in range(4):
        box.step()
        box.clock.advance(20_000)
    checks = [n for n, task in enumerate(box.workers._waiting) if "check" in str(task._work)]
    assert len(checks) == 1
    box.workers.run(checks[0])
    assert box.engine.capabilities().faults
    box.runtime.is_down = False
    for _ in range(4):
        box.clock.advance(20_000)
        box.step()
        while len(box.workers):
            box.workers.run()
    assert not box.engine.capabilities().faults
    box.store.close()


@pytest.mark.parametrize("status", [126, 127])
def test_command_that_cannot_be_executed_has_the_shells_exit_code(box: Box, status: int) -> None:
    """As `sh -c` would say it: scripts tell a missing program from one that failed."""
    error = NotExecutable("command not found: x", status=status)
    job_id = box.submit(script=Script(start_error=error))
    box.advance(5)
    job = box.job(job_id)
    assert (job.state, job.exit_code) == (JobState.FAILED, status)
    assert job.reason == "start failed: command not found: x"


def test_missing_image_fails_without_a_second_try(box: Box) -> None:
    """Row 41: the reason names the image."""
    box.runtime.missing_images.add("simulated:latest")
    job_id = box.submit()
    assert finished(box, job_id) == "failed"
    assert "simulated:latest" in box.job(job_id).reason
    assert box.job(job_id).attempt == 1


def test_box_that_cannot_create_is_given_pauses_and_then_says_so(box: Box) -> None:
    """Row 30: no loop; back to the queue with growing pauses, failed after max_attempts."""
    box.runtime.missing_images.clear()
    job_id = box.submit(script=Script(create_error=HostError("no space left on device")))
    box.settle()
    assert box.state(job_id) == "queued"
    assert box.engine.explain(job_id).causes[0].cause == "host"
    box.advance(4)
    assert box.job(job_id).attempt == 2
    assert finished(box, job_id) == "failed"
    assert "no space left" in box.job(job_id).reason


def test_own_removal_whose_answer_was_lost_is_nobodys_removal(box: Box) -> None:
    """The reason stays the one for which it was removed."""
    job_id = box.submit(script=Script(run_s=400))
    box.settle()
    box.runtime.ghost(box.job(job_id).runtime_name)
    box.runtime.lose("remove", Effect.LATER, 1)
    box.advance(10)
    assert (box.state(job_id), box.job(job_id).reason) == ("lost", "the container engine lost it")


@pytest.mark.parametrize("where", ["create_error", "start_error"])
def test_full_box_keeps_its_jobs_queued_until_it_is_mended(box: Box, where: str) -> None:
    """Rows 30, 46: back to the queue with growing pauses and the reason, however long it takes."""
    full = CannotStartNow("starting the container: no space left on device")
    box.scripts["full"] = Script(**{where: full})
    job_id = box.submit("full")
    box.advance(1800)
    assert box.state(job_id) == "queued"
    assert 5 < box.job(job_id).attempt < 15
    assert "no space left" in box.job(job_id).reason
    assert not box.engine.drains()
    assert not box.store.live_leases()
    box.scripts["full"] = Script(run_s=5)
    assert finished(box, job_id) == "succeeded"


def test_removal_of_ours_is_called_nobody_elses_after_a_crash(box: Box) -> None:
    """The daemon dies between removing what the engine lost and committing that."""
    job_id = box.submit(script=Script(run_s=500))
    box.settle()
    name = box.job(job_id).runtime_name
    box.runtime.ghost(name)
    die_at(box, "end.before")
    assert name not in box.runtime.containers
    box.settle()
    job = box.job(job_id)
    assert (str(job.state), job.reason) == ("lost", "the container engine lost it")


def test_cancel_while_a_lost_job_goes_back_to_the_queue_ends_it(tmp_path) -> None:
    """Answered is answered: the end under way is not the last word."""
    box = Box(tmp_path / "state", workers=StepWorkers())
    box.engine.look_soon()
    job_id = box.submit(requeue=True, script=Script(run_s=500))
    while box.state(job_id) != "running":
        box.clock.advance(100)
        box.step()
        while len(box.workers):
            box.workers.run()
    box.runtime.remove_behind(box.job(job_id).runtime_name)
    while box.engine.core.flights.doing(job_id) != "ending":
        box.clock.advance(1000)
        box.step()
        while len(box.workers) and box.engine.core.flights.doing(job_id) != "ending":
            box.workers.run()
    box.engine.cancel(job_id, ANN)
    while len(box.workers):
        box.workers.run()
    job = box.job(job_id)
    assert (str(job.state), job.attempt) == ("cancelled", 1)
    assert job.reason == "cancelled by ann; before that, its container was removed"
    box.store.close()


def test_ghost_is_reaped_and_keeps_its_lease_until_it_is_gone(box: Box) -> None:
    """Rows 13, 14: the engine says created, the process lives; nobody else gets the device before."""
    job_id = box.submit(gpus=4, script=Script(run_s=400))
    other = box.submit(gpus=4, script=Script(run_s=5))
    box.settle()
    box.runtime.ghost(box.job(job_id).runtime_name)
    assert finished(box, job_id) == "lost"
    assert finished(box, other) == "succeeded"
    box.check_invariants()


def test_engine_restart_loses_its_jobs_and_blames_nobody(box: Box) -> None:
    """Row 15: `lost: the container engine was restarted`, back in the queue for who asked for it."""
    plain = box.submit(script=Script(run_s=300))
    rerun = box.submit(script=Script(run_s=300), requeue=True)
    box.settle()
    box.runtime.is_down = True
    box.advance(5)
    box.runtime.restart()
    box.runtime.is_down = False
    box.advance(4)
    assert box.state(plain) == "lost"
    assert "restarted" in box.job(plain).reason
    assert (box.state(rerun), box.job(rerun).attempt) == ("running", 2)


@pytest.mark.parametrize("daemon_dies_too", [False, True])
def test_engine_restarted_between_two_looks_blames_nobody(box: Box, daemon_dies_too: bool) -> None:
    """Row 15: also when no listing failed, and when the daemon itself was down meanwhile."""
    plain = box.submit(script=Script(run_s=300))
    rerun = box.submit(script=Script(run_s=300), requeue=True)
    box.advance(5)
    box.runtime.restart()
    if daemon_dies_too:
        box.restart()
    box.advance(4)
    assert (box.state(plain), box.job(plain).reason) == (
        "lost",
        "the container engine was restarted",
    )
    assert (box.state(rerun), box.job(rerun).attempt) == ("running", 2)


def test_killed_job_is_told_so_although_the_engine_was_restarted_long_before(box: Box) -> None:
    """A restart that the job survived excuses nothing that comes later, over a daemon's life too."""
    job_id = box.submit(script=Script(run_s=300))
    box.advance(5)
    box.runtime.restart(live_restore=True)
    box.advance(5)
    box.restart()
    box.runtime.kill(box.job(job_id).handle)
    box.advance(5)
    assert box.state(job_id) == "failed"
    assert "outside gpuboard" in box.job(job_id).reason


def test_engine_restart_with_live_restore_changes_nothing(box: Box) -> None:
    """Row 16: what ran goes on; what ended meanwhile has its true exit code."""
    short = box.submit(script=Script(run_s=6, exit_code=5))
    long = box.submit(script=Script(run_s=300))
    box.settle()
    box.runtime.is_down = True
    box.advance(10)
    box.runtime.restart(live_restore=True)
    box.runtime.is_down = False
    box.advance(4)
    assert (box.state(short), box.job(short).exit_code) == ("failed", 5)
    assert box.state(long) == "running"


def test_engine_away_for_an_hour_loses_nothing(box: Box) -> None:
    """Row 17: submissions are taken, nothing is decided, limits count on, waiters know why."""
    runs = box.submit(gpus=2, limit_s=1800, script=Script(run_s=1e6))
    box.settle()
    box.runtime.is_down = True
    box.advance(10)
    waits = box.submit(gpus=1)
    box.advance(3600, by=20)
    assert box.state(runs) == "stopping"
    assert box.state(waits) == "queued"
    assert box.engine.explain(waits).causes[0].cause == "host"
    assert box.engine.capabilities().faults
    assert len(box.store.live_leases()) == 2
    box.runtime.is_down = False
    box.advance(10)
    assert box.state(runs) == "timed_out"
    assert box.state(waits) == "running"


def test_failed_listing_decides_nothing(box: Box) -> None:
    """Rows 18, 19: an error is not an empty list."""
    job_id = box.submit(script=Script(run_s=100))
    box.settle()
    for _ in range(5):
        box.runtime.lose("observe", Effect.NEVER)
    box.advance(30)
    assert box.state(job_id) == "running"


def test_nothing_is_scheduled_before_the_first_complete_listing(box: Box) -> None:
    """After a start of the daemon, what runs is found before anything is given out."""
    job_id = box.submit(gpus=4, script=Script(run_s=60))
    box.settle()
    waits = box.submit(gpus=1)
    box.runtime.is_down = True
    box.restart()
    box.advance(120)
    assert box.state(waits) == "queued"
    assert box.runtime.truth.starts == [box.job(job_id).runtime_name]
    box.runtime.is_down = False
    box.advance(20)
    assert box.state(job_id) == "succeeded"
    assert box.state(waits) == "running"


def test_container_removed_by_hand_is_lost(box: Box) -> None:
    """Row 20: with its reason; the device is free after the kernel says so."""
    job_id = box.submit(script=Script(run_s=100))
    box.settle()
    box.runtime.remove_behind(box.job(job_id).runtime_name)
    box.advance(5)
    assert (box.state(job_id), box.job(job_id).reason) == ("lost", "its container was removed")
    assert not box.store.live_leases()


def test_stranger_with_our_kind_of_name_is_left_alone(box: Box) -> None:
    """Row 21, attack 50: not adopted, not removed."""
    other = Box(box.state_dir.parent / "other", gpus=1)
    job_id = other.submit(script=Script(run_s=500))
    other.settle()
    name = other.job(job_id).runtime_name
    box.runtime.containers["gb-4711-1"] = other.runtime.containers[name]
    box.advance(20)
    assert "gb-4711-1" in box.runtime.containers
    other.store.close()


def test_container_of_another_hand_under_a_jobs_name_costs_that_attempt(box: Box) -> None:
    """A name taken by something else is not adopted; the next attempt has another name."""
    first = box.submit(script=Script(run_s=5))
    box.settle()
    stolen = box.runtime.containers[box.job(first).runtime_name]
    box.runtime.containers[f"gb-{first + 1}-1"] = stolen
    second = box.submit(script=Script(run_s=5))
    assert finished(box, second) == "succeeded"
    assert box.job(second).attempt == 2
    assert f"gb-{second}-1" not in box.runtime.truth.starts


def test_names_taken_again_and_again_are_the_jobs_reason(box: Box) -> None:
    """It does not go on for ever."""
    job_id = box.submit(held_by="user")
    box.settle()
    other = Box(box.state_dir.parent / "other", gpus=1)
    theirs = other.submit(script=Script(run_s=500))
    other.settle()
    foreign = other.runtime.containers[other.job(theirs).runtime_name]
    most = box.config.jobs.max_attempts
    box.runtime.containers |= {f"gb-{job_id}-{n}": foreign for n in range(1, most + 1)}
    box.engine.release(job_id, ANN)
    assert finished(box, job_id) == "failed"
    assert box.job(job_id).attempt == most
    assert "gb-" in box.job(job_id).reason
    other.store.close()


@pytest.mark.parametrize("state", [RunState.CREATED, RunState.EXITED])
def test_forgery_of_an_attempt_that_is_over_is_left_alone(box: Box, state: RunState) -> None:
    """Attack 50: its labels name the attempt, but the record has neither its hash nor its handle."""
    job_id = box.submit(script=Script(run_s=2))
    box.settle()
    real = box.runtime.containers[box.job(job_id).runtime_name]
    assert finished(box, job_id) == "succeeded"
    box.advance(10)
    request = msgspec.structs.replace(real.request, command=("forged",))
    forged = Container("forged", request, Script(), state=state)
    box.runtime.containers[request.name] = forged
    box.advance(20)
    assert box.runtime.containers == {request.name: forged}


def test_attempt_left_created_by_an_older_version_costs_an_attempt_and_is_swept(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it would be made of now is another thing: it is not adopted, and the job goes on."""
    job_id = box.submit(script=Script(run_s=5))
    die_at(box, "start.created")
    as_before = starting.run_request

    def as_now(core: Core, job: Job) -> RunRequest:
        return msgspec.structs.replace(as_before(core, job), workdir="/otherwise")

    monkeypatch.setattr(starting, "run_request", as_now)
    assert finished(box, job_id) == "succeeded"
    box.advance(20)
    assert box.job(job_id).attempt == 2
    assert box.runtime.truth.starts == [f"gb-{job_id}-2"]
    assert not box.runtime.containers


def test_killed_from_outside_is_told_so(box: Box) -> None:
    """Row 23: 137 without OOM and without a stop of ours."""
    job_id = box.submit(script=Script(run_s=100))
    box.settle()
    box.runtime.kill(box.job(job_id).handle)
    box.advance(4)
    job = box.job(job_id)
    assert (str(job.state), job.exit_code) == ("failed", 137)
    assert "outside gpuboard" in job.reason


def test_memory_kill_that_the_job_survived_is_no_failure(box: Box) -> None:
    """Row 23: exit code 0 with the OOM flag is a success with a note."""
    job_id = box.submit(script=Script(run_s=5, oom_killed=True))
    assert finished(box, job_id) == "succeeded"
    assert box.job(job_id).oom_killed


def test_unkillable_job_keeps_its_device_which_is_drained(box: Box) -> None:
    """Row 24: lease kept, device drained, the others go on."""
    job_id = box.submit(script=Script(run_s=1e6, term_exit_code=None, is_unkillable=True))
    other = box.submit(script=Script(run_s=30))
    box.settle()
    box.engine.cancel(job_id, BEN)
    box.advance(90)
    assert box.state(job_id) == "stopping"
    assert box.engine.leases()[uuid(0)].job_id == job_id
    assert uuid(0) in box.engine.drains()
    assert "unkillable" in box.engine.progress_of(job_id)
    assert box.state(other) == "succeeded"


def test_lost_gpu_never_receives_a_job(box: Box) -> None:
    """Row 25: drained by gpuboard with words."""
    box.probe.faults[uuid(0)] = (Health.LOST, "fell off the bus")
    box.settle()
    job_id = box.submit()
    box.settle()
    assert box.job(job_id).devices == (uuid(1),)
    assert "fell off the bus" in box.engine.drains()[uuid(0)].note


def test_job_on_a_failing_gpu_is_stopped_and_the_others_go_on(box: Box) -> None:
    """Row 25: `on_device_fault = "stop"`: failed with the device's fault as reason."""
    hit = box.submit(script=Script(run_s=500))
    other = box.submit(script=Script(run_s=500))
    box.settle()
    box.probe.faults[box.job(hit).devices[0]] = (Health.FAULTY, "Xid 79")
    box.advance(5)
    assert (box.state(hit), box.state(other)) == ("failed", "running")
    assert "Xid 79" in box.job(hit).reason


def test_job_on_a_failing_gpu_may_be_kept(tmp_path) -> None:
    """`on_device_fault = "keep"` leaves it alone; the device is drained all the same."""
    box = Box(tmp_path / "s", config=Config(jobs=JobsConfig(on_device_fault="keep")))
    box.settle()
    job_id = box.submit(script=Script(run_s=500))
    box.settle()
    box.probe.faults[uuid(0)] = (Health.FAULTY, "Xid 79")
    box.advance(5)
    assert box.state(job_id) == "running"
    assert uuid(0) in box.engine.drains()
    box.store.close()


def test_silent_driver_kills_nobody_and_starts_nothing(box: Box) -> None:
    """Row 25: no new GPU jobs while the driver does not answer; what runs goes on."""
    runs = box.submit(script=Script(run_s=500))
    box.settle()
    box.probe.fault = "the driver does not answer"
    waits = box.submit()
    box.advance(30)
    assert (box.state(runs), box.state(waits)) == ("running", "queued")
    assert not box.engine.drains()
    box.probe.fault = ""
    box.advance(3)
    assert box.state(waits) == "running"


def test_gpu_that_is_gone_from_the_list_is_lost(box: Box) -> None:
    """Row 26: leases are by UUID; a missing one is unhealthy."""
    box.probe.missing.add(uuid(2))
    box.settle()
    assert uuid(2) in box.engine.drains()


def test_device_used_from_outside_is_not_given_out(box: Box) -> None:
    """Row 27: shown with its user, given to nobody until it is free."""
    for i in range(4):
        box.probe.foreign[uuid(i)] = (DeviceProcess(pid=5, uid=4000, user="zoe"),)
    box.settle()
    job_id = box.submit()
    box.advance(5)
    assert box.state(job_id) == "queued"
    assert box.engine.foreign_use()[uuid(0)] == "zoe"
    box.probe.foreign.clear()
    box.advance(2)
    assert box.state(job_id) == "running"


def test_desktop_on_a_gpu_does_not_make_it_foreign(box: Box) -> None:
    """Graphics processes are a workstation's own."""
    box.probe.foreign[uuid(0)] = (DeviceProcess(pid=5, uid=0, user="root", kind="G"),)
    box.settle()
    assert not box.engine.foreign_use()


@pytest.mark.parametrize("is_readable", [True, False])
def test_device_is_free_only_when_the_driver_names_nobody_on_it(
    box: Box, is_readable: bool
) -> None:
    """The third of the three truths: a list that cannot be read is not an empty one."""
    first = box.submit(gpus=4, script=Script(run_s=5))
    box.settle()
    if is_readable:
        box.probe.remnants[uuid(3)] = box.job(first).runtime_name
    else:
        box.probe.unreadable.add(uuid(3))
    second = box.submit(gpus=4)
    box.advance(20)
    assert box.state(first) == "succeeded"
    assert box.state(second) == "queued"
    box.probe.remnants.clear()
    box.probe.unreadable.clear()
    box.advance(3)
    assert box.state(second) == "running"


def test_end_of_a_job_asks_for_a_sweep_at_once(box: Box) -> None:
    """A turnover does not cost an interval of the probe; a stubborn driver is not stormed for ever."""
    first = box.submit(gpus=4, script=Script(run_s=5))
    box.submit(gpus=4)
    box.settle()
    assert box.probe.hurries == 0
    box.probe.remnants[uuid(3)] = box.job(first).runtime_name
    box.advance(6)
    assert box.probe.hurries >= 1
    box.advance(3)
    asked = box.probe.hurries
    box.advance(10)
    assert box.probe.hurries == asked


def test_reboot_ends_running_jobs_as_lost(box: Box) -> None:
    """Row 28: the boot id differs; `the box was rebooted`; rerun for who asked for it."""
    plain = box.submit(script=Script(run_s=500))
    rerun = box.submit(script=Script(run_s=500), requeue=True)
    box.settle()
    box.runtime.reboot()
    box.clock.reboot()
    box.restart()
    box.advance(5)
    assert (box.state(plain), box.job(plain).reason) == ("lost", "the box was rebooted")
    assert (box.state(rerun), box.job(rerun).attempt) == ("running", 2)
    assert box.job(rerun).boot_id == box.clock.boot_id()


def test_job_that_succeeded_before_the_reboot_has_succeeded(box: Box) -> None:
    """The runtime's word counts where it shows a true end."""
    job_id = box.submit(script=Script(run_s=2))
    box.settle()
    box.clock.advance(3000)
    box.runtime.settle()
    box.clock.reboot()
    box.restart()
    box.advance(5)
    assert box.state(job_id) == "succeeded"


@pytest.mark.parametrize("jump_h", [24, -1])
def test_jump_of_the_wall_clock_kills_nobody(box: Box, jump_h: int) -> None:
    """Row 35: limits are kept by boot time."""
    job_id = box.submit(limit_s=600, script=Script(run_s=1e6))
    box.settle()
    box.clock.jump(jump_h * 3_600_000)
    box.advance(500, by=5)
    assert box.state(job_id) == "running"
    box.advance(120, by=5)
    assert box.state(job_id) == "timed_out"


def test_cancel_races_the_exit_and_one_end_is_recorded(box: Box) -> None:
    """Row 45: double cancel, cancel after the exit: one final state, lease freed once."""
    job_id = box.submit(script=Script(run_s=5, exit_code=4))
    box.settle()
    box.clock.advance(6000)
    box.runtime.settle()
    box.clock.advance(1000)
    box.engine.cancel(job_id, BEN)
    box.engine.cancel(job_id, BEN)
    box.advance(5)
    assert (box.state(job_id), box.job(job_id).exit_code) == ("failed", 4)
    ends = [
        e for e in box.engine.events(0, 1000, job_id) if e.kind in ("job.failed", "job.cancelled")
    ]
    assert len(ends) == 1


def test_wrong_devices_stop_the_job(box: Box) -> None:
    """Read back after the start: a mismatch is a StateError of that job, stopped at once."""
    box.runtime.wrong_devices = (uuid(3),)
    job_id = box.submit(script=Script(run_s=500))
    box.advance(5)
    assert box.state(job_id) == "failed"
    assert uuid(3) in box.job(job_id).reason


@pytest.mark.parametrize("dies", [False, True], ids=["no answer", "daemon dies"])
def test_wrong_devices_are_found_however_often_it_must_be_asked(
    box: Box, dies: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine that does not answer, and a daemon that dies meanwhile, leave no job unread."""
    box.runtime.wrong_devices = (uuid(3),)
    right = box.runtime.devices_of

    def no_answer(handle: str) -> None:
        raise Unavailable(f"the engine did not answer about {handle}")

    monkeypatch.setattr(box.runtime, "devices_of", no_answer)
    job_id = box.submit(script=Script(run_s=500))
    box.advance(10)
    assert box.state(job_id) == "running"
    monkeypatch.setattr(box.runtime, "devices_of", right)
    if dies:
        box.restart()
    box.advance(10)
    assert box.state(job_id) == "failed"
    assert uuid(3) in box.job(job_id).reason


def test_devices_that_were_read_back_are_not_asked_about_again(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each question is one to the engine, for each job and each listing."""
    asked: list[str] = []
    right = box.runtime.devices_of
    monkeypatch.setattr(
        box.runtime, "devices_of", lambda handle: (asked.append(handle), right(handle))[1]
    )
    job_id = box.submit(script=Script(run_s=500))
    box.advance(60)
    assert box.state(job_id) == "running"
    assert len(asked) == 1


def test_paused_container_is_still_running(box: Box) -> None:
    """Row 22: paused by hand; it is neither lost nor ended."""
    job_id = box.submit(script=Script(run_s=500))
    box.settle()
    box.runtime.containers[box.job(job_id).runtime_name].state = RunState.PAUSED
    box.advance(10)
    assert box.state(job_id) == "running"


def test_log_that_cannot_be_saved_yet_is_saved_later(box: Box) -> None:
    """The container stays until its log is kept; the end is told at once."""
    job_id = box.submit(script=Script(run_s=2, log=b"kept\n"))
    box.settle()
    for _ in range(3):
        box.runtime.lose("save_log", Effect.NEVER)
    box.advance(4)
    assert box.state(job_id) == "succeeded"
    box.advance(60)
    assert not box.runtime.containers
    assert b"".join(box.engine.read_log(job_id)(lambda: False)) == b"kept\n"


def test_missing_job_is_not_found(box: Box) -> None:
    """A number that was never given is nobody's."""
    with pytest.raises(NotFound):
        box.engine.job(4711)


def test_job_whose_container_was_paused_is_said_to_be_so_while_it_is(box: Box) -> None:
    """Row 22: it runs on for all counts, its limit too."""
    job = box.submit(script=Script(run_s=500), limit_s=600)
    box.settle()
    name = box.job(job).runtime_name
    box.runtime.pause(name)
    box.advance(5)
    assert box.state(job) == "running"
    assert box.engine.progress_of(job).startswith("paused")
    box.runtime.unpause(name)
    box.advance(5)
    assert not box.engine.progress_of(job)


@pytest.mark.parametrize("is_drained", [False, True], ids=["now", "by an older version"])
def test_gpu_lost_before_the_daemon_began_is_back_when_it_is_back(
    box: Box, *, is_drained: bool
) -> None:
    """Nobody knows who it is meanwhile: it is not given out, and no drain is left under a made-up name."""
    box.probe.nameless.add(0)
    box.restart()
    box.settle()
    assert not box.engine.drains()
    if is_drained:
        box.engine.drain([nameless_uuid(0)], "gpuboard", "fell off the bus")
    first, second = (box.submit(gpus=n, script=Script(run_s=500)) for n in (3, 1))
    box.settle()
    assert (box.state(first), box.state(second)) == ("running", "queued")
    box.probe.nameless.clear()
    box.advance(5)
    assert not box.engine.drains()
    assert (box.state(second), box.job(second).devices) == ("running", (uuid(0),))


def test_what_cannot_be_written_keeps_no_sigkill_from_a_job(box: Box) -> None:
    """Row 29: a booking that cannot be begun on a full disk cut each step off before the stops."""
    job_id = box.submit(script=Script(run_s=5000, term_exit_code=None), grace_s=30)
    box.settle()
    box.engine.cancel(job_id, ANN)
    box.settle()

    def fail() -> None:
        raise HostError("the disk is full")

    box.engine._bookings.keep_time = fail
    for _ in range(40):
        box.clock.advance(1000)
        with pytest.raises(HostError, match="the disk is full"):
            box.step()
    assert not box.runtime.truth.processes


def test_nothing_is_planned_past_a_booking_that_cannot_be_ended(box: Box) -> None:
    """The plan would start others on its devices, and what halts at their leases would halt for good."""
    now = box.clock.now_ms()
    box.engine.reserve(ANN, ReservationRequest(4, now, now + 60_000))
    box.settle()
    waits = box.submit(owner=BEN, limit_s=600, script=Script(run_s=50))
    keep_time = box.engine._bookings.keep_time

    def fail() -> None:
        raise HostError("the disk is full")

    box.engine._bookings.keep_time = fail
    for _ in range(90):
        box.clock.advance(1000)
        with pytest.raises(HostError, match="the disk is full"):
            box.step()
    assert (box.engine.halted_words(), box.state(waits)) == ("", "queued")
    box.engine._bookings.keep_time = keep_time
    box.advance(5)
    assert box.state(waits) == "running"
