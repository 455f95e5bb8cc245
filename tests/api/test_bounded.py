"""What clients can make the daemon keep is bounded: memory and descriptors, measured on a real daemon."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.daemon import CONFIG, DaemonProcess, daemon_in
from tests.support.waiting import wait_until

MIB = 2**20
SHORT_READS = CONFIG + '[api]\nread_timeout = "2s"\n'


@pytest.fixture
def daemon(folder: Path) -> Iterator[DaemonProcess]:
    with daemon_in(folder, SHORT_READS) as running:
        yield running


def connected(daemon: DaemonProcess) -> socket.socket:
    made = socket.socket(socket.AF_UNIX)
    made.settimeout(20)
    # a Unix socket whose backlog is full says EAGAIN at once
    wait_until(lambda: made.connect_ex(str(daemon.socket)) != errno.EAGAIN)
    return made


def watched(daemon: DaemonProcess) -> psutil.Process:
    assert daemon.process is not None
    return psutil.Process(daemon.process.pid)


def test_a_thousand_idle_connections_cost_little_and_are_closed(daemon: DaemonProcess):
    """Others are served beside them; after the read deadline they are gone and so is what they took."""
    process = watched(daemon)
    daemon.client().get("/board")
    before, open_before = process.memory_info().rss, process.num_fds()
    with contextlib.ExitStack() as held:
        for number in range(1000):
            connection = held.enter_context(connected(daemon))
            if number % 3 == 1:
                connection.sendall(b"GET /v1/pi")
            elif number % 3 == 2:
                connection.sendall(
                    b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{"
                )
        grown = process.memory_info().rss - before
        assert daemon.client().get("/ping")["uid"] is not None
        wait_until(lambda: process.num_fds() <= open_before + 4, 40, "they are still open")
    assert grown < 64 * MIB, grown
    assert daemon.client().get("/board")["devices"]


def test_readers_that_take_nothing_fill_no_memory(daemon: DaemonProcess):
    """Ten clients ask for a log of 40 MB and a feed, and never read: what waits for them is bounded."""
    client = daemon.client()
    job = client.post(
        "/jobs",
        {
            "command": ["sh", "-c", "head -c 40000000 /dev/zero | tr '\\0' x"],
            "runtime": "process",
            "gpus": 0,
            "workdir": "/",
        },
    )["ids"][0]
    wait_until(lambda: client.get(f"/jobs/{job}")["job"]["state"] == "succeeded", 60)
    process = watched(daemon)
    before = process.memory_info().rss
    with contextlib.ExitStack() as held:
        for target in [f"/jobs/{job}/log"] * 10 + ["/feed"] * 10:
            reader = held.enter_context(connected(daemon))
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            reader.sendall(f"GET /v1{target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert reader.recv(12) == b"HTTP/1.1 200"
        for number in range(300):
            client.post("/jobs", {"command": ["x"], "gpus": 0, "hold": True, "note": "n" * 500})
            if number % 50 == 0:
                assert client.get("/ping")
        grown = process.memory_info().rss - before
    assert grown < 48 * MIB, grown


def test_a_flood_of_pipelined_requests_is_answered_one_by_one(daemon: DaemonProcess):
    """Twenty thousand requests in one write: nothing is read ahead of what is answered."""
    process = watched(daemon)
    before = process.memory_info().rss
    one = b"GET /v1/ping HTTP/1.1\r\nHost: x\r\n\r\n"
    with connected(daemon) as flood:
        flood.setblocking(False)
        sent = 0
        with contextlib.suppress(BlockingIOError):
            for _ in range(400):
                sent += flood.send(one * 50)
        assert sent
        assert daemon.client().get("/ping")
        grown = process.memory_info().rss - before
    assert grown < 48 * MIB, grown
