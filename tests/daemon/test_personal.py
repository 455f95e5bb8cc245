"""The personal daemon: started once by the first command, ended by idleness, private."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gpuboard import errors
from gpuboard.api import places
from gpuboard.api.client import connect
from tests.support.daemon import daemon_in
from tests.support.waiting import wait_until

PERSONAL = """
[daemon]
idle_exit = "{idle_exit}"
[devices]
probe = "simulated"
[jobs]
runtimes = ["process"]
"""
PING = "from gpuboard.api.client import connect; print(connect().get('/ping')['uid'])"


@pytest.fixture
def home(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A person's own directories, and no system daemon; whatever daemon was started is ended."""
    for name in ("XDG_RUNTIME_DIR", "XDG_STATE_HOME", "XDG_CONFIG_HOME"):
        path = folder / name.lower()
        path.mkdir(mode=0o700)
        monkeypatch.setenv(name, str(path))
    monkeypatch.delenv("GPUBOARD_SOCKET", raising=False)
    monkeypatch.setattr(places, "SYSTEM_SOCKET", str(folder / "no-system-daemon"))
    monkeypatch.setattr(places, "SYSTEM_MARKS", (str(folder / "no-system-configuration"),))
    configure(folder, "10m")
    yield folder
    for pid in daemon_pids(folder):
        os.kill(pid, 15)
        wait_until(lambda pid=pid: not Path(f"/proc/{pid}").exists() or is_zombie(pid))


def configure(home: Path, idle_exit: str) -> None:
    path = home / "xdg_config_home" / "gpuboard"
    path.mkdir(exist_ok=True)
    (path / "config.toml").write_text(PERSONAL.format(idle_exit=idle_exit))
    (path / "config.toml").chmod(0o600)


def log_of(home: Path) -> str:
    path = home / "xdg_state_home" / "gpuboard" / "daemon.log"
    return path.read_text() if path.exists() else ""


def daemon_pids(home: Path) -> list[int]:
    lock = home / "xdg_state_home" / "gpuboard" / "daemon.lock"
    if not lock.exists():
        return []
    pid = int(lock.read_text() or "0")
    return [pid] if pid and Path(f"/proc/{pid}").exists() and not is_zombie(pid) else []


def is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_the_first_command_starts_it_and_the_second_finds_it(home: Path):
    assert connect().get("/ping")["uid"] == os.geteuid()
    assert connect().get("/ping")["is_admin"] is True
    assert log_of(home).count(" serves ") == 1


def test_ten_simultaneous_first_commands_start_one_daemon(home: Path):
    if Path("/run/gpuboard/gpuboard.sock").exists():
        pytest.skip("this box has a system daemon")

    def ask(_number: int) -> str:
        found = subprocess.run(
            [sys.executable, "-c", PING], capture_output=True, text=True, timeout=60, check=False
        )
        return found.stdout.strip() or found.stderr

    with ThreadPoolExecutor(10) as pool:
        found = list(pool.map(ask, range(10)))
    assert found == [str(os.geteuid())] * 10
    assert log_of(home).count(" serves ") == 1


def test_a_gpuboard_that_is_on_nobody_s_path_starts_its_own_daemon(home: Path):
    """The Debian package's launcher adds its folder by itself; the daemon must come from there too."""
    import gpuboard

    root = Path(gpuboard.__file__).parent.parent
    hidden = home / "library"
    hidden.mkdir()
    (hidden / "gpuboard").symlink_to(root / "gpuboard")
    code = f"import sys; sys.path.insert(0, {str(hidden)!r}); {PING}"
    found = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert found.stdout.strip() == str(os.geteuid())
    pid = daemon_pids(home)[0]
    environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    assert any(line.startswith(f"PYTHONPATH={hidden}".encode()) for line in environment)


def test_it_ends_by_itself_when_nobody_needs_it(home: Path):
    configure(home, "1s")
    client = connect()
    client.get("/ping")
    pids = daemon_pids(home)
    client.close()
    wait_until(lambda: not daemon_pids(home))
    assert "nothing to do for 1 s" in log_of(home)
    assert not Path(places.personal_socket()).exists()
    connect().get("/ping")
    assert daemon_pids(home) != pids


def test_it_stays_while_somebody_watches(home: Path):
    configure(home, "1s")
    client = connect()
    held = client.get("/ping")
    wait_until(lambda: "nothing to do" in log_of(home) or len(daemon_pids(home)) == 1)
    feed_seconds = 0
    for event, _, _ in client.feed():
        feed_seconds += event == "board"
        if feed_seconds == 3:
            break
    assert held
    assert daemon_pids(home)


def test_its_directories_and_socket_are_private(home: Path):
    connect().get("/ping")
    for path in (home / "xdg_runtime_dir" / "gpuboard", home / "xdg_state_home" / "gpuboard"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert stat.S_IMODE(os.stat(places.personal_socket()).st_mode) == 0o600


def test_a_socket_directory_open_to_others_is_refused(home: Path):
    path = Path(places.personal_runtime_dir())
    path.mkdir(mode=0o755)
    path.chmod(0o755)
    with pytest.raises(errors.HostError, match="open to others"):
        connect()


def test_a_socket_directory_that_is_a_link_is_refused(home: Path):
    elsewhere = home / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    Path(places.personal_runtime_dir()).symlink_to(elsewhere)
    with pytest.raises(errors.HostError, match="not a directory"):
        connect()


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make another's directory")
def test_a_socket_directory_of_another_is_refused(home: Path):
    path = Path(places.personal_runtime_dir())
    path.mkdir(mode=0o700)
    os.chown(path, 1234, 1234)
    with pytest.raises(errors.HostError, match="belongs to uid 1234"):
        connect()


def test_one_that_cannot_start_says_why(home: Path):
    """What is wrong is the message, what to do is the hint: whatever else is in the log."""
    configure(home, "never ever")
    with pytest.raises(errors.Unavailable) as caught:
        connect()
    assert re.search(r"did not start: \S+config\.toml:3: daemon\.idle_exit: ", caught.value.message)
    assert re.match(r"write 90m.*; the whole story is in \S+daemon\.log$", caught.value.hint)


def test_none_is_started_on_a_box_that_has_a_daemon_of_its_own(
    home: Path, monkeypatch: pytest.MonkeyPatch
):
    """While that is down or restarts, a job in a private queue would seem to be lost."""
    mark = home / "no-system-configuration"
    mark.touch()
    with pytest.raises(errors.Unavailable, match="the box's daemon is not running") as caught:
        connect(patience_s=0.3)
    assert caught.value.exit_code == 3
    assert "sudo systemctl start gpuboard" in caught.value.hint
    assert not daemon_pids(home)


def test_the_box_s_daemon_that_restarts_is_waited_for(home: Path):
    """Its socket is not there for a moment."""
    (home / "no-system-configuration").touch()
    (home / "box").mkdir()
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(lambda: connect(patience_s=60).get("/ping"))
        with daemon_in(home / "box") as daemon:
            daemon.socket.rename(places.SYSTEM_SOCKET)
            assert answer.result(60)["version"]


def test_nothing_is_started_without_leave(home: Path):
    with pytest.raises(errors.Unavailable):
        connect(autostart=False).get("/ping")
    assert log_of(home) == ""


def test_a_long_log_is_put_aside(home: Path):
    path = home / "xdg_state_home" / "gpuboard"
    path.mkdir(mode=0o700)
    (path / "daemon.log").write_bytes(b"old\n" * 2_000_000)
    connect().get("/ping")
    assert (path / "daemon.log.1").stat().st_size == 8_000_000
    assert (path / "daemon.log").stat().st_size < 10_000
