"""Waiting on a condition: no test sleeps in the hope that something has happened."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


def wait_until(condition: Callable[[], Any], timeout_s: float = 30, what: str = "") -> Any:
    """Return the first true value of the condition; fail in words after the time-out."""
    deadline = time.monotonic() + timeout_s
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, f"waited {timeout_s} s for {what or condition}"
        time.sleep(0.01)
