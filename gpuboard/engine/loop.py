"""The engine's thread: steps when something happened or is due, and runs calls posted from elsewhere.

It blocks until the next deadline or event, never polls. An error in a step is logged and the step
is made again after a pause; the thread does not die of it. All state belongs to this thread.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from gpuboard.engine.core import log
from gpuboard.engine.local import LocalEngine
from gpuboard.errors import StateError, Unavailable
from gpuboard.runtimes.protocol import Runtime

T = TypeVar("T")

BACKOFF_S = (0.1, 0.5, 2.0, 5.0, 15.0)
"""Pauses after failed steps in a row; the last one stays."""
EVENT_WAIT_S = 30.0
MAX_CALLS_A_STEP = 256


class EngineThread:
    """Owns a local engine. Built anywhere; the engine is made and used on the thread alone."""

    def __init__(self, build: Callable[[EngineThread], LocalEngine]) -> None:
        """Remember how to build the engine: SQLite wants its thread to open it."""
        self._build = build
        self._engine: LocalEngine | None = None
        self._calls: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._woken = threading.Condition()
        self._is_woken = False
        self._is_stopping = False
        self._stopped = threading.Event()
        self._has_event = False
        self._failures = 0
        self._started: Future[LocalEngine] = Future()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._watchers: list[threading.Thread] = []
        self.last_step_s: float = time.monotonic()
        """When (monotonic, s) the last step ended well; the watchdog looks at it."""

    def start(self, timeout_s: float = 60.0) -> LocalEngine:
        """Start the thread and return the engine; raise what its building raised."""
        self._thread.start()
        engine = self._started.result(timeout_s)
        for runtime in engine.core.runtimes.values():
            watcher = threading.Thread(
                target=self._watch, args=(runtime,), name=f"watch-{runtime.name}", daemon=True
            )
            self._watchers.append(watcher)
            watcher.start()
        return engine

    def call(self, fn: Callable[[], T]) -> Future[T]:
        """Run `fn` on the engine's thread; return its future. Raises Unavailable when stopping."""
        future: Future[T] = Future()
        with self._woken:
            if self._is_stopping:
                raise Unavailable("the daemon is stopping", hint="try again in a moment")
            self._calls.append((fn, future))
            self._is_woken = True
            self._woken.notify()
        return future

    def wake(self) -> None:
        """Make the next step come now. Safe from any thread."""
        with self._woken:
            self._is_woken = True
            self._woken.notify()

    def stop(self, timeout_s: float = 20.0) -> bool:
        """End the thread after the calls already posted; jobs are left as they are."""
        self._stopped.set()
        with self._woken:
            self._is_stopping = True
            self._is_woken = True
            self._woken.notify()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._engine = self._build(self)
        except BaseException as error:  # noqa: BLE001 - a border: `start` raises it
            self._started.set_exception(error)
            return
        self._started.set_result(self._engine)
        while True:
            self._serve_calls()
            if self._is_stopping and not self._calls:
                break
            self._wait(self._step(self._engine))
        self._engine.core.workers.close(10.0)
        self._engine.core.workers.deliver()

    def _step(self, engine: LocalEngine) -> float:
        """Make a step and return how long (s) nothing is due."""
        try:
            if self._has_event:
                self._has_event = False
                engine.look_soon()
            engine.step()
            self._failures = 0
            self.last_step_s = time.monotonic()
            due_ms = engine.next_wake_boot_ms() - engine.core.clock.boot_ms()
            return max(0.0, due_ms / 1000)
        except Exception as error:  # noqa: BLE001 - a border: the thread must not die
            pause_s = BACKOFF_S[min(self._failures, len(BACKOFF_S) - 1)]
            self._failures += 1
            log.exception("a step of the engine failed; again in %.1f s: %s", pause_s, error)
            engine.disturbed()
            return pause_s

    def _wait(self, seconds: float) -> None:
        with self._woken:
            if not self._is_woken and seconds > 0:
                self._woken.wait(seconds)
            self._is_woken = False

    def _serve_calls(self) -> None:
        """Run calls posted so far; a flood of them does not keep steps from being made."""
        for _ in range(min(len(self._calls), MAX_CALLS_A_STEP)):
            fn, future = self._calls.popleft()
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(fn())
            except BaseException as error:  # noqa: BLE001 - a border: the caller gets it
                if isinstance(error, StateError) and self._engine is not None:
                    self._engine.halt(error)
                future.set_exception(error)
        if self._calls:
            self.wake()

    def _watch(self, runtime: Runtime) -> None:
        """Wake the engine on a runtime's events; they are hints, so errors only make it wait."""
        while not self._stopped.is_set():
            try:
                if runtime.wait_event(EVENT_WAIT_S):
                    self._has_event = True
                    self.wake()
                    pause_s = 0.02
                else:
                    pause_s = 0.5
            except Exception as error:  # noqa: BLE001 - a border: listing goes on without events
                log.debug("events of %s: %s", runtime.name, error)
                pause_s = 2.0
            self._stopped.wait(pause_s)
