"""Names of people: a directory that hangs stops no sweep."""

from __future__ import annotations

import os
import pwd
import threading
import time

from gpuboard.devices.usernames import FRESH_S, UserNames
from tests.support.waiting import wait_until


def test_the_boxs_own_files_answer_at_once() -> None:
    """A name is there in the first sweep; a uid of nobody is called by its number."""
    names = UserNames()
    assert names.of(os.getuid()) == pwd.getpwuid(os.getuid()).pw_name
    assert names.of(3_999_999_999) == "3999999999"


def test_directory_that_hangs_is_waited_for_once_and_never_again() -> None:
    """Until it answers people are called by their uids, whoever is asked for; then by their names."""
    goes_on = threading.Event()
    asked: list[int] = []

    def ask(uid: int) -> str:
        asked.append(uid)
        goes_on.wait(30)
        return f"person{uid}"

    names = UserNames(ask)
    names.of(1)
    began = time.monotonic()
    for _ in range(100):
        assert [names.of(uid) for uid in (1, 2, 3)] == ["1", "2", "3"]
    assert time.monotonic() - began < 2.0
    assert asked == [1]
    goes_on.set()
    wait_until(lambda: names.of(3) == "person3")
    assert [names.of(uid) for uid in (1, 2)] == ["person1", "person2"]
    assert asked == [1, 2, 3]


def test_old_name_stands_until_the_next_answer() -> None:
    """A name that is asked for again is not lost while nobody answers."""
    now = [0.0]
    answers = iter(["ann", "anna"])
    names = UserNames(lambda _uid: next(answers), lambda: now[0])
    assert names.of(7) == "ann"
    now[0] = FRESH_S - 1
    assert names.of(7) == "ann"
    now[0] = FRESH_S
    assert names.of(7) in ("ann", "anna")
    wait_until(lambda: names.of(7) == "anna")
