"""Just enough HTTP/1.1 over a Unix socket for our own daemon. Standard library only.

`http.client` costs as much to import as all the rest of a command; this speaks the part of the
protocol that our server speaks: content-length and chunked bodies, keep-alive, no redirects.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import time

from gpuboard.errors import GpuboardError, PermissionDenied, TimedOut, Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from gpuboard.api.ssh import Call

_MAX_LINE = 65536
_MAX_HEADERS = 100
_SAFE = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_PATH_SAFE = _SAFE | frozenset(b"/%@:,+=!*")


def quote(text: str, safe: frozenset[int] = _SAFE) -> str:
    """Percent-encode `text` for one path segment or query value."""
    return "".join(
        chr(byte) if byte in safe else f"%{byte:02X}"
        for byte in text.encode("utf-8", "surrogateescape")
    )


def target(path: str, query: dict[str, object]) -> str:
    """Return the request target: `path` below /v1 with the set values of `query`.

    None, False and empty text are left out, True is `1`, a list repeats its key.
    """
    pairs: list[str] = []
    for key, value in query.items():
        values = value if isinstance(value, (list, tuple, set, frozenset)) else (value,)
        for one in values:
            if one is None or one is False or one == "":
                continue
            pairs.append(f"{quote(key)}={quote('1' if one is True else str(one))}")
    if not path.startswith("/v1/"):
        path = "/v1" + path
    return quote(path, _PATH_SAFE) + ("?" + "&".join(pairs) if pairs else "")


class Response:
    """Status and headers of an answer whose body has not been read yet."""

    __slots__ = ("connection", "headers", "status")

    def __init__(self, connection: Connection, status: int, headers: dict[str, str]) -> None:
        self.connection = connection
        self.status = status
        self.headers = headers

    def chunks(self) -> Iterator[bytes]:
        """Yield the body as it comes. Raises Unavailable when it breaks off."""
        return self.connection.body(self.headers)

    def read(self) -> bytes:
        """Return the whole body."""
        return b"".join(self.chunks())


class Connection:
    """One connection; one request at a time. Its path may be another box: `ssh://HOST`."""

    __slots__ = ("_call", "_file", "_has_heard", "_path", "_socket", "is_used")

    def __init__(self, path: str, timeout_s: float | None) -> None:
        self._path = path
        self.is_used = False
        self._has_heard = False
        self._call: Call | None = None
        if path.startswith("ssh://"):
            from gpuboard.api.ssh import Call

            self._call = Call(path)
            self._socket = self._call.socket
            self._socket.settimeout(timeout_s)
        else:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                self._connect(timeout_s)
            except OSError as error:
                self._socket.close()
                raise _unreachable(path, error) from error
        self._file = self._socket.makefile("rb")

    def _connect(self, timeout_s: float | None) -> None:
        """Connect; while the server's backlog is full, wait (a Unix socket says EAGAIN at once)."""
        self._socket.settimeout(timeout_s)
        until = time.monotonic() + (timeout_s if timeout_s is not None else 3600.0)
        while True:
            try:
                self._socket.connect(self._path)
            except BlockingIOError:
                if time.monotonic() >= until:
                    raise
                time.sleep(0.02)
            else:
                return

    def close(self) -> None:
        """Let go of the socket."""
        self._file.close()
        self._socket.close()
        if self._call is not None:
            self._call.close()

    def hang_up(self) -> None:
        """End the conversation from any thread: whoever reads sees the end."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def pass_through(self) -> None:
        """Pass bytes between stdin, stdout and the server until either ends."""
        from gpuboard.api.ssh import answer_call

        self._socket.settimeout(None)
        answer_call(self._socket)

    def is_stale(self) -> bool:
        """Whether the server has closed it (or said something unasked) while it lay idle."""
        poll = select.poll()
        poll.register(self._socket, select.POLLIN | select.POLLHUP | select.POLLERR)
        return bool(poll.poll(0))

    def set_timeout(self, timeout_s: float | None) -> None:
        """Wait at most so long for each piece of an answer; None = for ever."""
        self._socket.settimeout(timeout_s)

    def request(
        self, method: str, target: str, body: bytes | None, extra: tuple[str, ...] = ()
    ) -> Response:
        """Send one request and return its answer's head."""
        lines = [f"{method} {target} HTTP/1.1", "Host: gpuboard", *extra]
        if body is not None:
            lines.append("Content-Type: application/json")
            lines.append(f"Content-Length: {len(body)}")
        message = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + (body or b"")
        self.is_used = True
        try:
            self._send(message)
            return self._read_head()
        except OSError as error:
            raise self._broken(error) from error

    def _send(self, message: bytes) -> None:
        """Send it all; a server that refuses half way may still have answered."""
        try:
            self._socket.sendall(message)
        except (BrokenPipeError, ConnectionResetError):
            if not self.is_stale():
                raise

    def _read_head(self) -> Response:
        status_line = self._line()
        self._has_heard = True
        parts = status_line.split(" ", 2)
        if len(parts) < 2 or not parts[0].startswith("HTTP/1.") or not parts[1].isdigit():
            raise Unavailable(
                f"what answers on {self._path} is no gpuboard daemon",
                hint="look at $GPUBOARD_SOCKET",
            )
        headers: dict[str, str] = {}
        for _ in range(_MAX_HEADERS):
            line = self._line()
            if not line:
                return Response(self, int(parts[1]), headers)
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
        raise Unavailable(f"the answer from {self._path} has too many headers")

    def _line(self) -> str:
        raw = self._file.readline(_MAX_LINE)
        if not raw.endswith(b"\n"):
            raise self._broken(None)
        return raw.rstrip(b"\r\n").decode("latin-1")

    def body(self, headers: dict[str, str]) -> Iterator[bytes]:
        """Yield the body of the answer with these headers."""
        try:
            if headers.get("transfer-encoding", "").lower() == "chunked":
                yield from self._chunked()
            else:
                yield from self._counted(int(headers.get("content-length", "0") or 0))
        except (OSError, ValueError) as error:
            raise self._broken(error if isinstance(error, OSError) else None) from error

    def _chunked(self) -> Iterator[bytes]:
        while size := int(self._line().partition(";")[0], 16):
            yield from self._counted(size)
            self._line()
        while self._line():
            pass

    def _counted(self, size: int) -> Iterator[bytes]:
        while size:
            piece = self._file.read1(min(size, 65536))
            if not piece:
                raise self._broken(None)
            size -= len(piece)
            yield piece

    def _broken(self, error: OSError | None) -> GpuboardError:
        if isinstance(error, TimeoutError):
            return TimedOut(
                f"the daemon on {self._path} did not answer in time",
                hint="try again; `gpuboard doctor` says what hangs",
            )
        if self._call is not None and not self._has_heard:
            return self._call.failure()
        return Unavailable(
            f"the daemon on {self._path} broke off the connection",
            hint="look whether the request took effect before you repeat it",
        )


def _unreachable(path: str, error: OSError) -> GpuboardError:
    """Return the error for a socket that cannot be reached, with the way to start a daemon."""
    is_system = path.startswith(("/run/gpuboard/", "/var/run/gpuboard/"))
    start = "sudo systemctl start gpuboard" if is_system else "gpuboard daemon"
    if error.errno in (errno.EACCES, errno.EPERM):
        return PermissionDenied(
            f"you may not open {path}",
            hint="ask the administrator to let you in (socket_mode, socket_group)",
        )
    if error.errno == errno.ENOENT:
        words = f"there is no gpuboard daemon: {path} does not exist"
    elif error.errno == errno.ECONNREFUSED:
        words = f"the gpuboard daemon of {path} is not running"
    elif error.errno in (errno.EAGAIN, errno.ETIMEDOUT) or isinstance(error, TimeoutError):
        return Unavailable(f"the gpuboard daemon on {path} is too busy to answer")
    else:
        reason = os.strerror(error.errno) if error.errno else str(error)
        words = f"cannot connect to {path}: {reason}"
    return Unavailable(words, hint=f"start it: `{start}`")
