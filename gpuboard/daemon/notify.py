"""What systemd is told and what it hands over (sd_notify(3), sd_listen_fds(3)): no library needed.

The watchdog is fed only when the engine has ended a step since it was last fed: a timer alone would
go on feeding it while the engine hangs.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping, MutableMapping

_FIRST_FD = 3


class Notifier:
    """Talks to the service manager, or to nobody when there is none."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        is_ours = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        period_us = int(environ.get("WATCHDOG_USEC", "0") or 0) if is_ours else 0
        self.watchdog_s = period_us / 1_000_000
        """The service manager ends us when it hears nothing for so long; 0 = it does not listen."""
        self._fed_step_s = 0.0

    def ready(self, status: str) -> None:
        """Say that the daemon serves (after the start, and after a reload)."""
        self._send(f"READY=1\nSTATUS={_line(status)}")

    def status(self, status: str) -> None:
        """Show a line in `systemctl status`."""
        self._send(f"STATUS={_line(status)}")

    def reloading(self) -> None:
        """Say that a reload begins; `ready` ends it."""
        now_us = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._send(f"RELOADING=1\nMONOTONIC_USEC={now_us}")

    def stopping(self) -> None:
        """Say that the end has begun."""
        self._send("STOPPING=1\nSTATUS=stopping; jobs go on")

    def feed_watchdog(self, last_step_s: float) -> bool:
        """Feed the watchdog if the engine's last step is a new one; say whether it was."""
        if last_step_s <= self._fed_step_s:
            return False
        self._fed_step_s = last_step_s
        self._send("WATCHDOG=1")
        return True

    def _send(self, message: str) -> None:
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
            try:
                out.setblocking(False)
                out.sendto(message.encode(), self._address)
            except OSError:
                # a deaf service manager is no reason to stop serving
                return


def take_listening_sockets(environ: MutableMapping[str, str] = os.environ) -> list[socket.socket]:
    """Return the sockets that systemd listens on for us; the variables are consumed.

    LISTEN_PID guards against variables inherited from somebody else's activation.
    """
    count = environ.pop("LISTEN_FDS", "0")
    pid = environ.pop("LISTEN_PID", "")
    environ.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or not count.isdigit():
        return []
    found = []
    for descriptor in range(_FIRST_FD, _FIRST_FD + int(count)):
        os.set_inheritable(descriptor, False)
        found.append(socket.socket(fileno=descriptor))
    return found


def _line(text: str) -> str:
    return " ".join(text.split())[:200]
