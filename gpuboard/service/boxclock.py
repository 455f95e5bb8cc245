"""Whether the box's clock is set and kept right by somebody.

The kernel says so itself (adjtimex(2)); systemd's ProtectClock= keeps the daemon from asking, and then
timedatectl is asked.
"""

from __future__ import annotations

import ctypes
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from gpuboard.model.views.doctor import CheckView

EARLIEST_S = 1_704_067_200
"""2024-01-01: a clock before that was never set."""
_STA_UNSYNC = 0x0040
_TIMESYNCD = Path("/run/systemd/timesync/synchronized")
_MEND = "timedatectl set-ntp true (or: apt-get install chrony)"


class _Timex(ctypes.Structure):
    """The first fields of `struct timex`, with room for all others."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("_rest", ctypes.c_char * 512),
    )


def clock_check() -> Iterator[CheckView]:
    """Yield the finding on the clock."""
    if time.time() < EARLIEST_S:
        yield _found("error", "the box's clock is not set", _MEND)
        return
    is_kept = _is_synchronised()
    if is_kept is None:
        yield _found("skipped", "set; nobody here can tell whether it is synchronised", "")
    elif is_kept:
        yield _found("ok", "set, and synchronised", "")
    else:
        words = "set, but synchronised with nothing: bookings begin when this box believes they do"
        yield _found("warning", words, _MEND)


def _found(status: str, words: str, mend: str) -> CheckView:
    return CheckView(name="clock", status=status, words=words, mend=mend)


def _is_synchronised() -> bool | None:
    """Return what the kernel, or systemd, says; None when neither says anything."""
    now = _Timex()
    if ctypes.CDLL(None).adjtimex(ctypes.byref(now)) >= 0:
        return not now.status & _STA_UNSYNC
    if _TIMESYNCD.exists():
        return True
    try:
        done = subprocess.run(
            ["timedatectl", "show", "--property=NTPSynchronized", "--value"],
            capture_output=True, text=True, timeout=5, check=False,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return {"yes": True, "no": False}.get(done.stdout.strip())
