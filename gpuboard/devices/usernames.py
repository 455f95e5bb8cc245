"""Names of people by uid, asked on a thread of its own: the box's directory (LDAP) may hang for minutes.

A sweep of the devices waits for no directory: until it answers, a person is called by the uid.
"""

from __future__ import annotations

import pwd
import threading
import time
from collections.abc import Callable

from gpuboard.model.text import plain

FRESH_S = 300.0
"""How long an answer is believed; an older one stands until the next comes."""
PATIENCE_S = 0.05
"""What the first look waits for an answer, which the box's own files give at once."""
_WIDTH = 64


def _by_passwd(uid: int) -> str:
    try:
        return plain(pwd.getpwuid(uid).pw_name, _WIDTH)
    except (KeyError, OverflowError):
        return str(uid)


class UserNames:
    """Remembers names. Asked from one thread."""

    def __init__(
        self,
        ask: Callable[[int], str] = _by_passwd,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ask = ask
        self._clock = clock
        self._known: dict[int, tuple[float, str]] = {}
        self._wanted: list[int] = []
        """Uids not answered yet; the first is being asked for. While there are any, a thread lives."""
        self._changed = threading.Condition()

    def of(self, uid: int) -> str:
        """Return the name that belongs to a uid, or the uid where that is not known (yet)."""
        now = self._clock()
        at, name = self._known.get(uid, (now - FRESH_S, ""))
        if now - at < FRESH_S:
            return name
        with self._changed:
            if uid not in self._wanted:
                self._wanted.append(uid)
                if len(self._wanted) == 1:
                    threading.Thread(target=self._answer, name="gb-names", daemon=True).start()
                    self._changed.wait_for(lambda: not self._wanted, PATIENCE_S)
        return self._known.get(uid, (at, name or str(uid)))[1]

    def _answer(self) -> None:
        """Ask for everybody wanted, one after the other."""
        while True:
            uid = self._wanted[0]
            name = self._ask(uid)
            with self._changed:
                self._known[uid] = (self._clock(), name)
                del self._wanted[0]
                self._changed.notify_all()
                if not self._wanted:
                    return
