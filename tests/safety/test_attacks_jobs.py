"""Attacks by what a job does: in a real container, as a real person, below the real daemon."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pwd
import sqlite3
import stat
import subprocess
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest

from gpuboard.runtimes.cgroups import ContainerCgroups
from tests.safety.lab import Lab
from tests.support.box import people
from tests.support.dockerd import (
    IMAGE,
    IMAGE_ALL_DEVICES,
    IMAGE_PRELOAD,
    IMAGE_SETUID,
    busybox_root,
    devices_of,
)
from tests.support.fakenvml import gpu_uuid
from tests.support.hangingfs import hanging
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.engine, pytest.mark.root, pytest.mark.cc]


def mounted(source: object, target: str = "/work", **more: object) -> list[dict[str, object]]:
    return [{"source": str(source), "target": target, **more}]


def owned(path: Path, uid: int, mode: int = 0o755) -> Path:
    """Make a directory that belongs to somebody."""
    path.mkdir(exist_ok=True)
    path.chmod(mode)
    os.chown(path, uid, -1)
    return path


def image_of(lab: Lab, name: str, changes: list[str], *extra: tuple[str, int, bytes]) -> str:
    """Make an image of the attacker's own and return its reference."""
    with contextlib.closing(lab.engine.client()) as client:
        client.import_image_from_data(
            busybox_root(extra), repository=f"gpuboard-test/{name}", tag="1",
            changes=["ENV PATH=/bin", *changes],
        )  # fmt: skip
    return f"gpuboard-test/{name}:1"


# --- who the job is ------------------------------------------------------------------------------


def test_attack_03_an_image_with_groups_of_its_own(lab: Lab, saw):
    """The image's passwd and group put this very uid into disk, shadow and docker."""
    name = lab.home(lab.mallory).name
    passwd = f"root:x:0:0::/:/bin/sh\n{name}:x:{lab.mallory}:0::/:/bin/sh\n"
    group = f"root:x:0:{name}\ndisk:x:6:{name}\nshadow:x:42:{name}\ndocker:x:999:{name}\n"
    image = _image_with_accounts(lab, passwd, group)
    _, log = lab.ran(lab.mallory, "id -G; cat /etc/group", image=image)
    assert f"disk:x:6:{name}" in log
    groups = log.splitlines()[0].split()
    assert sorted(groups) == sorted({str(g) for g in os.getgrouplist(name, lab.gid(lab.mallory))})
    saw(f"groups inside: {' '.join(groups)}, the host's only")


def _image_with_accounts(lab: Lab, passwd: str, group: str) -> str:
    members = []
    for path, text in (("etc/passwd", passwd), ("etc/group", group)):
        info = tarfile.TarInfo(path)
        info.size = len(text)
        members.append((info, text.encode()))
    return image_on_top(lab, "groups", members)


def image_on_top(lab: Lab, name: str, members: list[tuple[tarfile.TarInfo, bytes]]) -> str:
    """Make an image on top of the tests' own with other files, as a Dockerfile would."""
    reference = f"gpuboard-test/{name}"
    with contextlib.closing(lab.engine.client()) as client:
        made = client.create_container(IMAGE, ["true"])["Id"]
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            for info, data in members:
                tar.addfile(info, io.BytesIO(data))
        client.put_archive(made, "/", buffer.getvalue())
        client.commit(made, repository=reference, tag="1")
        client.remove_container(made)
    return f"{reference}:1"


def test_attack_05_a_setuid_program_in_the_image(lab: Lab, saw):
    script = "exec 2>&1; busybox-suid id -u; busybox-suid cat /etc/secret; grep -E 'CapEff|NoNewPrivs|Seccomp:' /proc/self/status"
    _, log = lab.ran(lab.mallory, script, image=IMAGE_SETUID)
    assert log.split()[0] == str(lab.mallory)
    assert "only root" not in log
    for fact in ("CapEff:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"):
        assert fact in log
    saw("uid stays, CapEff 0, NoNewPrivs 1, seccomp on")


@pytest.mark.parametrize("part", ["setuid", ""])
def test_attack_06_a_setuid_file_left_on_a_mount(lab: Lab, saw, part: str):
    """In a directory of the home, and in the home itself."""
    work = owned(lab.home(lab.mallory) / part, lab.mallory, 0o700)
    _, log = lab.ran(
        lab.mallory, "cp /bin/busybox /work/shell; chmod 6755 /work/shell; grep ' /work ' /proc/mounts",
        mounts=mounted(work),
    )  # fmt: skip
    left = (work / "shell").stat()
    assert left.st_uid == lab.mallory
    assert left.st_gid == lab.gid(lab.mallory)
    assert "nosuid" in log
    assert "nodev" in log
    saw("owned by the person, mount nosuid,nodev")


# --- what it may mount ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "target", ["/etc", "{victim}", "/", "/proc/self/cwd", "/proc/1/root", "/var/run"]
)
def test_attack_09_links_that_leave_the_home(lab: Lab, saw, target: str):
    link = lab.home(lab.mallory) / "link"
    link.unlink(missing_ok=True)
    link.symlink_to(target.format(victim=lab.home(lab.victim)))
    ended, log = lab.ran(lab.mallory, "ls /work", mounts=mounted(link))
    assert (ended["state"], log) == ("failed", "")
    assert "start failed" in ended["reason"]
    saw("looked up as the person: the job fails before it starts")


class Swapper:
    """Flips a name between an honest directory and a link to the victim's, as fast as it can."""

    def __init__(self, honest: Path, evil: Path, name: Path) -> None:
        self._honest, self._evil, self._name = honest, evil, name
        self.flips = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._flip)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _flip(self) -> None:
        fresh = self._name.with_name("fresh")
        while not self._stop.is_set():
            for target in (self._honest, self._evil):
                fresh.symlink_to(target)
                fresh.rename(self._name)
                self.flips += 1
                time.sleep(0.001)


def test_attack_10_a_source_swapped_under_the_check(lab: Lab, saw):
    """What lies world-readable below a closed home must not be read, however often it is tried."""
    deep = owned(lab.home(lab.victim) / "deep", lab.victim)
    (deep / "secret").write_text("the victim's words\n")
    home = lab.home(lab.mallory)
    honest = owned(home / "honest", lab.mallory)
    (honest / "secret").write_text("nothing\n")
    with Swapper(honest, deep, home / "swapped") as swapper:
        wait_until((home / "swapped").exists)
        tries = [
            lab.submit(
                lab.mallory, command=["cat", "/work/secret"], mounts=mounted(home / "swapped")
            )
            for _ in range(16)
        ]
        ended = [lab.wait(number, timeout_s=60) for number in tries]
    logs = [lab.log(number) for number in tries]
    assert not [log for log in logs if "victim" in log]
    mounted_well = sum(log == "nothing\n" for log in logs)
    turned_away = [job["reason"] for job in ended if job["state"] != "succeeded"]
    assert mounted_well, f"nothing was ever mounted: {turned_away[:2]}"
    assert swapper.flips > len(tries), "nothing was swapped"
    saw(
        f"0 leaks of {len(tries)} starts: {mounted_well} got the honest directory,"
        f" {len(turned_away)} none; swapped {swapper.flips} times"
    )


@pytest.mark.parametrize("kind", ["fifo", "socket", "device", "deleted"])
def test_attack_12_what_is_no_directory(lab: Lab, saw, kind: str):
    path = lab.home(lab.mallory) / kind
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "socket":
        import socket

        socket.socket(socket.AF_UNIX).bind(str(path))
    elif kind == "device":
        os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 5))
    if kind != "deleted":
        path.chmod(0o666)
        os.chown(path, lab.mallory, -1)
    ended, log = lab.ran(lab.mallory, "ls -l /work", mounts=mounted(path))
    assert (ended["state"], log) == ("failed", "")
    words = "does not exist" if kind == "deleted" else "neither a directory nor a plain file"
    assert words in ended["reason"]
    saw(f"failed: {words}")


def test_attack_14_a_missing_source(lab: Lab, saw):
    missing = lab.home(lab.mallory) / "missing" / "deeper"
    ended, _ = lab.ran(lab.mallory, "true", mounts=mounted(missing))
    assert (ended["state"], "does not exist" in ended["reason"]) == ("failed", True)
    assert not missing.parent.exists()
    saw("failed: does not exist; nothing was made on the host")


def test_attack_14_a_place_in_a_mount_that_does_not_exist(lab: Lab, saw):
    """The engine would make it as root, in the person's own directory."""
    home = lab.home(lab.mallory)
    outer, inner = owned(home / "outer", lab.mallory), owned(home / "inner", lab.mallory)
    ended, _ = lab.ran(
        lab.mallory, "true", mounts=[*mounted(outer), *mounted(inner, "/work/made/by/root")]
    )
    assert ended["state"] == "failed"
    assert "made/by/root" in ended["reason"]
    assert list(outer.iterdir()) == []
    (outer / "made").mkdir()
    os.chown(outer / "made", lab.mallory, -1)
    (inner / "here").write_text("inner\n")
    ended, log = lab.ran(
        lab.mallory,
        "cat /work/made/here; echo new > /work/made/new",
        mounts=[*mounted(outer), *mounted(inner, "/work/made")],
    )
    assert (ended["state"], log) == ("succeeded", "inner\n")
    assert (inner / "new").read_text() == "new\n"
    assert list((outer / "made").iterdir()) == []
    saw("the job's own error; nothing was made; with the directory made, the mount works")


def test_attack_15_a_link_in_a_mount_that_leads_to_the_system(lab: Lab, saw):
    """A mount inside a mount follows no link, however often the place is swapped for one."""
    home = lab.home(lab.mallory)
    outer, inner = owned(home / "around", lab.mallory), owned(home / "system", lab.mallory)
    (inner / "mine").write_text("mallory's\n")
    place, aside, link = outer / "sub", outer / "aside", outer / "link"
    mounts = [*mounted(outer), *mounted(inner, "/work/sub")]
    place.symlink_to("/etc")
    ended, _ = lab.ran(lab.mallory, "ls /etc", mounts=mounts)
    assert ended["state"] == "failed"
    assert "behind a link" in ended["reason"]
    place.rename(link)
    owned(place, lab.mallory)
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            for one, other in ((place, aside), (link, place), (place, link), (aside, place)):
                with contextlib.suppress(OSError):  # what is mounted on cannot be moved
                    one.rename(other)

    swapper = threading.Thread(target=swap)
    swapper.start()
    try:
        tries = [lab.submit(lab.mallory, command=["ls", "/etc"], mounts=mounts) for _ in range(12)]
        ends = [lab.wait(job) for job in tries]
        logs = [lab.log(job) for job in tries]
    finally:
        stop.set()
        swapper.join()
    assert not any("mine" in log for log in logs)
    ran = sum(ended["state"] == "succeeded" for ended in ends)
    saw(f"a link is refused; of 12 with a place that is swapped {ran} ran, none led to /etc")


def test_attack_15_a_volume_of_the_image_in_a_mount(lab: Lab, saw):
    """It would lie on whatever a link in the person's directory names."""
    work = owned(lab.home(lab.mallory) / "volume", lab.mallory)
    (work / "cache").symlink_to("/etc")
    image = image_of(lab, "cached", ["VOLUME /work/cache"])
    ended, _ = lab.ran(lab.mallory, "ls /etc", image=image, mounts=mounted(work))
    assert ended["state"] == "failed"
    assert "/work/cache" in ended["reason"]
    saw(f"refused: {ended['reason']}")


@pytest.mark.parametrize("workdir", ["/work/made/by/root", "//work/made/by/root"])
def test_attack_19_a_missing_directory_below_a_mount(lab: Lab, saw, workdir: str):
    work = owned(lab.home(lab.mallory) / "empty", lab.mallory)
    ended, _ = lab.ran(lab.mallory, "pwd", mounts=mounted(work), workdir=workdir)
    assert ended["state"] == "failed"
    assert list(work.iterdir()) == []
    saw("the job's own error; nothing was made by root")


def test_attack_19_a_directory_by_the_links_of_the_kernel(lab: Lab, saw):
    """They lead back to the container's root, so into the mount, or to what a runtime left open."""
    for root in ("/proc/self/root", "/proc/1/root", "//proc/thread-self/root", "/dev/fd/7"):
        status, answer = lab.ask(
            lab.mallory, "POST", "/jobs", lab.request(workdir=f"{root}/work/made", command=["pwd"])
        )
        assert (status, answer["error"]["field"]) == (400, "workdir")
    saw("refused by name")


def test_attack_19_a_directory_of_the_images_below_a_mount(lab: Lab, saw):
    """Its WORKDIR is entered by the engine too, with or without one of the person's."""
    work = owned(lab.home(lab.mallory) / "deep", lab.mallory)
    image = image_of(lab, "deep", ["WORKDIR /work/made/by/root"])
    ended, _ = lab.ran(lab.mallory, "pwd", image=image, mounts=mounted(work))
    assert ended["state"] == "failed"
    owned(work / "here", lab.mallory)
    ended, log = lab.ran(
        lab.mallory, "pwd", image=image, mounts=mounted(work), workdir="/work/here"
    )
    assert (ended["state"], log) == ("succeeded", "/work/here\n")
    assert [path.name for path in work.iterdir()] == ["here"]
    saw("the job's own error; nothing was made by root")


def test_attack_62_texts_that_speak_as_the_engine(lab: Lab, saw):
    """Targets, directories, commands and an image that read like a full disk or a dead driver."""
    work = owned(lab.home(lab.mallory) / "alarms", lab.mallory)
    deep = "/nvml error/" + "/".join(["x" * 250] * 15)
    link = tarfile.TarInfo("link")
    link.type, link.linkname = tarfile.SYMTYPE, "/.dockerenv/nvml error"
    linked = image_on_top(lab, "alarms", [(link, b"")])
    misplaced = image_of(lab, "misplaced", ["WORKDIR /etc/passwd"])
    requests = [
        {"mounts": mounted(work, "/.dockerenv/no space left on device")},
        {"mounts": mounted(work, "/.dockerenv/CDI device")},
        {"mounts": mounted(work, deep)},
        {"mounts": mounted(work, "/link/deeper"), "image": linked},
        {"workdir": "/etc/passwd"},
        {"workdir": "/.dockerenv/cannot allocate memory"},
        {"workdir": deep},
        {"command": ["/nvml error/too many open files"]},
        {"image": misplaced},
    ]
    tries = [lab.submit(lab.mallory, gpu_ids=["0"], gpus=1, **request) for request in requests]
    ended = [lab.wait(number) for number in tries]
    failed = [job["reason"] for job in ended if job["state"] == "failed"]
    assert len(failed) >= 6, failed  # a long target or an odd directory may well work
    assert {job["attempt"] for job in ended} == {1}, [job["reason"] for job in ended]
    honest = lab.submit(lab.victim, command=["true"], gpu_ids=["0"], gpus=1)
    assert lab.wait(honest)["state"] == "succeeded"
    assert not any(
        device["state"] == "drained" for device in lab.ask(0, "GET", "/board")[1]["devices"]
    )
    long = lab.refused(lab.mallory, workdir="/" + "x" * 300)
    assert (long["field"], "255" in long["message"]) == ("workdir", True)
    saw(
        f"{len(failed)} of {len(tries)} jobs failed by themselves; the next person's started at once, no drain"
    )


def test_fault_39_home_that_hangs(lab: Lab, saw):
    """More of its jobs than there are hands that start: they wait or end in words, others go on."""
    home = lab.home(lab.mallory)
    with hanging(home, lab.mallory, lab.engine.pid) as is_asked:
        hung = [
            lab.submit(lab.mallory, command=["true"], mounts=mounted(home / part))
            for part in ("", "", "", "deeper", "deeper", "")
        ]
        assert is_asked.wait(20)
        _, log = lab.ran(lab.victim, "echo it runs", mounts=mounted(lab.home(lab.victim)))
        states = {lab.job(number)["state"] for number in hung}
    assert log == "it runs\n"
    assert "succeeded" not in states
    ended = [lab.wait(number) for number in hung]
    saw(f"another's job ran meanwhile; then: {ended[0]['reason'] or ended[0]['state']}")


@pytest.fixture
def strays(lab: Lab) -> Iterator[list[int]]:
    """People whose homes are: not there, open to all, the victim's."""
    number = os.getpid() % 100_000
    homes = {
        f"gbn{number}": Path("/nonexistent/home"),
        f"gbo{number}": lab.home(lab.mallory).with_name(f"gbo{number}"),
        f"gbb{number}": lab.home(lab.victim),
    }
    for name, home in homes.items():
        subprocess.run(["useradd", "--no-create-home", "--home-dir", home, name], check=True)
    uids = [pwd.getpwnam(name).pw_uid for name in homes]
    owned(homes[f"gbo{number}"], uids[1], 0o777)
    lab.home(lab.victim).chmod(0o755)
    yield uids
    lab.home(lab.victim).chmod(0o700)
    for name in homes:
        subprocess.run(["userdel", name], check=False, capture_output=True)
    homes[f"gbo{number}"].rmdir()


def test_attack_59_homes_that_are_not_one_s_own(lab: Lab, saw, strays: list[int]):
    missing, open_to_all, borrowed = strays
    seen = {}
    for word, uid in (("missing", missing), ("open", open_to_all), ("borrowed", borrowed)):
        ended, log = lab.ran(uid, "ls /work", mounts=mounted(lab.home(uid)))
        assert (ended["state"], log) == ("failed", ""), (word, ended)
        seen[word] = ended["reason"]
        ended, log = lab.ran(uid, "echo ran")
        assert (ended["state"], log) == ("succeeded", "ran\n"), (word, ended)
    saw("; ".join(f"{word}: {reason}" for word, reason in seen.items()) + "; without it jobs run")


def test_attack_60_a_setgid_file_left_on_a_mount(lab: Lab, saw):
    """Every group of the job is its person's on the host, so none can be carried out."""
    job = lab.submit(lab.mallory, command=["sleep", "300"])
    lab.wait(job, "running")
    name = lab.home(lab.mallory).name
    found = lab.container(job)
    inside = {found["Config"]["User"].split(":")[1], *(found["HostConfig"]["GroupAdd"] or ())}
    assert inside == {str(gid) for gid in os.getgrouplist(name, lab.gid(lab.mallory))}
    assert "group_add" in lab.refused(lab.mallory, group_add=["6"])["message"]
    lab.cancel(job)
    saw("the person's own groups and no other; no such field")


# --- which devices it has ------------------------------------------------------------------------


@pytest.mark.parametrize("number", [21])
def test_attack_21_an_image_that_asks_for_all(lab: Lab, saw, number: int):
    lab.engine.hook.clear()
    job = lab.submit(lab.mallory, image=IMAGE_ALL_DEVICES, command=["sh", "-c", "env; sleep 300"])
    lab.wait(job, "running")
    found = lab.container(job)
    wait_until(lambda: "NVIDIA" in lab.log(job))
    values = [line for line in lab.log(job).split() if line.startswith("NVIDIA_VISIBLE_DEVICES")]
    lab.cancel(job)
    assert values == ["NVIDIA_VISIBLE_DEVICES=void"]
    assert found["HostConfig"]["Runtime"] == "runc"
    assert not found["HostConfig"]["DeviceRequests"]
    assert lab.engine.hook.specs() == []
    saw("runtime runc, NVIDIA_VISIBLE_DEVICES=void, no request, no hook")


def test_attack_22_a_legacy_image_without_the_variable(lab: Lab, saw):
    """CUDA_VERSION without NVIDIA_VISIBLE_DEVICES means `all` to the toolkit; `void` does not."""
    lab.engine.hook.clear()
    image = image_of(lab, "legacy", ["ENV CUDA_VERSION=9.0"])
    _, log = lab.ran(lab.mallory, "env", image=image)
    assert "NVIDIA_VISIBLE_DEVICES=void" in log.split()
    assert lab.engine.hook.specs() == []
    saw("NVIDIA_VISIBLE_DEVICES=void, no hook")


def test_attack_23_an_image_with_a_preload(lab: Lab, saw):
    lab.engine.hook.clear()
    ended, _ = lab.ran(lab.mallory, "true", image=IMAGE_PRELOAD, gpus=1)
    assert (ended["state"], "LD_PRELOAD" in ended["reason"]) == ("failed", True)
    assert lab.engine.hook.specs() == []
    assert lab.refused(lab.mallory, gpus=1, env={"LD_PRELOAD": "/x.so"})["field"] == "env"
    saw("failed before a container exists; the person's own is refused at submit")


def test_attack_26_a_variable_that_names_the_whole_box(lab: Lab, saw):
    lab.engine.hook.clear()
    job = lab.submit(
        lab.mallory, command=["sleep", "300"], gpus=1, env={"CUDA_VISIBLE_DEVICES": "0,1,2,3"}
    )
    running = lab.wait(job, "running")
    (lease,) = running["devices"]
    found = lab.container(job)
    lab.cancel(job)
    (request,) = found["HostConfig"]["DeviceRequests"]
    (spec,) = lab.engine.hook.specs()
    assert [word.removeprefix("nvidia.com/gpu=") for word in request["DeviceIDs"]] == [
        lease["uuid"]
    ]
    number = [gpu_uuid(n) for n in range(4)].index(lease["uuid"])
    assert devices_of(spec) in ({lease["uuid"]}, {f"/dev/nvidia{number}"})
    saw("taken; the engine and the hook were given the leased UUID alone")


# --- which image runs ----------------------------------------------------------------------------


def test_attack_35_a_tag_moved_after_admission(lab: Lab, saw):
    """The id behind the tag is settled while the job is held, and is what the container is made of."""
    image = image_of(lab, "moved", [], ("which", 0o644, b"first\n"))
    job = lab.submit(lab.mallory, image=image, command=["sleep", "300"], hold=True)
    recorded = wait_until(lambda: _image_id(lab, job), 20, "the image's id to be settled")
    image_of(lab, "moved", [], ("which", 0o644, b"second\n"))
    with contextlib.closing(lab.engine.client()) as client:
        assert client.inspect_image(image)["Id"] != recorded
    lab.ask(lab.mallory, "POST", "/jobs/release", {"jobs": [str(job)]})
    lab.wait(job, "running")
    found = lab.container(job)
    shown = lab.box.run("show", str(job)).stdout
    lab.cancel(job)
    assert found["Image"] == recorded
    assert _image_id(lab, job) == recorded
    assert image in shown
    assert recorded[:19] in shown
    saw("what the tag meant at the submission ran; `show` says both tag and id")


def _image_id(lab: Lab, job: int) -> str:
    with contextlib.closing(sqlite3.connect(f"file:{_database(lab)}?mode=ro", uri=True)) as db:
        return str(db.execute("SELECT image_id FROM jobs WHERE id = ?", (job,)).fetchone()[0])


def _database(lab: Lab) -> Path:
    (found,) = lab.box.state.glob("*.db")
    return found


# --- how it ends ---------------------------------------------------------------------------------


def test_attack_37_a_forced_cancel_while_it_starts(lab: Lab, saw):
    """The hook takes two seconds; the cancel comes in the middle, twice."""
    lab.engine.hook.clear()
    lab.engine.hook.behave("2")
    job = lab.submit(lab.mallory, command=["sleep", "300"], gpus=1)
    wait_until(lab.engine.hook.specs, what="the start to be under way")
    for _ in range(2):
        lab.ask(lab.mallory, "POST", "/jobs/cancel", {"jobs": [str(job)], "force": True})
    ended = lab.wait(job)
    lab.engine.hook.behave("0")
    assert ended["state"] == "cancelled"
    found = lab.container(job)
    assert found is None or not ContainerCgroups().pids(found["Id"])
    events = [e["kind"] for e in lab.ask(0, "GET", f"/jobs/{job}")[1]["events"]]
    assert events.count("job.cancelled") == 1, events
    wait_until(lambda: _free(lab) == 4, 15, "all devices to be free")
    saw("one end, the control group empty, the device free once")


def _free(lab: Lab) -> int:
    devices = lab.ask(0, "GET", "/board")[1]["devices"]
    return sum(device["state"] == "free" for device in devices)


def test_attack_41_fork_bomb(lab: Lab, saw):
    """The job may have 200 processes; the box stays as it is."""
    script = "i=0; while [ $i -lt 400 ]; do sleep 20 & i=$((i+1)); done; echo forked $i"
    ended, log = lab.ran(lab.mallory, script)
    assert ended["state"] == "failed"
    assert "fork" in log.lower()
    assert "forked 400" not in log
    saw("fork fails at the job's own 200 processes")


def test_attack_41_memory_and_cpu_hogs(lab: Lab, saw):
    ended, _ = lab.ran(lab.mallory, "tail /dev/zero", memory="32M", shm_size="1M")
    assert (ended["state"], ended["oom_killed"]) == ("failed", True)
    job = lab.submit(lab.mallory, command=["sleep", "300"])
    lab.wait(job, "running")
    host = lab.container(job)["HostConfig"]
    lab.cancel(job)
    assert host["NanoCpus"] == 2_000_000_000
    assert host["Memory"] == host["MemorySwap"] == 2**30
    saw("ended for memory in its own group; CPUs and memory bounded though none were asked for")


def test_attack_42_shared_memory_and_what_is_not_ones_own(lab: Lab, saw):
    """Shared memory is sized, and the image's own files are root's."""
    script = (
        "dd if=/dev/zero of=/dev/shm/x bs=1M count=100; touch /etc/x /bin/x /x; ls -l /dev/shm/x"
    )
    _, log = lab.ran(lab.mallory, script, shm_size="8M")
    assert "No space left" in log
    assert log.count("Permission denied") + log.count("Read-only") == 3
    saw("/dev/shm ends at its size; the image's files cannot be written")


def test_attack_43_a_flood_of_logs(lab: Lab, saw):
    job = lab.submit(lab.mallory, command=["sh", "-c", "yes the same line over and over"])
    lab.wait(job, "running")
    directory = Path(lab.container(job)["LogPath"] or "").parent
    identifier = lab.container(job)["Id"]
    directory = lab.engine.directory / "data" / "containers" / identifier
    written = 0
    until = time.monotonic() + 4
    while time.monotonic() < until:
        written = max(written, _bytes_below(directory))
        assert lab.ask(lab.victim, "GET", "/jobs")[0] == 200
    lab.cancel(job)
    assert written <= 32 * 2**20, written
    saw(f"at most {written >> 20} MiB on disk in 4 s of flooding")


def test_attack_43_a_flood_of_logs_from_a_process(lab: Lab, saw):
    """Beside the database: bounded while it runs, and where it is kept afterwards."""
    job = lab.submit(
        lab.mallory, command=["sh", "-c", "yes the same line over and over"],
        runtime="process", image="",
    )  # fmt: skip
    lab.wait(job, "running")
    folder = lab.box.state / "processes" / f"gb-{job}-1"
    wait_until(lambda: len(list(folder.glob("log.*"))) >= 2, 40, "the log to be full")
    written = 0
    until = time.monotonic() + 2
    while time.monotonic() < until:
        written = max(written, _bytes_below(folder))
        assert lab.ask(lab.victim, "GET", "/jobs")[0] == 200
    lab.cancel(job)
    kept = lab.box.state / "logs" / f"{job}-1.log"
    wait_until(lambda: kept.exists() and not folder.exists(), 20, "the log to be kept")
    assert max(written, kept.stat().st_size) <= 31 * 2**20
    saw(f"{written >> 20} MiB on disk while it floods, {kept.stat().st_size >> 20} MiB kept")


def _bytes_below(directory: Path) -> int:
    total = 0
    for path in directory.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            total += path.stat().st_size
    return total


@pytest.mark.parametrize("how", ["trapped", "paused"])
def test_attack_44_dodging_the_limit(lab: Lab, saw, how: str):
    script = "trap '' TERM INT HUP; while :; do sleep 1; done"
    job = lab.submit(lab.mallory, command=["sh", "-c", script], time_limit="2s", grace="1s")
    if how == "paused":
        lab.wait(job, "running")
        with contextlib.closing(lab.engine.client()) as client:
            client.pause(lab.container(job)["Id"])
    ended = lab.wait(job)
    assert ended["state"] == "timed_out"
    saw(f"{how}: SIGKILL after the grace, timed_out")


def test_attack_45_a_child_that_outlives_its_parent(lab: Lab, saw):
    mark = f"3{os.getpid()}"
    ended, _ = lab.ran(lab.mallory, f"setsid sh -c 'sleep {mark}' & sleep 0.5; exit 0")
    assert ended["state"] == "succeeded"
    wait_until(lambda: not _running(f"sleep\0{mark}"), 10, "the child to be gone")
    saw("gone with the container's pid namespace")


def _running(words: str) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if words.encode() in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
    return found


def test_attack_46_killed_from_the_host(lab: Lab, saw):
    """A process of the job has its person's uid, so the person may kill it."""
    job = lab.submit(lab.mallory, command=["sleep", "300"], gpus=1)
    lab.wait(job, "running")
    pids = ContainerCgroups().pids(lab.container(job)["Id"])
    for pid in pids:
        subprocess.run(
            ["setpriv", f"--reuid={lab.mallory}", "--clear-groups", "kill", "-9", str(pid)],
            check=False, capture_output=True,
        )  # fmt: skip
    ended = lab.wait(job)
    assert (ended["state"], ended["exit_code"], ended["oom_killed"]) == ("failed", 137, False)
    assert "killed" in ended["reason"], ended["reason"]
    wait_until(lambda: _free(lab) == 4, 15, "the device to be free")
    saw(f"failed: {ended['reason']}; the device is free")


# --- what it may reach ---------------------------------------------------------------------------


def test_attack_47_our_socket_from_a_job(lab: Lab, saw):
    """Neither the daemon's socket nor the engine's is inside, nor can their folders be mounted."""
    paths = (
        f"{lab.box.socket} {lab.engine.host.removeprefix('unix://')} /run/gpuboard /run/docker.sock"
    )
    _, log = lab.ran(
        lab.mallory, f"for p in {paths}; do test -e $p && echo THERE $p; done; cat /proc/mounts"
    )
    assert "THERE" not in log
    assert "gpuboard.sock" not in log
    saw("no socket inside")


def test_attack_50_a_container_made_by_hand(lab: Lab, saw):
    """Somebody of the docker group takes the very name and labels of the job to come, and of one that is over."""
    over, _ = lab.ran(lab.mallory, "true")
    to_come = over["id"] + 1
    with contextlib.closing(lab.engine.client()) as client:

        def forged(number: int) -> str:
            labels = {
                "gpuboard.box": lab.box_id, "gpuboard.job": str(number), "gpuboard.attempt": "1",
                "gpuboard.uid": str(lab.mallory), "gpuboard.spec": "0" * 64, "gpuboard.devices": "",
            }  # fmt: skip
            return client.create_container(
                IMAGE, ["sh", "-c", "echo forged; sleep 300"], name=f"gb-{number}-1", labels=labels,
                host_config=client.create_host_config(network_mode="none"),
            )["Id"]  # fmt: skip

        wait_until(lambda: lab.container(over["id"]) is None, 20)
        made = forged(to_come), forged(over["id"])
        client.start(made[0])
        try:
            job = lab.submit(lab.mallory, command=["echo", "honest"])
            assert job == to_come
            ended = lab.wait(job)
            assert (ended["state"], ended["attempt"]) == ("succeeded", 2)
            assert lab.log(job) == "honest\n"
            for number in (to_come, over["id"]):
                wait_until(lambda n=number: f"gb-{n}-1 is not ours" in lab.daemon_log(), 15)
            states = [client.inspect_container(one)["State"]["Status"] for one in made]
            assert states == ["running", "created"]
        finally:
            for one in made:
                with contextlib.suppress(Exception):
                    client.remove_container(one, force=True)
    saw("not adopted, left alone, told in the log; the job ran under its next attempt's name")


# --- what changed while it waited ----------------------------------------------------------------


def test_attack_58_an_account_that_goes(lab: Lab, saw):
    with people(f"gbgoing{os.getpid() % 100_000}") as (going,):
        job = lab.submit(going, hold=True)
    lab.ask(0, "POST", "/jobs/release", {"jobs": [str(job)]})
    held = wait_until(lambda: found if "account" in (found := lab.job(job))["reason"] else None)
    assert (held["state"], held["attempt"]) == ("queued", 1)
    assert "no account" in held["reason"]
    lab.cancel(job)
    saw(f"held: {held['reason']}")


def test_attack_61_a_spec_of_an_older_version(lab: Lab, saw):
    """Written into the database behind the daemon's back, as an older one might have let through."""
    job = lab.submit(lab.mallory, hold=True)
    lab.box.stop()
    with contextlib.closing(sqlite3.connect(_database(lab))) as db:
        (text,) = db.execute("SELECT spec FROM jobs WHERE id = ?", (job,)).fetchone()
        spec = json.loads(text)
        spec["mounts"] = mounted("/etc")
        spec["env"] = {"NVIDIA_VISIBLE_DEVICES": "all"}
        db.execute("UPDATE jobs SET spec = ? WHERE id = ?", (json.dumps(spec), job))
        db.commit()
    lab.box.start()
    lab.ask(0, "POST", "/jobs/release", {"jobs": [str(job)]})
    told = wait_until(lambda: found if "NVIDIA" in (found := lab.job(job))["reason"] else None)
    assert lab.container(job) is None
    lab.cancel(job)
    saw(f"held, never started: {told['reason']}")
