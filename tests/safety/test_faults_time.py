"""Faults of hours and reboots on the real engine: the daemon's clock is moved, all else is real."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpuboard.runtimes.cgroups import ContainerCgroups
from tests.support.dockerd import DockerEngine, missing_parts, running_engine
from tests.support.fakenvml import built
from tests.support.faultbox import DOCKER, FaultBox, container_of, container_rows, fault_box
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.engine, pytest.mark.root, pytest.mark.cc]

HOUR_MS = 3_600_000
LIVE = "while :; do sleep 0.1; done"


@pytest.fixture(scope="module")
def their_engine() -> Iterator[DockerEngine]:
    """An engine of the module's own, whose containers outlive it."""
    if reason := missing_parts():
        pytest.skip(reason)
    with running_engine() as found:
        found.kill(signal.SIGTERM)
        yield found


@pytest.fixture
def engine(their_engine: DockerEngine) -> DockerEngine:
    """That engine, up whatever the test before left."""
    if not their_engine.is_up():
        their_engine.start(live_restore=True)
    with contextlib.closing(their_engine.client()) as client:
        for row in client.containers(all=True):
            client.remove_container(row["Id"], force=True)
    return their_engine


@pytest.fixture
def box(engine: DockerEngine, fault_folder: Path) -> Iterator[FaultBox]:
    """A box on it."""
    built()
    with fault_box(fault_folder, DOCKER.format(host=engine.host)) as box:
        box.start()
        yield box


def test_fault_17_real_engine_is_down_for_an_hour(box: FaultBox, engine: DockerEngine, saw) -> None:
    """Said so; submissions are taken, nothing is called lost, limits count on and the kill waits."""
    limited = box.shell(LIVE, time_limit="30m", grace="1s")
    stays = box.shell(LIVE, time_limit="3h", gpus=0, grace="1s")
    for job in (limited, stays):
        box.wait_state(job, "running")
    engine.kill()
    # a start before that would be an attempt of unknown outcome, which waits for the engine's word
    wait_until(lambda: box.client.get("/board")["host"]["engine_fault"], 30, "the engine's fault")
    waits = box.shell("exit 4")
    box.set_clock(wall_ms=HOUR_MS, boot_ms=HOUR_MS)
    box.wait_state(limited, "stopping", timeout_s=20)
    causes = wait_until(
        lambda: box.client.get(f"/jobs/{waits}/why")["causes"],
        15,
        str(box.client.get(f"/jobs/{waits}/why")),
    )
    assert "docker" in str(causes), causes
    assert [box.job(job)["state"] for job in (stays, waits)] == ["running", "queued"]
    engine.start(live_restore=True)
    assert box.ended(limited)["state"] == "timed_out"
    assert box.ended(waits)["exit_code"] == 4
    assert box.job(stays)["state"] == "running"
    saw(
        "one queued, none lost; after it: timed_out at its limit, the other runs on, the queued one ran"
    )


@pytest.mark.parametrize("jump_ms", [24 * HOUR_MS, -HOUR_MS])
def test_fault_35_clock_of_the_real_daemon_jumps(box: FaultBox, jump_ms: int, saw) -> None:
    """Nobody is killed by it; who reaches the limit by time since boot is."""
    runs = box.shell("sleep 2; exit 6")
    limited = box.shell(LIVE, time_limit="10m", grace="1s")
    for job in (runs, limited):
        box.wait_state(job, "running")
    box.set_clock(wall_ms=jump_ms)
    assert box.ended(runs)["exit_code"] == 6
    assert box.job(limited)["state"] == "running"
    box.set_clock(wall_ms=jump_ms, boot_ms=700_000)
    assert box.ended(limited)["state"] == "timed_out"
    saw(f"{jump_ms / HOUR_MS:+.0f} h: exit 6; the other timed out by time since boot")


def test_fault_28_box_is_rebooted(box: FaultBox, engine: DockerEngine, saw) -> None:
    """Power off: daemon, engine and every process of it die at once; then another boot id.

    What ran is lost by the reboot, or runs again for who asked; nothing that was answered is gone.
    """
    plain = box.shell(LIVE)
    # a loop: the power takes all processes at once, while a shell whose sleep alone ended would go on
    again = box.shell(f'[ "$GPUBOARD_ATTEMPT" = 1 ] && {LIVE}; exit 5', requeue=True)
    waits = box.shell("exit 0", gpus=2)
    for job in (plain, again):
        box.wait_state(job, "running")
    box.kill()
    handles = [row["Id"] for row in container_rows(engine)]
    engine.kill()
    for handle in handles:
        ContainerCgroups().kill(handle)
    box.set_clock(boot_id="another-boot", boot_ms=-60_000)
    engine.start(live_restore=True)
    box.start()
    view = box.ended(plain)
    assert (view["state"], view["reason"]) == ("lost", "the box was rebooted")
    second = box.ended(again)
    assert (second["attempt"], second["exit_code"]) == (2, 5)
    assert box.ended(waits)["state"] == "succeeded"
    assert box.is_charged_once()
    saw("lost: the box was rebooted; attempt 2 of the other: exit 5; the queued one ran")


def test_fault_24_real_process_that_sigkill_does_not_end(
    engine: DockerEngine, fault_folder: Path, saw
) -> None:
    """Frozen in a group of its own (v1), which SIGKILL cannot leave: its lease stays, others run."""
    freezer = Path("/sys/fs/cgroup/freezer")
    if not freezer.is_dir():
        pytest.skip("a frozen process dies of SIGKILL with control groups v2")
    built()
    with fault_box(fault_folder, DOCKER.format(host=engine.host)) as box:
        box.start(MORTAL_UNKILLABLE_S="1")
        job = box.shell(LIVE, grace="1s")
        box.wait_state(job, "running")
        groups = ContainerCgroups().directories(container_of(engine, job))
        [group] = [found for found in groups if freezer in found.parents]
        ice = group / "ice"
        ice.mkdir()
        for pid in (group / "cgroup.procs").read_text().split():
            (ice / "cgroup.procs").write_text(pid)
        (ice / "freezer.state").write_text("FROZEN")
        try:
            box.cancel(job)
            wait_until(box.drained, 25, "the drain")
            view = box.job(job)
            assert view["state"] == "stopping", view
            assert box.rows("SELECT job_id FROM leases WHERE released_at IS NULL") == [(job,)]
            other = box.shell("exit 3")
            assert box.ended(other)["exit_code"] == 3
        finally:
            (ice / "freezer.state").write_text("THAWED")
        assert box.ended(job)["state"] == "cancelled"
        saw(f"{view['reason'] or view['state']}: lease kept, device drained, the other job ran")


def test_fault_14_real_process_that_the_engine_does_not_know(
    box: FaultBox, engine: DockerEngine, saw
) -> None:
    """It lives on in the job's control group: killed there, and the device given to nobody before."""
    job = box.shell("sleep 3; exit 4", gpus=2)
    box.wait_state(job, "running")
    handle = container_of(engine, job)
    ghost = subprocess.Popen(["sleep", "600"])
    try:
        for group in ContainerCgroups().directories(handle):
            (group / "cgroup.procs").write_text(str(ghost.pid))
        after = box.shell("exit 0", gpus=2)
        ghost.wait(30)
        leased = box.rows("SELECT job_id FROM leases WHERE released_at IS NULL")
        assert {job_id for (job_id,) in leased} <= {job, after}
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(ghost.pid, signal.SIGKILL)
        ghost.wait()
    assert box.ended(job)["exit_code"] == 4
    assert box.ended(after)["state"] == "succeeded"
    [(ended,)] = box.rows("SELECT ended_at FROM jobs WHERE id = ?", job)
    [(begun,)] = box.rows("SELECT leased_at FROM jobs WHERE id = ?", after)
    assert begun >= ended
    saw(f"killed by its control group (signal {-ghost.returncode}); exit 4; the next began after")
