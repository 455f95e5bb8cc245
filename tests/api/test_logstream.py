"""Log streams: bytes as they are, followed live, ended when the client goes, bounded."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from gpuboard import errors
from gpuboard.api.client import Client
from gpuboard.api.logstream import LogStreams
from tests.support.api import RunningServer, ScriptedBox
from tests.support.waiting import wait_until

IsCancelled = Callable[[], bool]


def test_bytes_come_as_they_were_written(client: Client, box: ScriptedBox):
    content = bytes(range(256)) * 1000 + b"\x1b[31m no newline"
    box.log = lambda _c: iter([content, b"", b"end"])
    assert b"".join(client.stream("/jobs/1/log")) == content + b"end"


def test_an_empty_log_is_an_empty_answer(client: Client, box: ScriptedBox):
    box.log = lambda _c: iter([])
    assert b"".join(client.stream("/jobs/1/log")) == b""


def test_the_query_reaches_the_service(client: Client, box: ScriptedBox):
    list(client.stream("/jobs/1/log", tail=5, follow=True, attempt=2, since="2026-11-22T20:01:00Z"))
    assert box.last("log") == {
        "attempt": 2, "tail": 5, "since_at": 1795377660000, "follow": True,
    }  # fmt: skip


@pytest.mark.parametrize("query", [{"tail": -1}, {"since": "soon"}, {"attempt": "x"}])
def test_a_wrong_query_is_refused(client: Client, query: dict[str, object]):
    with pytest.raises(errors.InvalidRequest):
        list(client.stream("/jobs/1/log", **query))


def test_a_missing_job_is_an_error_and_not_an_empty_log(client: Client):
    with pytest.raises(errors.NotFound):
        client.stream("/jobs/404/log")


def test_an_error_before_the_first_byte_is_a_proper_answer(client: Client, box: ScriptedBox):
    def reader(_c: IsCancelled) -> Iterator[bytes]:
        raise errors.Unavailable("the engine does not answer")
        yield b""

    box.log = reader
    with pytest.raises(errors.Unavailable, match="the engine does not answer"):
        list(client.stream("/jobs/1/log"))


def test_a_log_that_breaks_off_does_not_look_whole(client: Client, box: ScriptedBox):
    def reader(_c: IsCancelled) -> Iterator[bytes]:
        yield b"first\n"
        raise OSError("disk gone")

    box.log = reader
    pieces = client.stream("/jobs/1/log")
    assert next(pieces) == b"first\n"
    with pytest.raises(errors.Unavailable):
        next(pieces)


def test_a_followed_log_arrives_line_by_line(client: Client, box: ScriptedBox):
    go_on = threading.Event()

    def reader(_c: IsCancelled) -> Iterator[bytes]:
        yield b"one\n"
        go_on.wait(20)
        yield b"two\n"

    box.log = reader
    pieces = client.stream("/jobs/1/log", follow=True)
    assert next(pieces) == b"one\n"
    go_on.set()
    assert next(pieces) == b"two\n"
    assert list(pieces) == []


def test_a_silent_log_still_begins(client: Client, box: ScriptedBox):
    """`logs -f` on a job that has said nothing yet must not run into the client's time-out."""
    go_on = threading.Event()

    def reader(_c: IsCancelled) -> Iterator[bytes]:
        go_on.wait(20)
        yield b"late\n"

    box.log = reader
    client.timeout_s = 2
    pieces = client.stream("/jobs/1/log", follow=True)
    go_on.set()
    assert list(pieces) == [b"late\n"]


def test_a_client_that_goes_ends_the_reader(server: RunningServer, box: ScriptedBox):
    ended = threading.Event()

    def reader(is_cancelled: IsCancelled) -> Iterator[bytes]:
        try:
            yield b"one\n"
            while not is_cancelled():
                time.sleep(0.005)
        finally:
            ended.set()

    box.log = reader
    client = Client(server.path)
    pieces = client.stream("/jobs/1/log", follow=True)
    next(pieces)
    pieces.close()
    assert ended.wait(10)
    wait_until(lambda: server.server._logs.count == 0)


def test_a_slow_client_holds_the_reader_and_not_the_log_in_memory(
    server: RunningServer, box: ScriptedBox
):
    made = 0

    def reader(is_cancelled: IsCancelled) -> Iterator[bytes]:
        nonlocal made
        while not is_cancelled() and made < 100_000_000:
            made += 65536
            yield b"x" * 65536

    box.log = reader
    with server.raw() as slow:
        slow.sendall(b"GET /v1/jobs/1/log?follow=1 HTTP/1.1\r\nHost: x\r\n\r\n")
        last = -1
        while last != made or made == 0:
            last = made
            time.sleep(0.2)
        assert made < 3_000_000
    wait_until(lambda: server.server._logs.count == 0)


def test_more_logs_than_threads_are_refused_in_words(
    server: RunningServer, box: ScriptedBox, monkeypatch: pytest.MonkeyPatch
):
    go_on = threading.Event()

    def reader(_c: IsCancelled) -> Iterator[bytes]:
        yield b"x"
        go_on.wait(20)

    box.log = reader
    server.server._logs._limit = 2
    held = [Client(server.path).stream("/jobs/1/log") for _ in range(2)]
    for pieces in held:
        next(pieces)
    with pytest.raises(errors.Unavailable, match="2 logs are being read"):
        list(Client(server.path).stream("/jobs/1/log"))
    go_on.set()
    for pieces in held:
        list(pieces)


async def test_a_reader_that_hangs_counts_until_it_ends():
    """An engine that does not answer holds its thread, whoever went away: else there were ever more."""
    go_on = threading.Event()

    def reader(_c: IsCancelled) -> Iterator[bytes]:
        go_on.wait(20)
        yield b""

    streams = LogStreams(2)
    for _ in range(2):
        streams.open(reader).close()
    with pytest.raises(errors.Unavailable):
        streams.open(reader)
    go_on.set()
    end = time.monotonic() + 10
    while streams.count and time.monotonic() < end:
        await asyncio.sleep(0.01)
    assert streams.count == 0
