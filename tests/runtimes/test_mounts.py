"""Mount sources: looked up as the person, pinned from the descriptor, or a root that nobody can swap."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gpuboard.errors import InvalidRequest, PermissionDenied, Refused, Unavailable
from gpuboard.model.job import Mount
from gpuboard.runtimes import mounts as mounts_module
from gpuboard.runtimes.mounts import MountBoard
from gpuboard.runtimes.protocol import RunRequest
from gpuboard.runtimes.sandbox import SandboxSettings
from tests.support.hangingfs import hanging
from tests.support.runtimes import PERSON
from tests.support.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="looking up as somebody else needs root")


def request(home: Path, *mounts: Mount, uid: int = PERSON) -> RunRequest:
    return RunRequest(
        name="gb-1-1",
        job_id=1,
        attempt=1,
        uid=uid,
        gid=uid,
        groups=(uid,),
        user="person",
        home=str(home),
        mounts=mounts,
    )


@pytest.fixture
def board(tmp_path: Path) -> Iterator[MountBoard]:
    """Give a board whose pins are let go at the end."""
    board = MountBoard(str(tmp_path / "pins"))
    yield board
    board.release("gb-1-1")


@needs_root
def test_home_is_given_as_it_is_where_no_pin_can_be_made(board: MountBoard, home: Path):
    """Every component above it is root's: nobody can put something else there."""
    found = board.resolve(request(home, Mount(str(home), "/work/")), SandboxSettings())
    assert found == [Mount(str(home), "/work")]
    assert board.names() == set()


@needs_root
def test_home_itself_is_pinned_where_the_engine_is_known(board: MountBoard, home: Path):
    """So that setuid files in it are worth nothing."""
    board.engine_pid = os.getpid()
    (found,) = board.resolve(request(home, Mount(str(home), "/work/")), SandboxSettings())
    assert found.source != str(home)
    assert found.target == "/work"
    assert Path(found.source).samefile(home)
    assert {"nosuid", "nodev"} <= options_of(found.source)


def options_of(path: str) -> set[str]:
    """Return the options of what is mounted on a path."""
    rows = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return next(set(row[5].split(",")) for row in rows if row[4] == path)


@pytest.fixture
def mounted(home: Path) -> Iterator[Path]:
    """Give a directory of the home on which a read-only file system without programs is mounted."""
    inner = home / "data" / "disk"
    inner.mkdir(parents=True)
    words = ["mount", "-t", "tmpfs", "-o", "ro,noexec,noatime,size=1M", "none", str(inner)]
    if os.geteuid() != 0 or subprocess.run(words, check=False).returncode:
        pytest.skip("mounting needs root")
    for path in (home / "data", home):
        os.chown(path, PERSON, PERSON)
    yield inner
    subprocess.run(["umount", str(inner)], check=True)


@pytest.mark.parametrize("part", ["data/disk", "data", ""])
def test_what_is_read_only_on_the_host_stays_so(
    board: MountBoard, home: Path, mounted: Path, part: str
):
    """Also what is mounted deeper, which comes along; with setuid and device nodes taken away."""
    board.engine_pid = os.getpid()
    (found,) = board.resolve(request(home, Mount(str(home / part), "/work")), SandboxSettings())
    pinned = Path(found.source, mounted.relative_to(home / part))
    assert {"ro", "noexec", "noatime", "nosuid", "nodev"} <= options_of(str(pinned))
    board.release("gb-1-1")
    assert str(board._directory) not in Path("/proc/mounts").read_text()
    assert mounted.is_mount()


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Path]:
    """Make the test's folder a mount that spreads, as systemd has all of a box's."""
    words = [["mount", "--bind", str(tmp_path), str(tmp_path)]]
    words.append(["mount", "--make-shared", str(tmp_path)])
    if os.geteuid() != 0 or any(subprocess.run(line, check=False).returncode for line in words):
        pytest.skip("mounting needs root")
    yield tmp_path
    subprocess.run(["umount", "-l", str(tmp_path)], check=True)


@pytest.mark.skipif(not shutil.which("unshare"), reason="needs unshare (util-linux)")
def test_letting_pins_go_unmounts_nothing_of_the_hosts(
    shared: Path, home: Path, mounted: Path, board: MountBoard
):
    """Nor do pins spread into the namespaces of others, whose file systems they would hold."""
    board.engine_pid = os.getpid()
    ready = "echo ready; exec sleep 60"
    words = ["unshare", "-m", "--propagation", "slave", "sh", "-c", ready]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as other:
        try:
            assert other.stdout
            assert other.stdout.readline() == b"ready\n"
            (found,) = board.resolve(request(home, Mount(str(home), "/work")), SandboxSettings())
            elsewhere = Path(f"/proc/{other.pid}/mountinfo")
            assert found.source not in elsewhere.read_text()
            assert f"{found.source}/data/disk" in Path("/proc/self/mountinfo").read_text()
            board.release("gb-1-1")
            assert mounted.is_mount()
            assert str(mounted) in elsewhere.read_text()
            assert str(board._directory) not in elsewhere.read_text()
        finally:
            other.kill()


@needs_root
def test_read_only_mount_is_read_only_all_the_way(board: MountBoard, home: Path):
    """Two mounts of one source are two pins."""
    (home / "a").mkdir()
    os.chown(home / "a", PERSON, PERSON)
    asked = (Mount(f"{home}/a", "/r", read_only=True), Mount(f"{home}/a", "/w"))
    read, write = board.resolve(request(home, *asked), SandboxSettings())
    assert "ro" in options_of(read.source)
    assert "rw" in options_of(write.source)


@needs_root
@pytest.mark.parametrize("target", ["/", "/etc", "/run", "/var", "/dev/shm"])
@pytest.mark.parametrize("deeper", ["", "/."])
def test_root_that_a_person_replaced_gives_nothing_more(
    board: MountBoard, home: Path, target: str, deeper: str
):
    """A root in somebody's home may become a link."""
    settings = SandboxSettings(mount_roots=("{home}/work",))
    board.closed = ("/var/lib/gpuboard",)
    (home / "work").symlink_to(target)
    with pytest.raises(PermissionDenied):
        board.resolve(request(home, Mount(f"{home}/work{deeper}", "/w")), settings)
    assert board.names() == set()


@needs_root
def test_root_that_is_a_link_of_the_persons_works(board: MountBoard, home: Path):
    """To where they may go by themselves."""
    (home / "real").mkdir()
    os.chown(home / "real", PERSON, PERSON)
    (home / "work").symlink_to("real")
    settings = SandboxSettings(mount_roots=("{home}/work",))
    (found,) = board.resolve(request(home, Mount(f"{home}/work", "/w")), settings)
    assert Path(found.source).samefile(home / "real")


@needs_root
@pytest.mark.parametrize("source", ["", "state", "state/logs"])
def test_daemons_own_is_never_mounted(board: MountBoard, home: Path, tmp_path: Path, source: str):
    """Neither it, nor what is in it or around it, though a root of the configuration would have it."""
    shared = tmp_path / "shared"
    (shared / "state" / "logs").mkdir(parents=True)
    (shared / "other").mkdir()
    settings = SandboxSettings(mount_roots=(str(shared),))
    board.closed = (str(shared / "state"),)
    with pytest.raises(PermissionDenied):
        board.resolve(request(home, Mount(str(shared / source), "/w")), settings)
    (found,) = board.resolve(request(home, Mount(str(shared / "other"), "/w")), settings)
    assert Path(found.source).samefile(shared / "other")


@needs_root
def test_home_that_others_could_swap_is_pinned(board: MountBoard, home: Path):
    """A root in a directory that everybody may write is not fixed."""
    home.parent.chmod(0o777)
    (found,) = board.resolve(request(home, Mount(str(home), "/work")), SandboxSettings())
    assert found.source != str(home)
    assert Path(found.source).samefile(home)


@needs_root
def test_deeper_path_is_pinned_and_shows_the_same_directory(board: MountBoard, home: Path):
    """By whatever spelling; a file can be mounted, too."""
    (home / "a").mkdir()
    (home / "file").write_text("x")
    for name in ("a", "file"):
        os.chown(home / name, PERSON, PERSON)
    asked = (Mount(f"{home}/./a/../a", "/work", read_only=True), Mount(f"{home}/file", "/data"))
    first, second = board.resolve(request(home, *asked), SandboxSettings())
    assert Path(first.source).samefile(home / "a")
    assert first.read_only
    assert Path(second.source).read_text() == "x"
    board.release("gb-1-1")
    board.release("gb-1-1")
    assert (home / "a").is_dir()
    assert (home / "file").read_text() == "x"


def owned(path: Path) -> Path:
    """Make a directory of the person's."""
    path.mkdir(parents=True)
    os.chown(path, PERSON, PERSON)
    return path


@needs_root
def test_mount_in_a_mount_is_put_into_its_pin(board: MountBoard, home: Path):
    """Three deep, in whatever order they were asked for; the container gets one, and nothing stays on the host."""
    for name in ("code/data/set", "data/set", "cache"):
        owned(home / name)
        (home / name / "here").write_text(name)
    asked = (
        Mount(f"{home}/cache", "/work/data/set", read_only=True),
        Mount(f"{home}/code", "/work"),
        Mount(f"{home}/data", "//work/data/"),
    )
    (found,) = board.resolve(request(home, *asked), SandboxSettings())
    assert found.target == "/work"
    inside = Path(found.source)
    assert (inside / "data/set/here").read_text() == "cache"
    with pytest.raises(OSError, match="Read-only"):
        (inside / "data/set/more").write_text("x")
    (inside / "data/more").write_text("x")
    assert (home / "data/more").read_text() == "x"
    options = [
        line.split()[5].split(",")
        for line in Path("/proc/self/mountinfo").read_text().splitlines()
        if line.split()[4].startswith(str(inside))
    ]
    assert len(options) == 3
    assert all({"nosuid", "nodev"} <= {*words} for words in options)
    board.release("gb-1-1")
    assert str(board._directory) not in Path("/proc/mounts").read_text()
    assert (home / "code/data/set/here").read_text() == "code/data/set"
    assert board.names() == set()


@needs_root
@pytest.mark.parametrize("how", ["missing", "link", "linked parent", "file", "closed"])
def test_mount_in_a_mount_makes_nothing_and_follows_nothing(
    board: MountBoard, home: Path, how: str
):
    """The engine, as root, would make the place in the person's directory, or mount on /etc inside."""
    owned(home / "data")
    code, target = owned(home / "code"), "/work/sub"
    if how == "link":
        (code / "sub").symlink_to("/etc")
    elif how == "linked parent":
        (code / "sub").symlink_to("../../usr")
        target = "/work/sub/lib"
    elif how == "file":
        (code / "sub").write_text("x")
    elif how == "closed":
        (code / "sub" / "deeper").mkdir(parents=True)
        (code / "sub").chmod(0o700)  # root's
        target = "/work/sub/deeper"
    before = sorted(code.iterdir())
    asked = (Mount(str(code), "/work"), Mount(f"{home}/data", target))
    with pytest.raises((InvalidRequest, PermissionDenied)) as caught:
        board.resolve(request(home, *asked), SandboxSettings())
    assert caught.value.field == "mounts"
    assert target.removeprefix("/work/") in caught.value.message
    assert sorted(code.iterdir()) == before
    assert board.names() == set()


@needs_root
def test_mount_in_a_root_that_is_given_as_it_is_is_refused(board: MountBoard, home: Path):
    """What lies in it may be anybody's, and the engine would follow it."""
    owned(home / "data")
    asked = (Mount(str(home), "/work"), Mount(f"{home}/data", "/work/data"))
    with pytest.raises(InvalidRequest, match="mount it elsewhere"):
        board.resolve(request(home, *asked), SandboxSettings())
    assert board.names() == set()


def test_mount_that_may_be_written_in_one_that_may_not_is_refused(board: MountBoard, home: Path):
    """Newer engines would make all of it read-only, older ones not."""
    asked = (Mount(str(home), "/work", read_only=True), Mount(f"{home}/data", "/work/data"))
    with pytest.raises(InvalidRequest, match="read-only"):
        board.resolve(request(home, *asked), SandboxSettings())


@needs_root
def test_pinning_again_replaces_the_pins(board: MountBoard, home: Path):
    """A create that is repeated after a crash leaves one set."""
    (home / "a").mkdir()
    os.chown(home / "a", PERSON, PERSON)
    for _ in range(3):
        board.resolve(request(home, Mount(f"{home}/a", "/work")), SandboxSettings())
    assert Path("/proc/mounts").read_text().count(f"{board._directory}/gb-1-1/") == 1


@needs_root
@pytest.mark.parametrize(
    ("target", "error"),
    [
        ("/etc", PermissionDenied),
        ("/etc/shadow", PermissionDenied),
        ("/proc/self/cwd", PermissionDenied),
        ("/proc/1/root", PermissionDenied),
        ("/sys", (PermissionDenied, InvalidRequest)),
        ("/dev/null", (PermissionDenied, InvalidRequest)),
        ("loop", (PermissionDenied, InvalidRequest)),
        ("nowhere", InvalidRequest),
    ],
)
def test_link_leads_nowhere_else(board: MountBoard, home: Path, target: str, error: type):
    """What was opened decides, not what was written."""
    (home / "loop").symlink_to("loop")
    (home / "link").symlink_to(target)
    with pytest.raises(error) as caught:
        board.resolve(request(home, Mount(f"{home}/link", "/work")), SandboxSettings())
    assert caught.value.field == "mounts"
    assert board.names() == set()


@needs_root
@pytest.mark.skipif(not shutil.which("unshare"), reason="needs unshare (util-linux)")
def test_pins_are_made_in_the_engines_mount_namespace(
    board: MountBoard, home: Path, tmp_path: Path
):
    """A daemon in a namespace of its own (systemd's ProtectSystem) pins where the engine looks."""
    (home / "a").mkdir()
    os.chown(home / "a", PERSON, PERSON)
    script = (
        "import sys, json; from gpuboard.model.job import Mount;"
        "from gpuboard.runtimes.mounts import MountBoard;"
        "from gpuboard.runtimes.sandbox import SandboxSettings;"
        "import tests.runtimes.test_mounts as t; from pathlib import Path;"
        "home = Path(sys.argv[1]); board = MountBoard(sys.argv[2], int(sys.argv[3]));"
        "found = board.resolve(t.request(home, Mount(f'{home}/a', '/work')), SandboxSettings());"
        "print(json.dumps([found[0].source, Path('/proc/mounts').read_text().count(sys.argv[2])]))"
    )
    done = subprocess.run(
        [
            *("unshare", "-m", "--propagation", "private", sys.executable, "-c", script),
            *(str(home), str(board._directory), str(os.getpid())),
        ],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    )
    source, seen_inside = json.loads(done.stdout)
    assert seen_inside == 0
    assert Path(source).samefile(home / "a")


def test_daemon_of_the_person_gives_the_resolved_path(board: MountBoard, home: Path):
    """A personal daemon: the person could tell the engine so anyway; the roots still hold."""
    me = os.geteuid()
    (home / "a").mkdir()
    (home / "link").symlink_to("a")
    (home / "out").symlink_to("/etc")
    (found,) = board.resolve(request(home, Mount(f"{home}/link", "/w"), uid=me), SandboxSettings())
    assert found == Mount(str((home / "a").resolve()), "/w")
    for name, error in (("out", PermissionDenied), ("missing", InvalidRequest)):
        with pytest.raises(error):
            board.resolve(request(home, Mount(f"{home}/{name}", "/w"), uid=me), SandboxSettings())


def test_service_user_mounts_roots_only(board: MountBoard, home: Path, monkeypatch):
    """A daemon that is neither root nor the person cannot look up as the person."""
    monkeypatch.setattr(os, "geteuid", lambda: 999)
    (home / "a").mkdir()
    with pytest.raises(PermissionDenied) as caught:
        board.resolve(request(home, Mount(f"{home}/a", "/w")), SandboxSettings())
    assert "not root" in caught.value.message
    roots = SandboxSettings(mount_roots=(str(home), f"{home}/a"))
    nested = (Mount(str(home), "/w"), Mount(f"{home}/a", "/w/a"))
    with pytest.raises(InvalidRequest, match="may not lie in another"):
        board.resolve(request(home, *nested), roots)


def test_daemon_of_the_person_leaves_mounts_in_mounts_to_the_engine(board: MountBoard, home: Path):
    """The person could tell the engine so anyway."""
    (home / "a").mkdir()
    asked = (Mount(str(home), "/w"), Mount(f"{home}/a", "/w/b"))
    found = board.resolve(request(home, *asked, uid=os.geteuid()), SandboxSettings())
    assert [mount.target for mount in found] == ["/w", "/w/b"]


@needs_root
def test_file_server_that_never_answers_holds_one_worker_once(
    board: MountBoard, home: Path, monkeypatch
):
    """The first look is cut off in its time, later ones at once; when the server is back, all is well."""
    monkeypatch.setattr(mounts_module, "HELPER_TIMEOUT_S", 4)
    monkeypatch.setattr(mounts_module, "TURN_TIMEOUT_S", 0.1)
    asked = request(home, Mount(str(home), "/w"))
    with hanging(home, PERSON) as is_asked, ThreadPoolExecutor() as pool:
        first = pool.submit(board.resolve, asked, SandboxSettings())
        assert is_asked.wait(20)
        with pytest.raises(Unavailable, match="still being looked up"):
            board.resolve(asked, SandboxSettings())
        with pytest.raises(Refused, match="too long"):
            first.result(20)
        began = time.monotonic()
        with pytest.raises(Refused, match="too long"):
            board.resolve(asked, SandboxSettings())
        assert time.monotonic() - began < 4
        (helper,) = board._hanging[PERSON]
        assert helper.poll() is None
    wait_until(lambda: helper.poll() is not None)
    (found,) = board.resolve(asked, SandboxSettings())
    assert Path(found.source).samefile(home)


@needs_root
def test_hanging_file_server_is_an_error_not_a_hung_worker(
    board: MountBoard, home: Path, monkeypatch
):
    """A home on a dead NFS server."""
    (home / "a").mkdir()
    slow = home / "slow.py"
    slow.write_text("import time; time.sleep(60)")
    monkeypatch.setattr(mounts_module, "HELPER_TIMEOUT_S", 0.2)
    monkeypatch.setattr(mounts_module.mount_pin, "__file__", str(slow))
    with pytest.raises(Refused, match="too long"):
        board.resolve(request(home, Mount(f"{home}/a", "/w")), SandboxSettings())
