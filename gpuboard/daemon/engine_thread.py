"""The engine's thread: it alone touches engine, services and database; others hand it functions.

It steps the engine when something woke it or something is due, and sleeps otherwise. An error in a
step is logged and the step is made again after a pause: reads go on being served meanwhile.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from gpuboard.daemon.patience import PatientCalls
from gpuboard.engine.local import LocalEngine
from gpuboard.errors import DatabaseBusy, GpuboardError, HostError, StateError, Unavailable
from gpuboard.runtimes.protocol import Runtime

T = TypeVar("T")

_LOG = logging.getLogger(__name__)

_PAUSES_S = (0.1, 0.5, 2.0, 5.0, 15.0)
"""After failed steps in a row; the last one stays."""
_LOCKED_PAUSE_S = 0.3
"""After a step that found the database held by another program."""
_CALLS_A_STEP = 256
"""At most so many functions between two steps, so that a flood of requests delays no deadline."""
_LONGEST_SLEEP_S = 10.0
"""A step at least so often: the watchdog is fed by steps."""
_EVENT_WAIT_S = 30.0
_EVENT_PAUSE_S = 0.02
"""Between two looks for events, so that a storm of them is one wake-up."""
_EVENT_RETRY_S = 3.0
_WORKERS_END_S = 10.0


class EngineThread:
    """Owns a local engine: it is made, used and let go on this thread alone."""

    def __init__(self, build: Callable[[EngineThread], LocalEngine]) -> None:
        """Remember how to build the engine: SQLite wants the thread that uses it to open it."""
        self._build = build
        self._engine: LocalEngine | None = None
        self._calls: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._changed = threading.Condition()
        self._is_woken = False
        self._is_stopping = False
        self._stopping = threading.Event()
        self._has_event = False
        self._failures = 0
        self._started: Future[LocalEngine] = Future()
        self._thread = threading.Thread(target=self._run, name="gb-engine", daemon=True)
        self.at_end: list[Callable[[], None]] = []
        """Called on the thread when it ends, after the last step."""
        self.last_step_s = time.monotonic()
        """When (monotonic, s) the last step ended well, or failed by the box's fault alone."""

    def start(self) -> LocalEngine:
        """Start the thread and return the engine; raise what its building raised."""
        self._thread.start()
        engine = self._started.result()
        for runtime in engine.core.runtimes.values():
            name = f"gb-events-{runtime.name}"
            threading.Thread(target=self._watch, args=(runtime,), name=name, daemon=True).start()
        return engine

    def call(self, work: Callable[[], T]) -> Future[T]:
        """Run a function on the thread; its result or error is in the future.

        Raises Unavailable when the thread is stopping.
        """
        future: Future[T] = Future()
        with self._changed:
            if self._is_stopping:
                raise Unavailable("the daemon is stopping", hint="try again in a moment")
            self._calls.append((work, future))
            self._changed.notify()
        return future

    def wake(self) -> None:
        """Have the next step come now; from any thread, at any rate."""
        with self._changed:
            self._is_woken = True
            self._changed.notify()

    def stop(self, timeout_s: float) -> bool:
        """End after the functions already posted; say whether that happened in time. Jobs go on."""
        self._stopping.set()
        with self._changed:
            self._is_stopping = True
            self._changed.notify()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._engine = self._build(self)
        except BaseException as error:  # noqa: BLE001 - a border: `start` raises it
            self._end()
            self._started.set_exception(error)
            return
        self._patient = PatientCalls(self._engine.commits, self._note)
        self._started.set_result(self._engine)
        due_at = 0.0
        while not self._is_stopping:
            self._serve_calls()
            self._patient.retry()
            if self._is_woken or time.monotonic() >= due_at:
                self._is_woken = False
                due_at = time.monotonic() + self._step(self._engine)
            self._wait_until(due_at)
        while self._calls:
            self._serve_calls()
        self._patient.end()
        if not self._engine.core.workers.close(_WORKERS_END_S):
            _LOG.warning("a call of a runtime is still under way; the next start finds its outcome")
        self._end()

    def _end(self) -> None:
        for act in self.at_end:
            try:
                act()
            except GpuboardError as error:
                _LOG.error("%s", error)

    def _step(self, engine: LocalEngine) -> float:
        """Make a step and return the seconds until the next is due."""
        try:
            if self._has_event:
                self._has_event = False
                engine.look_soon()
            engine.step()
        except DatabaseBusy as error:
            # neither a fault of ours nor a hanging loop: the service manager must not restart us
            _LOG.debug("a step could not write: %s", error)
            engine.disturbed()
            self._is_woken = False
            self.last_step_s = time.monotonic()
            return _LOCKED_PAUSE_S
        except Exception as error:  # noqa: BLE001 - a border: the thread must not die
            pause_s = _PAUSES_S[min(self._failures, len(_PAUSES_S) - 1)]
            self._failures += 1
            _LOG.exception("a step of the engine failed; again in %g s: %s", pause_s, error)
            engine.disturbed()
            self._is_woken = False
            if isinstance(error, HostError | Unavailable):
                self.last_step_s = time.monotonic()  # no restart empties a full disk: reads go on
            return pause_s
        self._failures = 0
        self.last_step_s = time.monotonic()
        sleep_s = (engine.next_wake_boot_ms() - engine.core.clock.boot_ms()) / 1000
        return min(max(0.0, sleep_s), _LONGEST_SLEEP_S)

    def _wait_until(self, due_at: float) -> None:
        """Sleep until a function, a wake-up or the due time."""
        with self._changed:
            if self._calls or self._is_woken or self._is_stopping:
                return
            retry_s = self._patient.wait_s()
            wait_s = due_at - time.monotonic()
            if retry_s is not None:
                wait_s = min(wait_s, retry_s)
            if wait_s > 0:
                self._changed.wait(wait_s)

    def _serve_calls(self) -> None:
        """Run the functions posted so far, within bounds."""
        for _ in range(min(len(self._calls), _CALLS_A_STEP)):
            work, future = self._calls.popleft()
            if not future.set_running_or_notify_cancel():
                continue
            self._patient.serve(work, future)

    def _note(self, error: BaseException) -> None:
        """Stop scheduling when a call found that an invariant does not hold."""
        if isinstance(error, StateError) and self._engine is not None:
            self._engine.halt(error)

    def _watch(self, runtime: Runtime) -> None:
        """Wake the engine on a runtime's events. They are hints: without them listing goes on."""
        while not self._stopping.is_set():
            pause_s = _EVENT_PAUSE_S
            try:
                if runtime.wait_event(_EVENT_WAIT_S):
                    self._has_event = True
                    self.wake()
            except Exception as error:  # noqa: BLE001 - a border: the thread must not die
                _LOG.debug("no events of %s: %s", runtime.name, error)
                pause_s = _EVENT_RETRY_S
            self._stopping.wait(pause_s)
