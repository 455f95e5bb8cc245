"""The client: light, exact about errors, and safe to keep."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from gpuboard import errors
from gpuboard.api.client import Client, _error_of, connect, find_socket, quote
from gpuboard.api.wire import target
from tests.support.api import RunningServer, ScriptedBox, serving

HEAVY = (
    "aiohttp", "msgspec", "asyncio", "http", "http.client", "ssl", "logging", "dataclasses",
    "datetime", "email", "subprocess", "click", "textual", "docker", "sqlite3", "concurrent",
    "threading", "tempfile", "ctypes", "decimal", "gpuboard.model", "gpuboard.service",
)  # fmt: skip


def test_importing_the_client_loads_nothing_heavy():
    """Every command pays for each import: the client has json, os, select and socket."""
    code = "import gpuboard.api.client, sys; print(*sys.modules)"
    found = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True
    )
    before = subprocess.run(
        [sys.executable, "-I", "-c", "import sys; print(*sys.modules)"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    added = set(found.stdout.split()) - set(before.stdout.split())
    assert not added.intersection(HEAVY)


def test_answers_are_plain_data(client: Client, box: ScriptedBox):
    found = client.get("/jobs", mine=True, state=["queued", "running"], limit=7)
    assert found["jobs"][0]["id"] == 1
    asked = box.last("live")
    assert asked == {"mine": True, "user": "", "states": ("queued", "running"), "limit": 7}


def test_paths_are_taken_with_and_without_the_version(client: Client):
    assert client.get("/ping") == client.get("/v1/ping")


@pytest.mark.parametrize("selector", ["a b", "ü/ß", "100%", "x?y#z", "[/x]", "\x1b[31m", "名前"])
def test_a_quoted_selector_arrives_as_it_was(client: Client, box: ScriptedBox, selector: str):
    client.get(f"/jobs/{quote(selector)}/why")
    assert box.last("why") == selector


def test_unset_query_values_are_left_out():
    assert target("/jobs", {"mine": False, "user": "", "limit": None}) == "/v1/jobs"
    assert target("/jobs", {"mine": True, "state": ["a", "b"]}) == "/v1/jobs?mine=1&state=a&state=b"


def test_errors_come_back_as_the_class_that_was_raised(client: Client):
    with pytest.raises(errors.NotFound) as caught:
        client.get("/jobs/404")
    assert caught.value.message == "there is no job 404"
    assert caught.value.hint == "`gpuboard ps` lists yours"
    assert caught.value.field == "job"


def test_every_code_comes_back_as_the_class_that_has_it():
    """A class without a code of its own (it is made in another way) is never what a code means."""
    codes = {kind.code for kind in errors.GpuboardError.__subclasses__()} | {"invalid", "quota"}
    for code in codes:
        made = _error_of(400, {"code": code, "message": "m", "hint": "h", "field": "f"})
        assert (made.code, made.message, made.hint, made.field) == (code, "m", "h", "f")
        assert "code" in vars(type(made))


def test_a_connection_is_kept_and_one_closed_by_the_server_is_replaced(folder: Path):
    with serving(folder) as first:
        client = Client(first.path)
        client.get("/ping")
        client.get("/ping")
        assert first.server.connections == 1
    (folder / "gpuboard.sock").unlink()
    with serving(folder):
        assert client.post("/jobs", {"gpus": 1})["ids"] == [1]
    client.close()


def test_many_threads_may_share_a_client(client: Client):
    found: list[int] = []

    def ask() -> None:
        found.extend(client.get("/ping")["uid"] for _ in range(20))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 160


def test_a_missing_socket_says_how_to_start_a_daemon(folder: Path):
    with pytest.raises(errors.Unavailable) as caught:
        Client(str(folder / "none.sock")).get("/ping")
    assert caught.value.exit_code == 3
    assert caught.value.hint == "start it: `gpuboard daemon`"


def test_a_missing_system_socket_names_systemd():
    with pytest.raises(errors.Unavailable) as caught:
        Client("/run/gpuboard/surely-not-here.sock").get("/ping")
    assert "sudo systemctl start gpuboard" in caught.value.hint


def test_a_socket_without_a_daemon_behind_it_is_unavailable(folder: Path):
    path = folder / "dead.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with pytest.raises(errors.Unavailable, match="is not running"):
        Client(str(path)).get("/ping")


def test_a_full_backlog_is_waited_for(folder: Path):
    """A Unix socket answers EAGAIN at once when its backlog is full: that is busy, not gone."""
    path = str(folder / "full.sock")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen(0)
        held = [socket.socket(socket.AF_UNIX) for _ in range(4)]
        for connection in held:
            connection.setblocking(False)
            connection.connect_ex(path)
        with pytest.raises(errors.Unavailable, match="too busy"):
            Client(path, timeout_s=0.2).get("/ping")
        for connection in held:
            connection.close()


def serve_once(path: Path, answer: bytes, *, hold: bool = False) -> threading.Event:
    """Answer one connection with these bytes."""
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(path))
    listening.listen(5)
    release = threading.Event()

    def run() -> None:
        connection, _ = listening.accept()
        connection.recv(65536)
        connection.sendall(answer)
        if hold:
            release.wait(20)
        connection.close()
        listening.close()

    threading.Thread(target=run, daemon=True).start()
    return release


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 200,
    ],
)
def test_a_broken_answer_is_unavailable_and_never_half_an_answer(folder: Path, answer: bytes):
    serve_once(folder / "s.sock", answer)
    with pytest.raises(errors.Unavailable):
        Client(str(folder / "s.sock"), timeout_s=5).get("/ping")


def test_a_daemon_that_hangs_is_not_waited_for_longer_than_the_timeout(folder: Path):
    release = serve_once(folder / "s.sock", b"HTTP/1.1 200 OK\r\n", hold=True)
    with pytest.raises(errors.TimedOut):
        Client(str(folder / "s.sock"), timeout_s=0.2).get("/ping")
    release.set()


def test_closing_the_client_ends_a_stream_that_another_thread_reads(
    server: RunningServer, client: Client
):
    feed = client.feed()
    next(feed)
    ended: list[BaseException] = []

    def read() -> None:
        try:
            for _ in feed:
                pass
        except errors.Unavailable as error:
            ended.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    client.close()
    reader.join(10)
    assert not reader.is_alive()
    assert ended


def test_the_named_socket_comes_first(monkeypatch: pytest.MonkeyPatch, server: RunningServer):
    monkeypatch.setenv("GPUBOARD_SOCKET", server.path)
    assert find_socket() == server.path
    assert connect().get("/ping")["version"]


def test_a_named_socket_is_never_started_for(monkeypatch: pytest.MonkeyPatch, folder: Path):
    monkeypatch.setenv("GPUBOARD_SOCKET", str(folder / "none.sock"))
    with pytest.raises(errors.Unavailable):
        connect().get("/ping")
    assert list(folder.iterdir()) == []


def test_an_ssh_master_that_died_is_told_in_words(folder: Path, monkeypatch: pytest.MonkeyPatch):
    """ssh itself says nothing then; the next command makes a new connection."""
    program = folder / "ssh"
    program.write_text("#!/bin/sh\nread request\nexit 255\n")
    program.chmod(0o755)
    monkeypatch.setenv("GPUBOARD_SSH", str(program))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    with pytest.raises(
        errors.Unavailable, match=r"on box2: the ssh connection, .* had died"
    ) as caught:
        Client("ssh://box2").get("/ping")
    assert "run the command again" in caught.value.hint


def test_the_error_body_is_what_scripts_were_promised(server: RunningServer):
    answer = server.ask_raw(b"GET /v1/jobs/404 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 404 ")
    assert json.loads(body) == {
        "error": {
            "code": "not_found",
            "message": "there is no job 404",
            "hint": "`gpuboard ps` lists yours",
            "field": "job",
        }
    }
