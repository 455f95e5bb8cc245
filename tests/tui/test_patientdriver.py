"""The driver that waits for keys instead of looking for them."""

import contextlib
import os
import threading

import pytest

from gpuboard.tui import patientdriver
from gpuboard.tui.app import GpuboardApp
from gpuboard.tui.patientdriver import PatientDriver
from tests.support.waiting import wait_until


class Looks(threading.Event):
    """Counts how often the driver's thread came round."""

    count = 0

    def is_set(self):
        self.count += 1
        return super().is_set()


class Heard(PatientDriver):
    """The driver without an app, a loop and signals: only what it reads."""

    def __init__(self, typed):
        self.fileno, self._debug, self._mouse = typed, False, False
        self.exit_event = Looks()
        self.keys = []

    def process_message(self, message):
        self.keys.append(message.key)


@contextlib.contextmanager
def listening():
    """Give a driver whose thread runs, where to type, and the keys it hands on."""
    typed, terminal = os.pipe()
    driver = Heard(typed)
    thread = threading.Thread(target=driver.run_input_thread)
    thread.start()
    try:
        yield driver, terminal, driver.keys
    finally:
        driver._key_thread = thread
        driver.disable_input()
        is_alive = thread.is_alive()
        for each in (terminal, typed, *driver._bell):
            os.close(each)
        assert not is_alive


def test_key_is_heard_at_once_and_nothing_wakes_the_driver_between(monkeypatch):
    """While nobody types the thread sleeps; a key wakes it."""
    monkeypatch.setattr(patientdriver, "TYPING_S", 0.0)
    with listening() as (driver, terminal, keys):
        os.write(terminal, b"a")
        wait_until(lambda: keys == ["a"], 20, "the key")
        os.write(terminal, b"b")
        wait_until(lambda: keys == ["a", "b"], 20, "the other key")
        assert driver.exit_event.count <= 3


@pytest.mark.parametrize(("typed", "key"), [(b"\x1b", "escape"), ("é".encode(), "é")])
def test_lone_escape_and_letters_beyond_ascii_are_keys(typed, key):
    """An escape that nothing follows is told soon, though nothing else is typed."""
    with listening() as (_driver, terminal, keys):
        os.write(terminal, typed)
        wait_until(lambda: keys, 20, "the key")
        assert keys[0] in (key, "latin_small_letter_e_with_acute")


def test_app_uses_it(source):
    """The app in a terminal is driven by it."""
    assert GpuboardApp(source).driver_class is PatientDriver
