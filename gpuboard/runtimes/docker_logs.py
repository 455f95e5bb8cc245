"""A container's log: streamed, followed over a restart of the engine, saved whole.

Never held in memory as one (a log of 27 MB took 2.7 s and one buffer). Followed with the
engine's time stamps, so that after a lost stream reading goes on behind the last entry seen; a
stream that ends says nothing about the container.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from gpuboard.errors import Unavailable
from gpuboard.runtimes.docker_api import DockerConnection, instant_ms

POLL_S = 0.2
_RECONNECT_S = 1.0


def read_once(
    connection: DockerConnection, handle: str, tail: int | None, since_at: int | None
) -> Iterator[bytes]:
    """Yield what the log holds now."""
    client = connection.fresh(60.0)
    try:
        with connection.reading("reading the log"):
            stream = client.logs(handle, **_query(tail, since_at), stream=True, follow=False)
            yield from stream
    finally:
        client.close()


def follow(
    connection: DockerConnection,
    handle: str,
    *,
    tail: int | None,
    since_at: int | None,
    is_cancelled: Callable[[], bool],
    is_running: Callable[[], bool],
) -> Iterator[bytes]:
    """Yield the log until the container ended and its last entry was read, or until cancelled."""
    last = b""
    query = _query(tail, since_at)
    pause = threading.Event()
    while not is_cancelled():
        was_running = _running_or_wait(is_running, is_cancelled)
        if was_running is None:
            return
        seen = last
        try:
            for stamp, data in _stamped(connection, handle, query, is_cancelled):
                if seen and stamp <= seen:
                    continue
                seen, last = b"", stamp
                yield data
        except Unavailable:
            was_running = True
        if not was_running:
            return
        if last:
            query = {"stdout": True, "stderr": True, "since": _seconds(last)}
        pause.wait(POLL_S)


def _running_or_wait(
    is_running: Callable[[], bool], is_cancelled: Callable[[], bool]
) -> bool | None:
    """Ask whether the container runs, through an outage of the engine; None when cancelled."""
    pause = threading.Event()
    while not is_cancelled():
        try:
            return is_running()
        except Unavailable:
            pause.wait(_RECONNECT_S)
    return None


def _stamped(
    connection: DockerConnection,
    handle: str,
    query: dict[str, Any],
    is_cancelled: Callable[[], bool],
) -> Iterator[tuple[bytes, bytes]]:
    """Yield (time stamp, entry) of one stream; raises Unavailable when the engine is away."""
    done = threading.Event()
    with connection.reading("reading the log"):
        client = connection.fresh(None)
        try:
            stream = client.logs(handle, **query, stream=True, follow=True, timestamps=True)
            threading.Thread(
                target=_close_when, args=(is_cancelled, done, stream.close), daemon=True
            ).start()
            for frame in stream:
                stamp, _, data = frame.partition(b" ")
                yield stamp, data
        except (ValueError, AttributeError):
            # what the SDK's reader says when its socket is closed under it
            if not is_cancelled():
                raise
        finally:
            done.set()
            client.close()


def _close_when(
    is_cancelled: Callable[[], bool], done: threading.Event, close: Callable[[], None]
) -> None:
    """Shut the stream from outside: a silent job's log blocks its reader for ever."""
    while not done.wait(POLL_S):
        if is_cancelled():
            with contextlib.suppress(OSError, ValueError, AttributeError):
                close()
            return


def save(connection: DockerConnection, handle: str, path: Path) -> None:
    """Write the whole log to a file only its owner may read, in place by rename.

    Raises OSError where there is no room for it; a part of it is not left, which would take room.
    """
    part = path.with_name(f".{path.name}.part")
    part.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(part, flags, 0o600), "wb") as file:
            for data in read_once(connection, handle, None, None):
                file.write(data)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _query(tail: int | None, since_at: int | None) -> dict[str, Any]:
    query: dict[str, Any] = {"stdout": True, "stderr": True}
    if tail is not None:
        query["tail"] = max(0, tail)
    if since_at:
        query["since"] = since_at / 1000
    return query


def _seconds(stamp: bytes) -> float:
    """Return a stamp as the engine's `since` in whole seconds before it; duplicates are dropped by stamp."""
    return max(1.0, ((instant_ms(stamp.decode("ascii", "replace")) or 1000) // 1000) - 1.0)
