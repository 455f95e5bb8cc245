"""Faults 1 to 7: the daemon is killed (SIGKILL, by itself) at every named point of a job's life.

After the next start: no device in two containers, no job lost, none started twice, the true exit
code, the whole log, usage charged once (`deaths.py`).
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gpuboard.errors import NotFound
from tests.safety.deaths import SCRIPT, CrashBox, crash_box
from tests.support.dockerd import DockerEngine
from tests.support.faultbox import container_rows
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.engine, pytest.mark.root, pytest.mark.cc]


@pytest.fixture(scope="module")
def box(docker_engine: DockerEngine, crash_folder) -> Iterator[CrashBox]:
    """One box that lives through all the deaths."""
    with crash_box(docker_engine, crash_folder) as found:
        yield found


@pytest.fixture(autouse=True)
def _alive(box: CrashBox) -> None:
    box.revive()


def test_fault_01_daemon_killed_before_the_intent(box: CrashBox, saw) -> None:
    """The job is still queued and the engine knows nothing; then it runs as if nothing had been."""
    box.arm("start.intent.before")
    job = box.shell(SCRIPT)
    box.await_death()
    assert box.rows("SELECT state FROM jobs WHERE id = ?", job) == [("queued",)]
    assert not container_rows(box.engine)
    box.start()
    saw("queued, no container; then " + box.check_true_end(job))


@pytest.mark.parametrize("point", ["start.intent.after", "start.create"])
def test_fault_02_daemon_killed_before_the_create(box: CrashBox, point: str, saw) -> None:
    """Created once, under the name of the same attempt."""
    job = box.job_dying_at(point)
    saw(f"{point}: " + box.check_true_end(job))


@pytest.mark.parametrize("point", ["start.created", "start.issue.before"])
def test_fault_03_daemon_killed_after_the_create(box: CrashBox, point: str, saw) -> None:
    """Adopted by its name and started once."""
    box.arm(point)
    job = box.shell(SCRIPT)
    box.await_death()
    [made] = [row["Id"] for row in container_rows(box.engine)]
    box.start()
    saw(f"{point}: " + box.check_true_end(job))
    assert box.rows("SELECT handle FROM jobs WHERE id = ?", job) == [(made,)]


@pytest.mark.parametrize("point", ["start.issue.after", "start.start"])
def test_fault_04_daemon_killed_with_the_start_noted(box: CrashBox, point: str, saw) -> None:
    """It cannot be known whether it started: never started again; removed and said so."""
    job = box.job_dying_at(point)
    view = box.ended(job)
    assert view["state"] == "failed", view
    assert "start unknown" in view["reason"]
    assert box.starts_of(job) in (0, None)
    with pytest.raises(NotFound):
        box.job_log(job)
    box.check_clean(job)
    saw(f"{point}: failed, {view['reason']}; no start, container removed")


def test_fault_04_daemon_killed_inside_the_start(box: CrashBox, saw) -> None:
    """The engine is at work on the start when the daemon dies: adopted when it runs, not begun anew."""
    box.engine.hook.behave("1.5")
    job = box.shell(SCRIPT)
    wait_until(lambda: box.starts_of(job), 20, "the start to reach the hook")
    assert box.rows("SELECT state, start_issued FROM jobs WHERE id = ?", job) == [("starting", 1)]
    box.kill()
    box.engine.hook.behave("0")
    box.start(MORTAL_START_LOOK_S="20")
    saw("inside the engine's start: adopted, " + box.check_true_end(job))


@pytest.mark.parametrize("point", ["start.started", "start.running.before", "start.running.after"])
def test_fault_05_daemon_killed_after_the_start(box: CrashBox, point: str, saw) -> None:
    """Adopted; its exit code is its own."""
    job = box.job_dying_at(point)
    saw(f"{point}: " + box.check_true_end(job))


@pytest.mark.parametrize("point", ["end.look", "end.log_kept", "end.before"])
def test_fault_06_daemon_killed_between_exit_and_commit(box: CrashBox, point: str, saw) -> None:
    """The exit is seen again and counted once."""
    job = box.job_dying_at(point)
    saw(f"{point}: " + box.check_true_end(job))


@pytest.mark.parametrize("point", ["end.after", "sweep.look", "sweep.removed"])
def test_fault_07_daemon_killed_between_end_and_removal(box: CrashBox, point: str, saw) -> None:
    """What is left over is found by its label and removed."""
    job = box.job_dying_at(point)
    saw(f"{point}: " + box.check_true_end(job))


STUBBORN = "trap '' TERM; while :; do sleep 0.1; done"
POLITE = "trap 'exit 9' TERM; while :; do sleep 0.1; done"


@pytest.mark.parametrize(
    "point",
    ["stop.intent.before", "stop.intent.after", "stop.signal", "stop.signalled", "stop.kill"],
)
def test_fault_45_daemon_killed_inside_a_cancel(box: CrashBox, point: str, saw) -> None:
    """A cancel that was committed is carried on by the next life; one that was not is asked again."""
    job = box.shell(STUBBORN if point == "stop.kill" else POLITE)
    box.wait_state(job, "running")
    box.die_at(point, lambda: box.cancel(job))
    if point == "stop.intent.before":
        assert box.job(job)["state"] == "running"
        box.cancel(job)
    view = box.ended(job)
    assert view["state"] == "cancelled", view
    assert box.starts_of(job) in (1, None)
    box.check_clean(job)
    saw(f"{point}: cancelled, lease freed once")


@pytest.mark.parametrize("point", ["end.fence.before", "end.fence.after"])
def test_fault_11_daemon_killed_when_the_hook_has_failed(box: CrashBox, point: str, saw) -> None:
    """A start that failed is not tried again by the next life."""
    box.engine.hook.behave("fail")
    job = box.job_dying_at(point)
    box.engine.hook.behave("0")
    view = box.ended(job)
    assert view["state"] == "failed", view
    assert box.starts_of(job) == 1
    box.check_clean(job)
    saw(f"{point}: failed, {view['reason'][:60]}; one start")
