"""The server: one mapping of errors, strict requests, bounded clients."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path

import pytest

from gpuboard import errors
from gpuboard.api.client import Client
from gpuboard.config import ApiConfig
from gpuboard.model import requests
from tests.support.api import RunningServer, ScriptedBox, read_all, serving
from tests.support.waiting import wait_until


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def post(body: bytes, path: str = "/v1/jobs", extra: bytes = b"") -> bytes:
    return b"POST %b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n%bContent-Length: %d\r\n\r\n%b" % (
        path.encode(),
        extra,
        len(body),
        body,
    )


def test_services_run_on_the_engine_s_thread_and_slow_ones_on_a_worker(
    client: Client, box: ScriptedBox
):
    client.get("/board")
    assert box.threads == {"engine_0"}
    client.get("/images")
    assert any(name.startswith("gb-api") for name in box.threads)


def test_a_submission_arrives_as_the_closed_schema(client: Client, box: ScriptedBox):
    client.post("/jobs", {"gpus": 2, "command": ["sleep", "1"], "time_limit": "2h"})
    assert box.last("submit") == requests.SubmitRequest(
        gpus=2, command=["sleep", "1"], time_limit="2h"
    )


def test_dry_run_stores_nothing(client: Client, box: ScriptedBox):
    assert client.post("/jobs", {"gpus": 1}, dry_run=True)["would_start_now"] is True
    assert [name for name, _, _ in box.asked] == ["dry_run"]


def test_bookings_are_named_by_number(client: Client, box: ScriptedBox):
    client.patch("/reservations/7", {"duration": "2h"})
    assert box.last("change") == (7, requests.ReservationUpdate(duration="2h"))
    client.delete("/reservations/7")
    assert box.last("unreserve") == 7
    with pytest.raises(errors.InvalidRequest):
        client.delete("/reservations/seven")


def test_an_action_without_a_body_is_an_empty_request(client: Client, box: ScriptedBox):
    assert client.post("/admin/check")["words"] == "check_database"
    assert client.post("/admin/backup", {"path": "/srv/copy.db"})["words"] == "backup"
    assert box.last("backup") == "/srv/copy.db"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"gpus": "all"}, "gpus"),
        ({"gpus": True}, "gpus"),
        ({"gpus": 0.5}, "gpus"),
        ({"privileged": True}, "privileged"),
        ({"owner": 0}, "owner"),
        ({"command": "rm -rf /"}, "command"),
        ({"env": {"A": 1}}, "env[...]"),
        ({"mounts": [{"source": "/a"}]}, "target"),
        ({"mounts": [{"source": "/a", "target": "/b", "options": "rw"}]}, "options"),
    ],
)
def test_a_wrong_field_is_named(client: Client, box: ScriptedBox, body: object, field: str):
    with pytest.raises(errors.InvalidRequest) as caught:
        client.post("/jobs", body)
    assert field in caught.value.field
    assert caught.value.exit_code == 2
    assert not box.asked


@pytest.mark.parametrize(
    ("query", "field"),
    [({"limit": "many"}, "limit"), ({"color": "red"}, "color"), ({"limit": 0}, "limit")],
)
def test_a_wrong_query_is_named(client: Client, query: dict[str, object], field: str):
    with pytest.raises(errors.InvalidRequest) as caught:
        client.get("/jobs", **query)
    assert caught.value.field == field


@pytest.mark.parametrize(
    "body",
    [
        b"{", b"nonsense", b"\xff\xfe", b'{"gpus": NaN}', b'{"gpus": Infinity}', b"[" * 100_000,
        b'{"note": ' + b"[" * 100_000, b'{"gpus": 1, "gpus": 8}',
        b'{"env": {"A": "1", "A": "2"}}', b'{"gpus": ' + b"9" * 10_000 + b"}", b"null", b'""',
    ],
)  # fmt: skip
def test_malformed_bodies_are_refused_and_change_nothing(
    server: RunningServer, box: ScriptedBox, body: bytes
):
    answer = server.ask_raw(post(body))
    assert status(answer) == 400
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "invalid"
    assert not box.asked


def test_an_unforeseen_fault_shows_a_reference_and_no_traceback(
    client: Client, caplog: pytest.LogCaptureFixture
):
    with caplog.at_level(logging.ERROR), pytest.raises(errors.StateError) as caught:
        client.get("/jobs/crash")
    reference = caught.value.message.rpartition(" ")[2].rstrip(")")
    assert "secret" not in caught.value.message
    assert reference in caplog.text
    assert "secret detail" in caplog.text
    assert client.get("/ping")


def test_a_broken_invariant_is_logged_with_its_place(
    client: Client, caplog: pytest.LogCaptureFixture
):
    with caplog.at_level(logging.ERROR), pytest.raises(errors.StateError, match="a lease without"):
        client.get("/jobs/broken")
    assert "Traceback" in caplog.text


def test_unknown_paths_and_methods_are_answered_in_json(client: Client):
    with pytest.raises(errors.NotFound):
        client.get("/nothing")
    with pytest.raises(errors.InvalidRequest):
        client.delete("/jobs")


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x00\x01\x02\x03\r\n\r\n",
        b"hello\r\n\r\n",
        b"GET /v1/ping HTTP/9.9\r\n\r\n",
        b"GET /v1/ping HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"GET /v1/ping HTTP/1.1\r\nHost: x\r\n" + b"A: " + b"b" * 100_000 + b"\r\n\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
    ],
)
def test_garbage_is_refused_and_the_server_goes_on(
    server: RunningServer, client: Client, box: ScriptedBox, garbage: bytes
):
    answer = server.ask_raw(garbage)
    assert answer == b"" or 400 <= status(answer) < 500
    assert client.get("/ping")
    assert not box.asked


def test_an_oversized_body_is_refused(folder: Path, box: ScriptedBox):
    with serving(folder, box, limits=ApiConfig(max_request_bytes=10_000)) as server:
        answer = server.ask_raw(post(b'{"note": "' + b"x" * 20_000 + b'"}'))
        assert status(answer) in {400, 413}
        chunked = b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        answer = server.ask_raw(chunked + b"2710\r\n" + b"x" * 10_000 + b"\r\n" * 2)
        assert answer == b"" or status(answer) in {400, 413}
        assert not box.asked


def test_a_compressed_bomb_is_not_unpacked_beyond_the_limit(folder: Path, box: ScriptedBox):
    import gzip

    bomb = gzip.compress(b" " * 50_000_000)
    with serving(folder, box) as server:
        answer = server.ask_raw(post(bomb, extra=b"Content-Encoding: gzip\r\n"))
        assert answer == b"" or status(answer) in {400, 413}
        assert not box.asked


@pytest.mark.parametrize(
    "start",
    [
        b"",
        b"GET /v1/pi",
        b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{",
    ],
)
def test_half_a_request_is_not_waited_for(folder: Path, start: bytes):
    with serving(folder, limits=ApiConfig(read_timeout_s=0.3)) as server, server.raw() as slow:
        began = time.monotonic()
        slow.sendall(start)
        read_all(slow)
        assert time.monotonic() - began < 5
        assert Client(server.path).get("/ping")


def test_a_byte_at_a_time_does_not_keep_a_connection(folder: Path):
    with serving(folder, limits=ApiConfig(read_timeout_s=0.5)) as server, server.raw() as slow:
        slow.settimeout(0.1)
        slow.sendall(b"GET /v1/ping HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        began = time.monotonic()
        is_open = True
        while is_open and time.monotonic() - began < 8:
            try:
                slow.send(b"a")
                is_open = slow.recv(100) != b""
            except TimeoutError:
                continue
            except OSError:
                is_open = False
        assert not is_open


def test_pipelined_requests_are_answered_in_order(server: RunningServer):
    one = b"GET /v1/ping HTTP/1.1\r\nHost: x\r\n\r\n"
    last = b"GET /v1/jobs/404 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    answer = server.ask_raw(one * 50 + last)
    assert answer.count(b"HTTP/1.1 200 OK") == 50
    assert b"404 Not Found" in answer.rpartition(b"HTTP/1.1 ")[2]


def test_one_person_cannot_take_all_connections(folder: Path, monkeypatch: pytest.MonkeyPatch):
    """Root gets in whatever the limits say, so the limit is looked at as another uid."""
    from gpuboard.api import connections

    seen: list[int] = []
    original = connections.Listener._refusal

    def as_alice(self: connections.Listener, uid: int) -> str:
        seen.append(uid)
        self._by_uid[1000] = self._by_uid[0]
        return original(self, 1000)

    monkeypatch.setattr(connections.Listener, "_refusal", as_alice)
    with serving(folder, limits=ApiConfig(max_connections_per_uid=3)) as server:
        held = [server.raw() for _ in range(3)]
        for connection in held:
            connection.sendall(b"GET /v1/ping HTTP/1.1\r\nHost: x\r\n\r\n")
            assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        with pytest.raises(errors.Unavailable, match="3 connections open"):
            Client(server.path).get("/ping")
        for connection in held:
            connection.close()


def test_a_closed_connection_gives_its_place_back(folder: Path):
    with serving(folder) as server:
        for _ in range(20):
            client = Client(server.path)
            client.get("/ping")
            client.close()
        wait_until(lambda: server.server.connections == 0, 5)


def test_an_engine_that_hangs_is_unavailable_not_silent(
    folder: Path, box: ScriptedBox, monkeypatch: pytest.MonkeyPatch
):
    import threading

    release = threading.Event()
    monkeypatch.setattr("tests.support.api.ENGINE_TIMEOUT_S", 0.3)
    monkeypatch.setattr(box, "note", lambda *_a: release.wait(20))
    with serving(folder, box) as server:
        with pytest.raises(errors.Unavailable, match="has not answered"):
            Client(server.path).get("/board")
        assert Client(server.path).get("/ping")
        release.set()


def test_metrics_are_text(client: Client):
    assert b"".join(client.stream("/metrics")) == b"gpuboard_up 1\n"


def test_a_search_of_the_queue_goes_to_a_worker_and_back(client: Client, box: ScriptedBox):
    """A page comes at once; a search runs elsewhere and its views are made on the engine's thread."""
    assert client.get("/queue", offset=40, limit=20)["offset"] == 40
    assert client.get("/queue", text="train")["total"] == 1
    assert box.last("page")["text"] == "train"
