"""A probe's threads: one that may hang in a driver, and one that says so in time.

A call into a driver cannot be interrupted, so all of them are made on a thread that nobody waits
for without a time-out (the *reader*): it sweeps each interval and publishes what came. The other
thread (the *watcher*) looks now and then whether a sweep has taken too long, and publishes that
instead, each interval, until the old call returns; what it returns is dropped, and a new sweep
begun. Threads never pile up behind a hung driver, and a box where nothing happens is woken once
an interval.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Protocol

from msgspec.structs import replace

from gpuboard.errors import HostError, StateError
from gpuboard.model.device import DeviceReading, Health, ProbeSnapshot

logger = logging.getLogger(__name__)

NOT_READ_YET = ProbeSnapshot(at=0, fault="the devices have not been read yet")
"""What is known before the first sweep."""


def wall_ms() -> int:
    """Return the wall clock (ms since epoch)."""
    return time.time_ns() // 1_000_000


class DeviceSource(Protocol):
    """What a probe reads. Called on the reader's thread only."""

    def sweep(self) -> ProbeSnapshot:
        """Read all devices once (`sequence` is set by the caller).

        Raises:
            HostError: the driver as a whole does not work; the next sweep tries anew.
        """

    def close(self) -> None:
        """Let go of the driver."""


class SweepingProbe:
    """A `Probe` over a `DeviceSource`. Safe to use from any thread."""

    def __init__(
        self,
        name: str,
        source: DeviceSource,
        *,
        interval_s: float,
        timeout_s: float,
        clock: Callable[[], int],
        driver_words: str = "the driver",
        hang_hint: str = "",
    ) -> None:
        self.name = name
        self._source = source
        self._interval_s = interval_s
        self._timeout_s = timeout_s
        self._clock = clock
        self._driver_words = driver_words
        self._hang_hint = hang_hint
        self._snapshot = NOT_READ_YET
        self._last = NOT_READ_YET
        """The last sweep that ended."""
        self._on_snapshot: Callable[[ProbeSnapshot], None] | None = None
        self._first = threading.Event()
        self._stopping = threading.Event()
        self._hurry = threading.Event()
        """Somebody does not want to wait for the next interval."""
        self._turn = threading.Lock()
        """Held by whoever publishes: the two threads do so in turns."""
        self._began_s: float | None = None
        """When (monotonic) the sweep under way began."""
        self._is_given_up = False
        """Whether the sweep under way was published as hanging."""
        self._threads: tuple[threading.Thread, ...] = ()

    def start(self, on_snapshot: Callable[[ProbeSnapshot], None] | None = None) -> None:
        """Begin to sweep; `on_snapshot` is called on a thread of the probe after each sweep.

        It is also called, once an interval, while the driver hangs; never twice at a time.

        Raises:
            StateError: the probe was started before.
        """
        if self._threads:
            raise StateError("a probe is started once")
        self._on_snapshot = on_snapshot
        self._threads = (
            threading.Thread(target=self._read, name=f"{self.name}-reader", daemon=True),
            threading.Thread(target=self._watch, name=f"{self.name}-watcher", daemon=True),
        )
        for thread in self._threads:
            thread.start()

    def snapshot(self) -> ProbeSnapshot:
        """Return the last snapshot at once; before the first sweep, one with a `fault`."""
        return self._snapshot

    def wait_first(self, timeout_s: float) -> ProbeSnapshot:
        """Wait for the first sweep, at most so long, and return what is known then."""
        self._first.wait(timeout_s)
        return self._snapshot

    def sweep_soon(self) -> None:
        """Ask for a sweep that begins after this call, at once or a moment after the last one."""
        self._hurry.set()

    def stop(self) -> None:
        """End the threads; one that hangs in the driver is left behind as a daemon thread."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        self._hurry.set()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(min(_LEAVE_S, self._timeout_s))

    def _read(self) -> None:
        """Sweep each interval, on the only thread that touches the driver."""
        while not self._stopping.is_set():
            began_s = time.monotonic()
            self._hurry.clear()
            with self._turn:
                self._began_s, self._is_given_up = began_s, False
            answer = self._sweep()
            if not self._take(answer):
                continue  # it hung: what came at last is old, so read again at once
            self._hurry.wait(began_s + self._interval_s - time.monotonic())
            self._stopping.wait(began_s + min(self._interval_s, _SOONEST_S) - time.monotonic())
        self._source.close()

    def _sweep(self) -> ProbeSnapshot | HostError:
        """Return a sweep, or what the driver says instead."""
        try:
            return self._source.sweep()
        except HostError as fault:
            return fault
        except Exception as error:  # a border: a bug in a binding must not blind the daemon
            logger.exception("reading the devices failed")
            return HostError(f"reading the devices failed: {error}")

    def _take(self, answer: ProbeSnapshot | HostError) -> bool:
        """Publish the answer, and return whether it came in time."""
        with self._turn:
            self._began_s = None
            if self._stopping.is_set():
                return True
            if self._is_given_up:
                return False
            self._last = self._numbered(answer)
            self._publish(self._last)
            return True

    def _watch(self) -> None:
        """Publish, while a sweep hangs, that it does."""
        wait_s = self._timeout_s
        while not self._stopping.wait(wait_s):
            with self._turn:
                wait_s = self._look_for_hang()

    def _look_for_hang(self) -> float:
        """Publish a sweep that took too long as hanging; return for how long (s) none can be late."""
        if self._began_s is None:
            return self._timeout_s
        waited_s = time.monotonic() - self._began_s
        if waited_s < self._timeout_s:
            return self._timeout_s - waited_s
        self._is_given_up = True
        self._publish(self._hung_snapshot(waited_s))
        return self._interval_s

    def _numbered(self, answer: ProbeSnapshot | HostError) -> ProbeSnapshot:
        sequence = self._last.sequence + 1
        if isinstance(answer, ProbeSnapshot):
            return replace(answer, sequence=sequence)
        return ProbeSnapshot(
            at=self._clock(),
            readings=unknown_readings(self._last.readings, answer.message),
            fault=answer.message,
            hint=answer.hint,
            sequence=sequence,
        )

    def _hung_snapshot(self, waited_s: float) -> ProbeSnapshot:
        """Return the last sweep without its figures: they are old, and nobody may act on them."""
        words = f"{self._driver_words} has not answered for {waited_s:.0f} s"
        return replace(
            self._last,
            readings=unknown_readings(self._last.readings, words),
            fault=words,
            hint=self._hang_hint,
        )

    def _publish(self, snapshot: ProbeSnapshot) -> None:
        self._snapshot = snapshot
        self._first.set()
        if self._on_snapshot is None:
            return
        try:
            self._on_snapshot(snapshot)
        except Exception:  # a border: a bug in a listener must not end the sweeps
            logger.exception("a listener of the %s probe failed", self.name)


def unknown_readings(readings: tuple[DeviceReading, ...], words: str) -> tuple[DeviceReading, ...]:
    """Return the same devices with nothing known of them: not free, not empty, not healthy.

    A lost or faulty one stays what it was, with its own words.
    """
    return tuple(
        DeviceReading(
            device=reading.device,
            health=reading.health if reading.health in _BAD else Health.UNKNOWN,
            fault=reading.fault if reading.health in _BAD else words,
        )
        for reading in readings
    )


_SOONEST_S = 0.02
"""Between two sweeps, however often one is asked for."""
_LEAVE_S = 2.0
"""A thread that does not end within this is left behind."""
_BAD = (Health.LOST, Health.FAULTY)
