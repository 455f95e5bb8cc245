"""Errands: off the screen's thread, none waits for another, and threads are used again."""

import asyncio
import threading
from types import SimpleNamespace

import pytest

from gpuboard.errors import Unavailable
from gpuboard.tui.errands import Errands, way_onto
from tests.support.waiting import wait_until


def errands():
    return Errands(SimpleNamespace(is_running=True, call_later=lambda callback: callback()))


def test_a_call_that_hangs_keeps_no_other_from_its_answer():
    made, gate, seen = errands(), threading.Event(), []
    for _ in range(5):
        made.run(gate.wait, seen.append, seen.append)
    made.run(lambda: "quick", seen.append, seen.append)
    wait_until(lambda: seen == ["quick"], 20, "the quick answer")
    assert not made.is_idle
    gate.set()
    wait_until(lambda: made.is_idle, 20, "the others")


def test_one_after_the_other_they_run_on_the_same_thread():
    made, seen, threads = errands(), [], set()
    for number in range(20):
        made.run(threading.get_ident, threads.add, seen.append)
        wait_until(lambda number=number: made.is_idle and made._waiting == 1, 20, "the answer")
    assert len(threads) == 1
    assert seen == []


def test_an_error_is_told_and_the_thread_goes_on():
    made, errors, answers = errands(), [], []

    def fail():
        raise Unavailable("nobody is there")

    made.run(fail, answers.append, errors.append)
    wait_until(lambda: errors, 20, "the error")
    made.run(lambda: 1, answers.append, errors.append)
    wait_until(lambda: answers == [1], 20, "the next")
    assert [error.message for error in errors] == ["nobody is there"]


async def test_what_fails_on_its_way_onto_the_apps_thread_ends_the_app_as_any_handler_would():
    seen, later = [], []
    hand_over = way_onto(SimpleNamespace(is_running=True, call_later=later.append))
    for call in (lambda: seen.append(threading.get_ident()), lambda: 1 // 0):
        threading.Thread(target=hand_over, args=(call,)).start()
    while not (seen and later):
        await asyncio.sleep(0.001)
    assert seen == [threading.get_ident()]
    with pytest.raises(ZeroDivisionError):
        later[0]()
