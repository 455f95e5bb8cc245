"""The feed: 1 Hz while watched, changes only when they happen, no event lost, no reader waited for."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpuboard import errors
from gpuboard.api import feed as feed_module
from gpuboard.api.client import Client
from tests.support.api import RunningServer, ScriptedBox, reservation_view, serving
from tests.support.waiting import wait_until

Message = tuple[str, str, bytes]


def until(feed: Iterator[Message], event: str, count: int = 1) -> list[Message]:
    """Read until so many messages of a kind have come, and return these."""
    found: list[Message] = []
    for message in feed:
        if message[0] == event:
            found.append(message)
        if len(found) == count:
            return found
    raise AssertionError("the feed ended")


def read_until(connection: socket.socket, words: bytes, count: int) -> list[bytes]:
    """Read until the words have come so many times; return what came before each of them."""
    seen = b""
    while seen.count(words) < count:
        more = connection.recv(65536)
        assert more, f"hung up after {seen!r}"
        seen += more
    return seen.split(words)[:count]


def test_a_watcher_gets_board_queue_and_bookings_at_once(client: Client):
    feed = client.feed()
    first = [next(feed) for _ in range(3)]
    assert [event for event, _, _ in first] == ["board", "queue", "reservations"]
    assert json.loads(first[1][2])["jobs"][0]["id"] == 1


def test_the_board_comes_about_once_a_second(client: Client, box: ScriptedBox):
    began = time.monotonic()
    until(client.feed(), "board", 3)
    assert 1.5 < time.monotonic() - began < 6
    assert box.boards <= 4


def test_the_queue_comes_again_only_when_something_changed(client: Client, box: ScriptedBox):
    feed = client.feed()
    until(feed, "board", 3)
    assert [name for name, _, _ in box.asked].count("own") == 1
    box.revision += 1
    assert until(feed, "queue")
    assert [name for name, _, _ in box.asked].count("own") == 2


def test_the_engine_is_asked_once_a_board_unless_something_changed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(feed_module, "POLL_S", 0.1)
    box, looks = ScriptedBox(), []
    marks_of = box.marks
    box.marks = lambda: looks.append(1) or marks_of()  # type: ignore[method-assign, func-returns-value]
    with serving(folder, box) as server:
        feed = Client(server.path).feed()
        until(feed, "board", 2)
        before, boards = len(looks), box.boards
        until(feed, "board", 4)
        assert len(looks) - before <= box.boards - boards + 1
        box.revision += 1
        assert until(feed, "queue")


def test_bookings_come_again_only_when_they_differ(client: Client, box: ScriptedBox):
    feed = client.feed()
    until(feed, "reservations")
    box.revision += 1
    box.reservations = [reservation_view(3)]
    found = until(feed, "reservations")[0]
    assert json.loads(found[2])["reservations"][0]["id"] == 3
    box.revision += 1
    kinds = {event for event, _, _ in (next(feed) for _ in range(2))}
    assert "reservations" not in kinds


def test_nothing_is_asked_while_nobody_watches(server: RunningServer, box: ScriptedBox):
    client = Client(server.path)
    feed = client.feed()
    next(feed)
    feed.close()
    wait_until(lambda: server.server._feed.watchers == 0)
    wait_until(server.server._feed._task.done)
    asked = len(box.asked)
    client.get("/ping")
    assert len(box.asked) == asked


def test_events_come_with_their_number_as_they_happen(client: Client, box: ScriptedBox):
    box.add_event("before")
    feed = client.feed()
    next(feed)
    box.add_event("after")
    _, number, data = until(feed, "event")[0]
    assert number == "2"
    assert json.loads(data)["words"] == "after"


def test_a_watcher_that_comes_back_misses_no_event(client: Client, box: ScriptedBox):
    feed = client.feed()
    next(feed)
    box.add_event()
    last = until(feed, "event")[0][1]
    feed.close()
    for _ in range(1200):
        box.add_event()
    numbers = [int(number) for _, number, _ in until(client.feed(last), "event", 1200)]
    assert numbers == list(range(2, 1202))


def test_an_id_of_another_database_is_not_waited_for(client: Client, box: ScriptedBox):
    box.add_event()
    feed = client.feed(1_000_000)
    next(feed)
    box.add_event("seen")
    assert json.loads(until(feed, "event")[0][2])["words"] == "seen"


def test_a_nonsense_resume_is_refused(server: RunningServer):
    answer = server.ask_raw(
        b"GET /v1/feed HTTP/1.1\r\nHost: x\r\nLast-Event-ID: x\r\nConnection: close\r\n\r\n"
    )
    assert b"400" in answer.split(b"\r\n", 1)[0]


def test_an_idle_engine_is_told_apart_from_a_dead_one_by_a_heartbeat(
    folder: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(feed_module, "POLL_S", 30.0)
    monkeypatch.setattr(feed_module, "HEARTBEAT_S", 0.2)
    with serving(folder) as server, server.raw() as connection:
        connection.sendall(b"GET /v1/feed HTTP/1.1\r\nHost: x\r\n\r\n")
        first, between = read_until(connection, b": still here", 2)
    assert b"event: board" in first
    assert b"event:" not in between


def test_a_reader_that_takes_nothing_is_hung_up_on(folder: Path, monkeypatch: pytest.MonkeyPatch):
    from gpuboard.api import server as server_module

    monkeypatch.setattr(server_module, "_WRITE_TIMEOUT_S", 0.3)
    monkeypatch.setattr(feed_module, "POLL_S", 0.001)
    box = ScriptedBox()
    for _ in range(2000):
        box.add_event("x" * 2000)
    with serving(folder, box) as server, server.raw() as connection:
        connection.sendall(b"GET /v1/feed HTTP/1.1\r\nHost: x\r\nLast-Event-ID: 0\r\n\r\n")
        wait_until(lambda: server.server.connections == 1)
        wait_until(lambda: server.server.connections == 0)


def test_watchers_of_one_person_share_one_look(
    client: Client, server: RunningServer, box: ScriptedBox
):
    feeds = [Client(server.path).feed() for _ in range(10)]
    for feed in feeds:
        next(feed)
    began = box.boards
    until(feeds[0], "board", 2)
    assert box.boards - began <= 4
    for feed in feeds:
        feed.close()


def test_a_fault_in_a_service_does_not_end_the_feed(client: Client, box: ScriptedBox):
    feed = client.feed()
    next(feed)
    original = box.note
    faults = 0

    def failing(*content: object) -> None:
        nonlocal faults
        if faults < 2:
            faults += 1
            raise ZeroDivisionError
        original(*content)

    box.note = failing  # type: ignore[method-assign, assignment]
    assert until(feed, "board", 2)
    assert faults == 2


def test_services_that_fail_for_long_do_not_look_like_a_dead_daemon(
    folder: Path, monkeypatch: pytest.MonkeyPatch
):
    def failing(*_content: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(feed_module, "HEARTBEAT_S", 0.2)
    monkeypatch.setattr(feed_module, "POLL_S", 0.05)
    box = ScriptedBox()
    box.note = failing  # type: ignore[method-assign, assignment]
    with serving(folder, box) as server, server.raw() as connection:
        connection.sendall(b"GET /v1/feed HTTP/1.1\r\nHost: x\r\n\r\n")
        told = read_until(connection, b": still here", 2)
    assert b"event:" not in b"".join(told)


def test_the_feed_ends_with_the_daemon(folder: Path):
    with serving(folder) as server:
        feed = Client(server.path).feed()
        next(feed)
        asyncio.run_coroutine_threadsafe(server.server.stop(), server.loop).result(10)
        with pytest.raises(errors.Unavailable):
            for _ in feed:
                pass
