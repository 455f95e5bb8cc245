"""The engine's thread: everything on one thread, faults survived, a flood delays no deadline."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import cast

import pytest

from gpuboard.daemon.engine_thread import EngineThread
from gpuboard.engine.local import LocalEngine
from gpuboard.errors import DatabaseBusy, HostError, StateError, Unavailable
from tests.support.waiting import wait_until


class ScriptedEngine:
    """Counts its steps; sleeps for as long as it is told."""

    def __init__(self) -> None:
        self.steps = 0
        self.threads: set[int] = set()
        self.sleep_ms = 60_000
        self.faults: list[Exception] = []
        self.halted: list[StateError] = []
        self.looks = 0
        self.committed = 0
        self.is_disturbed = False
        self.core = SimpleNamespace(
            runtimes={},
            clock=SimpleNamespace(boot_ms=lambda: time.monotonic_ns() // 1_000_000),
            workers=SimpleNamespace(close=lambda _s: True),
        )

    def step(self) -> None:
        self.threads.add(threading.get_ident())
        self.steps += 1
        if self.faults:
            raise self.faults.pop()

    def next_wake_boot_ms(self) -> int:
        return int(self.core.clock.boot_ms()) + self.sleep_ms

    def look_soon(self) -> None:
        self.looks += 1

    def commits(self) -> int:
        return self.committed

    def disturbed(self) -> None:
        self.is_disturbed = True

    def halt(self, error: StateError) -> None:
        self.halted.append(error)


def thread_of(engine: ScriptedEngine) -> EngineThread:
    return EngineThread(lambda _thread: cast("LocalEngine", engine))


@pytest.fixture
def engine() -> ScriptedEngine:
    return ScriptedEngine()


@pytest.fixture
def thread(engine: ScriptedEngine) -> Iterator[EngineThread]:
    made = thread_of(engine)
    made.start()
    yield made
    made.stop(10)


def test_steps_and_calls_share_one_thread(engine: ScriptedEngine, thread: EngineThread):
    ran_on = {thread.call(threading.get_ident).result(10) for _ in range(20)}
    wait_until(lambda: engine.steps)
    assert ran_on == engine.threads


def test_a_call_that_wakes_nothing_costs_no_step(engine: ScriptedEngine, thread: EngineThread):
    wait_until(lambda: engine.steps == 1)
    for _ in range(100):
        thread.call(lambda: None).result(10)
    assert engine.steps == 1


def test_a_wake_up_is_a_step_now(engine: ScriptedEngine, thread: EngineThread):
    wait_until(lambda: engine.steps == 1)
    thread.wake()
    wait_until(lambda: engine.steps == 2)


def test_a_deadline_is_kept_under_a_flood_of_calls(engine: ScriptedEngine, thread: EngineThread):
    engine.sleep_ms = 20
    thread.wake()
    wait_until(lambda: engine.steps >= 2)
    before = engine.steps
    is_over = threading.Event()

    def flood() -> None:
        while not is_over.is_set():
            thread.call(lambda: None)
            time.sleep(0)

    flooder = threading.Thread(target=flood)
    flooder.start()
    wait_until(lambda: engine.steps >= before + 5)
    is_over.set()
    flooder.join()


def test_a_failed_step_is_made_again_and_calls_go_on(engine: ScriptedEngine, thread: EngineThread):
    wait_until(lambda: engine.steps == 1)
    engine.faults = [HostError("disk full"), HostError("disk full")]
    thread.wake()
    wait_until(lambda: not engine.faults)
    assert thread.call(lambda: 7).result(10) == 7
    wait_until(lambda: engine.steps == 4)
    assert engine.is_disturbed


def test_an_error_of_a_call_is_its_caller_s(engine: ScriptedEngine, thread: EngineThread):
    def fail() -> None:
        raise HostError("no")

    with pytest.raises(HostError):
        thread.call(fail).result(10)
    assert not engine.halted


def test_a_call_that_finds_the_database_held_is_run_again_and_others_go_on(
    engine: ScriptedEngine, thread: EngineThread
):
    """Reads are answered while it waits, in order, for the other program to let go."""
    held, ran = threading.Event(), []
    held.set()

    def write(number: int) -> int:
        if held.is_set():
            raise DatabaseBusy("held")
        ran.append(number)
        return number

    writes = [thread.call(lambda n=n: write(n)) for n in range(5)]  # type: ignore[misc]
    assert thread.call(lambda: 7).result(10) == 7
    assert not any(future.done() for future in writes)
    held.clear()
    assert [future.result(10) for future in writes] == ran == list(range(5))


def test_a_call_that_already_changed_something_is_not_run_again(
    engine: ScriptedEngine, thread: EngineThread
):
    def half() -> None:
        engine.committed += 1
        raise DatabaseBusy("held at the second write")

    with pytest.raises(DatabaseBusy):
        thread.call(half).result(10)
    assert engine.committed == 1


def test_patience_ends(monkeypatch: pytest.MonkeyPatch, thread: EngineThread):
    """With the words about who holds the database; and a daemon that ends tells at once."""
    monkeypatch.setattr("gpuboard.daemon.patience.PATIENCE_S", 0.2)

    def write() -> None:
        raise DatabaseBusy("held")

    with pytest.raises(DatabaseBusy):
        thread.call(write).result(10)
    monkeypatch.setattr("gpuboard.daemon.patience.PATIENCE_S", 60)
    future = thread.call(write)
    assert thread.stop(10)
    with pytest.raises(DatabaseBusy):
        future.result(0)


def test_a_step_that_cannot_write_is_no_hanging_loop(engine: ScriptedEngine, thread: EngineThread):
    """The watchdog is fed, and the step is made again soon."""
    wait_until(lambda: engine.steps == 1)
    thread.call(lambda: None).result(10)  # behind the step
    engine.faults = [DatabaseBusy("held")] * 3
    before = thread.last_step_s
    thread.wake()
    wait_until(lambda: len(engine.faults) < 3)
    wait_until(lambda: thread.last_step_s > before)
    wait_until(lambda: not engine.faults)
    assert engine.is_disturbed


@pytest.mark.parametrize(
    ("fault", "is_fed"), [(HostError("the disk is full"), True), (RuntimeError("a bug"), False)]
)
def test_the_watchdog_ends_no_daemon_for_a_full_disk(
    engine: ScriptedEngine,
    thread: EngineThread,
    fault: Exception,
    is_fed: bool,
    monkeypatch: pytest.MonkeyPatch,
):
    """Nobody could read anything any more, once a minute; a new daemon would find the disk as full."""
    monkeypatch.setattr("gpuboard.daemon.engine_thread._PAUSES_S", (60.0,))
    wait_until(lambda: engine.steps == 1)
    thread.call(lambda: None).result(10)  # behind the step
    before = thread.last_step_s
    engine.faults = [fault]
    thread.wake()
    wait_until(lambda: engine.is_disturbed)
    thread.call(lambda: None).result(10)
    assert (thread.last_step_s > before) is is_fed


def test_a_broken_invariant_in_a_call_stops_scheduling(
    engine: ScriptedEngine, thread: EngineThread
):
    def fail() -> None:
        raise StateError("two leases")

    with pytest.raises(StateError):
        thread.call(fail).result(10)
    assert [str(error) for error in engine.halted] == ["two leases"]


def test_what_cannot_be_built_is_raised_by_start():
    def build(_thread: EngineThread) -> LocalEngine:
        raise HostError("database damaged")

    made = EngineThread(build)
    ended: list[int] = []
    made.at_end.append(lambda: ended.append(1))
    with pytest.raises(HostError, match="damaged"):
        made.start()
    assert ended == [1]


def test_stopping_finishes_what_was_posted_and_takes_no_more(engine: ScriptedEngine):
    made = thread_of(engine)
    ended: list[int] = []
    made.at_end.append(lambda: ended.append(threading.get_ident()))
    made.start()
    futures = [made.call(lambda number=number: number) for number in range(2000)]  # type: ignore[misc]
    assert made.stop(10)
    assert [future.result(0) for future in futures] == list(range(2000))
    assert set(ended) == engine.threads
    with pytest.raises(Unavailable):
        made.call(lambda: None)


def test_an_event_of_a_runtime_is_a_look(engine: ScriptedEngine):
    happened = threading.Event()

    def wait_event(timeout_s: float) -> bool:
        if happened.wait(0.05):
            happened.clear()
            return True
        return False

    engine.core.runtimes["process"] = SimpleNamespace(name="process", wait_event=wait_event)
    made = thread_of(engine)
    made.start()
    wait_until(lambda: engine.steps == 1)
    happened.set()
    wait_until(lambda: engine.looks == 1)
    made.stop(10)


def test_a_runtime_without_events_ends_nothing(engine: ScriptedEngine):
    def wait_event(timeout_s: float) -> bool:
        raise HostError("socket gone")

    engine.core.runtimes["docker"] = SimpleNamespace(name="docker", wait_event=wait_event)
    made = thread_of(engine)
    made.start()
    assert made.call(lambda: 1).result(10) == 1
    assert made.stop(10)
