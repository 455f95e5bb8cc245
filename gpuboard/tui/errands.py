"""Calls to the daemon off the screen's thread: a key never waits for an answer.

Each errand runs on a daemon thread of its own: textual's thread workers sit in asyncio's executor,
whose threads are joined at exit, so that a daemon that hangs would keep the app from ending.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

import msgspec

from gpuboard.errors import GpuboardError, StateError

if TYPE_CHECKING:
    from textual.app import App

_T = TypeVar("_T")


def deliver(app: App[None], callback: Callable[[], object]) -> None:
    """Run `callback` on the app's thread soon; after the app's end nobody listens, and that is fine."""
    if app.is_running:
        with suppress(RuntimeError):  # its loop closed in between
            app.call_later(callback)


class Errands:
    """Runs calls for one app and hands their outcome to its own thread."""

    def __init__(self, app: App[None]) -> None:
        self._app = app
        self._pending = 0

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
        """Call `call` on another thread; then `done` or `failed` on the app's."""
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

        threading.Thread(target=body, name="gpuboard-errand", daemon=True).start()

    def _deliver(self, outcome: Callable[[_T], object], value: _T) -> None:
        def on_app() -> None:
            self._pending -= 1
            outcome(value)

        deliver(self._app, on_app)
