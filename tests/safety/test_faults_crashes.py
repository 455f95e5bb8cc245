"""Faults 1 to 7: the daemon is killed (SIGKILL, by itself) at every named point of a job's life.

The real daemon, a real Docker Engine, fake GPUs. After the next start: no device in two containers,
no job lost, none started twice, the true exit code, the whole log, usage charged once.
"""

from __future__ import annotations

import contextlib

import pytest

from gpuboard.errors import Unavailable
from tests.support.box import wait_until
from tests.support.dockerd import DockerEngine
from tests.support.faultbox import FaultBox, container_rows

pytestmark = [pytest.mark.engine, pytest.mark.root, pytest.mark.cc]

LINES = 20
SCRIPT = f"i=0; while [ $i -lt {LINES} ]; do i=$((i+1)); echo line $i; done; sleep 0.7; exit 7"
WHOLE = "".join(f"line {n}\n" for n in range(1, LINES + 1)).encode()


def _die(box: FaultBox, point: str, **fields: object) -> int:
    """Let the daemon die at the point in the life of one job, and start it again."""
    box.start(crash_at=point)
    job = box.shell(SCRIPT, **fields)
    box.await_death()
    return job


def _true_end(box: FaultBox, engine: DockerEngine, job: int) -> str:
    """Wait for the end; hold everything that must be true of it; return what was seen."""
    view = box.ended(job)
    assert (view["state"], view["exit_code"]) == ("failed", 7), view
    assert box.job_log(job) == WHOLE
    wait_until(lambda: not container_rows(engine), 20, "the containers to be removed")
    assert box.rows("SELECT count(*) FROM leases WHERE released_at IS NULL") == [(0,)]
    assert box.is_charged_once()
    runs = len(engine.hook.specs())
    assert runs == 1, f"{runs} starts"
    return f"attempt {view['attempt']}, exit 7, {LINES} lines, 1 start, charged once"


@pytest.fixture(autouse=True)
def _clean_records(docker_engine: DockerEngine) -> None:
    docker_engine.hook.clear()


def test_fault_01_daemon_killed_before_the_intent(
    docker_box: FaultBox, docker_engine: DockerEngine, record_property
) -> None:
    """The job is still queued and the engine knows nothing; then it runs as if nothing had been."""
    job = _die(docker_box, "start.intent.before")
    assert docker_box.rows("SELECT state FROM jobs WHERE id = ?", job) == [("queued",)]
    assert not container_rows(docker_engine)
    docker_box.start()
    record_property(
        "seen", "queued, no container; then " + _true_end(docker_box, docker_engine, job)
    )


@pytest.mark.parametrize("point", ["start.intent.after", "start.create"])
def test_fault_02_daemon_killed_before_the_create(
    docker_box: FaultBox, docker_engine: DockerEngine, point: str, record_property
) -> None:
    """Created once, under the name of the same attempt."""
    job = _die(docker_box, point)
    docker_box.start()
    record_property("seen", f"{point}: " + _true_end(docker_box, docker_engine, job))
    assert docker_box.job(job)["attempt"] == 1


@pytest.mark.parametrize("point", ["start.created", "start.issue.before"])
def test_fault_03_daemon_killed_after_the_create(
    docker_box: FaultBox, docker_engine: DockerEngine, point: str, record_property
) -> None:
    """Adopted by its name and started once."""
    job = _die(docker_box, point)
    before = [row["Id"] for row in container_rows(docker_engine)]
    assert len(before) == 1
    docker_box.start()
    record_property("seen", f"{point}: " + _true_end(docker_box, docker_engine, job))
    assert docker_box.rows("SELECT handle FROM jobs WHERE id = ?", job)[0][0] in before[0]


@pytest.mark.parametrize("point", ["start.issue.after", "start.start"])
def test_fault_04_daemon_killed_with_the_start_noted(
    docker_box: FaultBox, docker_engine: DockerEngine, point: str, record_property
) -> None:
    """It cannot be known whether it started: never started again; removed and said so."""
    job = _die(docker_box, point)
    docker_box.start()
    view = docker_box.ended(job, 90)
    assert view["state"] == "failed", view
    assert "start unknown" in view["reason"]
    assert docker_engine.hook.specs() == []
    assert docker_box.is_charged_once()
    wait_until(lambda: not container_rows(docker_engine), 20)
    record_property("seen", f"{point}: failed, {view['reason']}; no start, container removed")


@pytest.mark.parametrize("point", ["start.started", "start.running.before", "start.running.after"])
def test_fault_05_daemon_killed_after_the_start(
    docker_box: FaultBox, docker_engine: DockerEngine, point: str, record_property
) -> None:
    """Adopted; its exit code is its own."""
    job = _die(docker_box, point)
    docker_box.start()
    record_property("seen", f"{point}: " + _true_end(docker_box, docker_engine, job))


@pytest.mark.parametrize("point", ["end.look", "end.log_kept", "end.before"])
def test_fault_06_daemon_killed_between_exit_and_commit(
    docker_box: FaultBox, docker_engine: DockerEngine, point: str, record_property
) -> None:
    """The exit is seen again and counted once."""
    job = _die(docker_box, point)
    docker_box.start()
    record_property("seen", f"{point}: " + _true_end(docker_box, docker_engine, job))
    ends = docker_box.rows(
        "SELECT count(*) FROM events WHERE job_id = ? AND kind = 'job.failed'", job
    )
    assert ends == [(1,)]


@pytest.mark.parametrize("point", ["end.after", "sweep.look", "sweep.removed"])
def test_fault_07_daemon_killed_between_end_and_removal(
    docker_box: FaultBox, docker_engine: DockerEngine, point: str, record_property
) -> None:
    """What is left over is found by its label and removed."""
    job = _die(docker_box, point)
    docker_box.start()
    record_property("seen", f"{point}: " + _true_end(docker_box, docker_engine, job))


@pytest.mark.parametrize(
    "point", ["stop.intent.before", "stop.intent.after", "stop.signal", "stop.signalled"]
)
def test_fault_45_daemon_killed_inside_a_cancel(
    docker_box: FaultBox, docker_engine: DockerEngine, point: str, record_property
) -> None:
    """A cancel that was committed is carried on by the next life; one that was not is asked again."""
    box = docker_box
    box.start(crash_at=point)
    job = box.shell("trap 'exit 9' TERM; while :; do sleep 0.1; done")
    box.wait_state(job, "running")
    with contextlib.suppress(Unavailable):  # it may die before it answers, whatever the point
        box.cancel(job)
    box.await_death()
    box.start()
    if point == "stop.intent.before":
        assert box.job(job)["state"] == "running"
        box.cancel(job)
    view = box.ended(job)
    assert view["state"] == "cancelled", view
    assert box.is_charged_once()
    record_property("seen", f"{point}: cancelled, lease freed once")
