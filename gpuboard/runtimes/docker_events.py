"""The engine's event stream, as a hint: something may have changed, look.

Events are lost when the engine restarts and its ring holds 256, so silence means nothing and the
end of the stream counts as an event.
"""

from __future__ import annotations

import contextlib
import threading
import time
from typing import Any

from gpuboard.runtimes.docker_api import VENDOR_ERRORS, DockerConnection
from gpuboard.runtimes.profile import LABEL_BOX

ECHOES_S = (0.05, 0.25)
"""So long after an event it is announced again: the engine sends `die` before its list shows the end."""
_NEWS = ("start", "die", "oom", "pause", "unpause", "rename", "destroy")
"""Not `create`, which only we do: a look then would take CPU from the start that follows at once."""
_BACKOFF_S = (0.2, 0.5, 1.0, 2.0, 5.0)


class EventWatcher:
    """Listens on a thread of its own, from the first `wait` until `close`."""

    def __init__(self, connection: DockerConnection, box_id: str) -> None:
        self._connection = connection
        self._box_id = box_id
        self._changed = threading.Condition()
        self._count = 0
        self._seen = 0
        self._echoes: list[float] = []
        """When (monotonic, s) to announce the last event again, soonest first."""
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._stream: Any = None

    def wait(self, timeout_s: float) -> bool:
        """Block until something may have changed since the last call, or the time is over."""
        with self._changed:
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._listen, name="docker-events", daemon=True
                )
                self._thread.start()
            until = min([time.monotonic() + timeout_s, *self._echoes])
            self._changed.wait_for(
                lambda: self._count != self._seen or self._closing.is_set(),
                max(0.0, until - time.monotonic()),
            )
            now = time.monotonic()
            if self._count != self._seen:
                self._seen = self._count
                self._echoes = [now + after_s for after_s in ECHOES_S]
                return True
            due = [at for at in self._echoes if at <= now]
            self._echoes = self._echoes[len(due) :]
            return bool(due)

    def close(self) -> None:
        """End the thread."""
        self._closing.set()
        with self._changed:
            self._changed.notify_all()
        stream = self._stream
        if stream is not None:
            with contextlib.suppress(*VENDOR_ERRORS, ValueError, AttributeError):
                stream.close()
        if self._thread is not None:
            self._thread.join(2.0)

    def _listen(self) -> None:
        failures = 0
        while not self._closing.is_set():
            try:
                self._read()
                failures = 0
            except (*VENDOR_ERRORS, ValueError, AttributeError):
                failures += 1
            self._announce()
            self._closing.wait(_BACKOFF_S[min(failures, len(_BACKOFF_S) - 1)])

    def _read(self) -> None:
        client = self._connection.fresh(None)
        try:
            self._stream = client.events(
                filters={
                    "type": "container",
                    "label": f"{LABEL_BOX}={self._box_id}",
                    "event": list(_NEWS),
                }
            )
            self._announce()
            for _ in self._stream:
                self._announce()
        finally:
            self._stream = None
            client.close()

    def _announce(self) -> None:
        with self._changed:
            self._count += 1
            self._changed.notify_all()
