"""Carries a job's log from the thread that reads it to the socket: bytes as they are, bounded.

Each stream has a thread of its own (a followed log lasts as long as its job) and is counted. At
most a few pieces wait between the two; when the client reads slowly the reader waits, and when the
client is gone `is_cancelled` says so to the reader.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Generator, Iterator
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
        self._open: set[LogStream] = set()

    @property
    def count(self) -> int:
        """Return how many are open."""
        return len(self._open)

    def open(self, reader: LogReader) -> LogStream:
        """Begin to read. On the loop that will take the pieces. Raises Unavailable beyond the limit."""
        if self.count >= self._limit:
            raise Unavailable(
                f"{self.count} logs are being read already", hint="try again in a moment"
            )
        stream = LogStream(reader, asyncio.get_running_loop(), self._open.discard)
        self._open.add(stream)
        return stream


class LogStream:
    """One reader on its thread, one bounded queue to the loop."""

    def __init__(
        self,
        reader: LogReader,
        loop: asyncio.AbstractEventLoop,
        on_end: Callable[[LogStream], None],
    ) -> None:
        self._reader = reader
        self._loop = loop
        self._on_end = on_end
        self._queue: asyncio.Queue[bytes | BaseException | None] = asyncio.Queue(_WAITING_PIECES)
        self._is_cancelled = threading.Event()
        threading.Thread(target=self._read, name="gb-log", daemon=True).start()

    async def next(self) -> bytes | None:
        """Return the next piece, None at the end. Raises the reader's error."""
        item = await self._queue.get()
        if isinstance(item, BaseException):
            raise item
        return item

    def close(self) -> None:
        """Nobody reads on: let the reader's thread end. Until it has, the stream counts as open."""
        self._is_cancelled.set()
        while not self._queue.empty():
            self._queue.get_nowait()

    def _read(self) -> None:
        try:
            self._hand_over()
        finally:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._on_end, self)

    def _hand_over(self) -> None:
        try:
            self._copy(self._reader(self._is_cancelled.is_set))
            self._put(None)
        except (FutureCancelledError, _LoopGone):
            return
        except BaseException as error:  # noqa: BLE001 - a border: the error travels to the request
            try:
                self._put(error)
            except (FutureCancelledError, _LoopGone):
                return

    def _copy(self, pieces: Iterator[bytes]) -> None:
        """Hand over everything until the end or until nobody reads on."""
        try:
            for piece in pieces:
                for start in range(0, len(piece), _PIECE_BYTES):
                    self._put(piece[start : start + _PIECE_BYTES])
                if self._is_cancelled.is_set():
                    return
        finally:
            if isinstance(pieces, Generator):
                # now, not when it is collected: it may hold a connection to the container engine
                pieces.close()

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
