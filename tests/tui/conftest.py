import time

import pytest

from tests.support.tui_source import ScriptedSource


@pytest.fixture(autouse=True)
def utc_and_utf8(monkeypatch):
    """Screens are told in UTC and in UTF-8, wherever the tests run."""
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLORTERM", "truecolor")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.delenv("GPUBOARD_ASCII", raising=False)
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture(autouse=True)
def home_of_nobody(monkeypatch, tmp_path):
    """No test writes the settings of whoever runs the suite."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """A slow machine does not turn a scripted feed stale; tests of staleness set it themselves."""
    monkeypatch.setattr("gpuboard.tui.app.STALE_S", 1e9)


@pytest.fixture(autouse=True)
def no_feed_is_left():
    """A thread that waits for its next item would keep a whole app."""
    yield
    ScriptedSource.end_feeds()


@pytest.fixture
def source():
    return ScriptedSource()
