"""A scripted daemon, and the command line called against it."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from gpuboard.cli.main import main
from tests.support.fake_server import FakeServer


class Ran(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON value on stdout (anything beside it fails)."""
        return json.loads(self.out)


Gpuboard = Callable[..., Ran]

CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def assert_harmless(text: str) -> None:
    """No control code, no direction override."""
    found = CONTROL.search(text)
    assert not found, f"{found!r} in {text!r}"


@pytest.fixture(autouse=True)
def plain_surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    # no test may start a personal daemon in the home of whoever runs the suite
    monkeypatch.setenv("GPUBOARD_SOCKET", "/nonexistent/gpuboard.sock")
    # --ascii sets it for whatever the command starts: the tests' own process, here
    for name in ("COLUMNS", "NO_COLOR", "GPUBOARD_ASCII"):
        monkeypatch.setenv(name, "")  # so that what a test sets itself is undone too
        monkeypatch.delenv(name)
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeServer]:
    fake = FakeServer(tmp_path)
    monkeypatch.setenv("GPUBOARD_SOCKET", fake.socket_path)
    yield fake
    fake.close()


@pytest.fixture
def gpuboard(capfd: pytest.CaptureFixture[str]) -> Gpuboard:
    """Call the command line in this process."""

    def call(*arguments: str) -> Ran:
        capfd.readouterr()
        code = main(list(arguments))
        out, err = capfd.readouterr()
        return Ran(code, out, err)

    return call
