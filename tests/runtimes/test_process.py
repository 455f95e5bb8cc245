"""The process runtime: its supervisor, its records, its limits, the person it runs as."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from gpuboard.errors import (
    Conflict,
    HostError,
    InvalidRequest,
    NotExecutable,
    NotFound,
    PermissionDenied,
)
from gpuboard.runtimes.process import ProcessRuntime
from gpuboard.runtimes.process_files import RunDirectory, Started
from gpuboard.runtimes.process_table import (
    ProcessRow,
    await_end,
    has_marker,
    is_alive,
    real_uid,
    row_of,
    send,
)
from gpuboard.runtimes.protocol import RunState
from gpuboard.runtimes.sandbox import SandboxSettings
from tests.support.box import ROOT
from tests.support.runtimes import GPU, GPU_2, PERSON, RuntimeBench, open_descriptors
from tests.support.waiting import wait_until

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="other people's processes need root")


@pytest.fixture
def bench(process_bench: RuntimeBench) -> RuntimeBench:
    return process_bench


def started(bench: RuntimeBench, handle: str) -> Started:
    record = RunDirectory(Path(bench.runtime._run_dir) / handle).started()
    assert record is not None
    return record


def test_environment_is_ours_and_nothing_of_the_daemons(bench: RuntimeBench, monkeypatch):
    """A secret in the daemon's environment stays there."""
    monkeypatch.setenv("DAEMON_SECRET", "x")
    _, log = bench.run("env", devices=(GPU, GPU_2), env={"CUDA_VISIBLE_DEVICES": "0,1,2,3"})
    lines = set(log.decode().splitlines())
    assert f"CUDA_VISIBLE_DEVICES={GPU},{GPU_2}" in lines
    assert "CUDA_DEVICE_ORDER=PCI_BUS_ID" in lines
    assert f"HOME={bench.home}" in lines
    assert "USER=person" in lines
    assert not any("SECRET" in line for line in lines)


def test_job_without_devices_is_hidden_from_all(bench: RuntimeBench):
    """CUDA sees none."""
    _, log = bench.run("env")
    assert b"\nCUDA_VISIBLE_DEVICES=-1\n" in b"\n" + log


def test_signals_that_the_daemon_ignores_work_in_the_job(bench: RuntimeBench):
    """SIGPIPE ends `yes | head` (Python ignores it and would hand that on)."""
    _, log = bench.run("grep -E 'SigIgn|SigBlk' /proc/self/status")
    blocked, ignored = (int(word, 16) for word in log.split()[1::2])
    ordinary = (1 << 31) - 1  # signals 32 and 33 are the C library's own, nobody can restore them
    assert (blocked & ordinary, ignored & ordinary) == (0, 0)


def test_job_holds_no_file_of_the_daemon(bench: RuntimeBench):
    """Standard streams only."""
    _, log = bench.run("ls /proc/self/fd")
    assert set(log.split()) <= {b"0", b"1", b"2", b"3"}


@needs_root
def test_job_has_the_persons_groups_and_no_others(bench: RuntimeBench):
    """Not root's."""
    _, log = bench.run("id -G; id -u", groups=(PERSON, 5001))
    groups, uid = log.splitlines()
    assert sorted(groups.split()) == sorted([b"%d" % PERSON, b"5001"])
    assert uid == b"%d" % PERSON


@needs_root
def test_log_counts_against_the_persons_quota(bench: RuntimeBench):
    """It belongs to the person, below a directory that only the daemon enters."""
    handle = bench.begin(bench.shell("true"))
    bench.ended(handle)
    log = Path(bench.runtime._run_dir) / handle / "log"
    assert log.stat().st_uid == PERSON
    assert log.parent.stat().st_mode & 0o777 == 0o700
    assert log.parent.stat().st_uid == 0


@needs_root
def test_new_settings_bound_the_next_job(bench: RuntimeBench):
    """As after a reload: who asks for no memory gets what the admin sets now."""
    if not any(Path("/sys/fs/cgroup").glob("**/memory.*")):
        pytest.skip("no memory controller")
    bench.runtime.take_settings(SandboxSettings(default_memory_bytes=64 * 2**20))
    seen, _ = bench.run("exec tail /dev/zero")
    assert seen.oom_killed


@needs_root
def test_memory_limit_ends_the_hog_and_says_so(bench: RuntimeBench):
    """By a control group, where the box has them."""
    if not any(Path("/sys/fs/cgroup").glob("**/memory.*")):
        pytest.skip("no memory controller")
    seen, _ = bench.run("exec tail /dev/zero", memory_bytes=64 * 2**20)
    assert seen.exit_code == 137
    assert seen.oom_killed


@needs_root
def test_job_that_names_no_memory_and_cpus_has_the_boxs_bounds(bench: RuntimeBench):
    """As a container would."""
    bench.runtime._memory_bytes, bench.runtime._cpus = 64 * 2**20, 1.5
    handle = bench.begin(bench.shell("sleep 610"))
    groups = [Path(g) for g in RunDirectory(Path(bench.runtime._run_dir) / handle).order().cgroups]
    limits = {
        file.name: file.read_text().strip()
        for group in groups
        for file in group.iterdir()
        if file.name in ("memory.max", "memory.limit_in_bytes", "cpu.max", "cpu.cfs_quota_us")
    }
    if not limits:
        pytest.skip("no control groups with limits can be made here")
    assert set(limits.values()) <= {str(64 * 2**20), "150000 100000", "150000"}


def test_memory_asked_for_holds_without_control_groups_too(bench: RuntimeBench, tmp_path: Path):
    """Of each process; a job that asked for none is left alone."""
    runtime = ProcessRuntime(str(tmp_path / "groupless"), cgroup_parent="", memory_bytes=2**20)
    told = {}
    for asked in (2**28, None):
        handle = runtime.create(bench.shell("ulimit -d", memory_bytes=asked))
        runtime.start(handle)
        wait_until(lambda handle=handle: runtime.is_gone(handle))
        told[asked] = b"".join(runtime.read_log(handle)).decode().strip()
        runtime.remove(handle)
    runtime.close()
    assert told[2**28] == str(2**18)
    assert told[None] != "1024"


@needs_root
def test_fork_bomb_stays_in_its_group(bench: RuntimeBench):
    """The process limit is the request's."""
    seen, log = bench.run(
        "i=0; while [ $i -lt 40 ]; do sleep 5 & i=$((i+1)); done; echo all", pids=16
    )
    assert b"all" not in log or b"ork" in log
    assert seen.state is RunState.EXITED


@needs_root
def test_groups_go_with_the_last_process(bench: RuntimeBench):
    """Nothing stays in /sys/fs/cgroup."""
    handle = bench.begin(bench.shell("true"))
    groups = RunDirectory(Path(bench.runtime._run_dir) / handle).order().cgroups
    assert groups
    bench.ended(handle)
    assert not any(Path(group).exists() for group in groups)


def test_killed_supervisor_is_told_and_its_job_still_found(bench: RuntimeBench):
    """Running while it runs; then ended with an exit code that nobody knows; killable throughout."""
    handle = bench.begin(bench.shell("(setsid sleep 603 &); sleep 603"))
    record = started(bench, handle)
    assert send(record.supervisor, record.supervisor_ticks, signal.SIGKILL)
    wait_until(lambda: not is_alive(record.supervisor, record.supervisor_ticks))
    assert bench.seen(handle).state is RunState.RUNNING
    assert not bench.runtime.is_gone(handle)
    with pytest.raises(Conflict):
        bench.runtime.remove(handle)
    bench.runtime.kill(handle)
    wait_until(lambda: bench.runtime.is_gone(handle))
    seen = bench.seen(handle)
    assert seen.state is RunState.EXITED
    assert seen.exit_code is None
    assert "supervisor" in seen.error
    bench.runtime.remove(handle)


def test_stray_child_of_a_killed_supervisor_is_found_by_its_mark(bench: RuntimeBench):
    """In a session of its own, adopted by init: the environment still names the run."""
    handle = bench.begin(bench.shell("(setsid sleep 604 &); echo up; exec sleep 604"))
    wait_until(lambda: b"up" in bench.log(handle))
    record = started(bench, handle)
    send(record.supervisor, record.supervisor_ticks, signal.SIGKILL)
    send(record.pid, record.start_ticks, signal.SIGKILL)
    wait_until(lambda: not is_alive(record.pid, record.start_ticks))
    assert not bench.runtime.is_gone(handle)
    bench.runtime.kill(handle)
    wait_until(lambda: bench.runtime.is_gone(handle))


def test_stray_whose_parent_ends_under_the_look_is_found(
    bench: RuntimeBench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The parent is gone before it is asked for its mark, and its child was born behind the list's end."""
    runtime = ProcessRuntime(str(tmp_path / "groupless"), cgroup_parent="")
    run = tmp_path / "groupless" / runtime.create(bench.shell("exec sleep 616"))
    runtime.start(run.name)
    record = RunDirectory(run).started()
    assert record is not None
    send(record.supervisor, record.supervisor_ticks, signal.SIGKILL)
    send(record.pid, record.start_ticks, signal.SIGKILL)
    wait_until(lambda: runtime.is_gone(run.name))
    marked = {**os.environ, "GPUBOARD_RUN": str(run)}
    as_person = ["setpriv", f"--reuid={bench.uid}", f"--regid={bench.uid}", "--clear-groups"]
    command = [*(as_person if os.geteuid() == 0 else ()), "sleep", "617"]
    children = [subprocess.Popen(command, env=marked)]
    wait_until(lambda: real_uid(children[0].pid) == bench.uid)

    def read_mark(pid: int, marker: bytes) -> bool:
        if pid == children[0].pid and len(children) == 1:
            children.append(subprocess.Popen(command, env=marked))
            wait_until(lambda: real_uid(children[1].pid) == bench.uid)
            children[0].kill()
            children[0].wait()
        return has_marker(pid, marker)

    monkeypatch.setattr("gpuboard.runtimes.process.has_marker", read_mark)
    try:
        assert not runtime.is_gone(run.name)
    finally:
        runtime.kill(run.name)
        assert children[1].wait(10) == -signal.SIGKILL
    runtime.remove(run.name)
    runtime.close()


@pytest.mark.parametrize(
    ("uid", "is_of_it"), [(PERSON, True), (PERSON + 1, False)], ids=["own", "stranger"]
)
@needs_root
def test_only_the_persons_own_process_is_believed_its_mark(
    bench: RuntimeBench, tmp_path: Path, uid: int, is_of_it: bool
):
    """After the supervisor was killed: a stranger's neither holds the attempt nor is killed for it."""
    runtime = ProcessRuntime(str(tmp_path / "groupless"), cgroup_parent="")
    handle = runtime.create(bench.shell("exec sleep 614"))
    runtime.start(handle)
    record = RunDirectory(tmp_path / "groupless" / handle).started()
    assert record is not None
    send(record.supervisor, record.supervisor_ticks, signal.SIGKILL)
    send(record.pid, record.start_ticks, signal.SIGKILL)
    wait_until(lambda: runtime.is_gone(handle))
    mark = f"GPUBOARD_RUN={tmp_path / 'groupless' / handle}"
    with subprocess.Popen(
        [
            "env",
            mark,
            "setpriv",
            f"--reuid={uid}",
            f"--regid={uid}",
            "--clear-groups",
            "sleep",
            "607",
        ]
    ) as process:
        wait_until(lambda: real_uid(process.pid) == uid)
        assert runtime.is_gone(handle) is not is_of_it
        runtime.kill(handle)
        if is_of_it:
            assert process.wait(10) == -signal.SIGKILL
        else:
            assert process.poll() is None
            process.kill()
    runtime.remove(handle)
    runtime.close()


def test_whose_a_process_is_stands_beside_a_name_of_its_own_choosing():
    """No UTF-8: reading it failed, and with it the listing of everybody's jobs."""
    rename = (
        "import ctypes, time; ctypes.CDLL(None).prctl(15, b'\\xff\\rUid:\\t0', 0, 0, 0);"
        " print(flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", rename], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert real_uid(process.pid) == os.getuid()
        process.kill()


@needs_root
def test_a_mark_holds_nothing_where_groups_prove_the_job(bench: RuntimeBench):
    """Not even for the person: a loop of marked processes would keep the device beyond the limit."""
    handle = bench.begin(bench.shell("true"))
    if not RunDirectory(Path(bench.runtime._run_dir) / handle).order().cgroups:
        pytest.skip("no control groups can be made here")
    bench.ended(handle)
    mark = f"GPUBOARD_RUN={Path(bench.runtime._run_dir) / handle}"
    with subprocess.Popen(
        ["env", mark, "setpriv", f"--reuid={PERSON}", "--clear-groups", "sleep", "608"]
    ) as process:
        wait_until(lambda: real_uid(process.pid) == PERSON)
        assert bench.runtime.is_gone(handle)
        process.kill()


def test_attempt_of_an_earlier_boot_has_ended(bench: RuntimeBench):
    """Its pid belongs to somebody else now, and is never signalled."""
    handle = bench.begin(bench.shell("true"))
    bench.ended(handle)
    directory = Path(bench.runtime._run_dir) / handle
    (directory / "ended.json").unlink()
    text = (directory / "started.json").read_text()
    record = started(bench, handle)
    me = row_of(os.getpid())
    assert me is not None
    text = text.replace(record.boot_id, "another-boot").replace(
        f'"pid": {record.pid}', f'"pid": {me.pid}'
    )
    (directory / "started.json").write_text(text)
    seen = bench.seen(handle)
    assert seen.state is RunState.EXITED
    assert seen.error == "the box restarted"
    assert bench.runtime.is_gone(handle)
    bench.runtime.signal(handle, "SIGKILL")
    bench.runtime.kill(handle)


def test_reused_pid_is_never_signalled():
    """pid and start time together are the identity."""
    with subprocess.Popen(["sleep", "605"]) as process:
        row = row_of(process.pid)
        assert row is not None
        assert not send(process.pid, row.start_ticks + 1, signal.SIGKILL)
        assert process.poll() is None
        assert send(process.pid, row.start_ticks, signal.SIGKILL)
        process.wait()
        assert not send(process.pid, row.start_ticks, signal.SIGKILL)


def test_jobs_of_two_daemons_with_one_name_are_told_apart(bench: RuntimeBench, tmp_path: Path):
    """gb-1-1 exists on every box, and twice on one with a personal daemon."""
    other = ProcessRuntime(str(tmp_path / "other"), cgroup_parent="")
    other.check()
    request = bench.shell("sleep 606")
    handle = bench.begin(request)
    same = other.create(request)
    assert other.is_gone(same)
    other.kill(same)
    assert not bench.runtime.is_gone(handle)
    other.remove(same)
    other.close()


def test_daemon_that_is_not_root_runs_only_its_own_user(bench: RuntimeBench, monkeypatch):
    """It could not do otherwise; the reason is said."""
    monkeypatch.setattr(os, "geteuid", lambda: 999)
    with pytest.raises(PermissionDenied):
        bench.runtime.create(bench.shell("true"))


def test_missing_working_directory_is_the_persons_fault(bench: RuntimeBench):
    """Named as such; nothing ran."""
    handle = bench.runtime.create(bench.shell("true", workdir="/no/such/place"))
    with pytest.raises(InvalidRequest) as caught:
        bench.runtime.start(handle)
    assert caught.value.field == "workdir"
    assert bench.seen(handle).state is RunState.CREATED
    assert bench.seen(handle).error
    bench.runtime.remove(handle)


def test_what_cannot_be_executed_is_126(bench: RuntimeBench):
    """A directory is no command."""
    handle = bench.runtime.create(bench.request("/etc"))
    with pytest.raises(NotExecutable) as caught:
        bench.runtime.start(handle)
    assert caught.value.field == "command"
    assert caught.value.status == bench.seen(handle).exit_code == 126


def test_command_is_looked_for_in_the_jobs_own_path(bench: RuntimeBench):
    """`-e PATH=...` holds for the command itself."""
    tool = bench.home / "tool"
    tool.write_text("#!/bin/sh\necho found\n")
    tool.chmod(0o755)
    handle = bench.begin(bench.request("tool", env={"PATH": f"/nowhere:{bench.home}"}))
    bench.ended(handle)
    assert bench.log(handle) == b"found\n"


def test_vanished_run_directory_is_an_error_not_an_empty_box(tmp_path: Path):
    """An error is never an empty list; only the very first look makes the directory."""
    runtime = ProcessRuntime(str(tmp_path / "run"))
    assert runtime.observe() == {}
    (tmp_path / "run").rename(tmp_path / "elsewhere")
    with pytest.raises(HostError):
        runtime.observe()
    runtime.close()


def test_damaged_record_is_an_error(bench: RuntimeBench):
    """Half a record is not taken for none."""
    handle = bench.runtime.create(bench.shell("true"))
    order = Path(bench.runtime._run_dir) / handle / "order.json"
    whole = order.read_bytes()
    order.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(HostError):
        bench.runtime.observe()
    order.write_bytes(whole)


def test_handle_never_leads_out_of_the_run_directory(bench: RuntimeBench):
    """A handle is a name."""
    for handle in ("../x", "/etc", "", ".", "..", ".wake"):
        with pytest.raises(NotFound):
            bench.runtime.is_gone(handle)


def test_log_of_a_gigabyte_is_read_in_pieces(bench: RuntimeBench):
    """Memory stays flat, and the tail is found from the end."""
    handle = bench.runtime.create(bench.shell("true"))
    log = Path(bench.runtime._run_dir) / handle / "log"
    with log.open("wb") as file:
        file.truncate(1 << 30)
        file.seek(0, os.SEEK_END)
        file.write(b"\nlast line\n")
    assert b"".join(bench.runtime.read_log(handle, tail=1)) == b"last line\n"
    pieces = bench.runtime.read_log(handle)
    assert max(len(next(pieces)) for _ in range(10)) <= 1 << 16


def test_flood_of_output_stays_in_bounds(bench: RuntimeBench):
    """The job is not stopped for it, and its last words are there."""
    bench.runtime._log_bytes = 3 * 2**20
    handle = bench.begin(bench.shell("yes | head -c 40000000; echo last words"))
    seen = bench.ended(handle)
    files = list((Path(bench.runtime._run_dir) / handle).glob("log*"))
    assert sum(path.stat().st_size for path in files) <= 3 * 2**20 + 2**16
    assert seen.exit_code == 0
    assert bench.log(handle, tail=1) == b"last words\n"


def test_job_may_open_its_own_output_by_name(bench: RuntimeBench):
    """Scripts write to /dev/stdout and /dev/stderr."""
    _, log = bench.run("echo out >/dev/stdout; echo err >/dev/stderr")
    assert log == b"out\nerr\n"


def test_processes_of_the_box_are_not_searched_for_a_job_whose_supervisor_saw_it_leave(
    bench: RuntimeBench, monkeypatch
):
    """A look at all of /proc for each end would cost a busy box more than its jobs."""

    def searched() -> list[ProcessRow]:
        raise AssertionError("the process table was read")

    good = bench.begin(bench.shell("sleep 611 & exit 0"))
    failed = bench.runtime.create(bench.request("/etc"))
    with pytest.raises(NotExecutable):
        bench.runtime.start(failed)
    wait_until(lambda: RunDirectory(Path(bench.runtime._run_dir) / good).is_left())
    wait_until(lambda: RunDirectory(Path(bench.runtime._run_dir) / failed).is_left())
    monkeypatch.setattr("gpuboard.runtimes.process.looks_at_all", searched)
    for handle in (good, failed):
        assert not bench.seen(handle).is_populated
        assert bench.runtime.is_gone(handle)
        bench.runtime.kill(handle)


@needs_root
def test_supervisor_that_cannot_say_that_all_left_is_not_taken_at_its_word(bench: RuntimeBench):
    """What is in the job's control group is of the job, whoever's child it is."""
    handle = bench.begin(bench.shell("sleep 612"))
    run = RunDirectory(Path(bench.runtime._run_dir) / handle)
    if not (groups := run.order().cgroups):
        pytest.skip("no control groups")
    guest = subprocess.Popen(["sleep", "613"], user=PERSON, group=PERSON, extra_groups=())
    for group in groups:
        (Path(group) / "cgroup.procs").write_text(str(guest.pid))
    record = started(bench, handle)
    assert send(record.pid, record.start_ticks, signal.SIGKILL)
    assert await_end(record.supervisor, record.supervisor_ticks, 20)
    assert not run.is_left()
    assert not bench.runtime.is_gone(handle)
    bench.runtime.kill(handle)
    assert guest.wait(10) == -signal.SIGKILL
    assert bench.runtime.is_gone(handle)


SILENT_JOB = """
import os, sys, time
from gpuboard.runtimes import process_shim

process_shim.DRAIN_S = 1000
order = {"uid": os.getuid(), "gid": os.getgid(), "log_bytes": 1 << 20, "floor_bytes": 0}
output = process_shim.Output(sys.argv[1], order)
pid = os.fork()
if not pid:
    os.write(output.end, b"words")
    os.close(output.end)
    time.sleep(0.3)
    os._exit(3)
os.close(output.end)
status = output.keep_until_end(pid)
output.finish()
sys.exit(os.waitstatus_to_exitcode(status))
"""


def test_output_whose_end_came_before_the_jobs_is_not_waited_for(tmp_path: Path):
    """The devices are the job's until its supervisor is gone: a second a job, once."""
    ran = subprocess.run(
        [sys.executable, "-c", SILENT_JOB, str(tmp_path)], cwd=ROOT, timeout=60, check=False
    )
    assert ran.returncode == 3
    assert (tmp_path / "log").read_bytes() == b"words"


def own_children() -> set[int]:
    """Return the children of this process, zombies too."""
    return {child.pid for child in psutil.Process().children()}


def test_nothing_leaks_over_many_runs(bench: RuntimeBench):
    """No descriptor and no zombie stays with the daemon."""
    bench.run("true")
    before, children = open_descriptors(), own_children()
    for _ in range(10):
        seen, _ = bench.run("exit 0")
        bench.runtime.remove(seen.handle)
    wait_until(lambda: open_descriptors() <= before, 5, "all to be closed")
    assert own_children() <= children
