"""Workers: slow calls run on threads, their outcomes are handled on the engine's thread.

Lanes keep hands free: a start that hangs for five minutes in a hook takes a starting hand, and
neither looking nor stopping waits for it (SAFETY.md A1, C7 row 10).
"""

from __future__ import annotations

import logging
import queue
import threading
from collections import deque
from collections.abc import Callable
from enum import StrEnum
from typing import Any, Protocol, TypeVar

T = TypeVar("T")
_LOG = logging.getLogger("gpuboard.engine")


class Lane(StrEnum):
    """What kind of work waits behind what."""

    LOOK = "look"
    """Listing and reading back."""
    START = "start"
    """Creating, starting. Four hands: measured best on a small box."""
    PULL = "pull"
    """Fetching images: minutes, behind nothing else."""
    STOP = "stop"
    """Signals, kills, saving logs, removing."""
    PLAN = "plan"
    """Forecasts."""
    VET = "vet"
    """Looking people up in the box's directory, which may hang."""


HANDS = {Lane.LOOK: 3, Lane.START: 4, Lane.PULL: 4, Lane.STOP: 4, Lane.PLAN: 1, Lane.VET: 4}
"""Threads a lane."""

OnDone = Callable[[T | None, BaseException | None], None]
"""Called on the engine's thread with the value, or with the error."""


class Workers(Protocol):
    """Runs work elsewhere and brings its outcome back."""

    def submit(self, work: Callable[[], T], on_done: OnDone[T], lane: Lane) -> None:
        """Run `work` on a thread of the lane; `deliver` will call `on_done`."""

    def deliver(self) -> int:
        """Call the `on_done` of all finished work, on the caller's thread; return how many."""

    def wake(self) -> None:
        """Have the engine's next step come now."""

    def close(self, timeout_s: float) -> bool:
        """Take no more work, wait for what runs; say whether all of it ended in time."""


class _Task:
    """One piece of work and, once run, its outcome."""

    def __init__(self, work: Callable[[], Any], on_done: OnDone[Any]) -> None:
        self._work = work
        self._on_done = on_done
        self._value: Any = None
        self._error: BaseException | None = None

    def run(self) -> None:
        """Do the work; whatever it raises is its outcome."""
        try:
            self._value = self._work()
        except Exception as error:  # noqa: BLE001 - a border: the error travels to the engine's thread
            self._error = error

    def finish(self) -> None:
        """Hand the outcome over."""
        self._on_done(self._value, self._error)


class ThreadWorkers:
    """Threads, started when first needed; `on_ready` wakes the engine's loop."""

    def __init__(self, on_ready: Callable[[], None]) -> None:
        self._on_ready = on_ready
        self._lanes: dict[Lane, queue.SimpleQueue[_Task | None]] = {
            lane: queue.SimpleQueue() for lane in Lane
        }
        self._threads: dict[Lane, list[threading.Thread]] = {lane: [] for lane in Lane}
        self._done: deque[_Task] = deque()
        self._pending: dict[Lane, int] = dict.fromkeys(Lane, 0)
        self._short: set[Lane] = set()
        """Lanes for which the box had no thread when one was wanted."""
        self._lock = threading.Lock()
        self._is_closed = False

    def submit(self, work: Callable[[], T], on_done: OnDone[T], lane: Lane) -> None:
        """Run `work` on a thread of the lane."""
        with self._lock:
            if self._is_closed:
                return
            self._pending[lane] += 1
            self._lanes[lane].put(_Task(work, on_done))
            self._take_on(lane)

    def _take_on(self, lane: Lane) -> None:
        """Start a thread more where one is wanted; where the box has none left, `deliver` tries again."""
        hands = self._threads[lane]
        if len(hands) >= min(self._pending[lane], HANDS[lane]):
            self._short.discard(lane)
            return
        thread = threading.Thread(
            target=self._serve, args=(lane,), name=f"gb-{lane}-{len(hands)}", daemon=True
        )
        try:
            thread.start()
        except (RuntimeError, MemoryError) as error:
            if lane not in self._short:
                _LOG.warning("no thread more for %s now, what waits is done later: %s", lane, error)
            self._short.add(lane)
        else:
            hands.append(thread)
            self._short.discard(lane)

    def _serve(self, lane: Lane) -> None:
        tasks = self._lanes[lane]
        while (task := tasks.get()) is not None:
            task.run()
            with self._lock:
                self._pending[lane] -= 1
            self._done.append(task)
            self._on_ready()

    def deliver(self) -> int:
        """Call the `on_done` of all finished work."""
        if self._short:
            with self._lock:
                for lane in tuple(self._short):
                    self._take_on(lane)
        count = 0
        while self._done:
            task = self._done.popleft()
            count += 1
            task.finish()
        return count

    def wake(self) -> None:
        """Have the engine's next step come now."""
        self._on_ready()

    def close(self, timeout_s: float) -> bool:
        """Let queued work be, wait for what runs."""
        import time

        with self._lock:
            self._is_closed = True
        for lane, hands in self._threads.items():
            for _ in hands:
                self._lanes[lane].put(None)
        until = time.monotonic() + timeout_s
        for hands in self._threads.values():
            for thread in hands:
                thread.join(max(0.0, until - time.monotonic()))
        return not any(t.is_alive() for hands in self._threads.values() for t in hands)


class StepWorkers:
    """Workers of the simulation: nothing runs until told, in the order told."""

    def __init__(self) -> None:
        self._waiting: list[_Task] = []

    def submit(self, work: Callable[[], T], on_done: OnDone[T], lane: Lane) -> None:  # noqa: ARG002
        """Remember the work."""
        self._waiting.append(_Task(work, on_done))

    def __len__(self) -> int:
        return len(self._waiting)

    def run(self, index: int = 0) -> None:
        """Do one piece of work and hand its outcome over."""
        task = self._waiting.pop(index)
        task.run()
        task.finish()

    def deliver(self) -> int:
        """Do nothing: `run` already hands outcomes over."""
        return 0

    def wake(self) -> None:
        """Do nothing: the test steps."""

    def close(self, timeout_s: float) -> bool:  # noqa: ARG002
        """Forget what waits, as a crash does."""
        self._waiting.clear()
        return True


class InlineWorkers(StepWorkers):
    """Workers of plain tests: `deliver` does all work in order, until none is left."""

    def deliver(self) -> int:
        """Do all work that waits, and what follows from it."""
        count = 0
        while self._waiting:
            self.run()
            count += 1
        return count
