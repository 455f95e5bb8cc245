"""Control groups in both layouts, as files: what is populated, where the engine puts containers."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest

from gpuboard.errors import HostError
from gpuboard.runtimes.cgroups import ContainerCgroups, hierarchies, kill_members, members
from gpuboard.runtimes.process_cgroup import make_groups
from gpuboard.runtimes.process_shim import was_oom_killed
from tests.support.runtimes import PERSON, RunRequest

ID = "ab" * 32


def group(root: Path, path: str, *pids: int) -> Path:
    directory = root / path
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "cgroup.procs").write_text("".join(f"{pid}\n" for pid in pids))
    return directory


@pytest.fixture
def unified(tmp_path: Path) -> Path:
    """Give a v2 tree."""
    root = tmp_path / "cgroup"
    group(root, "")
    (root / "cgroup.controllers").write_text("cpu memory pids\n")
    return root


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """Give an empty /proc."""
    path = tmp_path / "proc"
    path.mkdir()
    return path


@pytest.mark.parametrize("path", [f"system.slice/docker-{ID}.scope", f"docker/{ID}"])
def test_container_is_found_in_the_unified_tree(unified: Path, proc: Path, path: str):
    """By the systemd driver's scope and by the cgroupfs driver's directory."""
    group(unified, path, 7)
    group(unified, f"{path}/init.scope", 8, 9)
    assert ContainerCgroups(unified, proc).pids(ID) == {7, 8, 9}


def test_container_is_found_in_any_tree_of_v1(tmp_path: Path, proc: Path):
    """Membership in one controller's tree is enough."""
    root = tmp_path / "cgroup"
    for name in ("pids", "memory", "cpuset"):
        group(root, name)
    group(root, f"pids/docker/{ID}", 7)
    group(root, f"memory/docker/{ID}", 7, 8)
    assert {tree.name for tree in hierarchies(root)} == {"pids", "memory"}
    assert ContainerCgroups(root, proc).pids(ID) == {7, 8}


def test_empty_or_missing_group_means_gone(unified: Path, proc: Path):
    """Nothing lives where nobody is."""
    cgroups = ContainerCgroups(unified, proc)
    assert cgroups.pids(ID) == set()
    group(unified, f"docker/{ID}")
    assert cgroups.pids(ID) == set()


def test_box_without_control_groups_is_an_error_not_an_empty_container(tmp_path: Path, proc: Path):
    """What cannot be seen is not gone."""
    with pytest.raises(HostError):
        ContainerCgroups(tmp_path / "absent", proc).pids(ID)


def test_unusual_parent_is_learned_from_a_running_container(unified: Path, proc: Path):
    """daemon.json may say cgroup-parent."""
    cgroups = ContainerCgroups(unified, proc)
    (proc / "7").mkdir()
    (proc / "7" / "cgroup").write_text(f"0::/lab.slice/docker-{ID}.scope/init\n")
    group(unified, f"lab.slice/docker-{ID}.scope", 7)
    assert cgroups.pids(ID) == {7}
    cgroups.learn(ID, 7)
    other = "cd" * 32
    group(unified, f"lab.slice/docker-{other}.scope", 11)
    assert cgroups.pids(other) == {11}


def test_parent_that_changes_later_is_learned_too(unified: Path, proc: Path):
    """The engine was restarted with another one while the daemon lived on: nothing is unkillable."""
    cgroups = ContainerCgroups(unified, proc)
    group(unified, f"docker/{ID}", 7)
    assert cgroups.pids(ID) == {7}
    other = "cd" * 32
    (proc / "11").mkdir()
    (proc / "11" / "cgroup").write_text(f"0::/lab.slice/docker-{other}.scope\n")
    assert cgroups.pids(other) == {11}
    assert not cgroups.has_seen(other)
    group(unified, f"lab.slice/docker-{other}.scope", 11, 12)
    cgroups.learn(other, 11)
    assert cgroups.pids(other) == {11, 12}
    assert cgroups.has_seen(other)


def test_group_seen_once_and_not_there_any_more_is_empty(unified: Path, proc: Path):
    """Whoever names a group of their own after it is not taken for the container."""
    cgroups = ContainerCgroups(unified, proc)
    directory = group(unified, f"docker/{ID}", 7)
    assert cgroups.pids(ID) == {7}
    (directory / "cgroup.procs").unlink()
    directory.rmdir()
    (proc / "9").mkdir()
    (proc / "9" / "cgroup").write_text(f"0::/mine/docker-{ID}.scope\n")
    assert cgroups.pids(ID) == set()


def test_group_of_a_users_own_making_is_not_the_containers(unified: Path, proc: Path):
    """A user can name a group below user.slice after any container: it holds no lease."""
    (proc / "7").mkdir()
    (proc / "7" / "cgroup").write_text(
        f"0::/user.slice/user-1001.slice/user@1001.service/docker-{ID}.scope\n"
    )
    assert ContainerCgroups(unified, proc).pids(ID) == set()


@pytest.mark.parametrize(
    "name", [b"\xff", f"x\r0::/docker/{ID}".encode()], ids=["no-utf-8", "a-line-of-its-own"]
)
def test_name_that_somebody_gave_a_group_hides_and_holds_nothing(
    unified: Path, proc: Path, name: bytes
):
    """It could not be decoded, and then no container was seen; or it looked like a further line."""
    for pid, path in (("7", b"/user.slice/" + name), ("9", f"/elsewhere/docker-{ID}".encode())):
        (proc / pid).mkdir()
        (proc / pid / "cgroup").write_bytes(b"0::" + path + b"\n")
    cgroups = ContainerCgroups(unified, proc)
    cgroups.learn(ID, 7)
    assert cgroups.pids(ID) == {9}


def test_what_is_no_container_id_finds_nothing_by_accident(unified: Path, proc: Path):
    """A short id or a path is an error."""
    for handle in ("", "..", "abc", "../../etc"):
        with pytest.raises(HostError):
            ContainerCgroups(unified, proc).pids(handle)


def test_group_that_vanishes_while_it_is_read_is_empty(unified: Path):
    """A container that ends meanwhile."""
    assert members([unified / "docker" / ID]) == set()


def test_limits_of_a_process_are_written_where_v2_keeps_them(unified: Path):
    """memory.max, pids.max (and one for the supervisor), cpu.max; no swap."""
    request = RunRequest(
        name="gb-1-1",
        job_id=1,
        attempt=1,
        uid=PERSON,
        gid=PERSON,
        groups=(),
        user="p",
        home="/",
        memory_bytes=2**30,
        pids=100,
        cpus=1.5,
    )
    (made,) = make_groups(request, "gpuboard", "gb-1-1-x", unified)
    assert made == str(unified / "gpuboard" / "gb-1-1-x")
    read = {path.name: path.read_text() for path in Path(made).iterdir()}
    assert read == {
        "memory.max": str(2**30),
        "memory.swap.max": "0",
        "pids.max": "101",
        "cpu.max": "150000 100000",
    }


def test_kernels_kill_for_memory_is_read_in_both_layouts(tmp_path: Path):
    """memory.events on v2, memory.oom_control on v1."""
    for name, text, expected in (
        ("memory.events", "low 0\noom 1\noom_kill 1\n", True),
        ("memory.events", "oom_kill 0\n", False),
        ("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n", True),
    ):
        directory = tmp_path / f"{name}{expected}"
        directory.mkdir()
        (directory / name).write_text(text)
        assert was_oom_killed((str(directory),)) is expected


def test_number_that_is_anothers_by_now_is_not_killed():
    """Who is to be killed is held first, and looked for again."""
    with (
        subprocess.Popen(["sleep", "609"]) as stranger,
        subprocess.Popen(["sleep", "609"]) as member,
    ):
        looks = iter([{stranger.pid, member.pid}, {member.pid}, set()])
        assert kill_members(lambda: next(looks), [], 5.0)
        assert member.wait(10) == -signal.SIGKILL
        assert stranger.poll() is None
        stranger.kill()
