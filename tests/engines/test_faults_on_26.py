"""Deaths of the daemon, ghosts and meddling on Docker 26.1: a choice of tests/safety's, where the engines differ.

26.1 begins a ghost's job a second time when it is started again (SAFETY.md A4), and gives devices by
CDI. All of tests/safety runs on it with GPUBOARD_SAFETY_ENGINE=26.1.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpuboard.runtimes.cgroups import ContainerCgroups
from tests.safety.deaths import COUNT, SCRIPT, CrashBox, crash_box
from tests.support.fakenvml import gpu_uuid
from tests.support.faultbox import container_of
from tests.support.trixie import TrixieEngine
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.cc]


@pytest.fixture(scope="module")
def box(trixie: TrixieEngine) -> Iterator[CrashBox]:
    """One box that lives through all of it; the engine knows its devices by CDI."""
    folder = Path(tempfile.mkdtemp(prefix="gbc-"))
    folder.chmod(0o755)
    trixie.write_cdi([gpu_uuid(number) for number in range(COUNT)])
    try:
        with crash_box(trixie, folder) as found:
            yield found
    finally:
        trixie.write_cdi()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize(
    "point", ["start.create", "start.created", "start.started", "end.log_kept", "sweep.look"]
)
def test_fault_05_daemon_killed_on_26(box: CrashBox, point: str, record_property) -> None:
    """Before the create, after it, after the start, at the end, at the removal: one run, true end."""
    job = box.job_dying_at(point)
    record_property("seen", f"on 26.1, {point}: " + box.check_true_end(job))


def test_fault_04_daemon_killed_with_the_start_noted_on_26(box: CrashBox, record_property) -> None:
    """Never started again; removed and said so."""
    job = box.job_dying_at("start.start")
    view = box.ended(job)
    assert view["state"] == "failed", view
    assert "start unknown" in view["reason"]
    box.check_clean(job)
    record_property("seen", f"on 26.1: failed, {view['reason']}")


def test_fault_14_process_that_26_does_not_know(box: CrashBox, record_property) -> None:
    """Killed by its control group; the job's exit code is its own, and it has run once."""
    job = box.shell(SCRIPT)
    box.wait_state(job, "running")
    ghost = subprocess.Popen(["sleep", "600"])
    try:
        for group in ContainerCgroups().directories(container_of(box.engine, job)):
            (group / "cgroup.procs").write_text(str(ghost.pid))
        ghost.wait(30)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(ghost.pid, signal.SIGKILL)
        ghost.wait()
    record_property("seen", "on 26.1: killed; " + box.check_true_end(job))


def test_fault_20_container_removed_and_paused_by_hand_on_26(
    box: CrashBox, record_property
) -> None:
    """A pause is shown; a removal is an end with its reason, and the device is free."""
    job = box.shell("while :; do sleep 0.1; done")
    box.wait_state(job, "running")
    assert box.daemon is not None
    with contextlib.closing(box.engine.client()) as client:
        handle = container_of(box.engine, job)
        client.pause(handle)
        wait_until(lambda: "paused" in box.job(job)["reason"], 15, "the pause to be shown")
        client.unpause(handle)
        box.daemon.send_signal(signal.SIGSTOP)  # else a look between kill and removal sees exit 137
        client.remove_container(handle, force=True)
        box.daemon.send_signal(signal.SIGCONT)
    view = box.ended(job)
    assert view["state"] == "lost", view
    assert "removed" in view["reason"]
    box.check_clean(job)
    record_property("seen", f"on 26.1: shown as paused; lost: {view['reason']}")
