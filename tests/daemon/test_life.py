"""The life of a real daemon: one at a time, READY when it serves, reload, an orderly end."""

from __future__ import annotations

import os
import re
import signal
import socket
import stat
import time
from pathlib import Path

import pytest

from gpuboard import errors
from gpuboard.api.client import Client
from tests.support.daemon import CONFIG, DaemonProcess, daemon_in, run_daemon
from tests.support.waiting import wait_until


def test_a_second_daemon_says_who_holds_the_lock_and_exits_75(daemon: DaemonProcess):
    assert daemon.process is not None
    second = run_daemon("--config", str(daemon.config))
    assert second.returncode == 75
    assert f"pid {daemon.process.pid}" in second.stderr
    assert "hint: " in second.stderr
    assert daemon.client().get("/ping")


def test_after_kill_9_the_next_daemon_takes_the_socket_over(daemon: DaemonProcess):
    daemon.kill()
    assert daemon.socket.exists()
    daemon.start()
    assert daemon.client().get("/ping")


def test_sigterm_ends_it_soon_and_leaves_no_socket(folder: Path):
    with daemon_in(folder) as daemon:
        feed = daemon.client().feed()
        next(feed)
        began = time.monotonic()
        assert daemon.stop() == 0
        assert time.monotonic() - began < 15
        assert not daemon.socket.exists()
        assert "Traceback" not in daemon.log.read_text()


def test_its_files_are_its_own(daemon: DaemonProcess):
    state = daemon.folder / "state"
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    for path in state.rglob("*"):
        assert stat.S_IMODE(path.lstat().st_mode) & 0o077 == 0, path
    assert stat.S_IMODE(daemon.socket.stat().st_mode) == 0o666


def test_a_wrong_configuration_at_reload_leaves_the_old_one_in_force(daemon: DaemonProcess):
    assert daemon.process is not None
    good = daemon.config.read_text()
    daemon.config.write_text(good + "\n[api]\nmax_conections = 5\n")
    daemon.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "the old configuration stays" in daemon.log.read_text())
    assert "max_connections" in daemon.log.read_text(), "the nearest spelling is named"
    assert daemon.client().get("/ping")


def test_a_right_configuration_at_reload_is_taken_over(daemon: DaemonProcess):
    """What cannot change while it lives is named; the rest holds from now on."""
    assert daemon.process is not None
    client = daemon.client()
    job = {"command": ["true"], "runtime": "process", "workdir": "/", "time_limit": "3h"}
    assert client.post("/jobs", job, dry_run=True)["valid"]
    text = daemon.config.read_text()
    text = text.replace("[devices]", '[devices]\ninterval = "2s"')
    daemon.config.write_text(text.replace("[jobs]", '[jobs]\nmax_time = "2h"\ndefault_time = "1h"'))
    daemon.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "configuration read again" in daemon.log.read_text())
    assert (
        "[devices] interval_s: the new value takes effect at the next start"
        in daemon.log.read_text()
    )
    with pytest.raises(errors.GpuboardError, match="2h"):
        client.post("/jobs", job, dry_run=True)


def test_a_wrong_configuration_at_start_is_refused_with_its_line(folder: Path):
    config = folder / "config.toml"
    config.write_text("[daemon]\nsoket = '/x'\n")
    found = run_daemon("--config", str(config))
    assert found.returncode == 1
    assert "config.toml:2" in found.stderr
    assert found.stderr.count("error: ") == 1
    assert "Traceback" not in found.stderr


def test_check_config_says_ok_and_starts_nothing(folder: Path):
    config = folder / "config.toml"
    config.write_text(CONFIG.format(folder=folder))
    found = run_daemon("--check-config", "--config", str(config))
    assert (found.returncode, found.stdout.strip()) == (0, f"{config}: ok")
    assert not (folder / "state").exists()


def test_systemd_is_told_when_it_serves_reloads_and_stops(folder: Path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(folder / "notify"))
        manager.settimeout(20)
        daemon = DaemonProcess(folder)
        try:
            daemon.start(env={"NOTIFY_SOCKET": str(folder / "notify"), "WATCHDOG_USEC": "2000000"})
            first = manager.recv(500).decode()
            assert first.startswith("READY=1\nSTATUS=8 devices")
            messages = {manager.recv(500).decode() for _ in range(3)}
            assert "WATCHDOG=1" in messages
            assert daemon.process is not None
            daemon.process.send_signal(signal.SIGHUP)
            while not manager.recv(500).decode().startswith("RELOADING=1\nMONOTONIC_USEC="):
                pass
            while not manager.recv(500).decode().startswith("READY=1"):
                pass
            daemon.stop()
            seen = ""
            while "STOPPING=1" not in seen:
                seen = manager.recv(500).decode()
        finally:
            daemon.stop()


def test_a_hanging_engine_starves_the_watchdog():
    from gpuboard.daemon.notify import Notifier

    notifier = Notifier({})
    assert notifier.feed_watchdog(1.0)
    assert not notifier.feed_watchdog(1.0)
    assert notifier.feed_watchdog(2.0)


def test_running_out_of_descriptors_ends_nothing(daemon: DaemonProcess):
    """SAFETY.md fault 36: requests are refused, the daemon stays, the accept loop never exits."""
    import psutil

    assert daemon.process is not None
    process = psutil.Process(daemon.process.pid)
    _, hard = process.rlimit(psutil.RLIMIT_NOFILE)
    process.rlimit(psutil.RLIMIT_NOFILE, (process.num_fds() + 10, hard))
    held = []
    for _ in range(60):
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(daemon.socket))
        held.append(connection)
    wait_until(lambda: "cannot accept a connection" in daemon.log.read_text())
    for connection in held:
        connection.close()
    assert daemon.client().get("/ping")
    assert daemon.log.read_text().count("cannot accept a connection") < 5


LISTEN_AND_EXEC = """
import os, socket, sys
path, python, config = sys.argv[1:]
listening = socket.socket(socket.AF_UNIX)
listening.bind(path)
listening.listen(8)
os.dup2(listening.fileno(), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
os.execv(python, [python, "-m", "gpuboard.daemon", "--config", config])
"""


def test_a_socket_from_systemd_is_served_and_left_in_place(folder: Path):
    import subprocess
    import sys

    daemon = DaemonProcess(folder, CONFIG.replace("gb.sock", "unused.sock"))
    path = folder / "handed.sock"
    with daemon.log.open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", LISTEN_AND_EXEC, str(path), sys.executable, str(daemon.config)],
            stderr=log, cwd="/",
        )  # fmt: skip
    try:
        wait_until(lambda: path.exists() and "serves" in daemon.log.read_text())
        assert Client(str(path)).get("/ping")
        assert not (folder / "unused.sock").exists()
    finally:
        process.terminate()
        assert process.wait(30) == 0
    assert path.exists()


def test_an_idle_daemon_costs_next_to_nothing(daemon: DaemonProcess):
    """8 devices at 1 Hz: at most 1 % of a core and 80 MiB (measured by bench; here a loose bound)."""
    assert daemon.process is not None
    pid = daemon.process.pid
    before = _cpu_ticks(pid)
    began = time.monotonic()
    wait_until(lambda: time.monotonic() - began > 3)
    spent_s = (_cpu_ticks(pid) - before) / os.sysconf("SC_CLK_TCK")
    assert spent_s / (time.monotonic() - began) < 0.05
    status = Path(f"/proc/{pid}/status").read_text()
    resident_kib = int(re.search(r"VmRSS:\s+(\d+)", status)[1])  # type: ignore[index]
    assert resident_kib < 100 * 1024


def _cpu_ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def test_what_this_box_does_not_need_is_not_loaded(daemon: DaemonProcess):
    assert daemon.process is not None
    maps = Path(f"/proc/{daemon.process.pid}/maps").read_text()
    assert "pynvml" not in maps
    found = run_daemon_modules(daemon.folder)
    for heavy in ("docker", "requests", "sqlite_utils", "pynvml", "prometheus_client", "textual"):
        assert heavy not in found


def run_daemon_modules(folder: Path) -> set[str]:
    """Return the modules that the daemon's own parts load when they are put together."""
    import subprocess
    import sys

    code = (
        "import sys\nfrom gpuboard.config import load_config\n"
        "from gpuboard.daemon import build, parts, run\n"
        f"config = load_config({str(folder / 'config.toml')!r})\n"
        "parts.make_probe(config, parts.HeldDevices())\nparts.make_runtimes(config)\n"
        "print(*sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(found.stdout.split())


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_daemon_that_cannot_have_its_directory_says_so(folder: Path):
    (folder / "state").write_text("a file")
    config = folder / "config.toml"
    config.write_text(CONFIG.format(folder=folder))
    found = run_daemon("--config", str(config))
    assert found.returncode == 1
    assert "Traceback" not in found.stderr
