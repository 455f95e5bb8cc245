"""Who is at the other end of a connection: what the kernel says, never what they say.

SO_PEERCRED gives the effective uid at connect time and outlives the client, so nothing is ever
authorised through `/proc/<pid>`. The pid serves one purpose: a peer inside a container is never
an admin, and where that cannot be read the answer is "inside".
"""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from gpuboard.devices.cgroups import CgroupKind, parse_cgroup
from gpuboard.errors import PermissionDenied
from gpuboard.model.person import Caller

_CREDENTIALS = struct.Struct("iII")
_REMEMBER_S = 30.0
"""A person who joins or leaves a group is seen as such after so long."""
_REFUSE_S = 3.0
"""Whoever is nobody here is looked up no more often, however often they ask."""
_REMEMBERED = 4096
_CONTAINED = frozenset(
    {
        CgroupKind.CONTAINER,
        CgroupKind.CONFLICT,
        CgroupKind.OTHER_CONTAINER,
        CgroupKind.OUTSIDE,
    }
)


@dataclass(frozen=True)
class Peer:
    """What the kernel says of the process that connected."""

    pid: int
    uid: int
    gid: int
    is_contained: bool = False
    """Whether it runs in a container of the box (or nothing could be learned)."""


class Credentials(NamedTuple):
    """What the kernel says at once of who connected."""

    pid: int
    uid: int
    gid: int


def credentials_of(connection: socket.socket) -> Credentials:
    """Return who made an accepted Unix connection."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return Credentials(*_CREDENTIALS.unpack(raw))


def peer_of(who: Credentials, is_contained: Callable[[int], bool]) -> Peer:
    """Return who that is; `is_contained` is asked with the pid, which reads files."""
    # pid 0: a process outside our pid namespace; whatever it is, it is not one of ours
    is_inside = who.pid <= 0 or is_contained(who.pid)
    return Peer(pid=who.pid, uid=who.uid, gid=who.gid, is_contained=is_inside)


def is_in_foreign_container(pid: int, proc: Path = Path("/proc")) -> bool:
    """Say whether a process is in a container that is not the daemon's own; unreadable counts as yes.

    By its pid namespace, whatever control groups the engine was told to use; and by its control
    group, which tells a container with the box's namespace too. The paths are read anchored
    (SAFETY.md B4): nobody escapes or fakes this by naming a cgroup.
    """
    others = [_pid_namespace(proc / name) for name in (str(pid), "self")]
    if all(others) and len(set(others)) > 1:
        return True
    try:
        theirs = parse_cgroup(_cgroup_file(proc / str(pid)))
        ours = parse_cgroup(_cgroup_file(proc / "self"))
    except OSError:
        return True
    return theirs.kind in _CONTAINED and theirs != ours


def _cgroup_file(process: Path) -> str:
    """Return it as it is: anybody may make a control group whose name is no UTF-8, or holds lines."""
    return (process / "cgroup").read_bytes().decode(errors="replace")


def _pid_namespace(process: Path) -> str:
    """Return the name of a process's pid namespace; empty where a daemon that is not root may not look."""
    try:
        return str((process / "ns" / "pid").readlink())
    except OSError:
        return ""


class Identities:
    """Turns peers into callers, on a worker (passwd may be a slow directory), and remembers them."""

    def __init__(self, caller_of: Callable[[Peer], Caller], workers: Executor) -> None:
        self._caller_of = caller_of
        self._workers = workers
        self._known: dict[tuple[int, bool], tuple[float, Caller]] = {}
        self._looks: dict[tuple[int, bool], asyncio.Future[Caller]] = {}
        """Under way: one a person, however many requests of theirs wait for it."""
        self._refused: dict[tuple[int, bool], tuple[float, PermissionDenied]] = {}

    async def caller(self, peer: Peer) -> Caller:
        """Return the caller behind a peer. Raises PermissionDenied for one who is nobody here."""
        key = (peer.uid, peer.is_contained)
        now = time.monotonic()
        known = self._known.get(key)
        if known is not None and now - known[0] < _REMEMBER_S:
            return known[1]
        refused_at, refused = self._refused.get(key, (0.0, None))
        if refused is not None and now - refused_at < _REFUSE_S:
            raise PermissionDenied(refused.message, hint=refused.hint)
        look = self._looks.get(key) or self._look(key, peer)
        try:
            return await asyncio.shield(look)
        except PermissionDenied as error:
            if len(self._refused) >= _REMEMBERED:
                self._refused.clear()
            self._refused[key] = (now, error)
            raise

    def _look(self, key: tuple[int, bool], peer: Peer) -> asyncio.Future[Caller]:
        """Begin to look a peer up; what comes of it is remembered unless all is forgotten before."""
        began = time.monotonic()
        loop = asyncio.get_running_loop()
        look = loop.run_in_executor(self._workers, self._caller_of, peer)
        self._looks[key] = look

        def keep(done: asyncio.Future[Caller]) -> None:
            is_ours = self._looks.get(key) is done
            if is_ours:
                del self._looks[key]
            if not done.cancelled() and done.exception() is None and is_ours:
                if len(self._known) >= _REMEMBERED:
                    self._known.clear()
                self._known[key] = (began, done.result())

        look.add_done_callback(keep)
        return look

    def forget(self) -> None:
        """Ask anew for everybody: the configuration may name other admins now."""
        self._known.clear()
        self._refused.clear()
        self._looks.clear()
