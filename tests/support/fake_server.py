"""A scripted daemon: answers on a Unix socket what a test told it to, and keeps what it was asked."""

from __future__ import annotations

import contextlib
import json
import socketserver
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec

from gpuboard.errors import GpuboardError
from gpuboard.model.views.board import BoardView, HostView
from gpuboard.model.views.bookings import ReservationView
from gpuboard.model.views.devices import DeviceRef, DeviceView
from gpuboard.model.views.jobs import JobDetail, JobView

AT = "2026-11-22T20:01:00Z"
HOSTILE = "\x1b]0;pwned\x07[bold]\u202eevil\x00\r\n[/x] \x1b[31mred" + "n" * 300


class Asked(NamedTuple):
    method: str
    path: str
    query: dict[str, list[str]]
    body: Any


Answer = dict[str, Any] | bytes | list[bytes] | GpuboardError | Callable[[Asked], Any]


class FakeServer:
    """One daemon; `answers[method, path]` is what it says, a list of dicts in `turns` one after the other."""

    def __init__(self, folder: Path) -> None:
        self.socket_path = str(folder / "fake.sock")
        self.answers: dict[tuple[str, str], Any] = {}
        self.turns: dict[tuple[str, str], list[Any]] = {}
        self.asked: list[Asked] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None: ...

            def _serve(self) -> None:
                server.serve(self)

            do_GET = do_POST = do_PATCH = do_DELETE = _serve

        class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
            daemon_threads = True
            block_on_close = False
            request_queue_size = 64

        self._server = Server(self.socket_path, Handler)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def bodies(self, method: str, path: str) -> list[Any]:
        return [one.body for one in self.asked if (one.method, one.path) == (method, path)]

    def serve(self, handler: BaseHTTPRequestHandler) -> None:
        with contextlib.suppress(BrokenPipeError):  # a client that hung up
            self._answer(handler)

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(handler.path)
        length = int(handler.headers.get("Content-Length") or 0)
        body = json.loads(handler.rfile.read(length)) if length else None
        asked = Asked(
            handler.command, unquote(parts.path).removeprefix("/v1"), parse_qs(parts.query), body
        )
        self.asked.append(asked)
        key = (asked.method, asked.path)
        answer = self.turns[key].pop(0) if self.turns.get(key) else self.answers.get(key)
        if callable(answer):
            answer = answer(asked)
        if answer is None:
            answer = _error("not_found", f"nothing is scripted for {asked.method} {asked.path}")
        if isinstance(answer, GpuboardError):
            answer = answer.to_json() | {"field": answer.field}
            self._send(handler, 422, json.dumps({"error": answer}).encode())
        elif isinstance(answer, Iterator):
            self._send_chunks(handler, answer)
        elif isinstance(answer, bytes):
            self._send(handler, 200, answer)
        else:
            self._send(handler, 404 if "error" in answer else 200, json.dumps(answer).encode())

    def _send(self, handler: BaseHTTPRequestHandler, status: int, content: bytes) -> None:
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    def _send_chunks(self, handler: BaseHTTPRequestHandler, pieces: Iterator[bytes | None]) -> None:
        """Send pieces as chunks; a None tears the connection."""
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for piece in pieces:
            if piece is None:
                handler.close_connection = True
                return
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        handler.wfile.write(b"0\r\n\r\n")


def _error(code: str, message: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "hint": "", "field": ""}}


def job(job_id: int = 12, **fields: Any) -> dict[str, Any]:
    """Return a JobView as the daemon sends it."""
    base: dict[str, Any] = {
        "id": job_id, "name": "train", "user": "ann", "uid": 1001, "mine": True, "state": "queued",
        "runtime": "docker", "gpus": 2, "limit_s": 7200, "submitted_at": AT,
    }  # fmt: skip
    return built(JobView(**(base | fields)))


def detail(job_id: int = 12, **fields: Any) -> dict[str, Any]:
    """Return a JobDetail."""
    more = {key: fields.pop(key) for key in ("env", "mounts", "events", "workdir") if key in fields}
    view = msgspec.convert(job(job_id, **fields), JobView)
    return built(JobDetail(job=view, **more))


def job_list(*jobs: dict[str, Any], total: int | None = None) -> dict[str, Any]:
    return {
        "schema": 1,
        "at": AT,
        "jobs": list(jobs),
        "total": len(jobs) if total is None else total,
    }


def submitted(*ids: int, **fields: Any) -> dict[str, Any]:
    return {"schema": 1, "ids": list(ids), "jobs": [job(one, **fields) for one in ids]}


def device(label: str = "0", **fields: Any) -> DeviceView:
    base: dict[str, Any] = {
        "uuid": f"GPU-{label}", "label": label, "index": int(label), "name": "NVIDIA H100 80GB HBM3",
        "state": "free", "memory_used_bytes": 2**30, "memory_total_bytes": 80 * 2**30,
        "utilization": 5, "temperature_c": 40,
    }  # fmt: skip
    return DeviceView(**(base | fields))


def board(*devices: DeviceView, **host: Any) -> dict[str, Any]:
    return built(
        BoardView(
            at=AT, user="ann", uid=1001, is_admin=False, devices=list(devices),
            host=HostView(**({"hostname": "box", "version": "0.1.0"} | host)),
        )
    )  # fmt: skip


def booking(booking_id: int = 7, **fields: Any) -> dict[str, Any]:
    base: dict[str, Any] = {
        "id": booking_id, "user": "ann", "uid": 1001, "mine": True, "state": "booked", "gpus": 2,
        "from_at": "2026-11-23T09:00:00Z", "until_at": "2026-11-23T10:30:00Z",
        "devices": [DeviceRef("2", "GPU-2"), DeviceRef("3", "GPU-3")],
    }  # fmt: skip
    return built(ReservationView(**(base | fields)))


def built(view: Any) -> dict[str, Any]:
    """Return a view as plain JSON data."""
    data: dict[str, Any] = msgspec.to_builtins(view)
    return data
