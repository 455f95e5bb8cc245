"""One daemon an installation."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gpuboard.daemon.lock import AlreadyRunning, DaemonLock
from gpuboard.errors import HostError

HOLD = """
import sys, time
from pathlib import Path
from gpuboard.daemon.lock import DaemonLock
DaemonLock(Path(sys.argv[1])).acquire()
print("held", flush=True)
time.sleep(60)
"""


def test_the_lock_names_its_holder(tmp_path: Path):
    first = DaemonLock(tmp_path)
    first.acquire()
    with pytest.raises(AlreadyRunning, match=f"pid {os.getpid()}") as caught:
        DaemonLock(tmp_path).acquire()
    assert caught.value.exit_code == 75
    first.release()
    DaemonLock(tmp_path).acquire()


def test_a_killed_holder_holds_nothing(tmp_path: Path):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(AlreadyRunning, match=f"pid {holder.pid}"):
        DaemonLock(tmp_path).acquire()
    holder.kill()
    holder.wait()
    DaemonLock(tmp_path).acquire()


def test_a_waiting_daemon_takes_over_when_the_holder_ends(tmp_path: Path):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    holder.stdout.readline()
    holder.kill()
    DaemonLock(tmp_path).acquire(wait_s=10)
    holder.wait()


def test_a_planted_link_is_not_followed(tmp_path: Path):
    (tmp_path / "daemon.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(HostError):
        DaemonLock(tmp_path).acquire()
    assert not (tmp_path / "elsewhere").exists()
