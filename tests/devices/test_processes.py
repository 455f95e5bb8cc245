"""Facts of processes: real ones of this test, and made-up /proc folders for what is rare."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import psutil
import pytest

from gpuboard.devices.lives import Lives
from gpuboard.devices.processes import ProcessTable

X = "ab" * 32
HZ = os.sysconf("SC_CLK_TCK")


def make_process(
    proc: Path, pid: int, *, ticks: int = 500, comm: str = "python", argv: str = "", uid: int = 0,
    cgroup: str = "0::/\n",
) -> None:  # fmt: skip
    """Write what the table reads of a process."""
    folder = proc / str(pid)
    folder.mkdir(exist_ok=True)
    (folder / "stat").write_text(f"{pid} ({comm}) S" + " 0" * 18 + f" {ticks} 0 0\n")
    (folder / "status").write_text(f"Name:\t{comm}\nUid:\t{uid}\t0\t0\t0\n")
    (folder / "cmdline").write_text(argv)
    (folder / "cgroup").write_text(cgroup)


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """An empty /proc of a box that booted at 1,000 s."""
    (tmp_path / "stat").write_text("cpu 1 2\nbtime 1000\n")
    return tmp_path


def test_a_living_process_is_known_by_start_command_and_person() -> None:
    """Start time, name and person of a real process agree with psutil's."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        other = psutil.Process(child.pid)
        while other.cmdline()[:1] != [sys.executable]:
            pass
        facts = ProcessTable().facts(child.pid)
        assert facts is not None
        assert facts.started_at is not None
        assert abs(facts.started_at - other.create_time() * 1000) < 1500
        assert abs(facts.started_at - time.time() * 1000) < 60_000
        assert facts.command == Path(sys.executable).name
        assert (facts.uid, facts.user) == (os.getuid(), other.username())
    finally:
        child.kill()
        child.wait()


def test_a_process_that_ended_is_nobody() -> None:
    """A pid whose process ended has no facts; neither have 0 and pids that cannot be."""
    child = subprocess.Popen(["true"])
    child.wait()
    table = ProcessTable(sees_every_pid=True)
    assert [table.facts(pid) for pid in (child.pid, 0, -1, 2**32 - 1)] == [None] * 4


def test_a_pid_that_was_given_out_again_is_another_process(proc: Path) -> None:
    """Kept facts are those of (pid, start time), never of the pid alone."""
    table = ProcessTable(proc=proc)
    make_process(proc, 7, ticks=500, comm="old", uid=70001)
    first = table.facts(7)
    make_process(proc, 7, ticks=900, comm="new", uid=70002)
    second = table.facts(7)
    assert first is not None
    assert second is not None
    assert (first.command, first.uid, first.started_at) == ("old", 70001, 1_000_000 + 500000 // HZ)
    assert (second.command, second.uid, second.started_at) == (
        "new",
        70002,
        1_000_000 + 900000 // HZ,
    )


def test_facts_are_read_again_after_a_while(proc: Path) -> None:
    """A process that changed its user and command without a new start is seen as it is."""
    now = [0.0]
    table = ProcessTable(proc=proc, clock=lambda: now[0])
    make_process(proc, 7, comm="sh", uid=70001)
    table.facts(7)
    make_process(proc, 7, comm="python", uid=70002)
    kept = table.facts(7)
    now[0] = 6.0
    fresh = table.facts(7)
    assert kept is not None
    assert fresh is not None
    assert (kept.command, kept.uid) == ("sh", 70001)
    assert (fresh.command, fresh.uid, fresh.user) == ("python", 70002, "70002")


@pytest.mark.parametrize("comm", ["a) b (c", ")", "x) S 1 2 3", "é", "", "a\rUid:\t0\t0\t0\t0"])
def test_a_command_cannot_forge_its_line(proc: Path, comm: str) -> None:
    """Brackets, blanks and line breaks in a command change neither start time nor person."""
    make_process(proc, 7, comm=comm, uid=70001)
    facts = ProcessTable(proc=proc).facts(7)
    assert facts is not None
    assert (facts.uid, facts.started_at) == (70001, 1_000_000 + 500000 // HZ)


@pytest.mark.parametrize(
    ("argv", "shown"),
    [
        ("/usr/bin/python3\0train.py\0--token\0s3cret\0", "python3"),
        ("ray::worker\0", "ray::worker"),
        ("", "comm"),
        ("\x1b[31mred\0", "red"),
        ("a" * 300 + "\0", "a" * 63 + "…"),
    ],
)
def test_the_command_is_the_programs_name_made_harmless(proc: Path, argv: str, shown: str) -> None:
    """No arguments (they may hold secrets), no escape sequences, not too long."""
    make_process(proc, 7, comm="comm", argv=argv)
    facts = ProcessTable(proc=proc).facts(7)
    assert facts is not None
    assert facts.command == shown


def test_a_hidden_process_is_there_but_unknown(proc: Path) -> None:
    """A process that /proc does not show us exists, with nothing known of it."""
    (proc / "7").mkdir()
    facts = ProcessTable(proc=proc).facts(7)
    assert facts is not None
    assert (facts.uid, facts.started_at, facts.command) == (None, None, "")


@pytest.mark.parametrize("pid", [0, 7, 2**32 - 1])
def test_in_a_container_an_unseen_pid_is_not_called_gone(proc: Path, pid: int) -> None:
    """In a pid namespace of its own the daemon cannot see the host's processes: hidden, not gone."""
    table = ProcessTable(proc=proc, sees_every_pid=False)
    facts = table.facts(pid)
    assert facts is not None
    assert (facts.pid, facts.started_at, facts.uid) == (pid, None, None)
    (proc / "self" / "ns").mkdir(parents=True)
    (proc / "self" / "ns" / "pid").symlink_to("pid:[4026532201]")
    assert ProcessTable(proc=proc).facts(pid) is not None
    (proc / "self" / "ns" / "pid").unlink()
    (proc / "self" / "ns" / "pid").symlink_to("pid:[4026531836]")
    assert ProcessTable(proc=proc).facts(pid) is None


def test_the_container_is_read_and_a_parent_may_be_learnt_later(proc: Path) -> None:
    """The container id is the anchored one, also below a parent that is learnt while running."""
    now = [0.0]
    table = ProcessTable(proc=proc, clock=lambda: now[0])
    make_process(proc, 7, cgroup=f"0::/docker/{X}\n")
    make_process(proc, 8, cgroup=f"0::/gpu.slice/docker-{X}.scope\n")
    seen = [table.facts(pid) for pid in (7, 8)]
    assert [each.container_id for each in seen if each] == [X, ""]
    table.cgroup_parents = ("/gpu.slice",)
    now[0] = 6.0
    again = table.facts(8)
    assert again is not None
    assert again.container_id == X


def test_forgotten_processes_leave_nothing_behind(proc: Path) -> None:
    """The table holds no more than the processes that are on devices now."""
    table = ProcessTable(proc=proc)
    for pid in range(1, 50):
        make_process(proc, pid)
        table.facts(pid)
    table.keep_only({3})
    assert list(table._kept) == [3]


def test_living_processes_are_not_read_about_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """While the kernel says that they live, no file is opened; of the one that ended, one is."""
    children = [subprocess.Popen(["sleep", "60"]) for _ in range(3)]
    try:
        table = ProcessTable(sees_every_pid=True)
        for child in children:
            table.facts(child.pid)
        opened: list[str] = []
        monkeypatch.setattr(os, "open", lambda path, _: opened.append(path) or _missing())
        table.begin_sweep()
        assert all(table.facts(child.pid) for child in children)
        assert not opened
        children[0].kill()
        children[0].wait()
        table.begin_sweep()
        assert [table.facts(child.pid) is None for child in children] == [True, False, False]
        assert opened == [f"/proc/{children[0].pid}/stat"]
    finally:
        monkeypatch.undo()
        for child in children:
            child.kill()
            child.wait()


def _missing() -> int:
    raise FileNotFoundError


def _watching() -> int:
    """Return how many descriptors of processes, and of sets of them, this process holds."""
    links = []
    for entry in os.scandir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            links.append(os.readlink(entry.path))
    return sum(link in {"anon_inode:[pidfd]", "anon_inode:[eventpoll]"} for link in links)


def test_no_descriptor_is_left_of_processes_that_are_forgotten() -> None:
    """Each costs one while it is on a device, at most so many in all, and none after."""
    before = _watching()
    children = [subprocess.Popen(["sleep", "60"]) for _ in range(4)]
    try:
        lives = Lives(most=3)
        for child in children:
            lives.watch(child.pid)
            lives.watch(child.pid)
        assert [child.pid in lives for child in children] == [True, True, True, False]
        lives.drop(children[1].pid)
        lives.drop(children[3].pid)
        children[0].kill()
        children[0].wait()
        lives.drop_ended()
        assert [child.pid in lives for child in children] == [False, False, True, False]
        lives.close()
        assert _watching() == before
    finally:
        for child in children:
            child.kill()
            child.wait()


def test_a_copy_of_a_descriptor_in_a_child_does_not_bring_the_ended_back() -> None:
    """A child that hangs before its exec holds copies of all: the ended process is watched no more."""
    child = subprocess.Popen(["sleep", "60"])
    lives = Lives()
    lives.watch(child.pid)
    copy = os.dup(lives._pidfds[child.pid])
    try:
        child.kill()
        child.wait()
        lives.drop_ended()
        other = subprocess.Popen(["sleep", "60"])
        lives.watch(other.pid)
        lives.drop_ended()
        assert other.pid in lives
        other.kill()
        other.wait()
    finally:
        os.close(copy)
        lives.close()


def test_facts_of_an_old_process_are_read_more_seldom(proc: Path) -> None:
    """After 5 s, then after as long as it has been known, at most after 30 s."""
    now = [0.0]
    table = ProcessTable(proc=proc, clock=lambda: now[0])
    make_process(proc, 7, uid=0)
    seen_after: list[float] = []
    for second in range(200):
        now[0] = float(second)
        make_process(proc, 7, uid=second)
        facts = table.facts(7)
        assert facts is not None
        if facts.uid == second:
            seen_after.append(now[0])
    assert seen_after[:6] == [0, 5, 10, 20, 40, 70]
    assert {b - a for a, b in pairwise(seen_after[4:])} == {30.0}
