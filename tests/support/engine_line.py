"""A line between the daemon and a container engine that loses answers on demand: the engine itself is real.

`line.lose("start", "late")`: the next such call is cut off; it takes effect `now` (the engine answers
nobody), `late` (a moment after the caller was cut off) or `never`.
"""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

LATE_S = 0.7
_CALLS = {
    "create": re.compile(rb"POST /\S*/containers/create[? ]"),
    "start": re.compile(rb"POST /\S*/containers/[0-9a-f]+/start[? ]"),
}
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class EngineLine:
    """Listens at `path` and speaks with the engine at `target`."""

    def __init__(self, path: Path, target: str) -> None:
        self.host = f"unix://{path}"
        self._target = target.removeprefix("unix://")
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(64)
        self._losing: list[tuple[str, str]] = []
        self.lost: list[tuple[str, str]] = []
        """Calls that were cut off so far, and how."""
        threading.Thread(target=self._accept, daemon=True).start()

    def lose(self, call: str, effect: str) -> None:
        """Cut off the next such call."""
        self._losing.append((call, effect))

    def close(self) -> None:
        """Take no more callers."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                caller, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(caller,), daemon=True).start()

    def _connected(self) -> socket.socket:
        engine = socket.socket(socket.AF_UNIX)
        engine.connect(self._target)
        return engine

    def _serve(self, caller: socket.socket) -> None:
        engine = self._connected()
        answers = threading.Thread(target=_pump, args=(engine, caller), daemon=True)
        answers.start()
        with contextlib.suppress(OSError):
            while data := caller.recv(1 << 16):
                effect = self._effect_on(data)
                if effect:
                    self._cut(caller, _whole(caller, data), effect)
                    break
                engine.sendall(data)
        _hang_up(engine, caller)
        answers.join()
        engine.close()
        caller.close()

    def _effect_on(self, data: bytes) -> str:
        for losing in self._losing:
            if _CALLS[losing[0]].match(data):
                self._losing.remove(losing)
                self.lost.append(losing)
                return losing[1]
        return ""

    def _cut(self, caller: socket.socket, request: bytes, effect: str) -> None:
        if effect == "late":
            _hang_up(caller)
            time.sleep(LATE_S)
        if effect != "never":
            with contextlib.closing(self._connected()) as engine:
                engine.sendall(request)
                engine.recv(1 << 16)  # it has done it: this answer is the one that is lost


def _whole(caller: socket.socket, data: bytes) -> bytes:
    """Return a request with all of its body."""
    while b"\r\n\r\n" not in data:
        data += caller.recv(1 << 16)
    length = _LENGTH.search(data)
    wanted = data.index(b"\r\n\r\n") + 4 + int(length[1] if length else 0)
    while len(data) < wanted:
        data += caller.recv(1 << 16)
    return data


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            sink.sendall(data)
    _hang_up(sink)


def _hang_up(*ends: socket.socket) -> None:
    for end in ends:
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def engine_line(path: Path, target: str) -> Iterator[EngineLine]:
    """Give a line for the block."""
    line = EngineLine(path, target)
    try:
        yield line
    finally:
        line.close()
