"""Calls to the daemon off the screen's thread: a key never waits for an answer.

Errands run on daemon threads: textual's thread workers sit in asyncio's executor, whose threads
are joined at exit, so that a daemon that hangs would keep the app from ending. Threads wait a while
for the next errand: to start one makes the starter wait for it, which on a busy box is felt as a
key that sticks.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import msgspec

from gpuboard.errors import GpuboardError, StateError

if TYPE_CHECKING:
    from textual.app import App

_T = TypeVar("_T")
LINGER_S = 10.0
"""A thread without an errand ends after so long."""


def deliver(app: App[None], callback: Callable[[], object]) -> None:
    """Run `callback` on the app's thread soon; after the app's end nobody listens, and that is fine."""
    if app.is_running:
        with suppress(RuntimeError):  # its loop closed in between
            app.call_later(callback)


def way_onto(app: App[None]) -> Callable[[Callable[[], object]], None]:
    """Return what runs a call soon on the thread that this is called on, the app's; from any thread.

    For what comes every second: as a message through the app's queue, as `deliver` has it, the way
    would cost more than the call.
    """
    loop, context = asyncio.get_running_loop(), copy_context()

    def run(callback: Callable[[], object]) -> None:
        try:
            callback()
        except Exception as error:  # noqa: BLE001 - a border: the app tells it, and ends
            app.call_later(partial(_fail, error))

    def hand_over(callback: Callable[[], object]) -> None:
        if app.is_running:
            with suppress(RuntimeError):  # the loop closed in between
                loop.call_soon_threadsafe(run, callback, context=context)

    return hand_over


def _fail(error: Exception) -> None:
    raise error


class Errands:
    """Runs calls for one app and hands their outcome to its own thread."""

    def __init__(self, app: App[None]) -> None:
        self._app = app
        self._pending = 0
        self._errands: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._waiting = 0
        """Threads that wait for an errand, less the errands that wait for a thread."""

    @property
    def is_idle(self) -> bool:
        """Whether every errand so far has come back."""
        return self._pending == 0

    def run(
        self,
        call: Callable[[], _T],
        done: Callable[[_T], object],
        failed: Callable[[GpuboardError], object],
    ) -> None:
        """Call `call` on another thread; then `done` or `failed` on the app's.

        It runs in the caller's context: a screen that is closed meanwhile still knows its app by it.
        """
        self._pending += 1

        def body() -> None:
            try:
                result = call()
            except GpuboardError as error:
                self._deliver(failed, error)
            except (OSError, msgspec.MsgspecError) as error:
                self._deliver(failed, StateError(f"the daemon's answer cannot be read: {error}"))
            else:
                self._deliver(done, result)

        with self._lock:
            self._waiting -= 1
            is_short = self._waiting < 0
            self._waiting += is_short
        self._errands.put(partial(copy_context().run, body))
        if is_short:
            threading.Thread(target=self._work, name="gpuboard-errand", daemon=True).start()

    def _work(self) -> None:
        """Run errands, one after the other, until there has been none for a while."""
        while True:
            try:
                body = self._errands.get(timeout=LINGER_S)
            except queue.Empty:
                with self._lock:
                    # Who counts on this thread has put its errand, or is about to.
                    if self._waiting > 0:
                        self._waiting -= 1
                        return
                continue
            body()
            with self._lock:
                self._waiting += 1

    def _deliver(self, outcome: Callable[[_T], object], value: _T) -> None:
        def on_app() -> None:
            self._pending -= 1
            outcome(value)

        deliver(self._app, on_app)
