"""The listening socket: right mode and owner from its first moment, nobody else's taken away."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import msgspec
import pytest

from gpuboard.config import DaemonConfig
from gpuboard.daemon.notify import take_listening_sockets
from gpuboard.daemon.sockets import bind_socket
from gpuboard.errors import Conflict, HostError


def config_at(folder: Path, **fields: str) -> DaemonConfig:
    return msgspec.structs.replace(DaemonConfig(), socket=str(folder / "s.sock"), **fields)


def test_it_has_the_configured_mode(folder: Path):
    before = os.umask(0o022)
    try:
        with bind_socket(config_at(folder, socket_mode="0660")):
            assert stat.S_IMODE((folder / "s.sock").stat().st_mode) == 0o660
        assert os.umask(0o022) == 0o022
    finally:
        os.umask(before)


def test_a_dead_daemon_s_socket_is_replaced(folder: Path):
    config = config_at(folder)
    bind_socket(config).close()
    assert (folder / "s.sock").exists()
    with bind_socket(config), socket.socket(socket.AF_UNIX) as client:
        client.connect(config.socket)


def test_a_living_daemon_s_socket_is_left_alone(folder: Path):
    config = config_at(folder)
    with bind_socket(config), pytest.raises(Conflict, match="another daemon listens"):
        bind_socket(config)


def test_a_file_in_its_place_is_never_removed(folder: Path):
    (folder / "s.sock").write_text("precious")
    with pytest.raises(HostError, match="is no socket"):
        bind_socket(config_at(folder))
    assert (folder / "s.sock").read_text() == "precious"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"socket_group": "no-such-group-here"}, "there is no group"),
        ({"socket_mode": "rw-"}, "is no mode"),
        ({"socket_mode": "7777"}, "is no mode"),
        ({"socket": "/tmp/" + "x" * 200}, "too long"),
        ({"socket": "/nonexistent/dir/s.sock"}, "cannot listen"),
    ],
)
def test_what_cannot_be_had_is_said(folder: Path, fields: dict[str, str], words: str):
    with pytest.raises(HostError, match=words) as caught:
        bind_socket(msgspec.structs.replace(config_at(folder), **fields))
    assert caught.value.hint or "mode" in words


def test_sockets_handed_to_somebody_else_are_not_taken():
    environ = {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid() + 1)}
    assert take_listening_sockets(environ) == []
    assert environ == {}


@pytest.mark.parametrize("count", ["", "x", "-1", "0"])
def test_a_nonsense_count_hands_nothing_over(count: str):
    assert take_listening_sockets({"LISTEN_FDS": count, "LISTEN_PID": str(os.getpid())}) == []
