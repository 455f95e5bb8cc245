"""Who asks is whom the kernel names; what they may be is not theirs to say."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gpuboard import errors
from gpuboard.api.client import Client
from gpuboard.api.peer import Identities, Peer, is_in_foreign_container
from gpuboard.errors import PermissionDenied
from gpuboard.model.person import Caller
from gpuboard.runtimes.cgroups import hierarchies
from tests.support.api import ScriptedBox, person, serving

ASK = """
import json, socket, sys
path, target = sys.argv[1:]
s = socket.socket(socket.AF_UNIX); s.connect(path)
s.sendall(b"GET %b HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n" % target.encode())
answer = b""
while piece := s.recv(65536): answer += piece
print(answer.partition(b"\\r\\n\\r\\n")[2].decode())
"""

needs_second_uid = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("setpriv") is None, reason="needs root and setpriv"
)


def ask_as(uid: int, path: str, target: str) -> dict[str, object]:
    """Ask over the socket as another uid."""
    found = subprocess.run(
        ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "/usr/bin/python3", "-I",
         "-c", ASK, path, target],
        capture_output=True, text=True, check=True, cwd="/",
    )  # fmt: skip
    return json.loads(found.stdout)


@pytest.mark.root
@needs_second_uid
def test_a_caller_is_the_uid_of_the_connecting_process(folder: Path, box: ScriptedBox):
    with serving(folder, box) as server:
        found = ask_as(1234, server.path, "/v1/ping")
        assert (found["uid"], found["user"], found["is_admin"]) == (1234, "user1234", False)
        ask_as(1234, server.path, "/v1/jobs?user=root")
        assert box.asked[-1][1].uid == 1234


@pytest.mark.root
@needs_second_uid
def test_an_ordinary_person_may_not_what_admins_may(folder: Path):
    script = ASK.replace("GET", "POST").replace("Host: x\\\\r\\\\n", "Host: x\\\\r\\\\n")
    with serving(folder) as server:
        found = subprocess.run(
            ["setpriv", "--reuid=1234", "--regid=1234", "--clear-groups", "/usr/bin/python3", "-I",
             "-c", script, server.path, "/v1/admin/drain"],
            capture_output=True, text=True, check=True, cwd="/",
        )  # fmt: skip
        assert json.loads(found.stdout)["error"]["code"] == "permission"
        assert Client(server.path).post("/admin/drain", {})["words"] == "drain"


@pytest.mark.root
@needs_second_uid
def test_a_uid_without_an_account_is_refused(folder: Path):
    with serving(folder) as server:
        found = ask_as(4242, server.path, "/v1/ping")
        assert found["error"]["code"] == "permission"  # type: ignore[index]


def test_a_peer_in_a_container_is_never_an_admin(folder: Path):
    with serving(folder, is_contained=lambda _pid: True) as server:
        client = Client(server.path)
        assert client.get("/ping")["is_admin"] is False
        with pytest.raises(errors.PermissionDenied) as caught:
            client.post("/admin/drain", {})
        assert caught.value.exit_code == 5


JOIN_AND_ASK = """
import os, sys
for path in sys.argv[3:]:
    with open(path + "/cgroup.procs", "w") as file: file.write(str(os.getpid()))
""" + ASK.replace("path, target = sys.argv[1:]", "path, target = sys.argv[1:3]")


@pytest.fixture
def container_cgroups() -> Iterator[list[str]]:
    """Control groups as the engine makes them for a container; removed afterwards."""
    made = []
    try:
        for tree in hierarchies():
            path = tree / "docker" / ("c0ffee" + "0" * 58)
            path.mkdir(parents=True)
            made.append(path)
    except OSError as error:
        pytest.skip(f"control groups cannot be made here: {error}")
    yield [str(path) for path in made]
    for path in made:
        path.rmdir()


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_root_inside_a_container_is_not_an_admin(folder: Path, container_cgroups: list[str]):
    """SAFETY.md attack 48, with the kernel's own word: same uid 0, other control group."""
    with serving(folder, is_contained=is_in_foreign_container) as server:
        assert Client(server.path).get("/ping")["is_admin"] is True
        found = subprocess.run(
            ["/usr/bin/python3", "-I", "-c", JOIN_AND_ASK, server.path, "/v1/ping",
             *container_cgroups],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        answer = json.loads(found.stdout)
        assert (answer["uid"], answer["is_admin"]) == (0, False)


@pytest.mark.root
@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("unshare") is None, reason="needs root and unshare"
)
def test_root_in_a_pid_namespace_of_its_own_is_not_an_admin(folder: Path):
    """A container's, whatever parent its control group has."""
    with serving(folder, is_contained=is_in_foreign_container) as server:
        words = ["unshare", "--pid", "--fork", "/usr/bin/python3", "-I", "-c", ASK]
        found = subprocess.run(
            [*words, server.path, "/v1/ping"], capture_output=True, text=True, check=True
        )
        answer = json.loads(found.stdout)
        assert (answer["uid"], answer["is_admin"]) == (0, False)


ID = "a" * 64


@pytest.mark.parametrize(
    ("theirs", "ours", "expected"),
    [
        (
            "0::/user.slice/user-1000.slice/session-1.scope\n",
            "0::/system.slice/gb.service\n",
            False,
        ),
        (f"0::/system.slice/docker-{ID}.scope\n", "0::/system.slice/gb.service\n", True),
        (f"4:memory:/docker/{ID}\n1:name=systemd:/docker/{ID}\n", "0::/\n", True),
        (f"0::/docker/{ID}\n", f"0::/docker/{ID}\n", False),
        (f"0::/user.slice/user-1000.slice/docker-{ID}.scope\n", "0::/\n", False),
        ("0::/../../other\n", "0::/\n", True),
        (None, "0::/\n", True),
    ],
    ids=["login", "systemd", "cgroupfs", "the-daemon-s-own", "faked-name", "outside", "gone"],
)
def test_containers_are_told_by_their_anchored_cgroup(
    tmp_path: Path, theirs: str | None, ours: str, expected: bool
):
    (tmp_path / "self").mkdir()
    (tmp_path / "self" / "cgroup").write_text(ours)
    if theirs is not None:
        (tmp_path / "77").mkdir()
        (tmp_path / "77" / "cgroup").write_text(theirs)
    assert is_in_foreign_container(77, tmp_path) is expected


def test_a_control_group_may_have_any_name(tmp_path: Path):
    """Its maker chooses the bytes: no UTF-8, or what would be a line of its own if a \\r were one."""
    names = {"self": b"/", "7": b"/mine\xff", "8": f"/mine\r0::/docker/{ID}".encode()}
    for pid, name in names.items():
        (tmp_path / pid).mkdir()
        (tmp_path / pid / "cgroup").write_bytes(b"0::" + name + b"\n")
    assert not is_in_foreign_container(7, tmp_path)
    assert not is_in_foreign_container(8, tmp_path)


@pytest.fixture
def odd_cgroup() -> Iterator[bytes]:
    """A control group whose name is no UTF-8, as anybody may make one below their own slice."""
    path = os.fsencode(hierarchies()[0] / "gpuboard-test-") + b"\xff"
    try:
        os.mkdir(path)
    except OSError as error:
        pytest.skip(f"control groups cannot be made here: {error}")
    yield path
    os.rmdir(path)


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_nobody_s_control_group_keeps_others_from_connecting(folder: Path, odd_cgroup: bytes):
    """Its name could not be decoded, which ended the loop that accepts connections."""
    with serving(folder, is_contained=is_in_foreign_container) as server:
        asking = [b"/usr/bin/python3", b"-I", b"-c", JOIN_AND_ASK.encode()]
        found = subprocess.run(
            [*asking, str(server.path).encode(), b"/v1/ping", odd_cgroup],
            capture_output=True, check=True, timeout=20,
        )  # fmt: skip
        assert json.loads(found.stdout)["uid"] == 0
        assert Client(server.path).get("/ping")["uid"] == os.geteuid()


async def test_a_person_is_looked_up_once_until_forgotten():
    looked: list[int] = []

    def look(peer: Peer) -> Caller:
        looked.append(peer.uid)
        return Caller(person=person(peer.uid))

    identities = Identities(look, ThreadPoolExecutor(1))
    peer = Peer(pid=1, uid=7, gid=7)
    await identities.caller(peer)
    await identities.caller(peer)
    await identities.caller(Peer(pid=1, uid=7, gid=7, is_contained=True))
    assert looked == [7, 7]
    identities.forget()
    await identities.caller(peer)
    assert looked == [7, 7, 7]


async def test_requests_of_one_person_wait_for_one_look():
    """While it hangs they take one worker, and a newcomer has the others."""
    looked: list[int] = []
    answer = threading.Event()

    def look(peer: Peer) -> Caller:
        looked.append(peer.uid)
        if peer.uid == 7:
            answer.wait(20)
        return Caller(person=person(peer.uid))

    with ThreadPoolExecutor(2) as workers:
        identities = Identities(look, workers)
        waiting = [
            asyncio.ensure_future(identities.caller(Peer(pid=pid, uid=7, gid=7)))
            for pid in range(1, 5)
        ]
        assert (await identities.caller(Peer(pid=9, uid=8, gid=8))).uid == 8
        answer.set()
        assert {caller.uid for caller in await asyncio.gather(*waiting)} == {7}
    assert sorted(looked) == [7, 8]


async def test_whoever_is_nobody_is_looked_up_seldom():
    """However often they ask; and again once all is forgotten."""
    looked: list[int] = []

    def look(peer: Peer) -> Caller:
        looked.append(peer.uid)
        raise PermissionDenied("no account")

    identities = Identities(look, ThreadPoolExecutor(1))
    for _ in range(3):
        with pytest.raises(PermissionDenied, match="no account"):
            await identities.caller(Peer(pid=1, uid=7, gid=7))
    assert looked == [7]
    identities.forget()
    with pytest.raises(PermissionDenied):
        await identities.caller(Peer(pid=1, uid=7, gid=7))
    assert looked == [7, 7]
