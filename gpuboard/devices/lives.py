"""Which processes still live, asked of the kernel once for all of them.

A pidfd names one process for ever, whoever is given its pid later; of all that are watched, epoll
tells those that ended (pidfd_open(2)). So a sweep over processes that live on costs one call,
where it would cost three a process to read each one's start time again.
"""

from __future__ import annotations

import contextlib
import os
import select

MOST_WATCHED = 512
"""Descriptors held at most; whoever has more processes than these reads about the others."""


class Lives:
    """Processes watched by pid. Belongs to one thread."""

    def __init__(self, most: int = MOST_WATCHED) -> None:
        """Watch nobody yet, and at most so many."""
        self._most = most
        self._epoll: select.epoll | None = None
        self._pidfds: dict[int, int] = {}
        self._pids: dict[int, int] = {}
        """By pidfd."""

    def __contains__(self, pid: int) -> bool:
        """Whether the process is watched and had not ended when that was last asked."""
        return pid in self._pidfds

    def watch(self, pid: int) -> None:
        """Watch the process that has this pid now, if the kernel can and there is room."""
        if pid in self._pidfds or len(self._pidfds) >= self._most:
            return
        try:
            if self._epoll is None:
                self._epoll = select.epoll()
            pidfd = os.pidfd_open(pid)
        except OSError:
            return  # an old kernel, no such process, no descriptor left
        try:
            self._epoll.register(pidfd, select.EPOLLIN)
        except OSError:
            os.close(pidfd)
            return
        self._pidfds[pid] = pidfd
        self._pids[pidfd] = pid

    def drop_ended(self) -> None:
        """Watch those no more that ended."""
        if self._epoll is None or not self._pidfds:
            return
        for pidfd, _ in self._epoll.poll(0, len(self._pidfds)):
            self.drop(self._pids[pidfd])

    def drop(self, pid: int) -> None:
        """Watch a process no more, if it was watched."""
        pidfd = self._pidfds.pop(pid, None)
        if pidfd is not None and self._epoll is not None:
            del self._pids[pidfd]
            self._epoll.unregister(pidfd)  # closing alone leaves it there while a child has a copy
            os.close(pidfd)

    def close(self) -> None:
        """Let go of all."""
        for pid in tuple(self._pidfds):
            self.drop(pid)
        if self._epoll is not None:
            with contextlib.suppress(OSError):
                self._epoll.close()
            self._epoll = None
