"""Marks of plain-process jobs: unforgeable ones for the box, the environment for oneself alone."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from gpuboard.devices.processes import ProcessTable
from gpuboard.devices.runmarks import CGROUP_PARENT, MARKER, RunMarks
from gpuboard.runtimes import process as runtime

RUNS = "/var/lib/gpuboard/processes"


def box_of(run_dir: str) -> str:
    """Return the part of a group's name that tells daemons apart."""
    import hashlib

    return hashlib.sha256(os.fsencode(run_dir)).hexdigest()[:8]


BOX = box_of(RUNS)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (f"/gpuboard/gb-7-1-{BOX}", "gb-7-1"),
        (f"/gpuboard/gb-12-3-{BOX}/inner", "gb-12-3"),
        (f"/gpuboard/gb-7-1-{box_of('/elsewhere')}", ""),
        (f"/user.slice/user-1001.slice/gpuboard/gb-7-1-{BOX}", ""),
        (f"/gpuboard/x/gb-7-1-{BOX}", ""),
        (f"/gpuboard/gb-7-1-{BOX}x", ""),
        ("/gpuboard/gb-7-1", ""),
        ("/", ""),
    ],
)
def test_a_job_is_known_by_its_control_group_at_the_root(path: str, name: str) -> None:
    """Only a group where root alone can make one, of this daemon, proves a job."""
    assert RunMarks(RUNS).job_by_cgroup([path]) == name


def test_a_process_in_two_jobs_groups_is_nobodys() -> None:
    """Contradicting groups prove nothing."""
    paths = [f"/gpuboard/gb-7-1-{BOX}", f"/gpuboard/gb-8-1-{BOX}"]
    assert RunMarks(RUNS).job_by_cgroup(paths) == ""
    assert RunMarks(RUNS).job_by_cgroup([paths[0]] * 2) == "gb-7-1"


@pytest.mark.parametrize(
    ("environment", "name"),
    [
        (f"A=b\0{MARKER}={RUNS}/gb-7-1\0C=d\0", "gb-7-1"),
        (f"{MARKER}={RUNS}/gb-7-1", "gb-7-1"),
        (f"X{MARKER}={RUNS}/gb-7-1\0", ""),
        (f"X={MARKER}={RUNS}/gb-7-1\0", ""),
        (f"{MARKER}=/elsewhere/gb-7-1\0", ""),
        (f"{MARKER}={RUNS}/../gb-7-1\0", ""),
        (f"{MARKER}={RUNS}/gb-7-1/x\0", ""),
        ("", ""),
    ],
)
def test_a_job_is_named_by_a_whole_variable_of_this_run_directory(
    environment: str, name: str
) -> None:
    """The variable counts as a whole, with this daemon's directory."""
    assert RunMarks(RUNS).job_by_environment(environment.encode()) == name


def make_process(proc: Path, uid: int, environment: str) -> None:
    """Write a process 7 in no control group of ours."""
    folder = proc / "7"
    folder.mkdir()
    (proc / "stat").write_text("btime 1000\n")
    (folder / "stat").write_text("7 (python) S" + " 0" * 18 + " 500 0 0\n")
    (folder / "status").write_text(f"Uid:\t{uid}\t{uid}\t{uid}\t{uid}\n")
    (folder / "cgroup").write_text("0::/user.slice/user-1001.slice/session-1.scope\n")
    (folder / "environ").write_text(environment)


@pytest.mark.parametrize(
    ("own_uid", "uid", "name"),
    [(1001, 1001, "gb-7-1"), (1001, 1002, ""), (0, 1001, ""), (0, 0, "")],
)
def test_an_environment_is_believed_of_ones_own_processes_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_uid: int, uid: int, name: str
) -> None:
    """The box's daemon, root, believes nobody's environment: it would blame others for them."""
    monkeypatch.setattr(os, "geteuid", lambda: own_uid)
    make_process(tmp_path, uid, f"{MARKER}={RUNS}/gb-7-1\0")
    facts = ProcessTable(proc=tmp_path, run_dir=RUNS).facts(7)
    assert facts is not None
    assert facts.job_name == name


def test_the_marks_are_the_runtimes() -> None:
    """Variable and parent group are those that the process runtime writes."""
    assert MARKER == runtime.MARKER
    defaults = runtime.ProcessRuntime.__init__.__kwdefaults__
    assert defaults["cgroup_parent"] == CGROUP_PARENT


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make a control group")
def test_a_real_process_in_a_jobs_group_is_that_jobs(tmp_path: Path) -> None:
    """A living process in the group that the runtime makes is found to be its job's."""
    from gpuboard.runtimes.process_cgroup import drop_groups, make_groups
    from gpuboard.runtimes.protocol import RunRequest

    request = RunRequest(
        name="gb-7-1", job_id=7, attempt=1, uid=0, gid=0, groups=(), user="root", home="/"
    )
    groups = make_groups(request, CGROUP_PARENT, f"gb-7-1-{box_of(str(tmp_path))}")
    if not groups:
        pytest.skip("this box lets nobody make control groups")
    child = subprocess.Popen(["sleep", "60"])
    try:
        for group in groups:
            Path(group, "cgroup.procs").write_text(str(child.pid))
        facts = ProcessTable(run_dir=str(tmp_path)).facts(child.pid)
        assert facts is not None
        assert facts.job_name == "gb-7-1"
    finally:
        child.kill()
        child.wait()
        drop_groups(groups)
