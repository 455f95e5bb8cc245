"""Carries a job's log from the thread that reads it to the socket: bytes as they are, bounded.

Each stream has a thread of its own (a followed log lasts as long as its job) and is counted. At
most a few pieces wait between the two; when the client reads slowly the reader waits, and when the
client is gone `is_cancelled` says so to the reader.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import CancelledError as FutureCancelledError

from gpuboard.errors import Unavailable

LogReader = Callable[[Callable[[], bool]], Iterator[bytes]]

_WAITING_PIECES = 8
_PIECE_BYTES = 64 * 1024
MAX_STREAMS = 256
"""In all: each holds a thread."""


class LogStreams:
    """Counts the open streams and opens new ones."""

    def __init__(self, limit: int = MAX_STREAMS) -> None:
        self._limit = limit
        self._open = 0

    @property
    def open(self) -> int:
        """Return how many are open."""
        return self._open

    async def pieces(self, reader: LogReader) -> AsyncGenerator[bytes, None]:
        """Yield what the reader yields. Raises what it raises; Unavailable beyond the limit."""
        if self._open >= self._limit:
            raise Unavailable(
                f"{self._open} logs are being read already", hint="try again in a moment"
            )
        self._open += 1
        pump = _Pump(reader, asyncio.get_running_loop())
        try:
            pump.start()
            while (piece := await pump.next()) is not None:
                yield piece
        finally:
            self._open -= 1
            pump.cancel()


class _Pump:
    """One reader on its thread, one bounded queue to the loop."""

    def __init__(self, reader: LogReader, loop: asyncio.AbstractEventLoop) -> None:
        self._reader = reader
        self._loop = loop
        self._queue: asyncio.Queue[bytes | BaseException | None] = asyncio.Queue(_WAITING_PIECES)
        self._is_cancelled = threading.Event()

    def start(self) -> None:
        """Begin to read."""
        threading.Thread(target=self._read, name="gb-log", daemon=True).start()

    async def next(self) -> bytes | None:
        """Return the next piece, None at the end. Raises the reader's error."""
        item = await self._queue.get()
        if isinstance(item, BaseException):
            raise item
        return item

    def cancel(self) -> None:
        """Nobody reads on: let the reader's thread end."""
        self._is_cancelled.set()
        while not self._queue.empty():
            self._queue.get_nowait()

    def _read(self) -> None:
        try:
            for piece in self._reader(self._is_cancelled.is_set):
                for start in range(0, len(piece), _PIECE_BYTES):
                    self._put(piece[start : start + _PIECE_BYTES])
                if self._is_cancelled.is_set():
                    return
            self._put(None)
        except (FutureCancelledError, _LoopGone):
            return
        except BaseException as error:  # noqa: BLE001 - a border: the error travels to the request
            try:
                self._put(error)
            except (FutureCancelledError, _LoopGone):
                return

    def _put(self, item: bytes | BaseException | None) -> None:
        """Hand over one item, waiting for room."""
        if self._is_cancelled.is_set():
            return
        putting = self._queue.put(item)
        try:
            handed = asyncio.run_coroutine_threadsafe(putting, self._loop)
        except RuntimeError as error:
            putting.close()
            raise _LoopGone from error
        while True:
            try:
                handed.result(1.0)
            except TimeoutError:
                if self._is_cancelled.is_set():
                    handed.cancel()
                    return
            else:
                return


class _LoopGone(Exception):
    """The server has shut down under the reader."""
