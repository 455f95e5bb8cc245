"""The one client of the daemon: commands, the terminal app and scripts all speak through it.

Standard library only and few modules of it (a subprocess test watches `sys.modules`), because
every command pays for each import. A Client may be used from several threads.
"""

# pathlib would cost every command an import:
# ruff: noqa: PTH112, PTH120

from __future__ import annotations

import json
import os
import time

from gpuboard import errors
from gpuboard.api import places
from gpuboard.api.places import (
    SYSTEM_SOCKET,
    check_private_dir,
    find_address,
    find_socket,
    personal_socket,
)
from gpuboard.api.wire import Connection, Response, quote, target

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import Any

__all__ = ["SYSTEM_SOCKET", "Client", "connect", "find_socket", "personal_socket", "quote"]

_FEED_TIMEOUT_S = 45.0
"""The feed sends something at least every 15 s: three missed ones mean that nobody is there."""
RESTART_S = 5.0
"""How long a command waits for the box's daemon: a restart takes a few seconds."""


class Client:
    """Asks one daemon; raises the errors of `gpuboard.errors` that it answered with."""

    def __init__(self, socket_path: str, *, timeout_s: float = 60.0) -> None:
        self.socket_path = socket_path
        self.timeout_s = timeout_s
        self._idle: list[Connection] = []
        self._streams: set[Connection] = set()

    def get(self, path: str, **query: object) -> dict[str, Any]:
        """Return the answer to GET `path` (below /v1: `/jobs`)."""
        return self._call("GET", path, None, query)

    def post(self, path: str, body: object = None, **query: object) -> dict[str, Any]:
        """Return the answer to POST."""
        return self._call("POST", path, {} if body is None else body, query)

    def patch(self, path: str, body: object, **query: object) -> dict[str, Any]:
        """Return the answer to PATCH."""
        return self._call("PATCH", path, body, query)

    def delete(self, path: str, **query: object) -> dict[str, Any]:
        """Return the answer to DELETE."""
        return self._call("DELETE", path, None, query)

    def stream(self, path: str, **query: object) -> Generator[bytes, None, None]:
        """Yield the raw body of GET `path` as it comes, however long that takes (`logs -f`).

        The request is made at once; closing the iterator hangs up.
        """
        return self._pieces(self._open(target(path, query), ()))

    def feed(
        self, last_event_id: str | int | None = None
    ) -> Generator[tuple[str, str, bytes], None, None]:
        """Yield (event, id, JSON) of the daemon's feed; ids only come with `event` events.

        With the id that was seen last nothing is missed. Raises Unavailable when the daemon goes.
        """
        extra: tuple[str, ...] = ("Accept: text/event-stream",)
        if last_event_id is not None:
            extra += (f"Last-Event-ID: {int(last_event_id)}",)
        response = self._open(target("/feed", {}), extra)
        response.connection.set_timeout(_FEED_TIMEOUT_S)
        return _events(self._pieces(response))

    def pass_through(self) -> None:
        """Be the far end of somebody's ssh: our stdin and stdout are the conversation."""
        connection = self._connection()
        try:
            connection.pass_through()
        finally:
            connection.close()

    def close(self) -> None:
        """Let go of idle connections and hang up on streams (their readers, on other threads, end)."""
        while self._idle:
            self._idle.pop().close()
        for connection in tuple(self._streams):
            connection.hang_up()

    def _call(
        self, method: str, path: str, body: object, query: dict[str, object]
    ) -> dict[str, Any]:
        payload = None if body is None else json.dumps(body).encode()
        connection = self._connection()
        try:
            response = connection.request(method, target(path, query), payload)
            content = response.read()
        except BaseException:
            connection.close()
            raise
        if response.headers.get("connection", "").lower() == "close":
            connection.close()
        else:
            self._idle.append(connection)
        return _answer(response.status, content)

    def _connection(self) -> Connection:
        """Return an idle connection that still lives, or a new one."""
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_stale():
                return connection
            connection.close()
        return Connection(self.socket_path, self.timeout_s)

    def _open(self, request_target: str, extra: tuple[str, ...]) -> Response:
        """Return an answer whose body is a stream, on a connection of its own."""
        connection = Connection(self.socket_path, self.timeout_s)
        try:
            response = connection.request("GET", request_target, None, extra)
            if response.status != 200:
                _answer(response.status, response.read())
            connection.set_timeout(None)
        except BaseException:
            connection.close()
            raise
        self._streams.add(connection)
        return response

    def _pieces(self, response: Response) -> Generator[bytes, None, None]:
        """Yield a streamed body; hang up at its end or when the reader has had enough."""
        try:
            yield from response.chunks()
        finally:
            self._streams.discard(response.connection)
            response.connection.close()


def connect(
    autostart: bool = True,
    *,
    timeout_s: float = 60.0,
    address: str = "",
    patience_s: float = RESTART_S,
) -> Client:
    """Return a client of the daemon at `address` (a socket's path or `ssh://HOST`).

    Without one, of the daemon that `find_address` names. Where that is the person's own and nobody
    answers, a personal daemon is started; where it is the box's own, it is waited for (neither with
    `autostart` off). Any other connection is made by the first request: Unavailable then.
    """
    path = address or find_address()
    client = Client(path, timeout_s=timeout_s)
    if path == places.SYSTEM_SOCKET and autostart and patience_s:
        client._idle.append(_system_connection(path, timeout_s, patience_s))  # noqa: SLF001
        return client
    if path != personal_socket() or path == os.environ.get("GPUBOARD_SOCKET"):
        return client
    if os.path.isdir(os.path.dirname(path)):
        check_private_dir(os.path.dirname(path))
    if not autostart:
        return client
    try:
        client._idle.append(Connection(path, timeout_s))  # noqa: SLF001  our own class
    except errors.Unavailable:
        from gpuboard.api.autostart import start_personal_daemon

        start_personal_daemon(path)
    return client


def _system_connection(path: str, timeout_s: float, patience_s: float) -> Connection:
    """Return a connection to the box's daemon; one that restarts is waited for."""
    until = time.monotonic() + patience_s
    while True:
        try:
            return Connection(path, timeout_s)
        except errors.Unavailable as error:
            if time.monotonic() >= until:
                raise errors.Unavailable(
                    f"the box's daemon is not running: {error.message}",
                    hint="why: `systemctl status gpuboard`; start it: `sudo systemctl start gpuboard`",
                ) from error
        time.sleep(0.1)


def _answer(status: int, content: bytes) -> dict[str, Any]:
    """Return the JSON object of a good answer; raise the error of a bad one."""
    try:
        body = json.loads(content) if content else {}
    except ValueError:
        body = {}
    if status < 400:
        if not isinstance(body, dict):
            raise errors.StateError("the daemon's answer is not a JSON object")
        return body
    error = body.get("error") if isinstance(body, dict) else None
    raise _error_of(status, error if isinstance(error, dict) else {})


def _error_of(status: int, body: dict[str, Any]) -> errors.GpuboardError:
    kind = _ERRORS.get(str(body.get("code", "")), errors.GpuboardError)
    return kind(
        str(body.get("message") or f"the daemon answered with status {status}"),
        hint=str(body.get("hint") or ""),
        field=str(body.get("field") or ""),
    )


def _events(
    pieces: Generator[bytes, None, None],
) -> Generator[tuple[str, str, bytes], None, None]:
    """Parse server-sent events (WHATWG HTML, 9.2), as far as our server uses them."""
    pending = b""
    event, event_id, data = "", "", b""
    try:
        for piece in pieces:
            *lines, pending = (pending + piece).split(b"\n")
            for line in lines:
                if not line:
                    if data:
                        yield event, event_id, data
                    event, event_id, data = "", "", b""
                elif line.startswith(b"data: "):
                    data += line[6:]
                elif line.startswith(b"event: "):
                    event = line[7:].decode()
                elif line.startswith(b"id: "):
                    event_id = line[4:].decode()
    finally:
        pieces.close()
    raise errors.Unavailable("the daemon ended the feed", hint="it may be restarting")


def _tree(root: type[errors.GpuboardError]) -> dict[str, type[errors.GpuboardError]]:
    """Return the classes of the tree of errors by code; one without a code of its own is its parent's."""
    found = {root.code: root} if "code" in vars(root) else {}
    for kind in root.__subclasses__():
        found.update(_tree(kind))
    return found


_ERRORS = _tree(errors.GpuboardError)
