"""From submission to the end: each way through the states."""

from __future__ import annotations

import msgspec
import pytest

from gpuboard.config import Config, QuotaConfig
from gpuboard.engine.protocol import NewJob
from gpuboard.errors import Conflict, InvalidRequest, NotFound, QuotaExceeded, StateError
from gpuboard.model.ids import JobId
from gpuboard.model.job import Dependency, DependencyKind
from gpuboard.runtimes.simulated import Script
from tests.support.engine import ANN, BEN, Box, uuid


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


def test_cancelled_queued_job_never_starts(box: Box) -> None:
    """It ends at once, with who did it."""
    box.submit(gpus=4, script=Script(run_s=500))
    waits = box.submit(gpus=1)
    box.settle()
    box.engine.cancel(waits, BEN)
    job = box.job(waits)
    assert (str(job.state), job.reason) == ("cancelled", "cancelled by ben")
    with pytest.raises(Conflict):
        box.engine.cancel(waits, BEN)


def test_cancelled_running_job_gets_its_signal_and_its_grace(box: Box) -> None:
    """SIGTERM first; what ends on it keeps its own exit code."""
    job_id = box.submit(script=Script(run_s=500, term_exit_code=0))
    box.settle()
    box.engine.cancel(job_id, ANN)
    box.settle()
    assert (box.state(job_id), box.job(job_id).exit_code) == ("cancelled", 0)


def test_job_that_ignores_the_signal_is_killed_after_its_grace(box: Box) -> None:
    """Not before, and surely then."""
    job_id = box.submit(grace_s=30, script=Script(run_s=5000, term_exit_code=None))
    box.settle()
    box.engine.cancel(job_id, ANN)
    box.advance(25)
    assert box.state(job_id) == "stopping"
    box.advance(8)
    assert (box.state(job_id), box.job(job_id).exit_code) == ("cancelled", 137)


def test_forced_cancel_kills_at_once(box: Box) -> None:
    """`--force` waits for no grace."""
    job_id = box.submit(grace_s=300, script=Script(run_s=5000, term_exit_code=None))
    box.settle()
    box.engine.cancel(job_id, ANN, force=True)
    box.settle()
    assert box.state(job_id) == "cancelled"


def test_limit_ends_a_job(box: Box) -> None:
    """Timed out on the second that was promised to others, and no earlier."""
    job_id = box.submit(limit_s=60, script=Script(run_s=5000))
    box.settle()
    box.advance(55)
    assert box.state(job_id) == "running"
    box.advance(8)
    job = box.job(job_id)
    assert (str(job.state), job.reason) == ("timed_out", "reached its limit of 1m")


def test_limit_is_kept_across_a_restart_of_the_daemon(box: Box) -> None:
    """The clock goes on while nobody looks."""
    job_id = box.submit(limit_s=60, script=Script(run_s=5000))
    box.settle()
    box.clock.advance(50_000)
    box.restart()
    box.advance(5)
    assert box.state(job_id) == "running"
    box.advance(10)
    assert box.state(job_id) == "timed_out"


def test_stop_is_carried_on_after_a_restart_of_the_daemon(box: Box) -> None:
    """A cancel that was answered is done, whatever dies."""
    job_id = box.submit(grace_s=20, script=Script(run_s=5000, term_exit_code=None))
    box.settle()
    box.engine.cancel(job_id, ANN)
    box.restart()
    box.advance(30)
    assert box.state(job_id) == "cancelled"


def test_dependency_waits_and_then_runs(box: Box) -> None:
    """afterok is met by success."""
    first = box.submit(script=Script(run_s=10))
    then = box.submit(depends_on=(Dependency(first),))
    box.settle()
    assert box.state(then) == "queued"
    box.advance(12)
    assert box.state(then) == "running"


def test_dependency_that_can_never_be_met_cancels_the_chain(box: Box) -> None:
    """With the reason; afterany goes on."""
    first = box.submit(script=Script(run_s=10, exit_code=1))
    second = box.submit(depends_on=(Dependency(first),))
    third = box.submit(depends_on=(Dependency(second),))
    anyway = box.submit(depends_on=(Dependency(third, DependencyKind.AFTER_ANY),))
    on_failure = box.submit(depends_on=(Dependency(first, DependencyKind.AFTER_NOT_OK),))
    box.settle()
    box.advance(12)
    assert [box.state(j) for j in (second, third)] == ["cancelled", "cancelled"]
    assert f"job {first} failed" in box.job(second).reason
    assert [box.state(j) for j in (anyway, on_failure)] == ["running", "running"]


def test_dependencies_survive_a_restart(box: Box) -> None:
    """What was open is open, what was met meanwhile is met."""
    first = box.submit(script=Script(run_s=10))
    then = box.submit(depends_on=(Dependency(first),))
    box.settle()
    box.restart()
    box.settle()
    assert box.state(then) == "queued"
    box.advance(12)
    assert box.state(then) == "running"


def test_dependency_on_what_is_there_no_more_is_refused(box: Box) -> None:
    """Unknown and already failed ones are told at submission."""
    with pytest.raises(NotFound):
        box.submit(depends_on=(Dependency(JobId(99)),))
    failed = box.submit(script=Script(run_s=1, exit_code=1))
    box.settle()
    box.advance(3)
    with pytest.raises(InvalidRequest):
        box.submit(depends_on=(Dependency(failed),))


def test_array_limit_holds_the_rest_back(box: Box) -> None:
    """`%2`: two at once, in order, each with its own index."""
    jobs = [NewJob(box.spec(script=Script(run_s=10), name="a"), i) for i in range(4)]
    ids = [job.id for job in box.engine.submit(ANN, jobs, array_limit=2)]
    box.settle()
    assert [box.state(i) for i in ids] == ["running", "running", "queued", "queued"]
    assert {box.job(i).array_id for i in ids} == {ids[0]}
    env = box.runtime.containers[box.job(ids[1]).runtime_name].request.env
    assert env["GPUBOARD_ARRAY_INDEX"] == "1"
    box.advance(12)
    assert [box.state(i) for i in ids[2:]] == ["running", "running"]


def test_script_written_for_slurm_finds_the_variables_it_reads(box: Box) -> None:
    """Its job and task, and the folder of the submission; the person's own word beats ours."""
    slurm = msgspec.structs.replace(
        box.spec(script=Script(run_s=10), name="a"),
        command=("a.sh",),
        script="#!/bin/sh\n#SBATCH --array=0-1\n",
        workdir="/w",
        env={"SLURM_JOB_NAME": "mine"},
    )
    ordinary = msgspec.structs.replace(slurm, script="#!/bin/sh\n", env={})
    first, second = [job.id for job in box.engine.submit(ANN, [NewJob(slurm, 0), NewJob(slurm, 1)])]
    (third,) = [job.id for job in box.engine.submit(ANN, [NewJob(ordinary)])]
    box.settle()

    def told(job_id: JobId) -> dict[str, str]:
        env = box.runtime.containers[box.job(job_id).runtime_name].request.env
        return {key: value for key, value in env.items() if key.startswith("SLURM_")}

    assert told(second) == {
        "SLURM_JOB_ID": str(second),
        "SLURM_JOB_NAME": "mine",
        "SLURM_SUBMIT_DIR": "/w",
        "SLURM_ARRAY_JOB_ID": str(first),
        "SLURM_ARRAY_TASK_ID": "1",
    }
    assert told(third) == {}


def test_preempted_job_gives_way_and_comes_back(box: Box) -> None:
    """It gets its signal, goes back to the queue with a new attempt, and runs again later."""
    spare = box.submit(gpus=4, preemptible=True, limit_s=3000, script=Script(run_s=2000))
    box.settle()
    assert box.state(spare) == "running"
    rightful = box.submit(owner=BEN, gpus=4, script=Script(run_s=10))
    box.advance(5)
    assert box.state(rightful) == "running"
    assert (box.state(spare), box.job(spare).attempt) == ("queued", 2)
    box.advance(15)
    assert box.state(spare) == "running"
    assert len(box.runtime.truth.starts) == 3


def test_job_cancelled_while_preempted_stays_cancelled(box: Box) -> None:
    """The weightier stop wins."""
    spare = box.submit(
        gpus=4, preemptible=True, grace_s=60, script=Script(run_s=2000, term_exit_code=None)
    )
    box.settle()
    box.submit(owner=BEN, gpus=4)
    box.advance(2)
    assert box.state(spare) == "stopping"
    box.engine.cancel(spare, ANN, force=True)
    box.settle()
    assert box.state(spare) == "cancelled"


def test_lost_job_is_tried_again_at_most_so_often(box: Box) -> None:
    """`--requeue` has an end: max_attempts."""
    job_id = box.submit(requeue=True, script=Script(run_s=500))
    for _ in range(3):
        box.settle()
        box.runtime.remove_behind(box.job(job_id).runtime_name)
        box.advance(5)
    assert (box.state(job_id), box.job(job_id).attempt) == ("lost", 3)


def test_held_job_waits_for_its_release(box: Box) -> None:
    """Held from the start, or later."""
    job_id = box.submit(held_by="user")
    box.settle()
    assert box.state(job_id) == "queued"
    box.engine.release(job_id, ANN)
    box.settle()
    assert box.state(job_id) == "running"
    with pytest.raises(Conflict):
        box.engine.hold(job_id, ANN, "user")


def test_begin_time_is_kept_to(box: Box) -> None:
    """Not before; and then without anybody's doing."""
    job_id = box.submit(begin_at=box.clock.now_ms() + 30_000)
    box.advance(25)
    assert box.state(job_id) == "queued"
    box.advance(8)
    assert box.state(job_id) == "running"


def test_job_without_devices_runs_beside_a_full_box(box: Box) -> None:
    """`--gpus 0` waits for nobody."""
    box.submit(gpus=4, script=Script(run_s=500))
    job_id = box.submit(gpus=0, script=Script(run_s=3))
    box.settle()
    assert box.state(job_id) == "running"
    box.advance(5)
    assert box.state(job_id) == "succeeded"


def test_job_that_may_no_longer_run_is_held_with_the_reason(box: Box) -> None:
    """Rows 40, attacks 58 and 61: checked again before the start."""
    box.engine.core.recheck = lambda job: f"no such user {job.owner.name}"
    job_id = box.submit()
    box.settle()
    assert box.job(job_id).held_by == "admin"
    assert box.job(job_id).reason == "no such user ann"


def test_quota_of_queued_jobs_refuses_all_or_none(tmp_path) -> None:
    """An array beyond the room left stores nothing."""
    box = Box(tmp_path / "s", config=Config(quota=QuotaConfig(queued_jobs=3)))
    box.settle()
    with pytest.raises(QuotaExceeded):
        box.engine.submit(ANN, [NewJob(box.spec(), i) for i in range(4)])
    assert box.engine.queue_length() == 0
    assert len(box.engine.submit(ANN, [NewJob(box.spec(), i) for i in range(3)])) == 3
    box.store.close()


def test_running_quota_leaves_room_for_others(tmp_path) -> None:
    """A person's devices at once are bounded; the next person's job starts."""
    box = Box(tmp_path / "s", config=Config(quota=QuotaConfig(users={"ann": {"running_gpus": 2}})))
    box.settle()
    own = [box.submit() for _ in range(3)]
    other = box.submit(owner=BEN)
    box.settle()
    assert [box.state(j) for j in own] == ["running", "running", "queued"]
    assert box.state(other) == "running"
    box.store.close()


def test_what_is_held_is_charged_once(box: Box) -> None:
    """Device-seconds charged are device-seconds held, across a restart too."""
    box.submit(gpus=2, script=Script(run_s=100))
    box.settle()
    box.advance(50)
    box.restart()
    box.advance(60)
    held = sum(
        (lease.released_at - lease.granted_at) / 1000
        for lease in box.store.leases_between(0, 2**62)
        if lease.released_at is not None
    )
    charged = {u.uid: u.device_seconds for u in box.engine.usage()}[ANN.uid]
    assert held == pytest.approx(200, abs=8)
    assert charged == pytest.approx(held, rel=0.001)
    assert box.engine.usage_since(0)[ANN.uid] == pytest.approx(held)


def test_raised_limit_moves_the_end_of_the_lease(box: Box) -> None:
    """Update of a running job: limit, name and note; nothing else."""
    job_id = box.submit(limit_s=60, script=Script(run_s=5000))
    box.settle()
    spec = box.job(job_id).spec
    box.engine.update(job_id, ANN, msgspec.structs.replace(spec, limit_s=120))
    assert box.engine.leases()[uuid(0)].until_at == box.job(job_id).leased_at + 130_000
    box.advance(80)
    assert box.state(job_id) == "running"
    with pytest.raises(Conflict):
        box.engine.update(job_id, ANN, msgspec.structs.replace(spec, gpus=2))
    box.advance(50)
    assert box.state(job_id) == "timed_out"


def test_updated_queued_job_starts_when_it_fits_now(box: Box) -> None:
    """A smaller wish is looked at at once."""
    box.submit(gpus=3, script=Script(run_s=500))
    job_id = box.submit(gpus=2)
    box.settle()
    assert box.state(job_id) == "queued"
    smaller = msgspec.structs.replace(box.job(job_id).spec, gpus=1)
    box.engine.update(job_id, ANN, smaller)
    box.settle()
    assert box.state(job_id) == "running"


def test_every_change_of_state_is_one_event(box: Box) -> None:
    """The whole story of a job, in order."""
    job_id = box.submit(script=Script(run_s=2))
    box.settle()
    box.advance(4)
    kinds = [event.kind for event in box.engine.events(0, 100, job_id)]
    assert kinds == [
        "job.submitted",
        "job.starting",
        "job.created",
        "job.running",
        "job.succeeded",
    ]


def test_invariant_violation_stops_scheduling_and_nothing_else(box: Box) -> None:
    """A StateError: no more starts; ends and reads go on, and waiters are told."""
    runs = box.submit(script=Script(run_s=10))
    box.settle()
    box.engine.halt(StateError("device leased twice"))
    waits = box.submit()
    box.advance(12)
    assert box.state(runs) == "succeeded"
    assert box.state(waits) == "queued"
    assert "device leased twice" in box.engine.explain(waits).causes[0].words


def test_drained_device_gets_nothing_new_and_what_runs_goes_on(box: Box) -> None:
    """Out of service, and back."""
    runs = box.submit(script=Script(run_s=100))
    box.settle()
    box.engine.drain([uuid(i) for i in range(4)], "root", "fans")
    waits = box.submit()
    box.advance(5)
    assert (box.state(runs), box.state(waits)) == ("running", "queued")
    box.engine.resume([uuid(3)], "root")
    box.settle()
    assert box.job(waits).devices == (uuid(3),)
