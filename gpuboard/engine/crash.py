"""Named points at which tests let the daemon die: `crash_point` does nothing unless armed.

The names are a promise: `<room>.<moment>`, each commit having a `.before` and an `.after`. The
simulation arms a hook that raises `Crash` (a BaseException, so that no border swallows it); the
end-to-end tests arm one that sends SIGKILL to the daemon itself.
"""

from __future__ import annotations

from collections.abc import Callable


class Crash(BaseException):
    """The death of the daemon, in a simulation."""


CrashHook = Callable[[str], None]


def no_crash(_name: str) -> None:
    """Be the hook of production: nothing happens."""


class CrashPoints:
    """Holds the hook; one object is shared by all rooms of an engine."""

    def __init__(self, hook: CrashHook = no_crash) -> None:
        self.hook = hook

    def __call__(self, name: str) -> None:
        """Pass the point of that name."""
        self.hook(name)
