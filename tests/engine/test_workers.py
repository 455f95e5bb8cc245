"""Workers: slow calls do not keep other kinds of calls from running, outcomes come home."""

from __future__ import annotations

import threading

from gpuboard.engine.workers import HANDS, Lane, ThreadWorkers


def collect(workers: ThreadWorkers, ready: threading.Semaphore, count: int) -> None:
    """Deliver until so many outcomes have been handled."""
    done = 0
    while done < count:
        assert ready.acquire(timeout=10)
        done += workers.deliver()


def test_hanging_starts_hold_up_neither_looking_nor_stopping() -> None:
    """SAFETY.md C7, row 10: each lane has hands of its own."""
    ready = threading.Semaphore(0)
    workers = ThreadWorkers(ready.release)
    hang = threading.Event()
    for _ in range(HANDS[Lane.START] + 2):
        workers.submit(lambda: hang.wait(30), lambda value, error: None, Lane.START)
    seen: list[str] = []
    workers.submit(lambda: "looked", lambda value, error: seen.append(value), Lane.LOOK)
    workers.submit(lambda: "stopped", lambda value, error: seen.append(value), Lane.STOP)
    collect(workers, ready, 2)
    assert sorted(seen) == ["looked", "stopped"]
    hang.set()
    collect(workers, ready, HANDS[Lane.START] + 2)
    assert workers.close(10)


def test_error_is_an_outcome_and_is_handled_on_the_callers_thread() -> None:
    """Nothing raised in a worker is lost, and no state is touched off its thread."""
    ready = threading.Semaphore(0)
    workers = ThreadWorkers(ready.release)
    handled: list[tuple[str, int]] = []

    def work() -> None:
        raise ValueError("broken")

    workers.submit(
        work, lambda value, error: handled.append((str(error), threading.get_ident())), Lane.STOP
    )
    collect(workers, ready, 1)
    assert handled == [("broken", threading.get_ident())]
    assert workers.close(10)
    workers.submit(lambda: 1, lambda value, error: handled.append(("late", 0)), Lane.STOP)
    assert workers.deliver() == 0


def test_work_is_done_later_where_the_box_has_no_thread_left(monkeypatch) -> None:
    """It is no error of who asked, and nothing is forgotten: it waits until a thread can be had."""
    ready = threading.Semaphore(0)
    workers = ThreadWorkers(ready.release)
    start, left = threading.Thread.start, [False, True]

    def start_if_there_is_room(thread: threading.Thread) -> None:
        if not left.pop(0):
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_if_there_is_room)
    seen: list[str] = []
    workers.submit(lambda: "done", lambda value, error: seen.append(value), Lane.START)
    assert workers.deliver() == 0
    collect(workers, ready, 1)
    assert seen == ["done"]
    assert workers.close(10)
