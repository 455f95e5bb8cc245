"""What systemd is told."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from gpuboard.daemon.notify import Notifier


def receive(manager: socket.socket) -> str:
    manager.settimeout(5)
    return manager.recv(1000).decode()


@pytest.mark.parametrize("kind", ["path", "abstract"])
def test_messages_reach_the_manager(folder: Path, kind: str):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        name = str(folder / "n") if kind == "path" else f"@gb-test-{os.getpid()}"
        manager.bind(name.replace("@", "\0"))
        notifier = Notifier({"NOTIFY_SOCKET": name})
        notifier.ready("8 devices\nREADY=0")
        assert receive(manager) == "READY=1\nSTATUS=8 devices READY=0"
        notifier.reloading()
        assert receive(manager).startswith("RELOADING=1\nMONOTONIC_USEC=")
        notifier.stopping()
        assert receive(manager).startswith("STOPPING=1")


def test_without_a_manager_nothing_happens():
    notifier = Notifier({})
    notifier.ready("x")
    assert notifier.watchdog_s == 0


def test_a_manager_that_is_gone_is_no_reason_to_stop(folder: Path):
    notifier = Notifier({"NOTIFY_SOCKET": str(folder / "gone")})
    notifier.ready("x")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(folder / "gone"))
        notifier.stopping()
        assert receive(manager).startswith("STOPPING=1"), "it is told again once it is back"


def test_the_watchdog_of_another_process_is_not_fed():
    environ = {"WATCHDOG_USEC": "60000000"}
    assert Notifier(environ).watchdog_s == 60
    assert Notifier({**environ, "WATCHDOG_PID": str(os.getpid())}).watchdog_s == 60
    assert Notifier({**environ, "WATCHDOG_PID": "1"}).watchdog_s == 0
