"""From the mounts that a person asked for to sources that the engine can safely be given.

The engine resolves a source again, as root, when the container starts: whoever can swap a
component of the path between a check and that moment reads below other people's closed
directories (measured: 15 to 22 of 40 tries). So:

- a daemon that is root has each source looked up *as the person* by a helper process and pinned from
  its descriptor on a directory of our own (`mount_pin.py`); the container gets the pin. `-v
  ~/proj:/work` then means just what people expect, links included, without a race, and setuid files
  and device nodes are worth nothing there. A mount on a place in another mount is put into that
  one's pin, and the container gets the two as one;
- a root of the configuration whose every component belongs to root is given as it is where it
  cannot be pinned: nobody can swap it;
- with a daemon that runs as the very person (a personal one): the resolved path, as that person
  could tell the engine anyway. One that is neither takes roots only.

The helper needs CAP_SYS_ADMIN, CAP_SETUID, CAP_SETGID, CAP_SYS_PTRACE and, when the daemon has a
mount namespace of its own (systemd's ProtectSystem and the like), leave to enter the engine's:
CAP_SYS_CHROOT, RestrictNamespaces=mnt. Nothing but the helper looks at a path of a person's: on a
dead file server that never returns, and not even SIGKILL ends it.
"""

from __future__ import annotations

import contextlib
import json
import os
import posixpath
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from gpuboard.errors import HostError, InvalidRequest, PermissionDenied, Refused, Unavailable
from gpuboard.model.job import Mount
from gpuboard.runtimes import mount_pin
from gpuboard.runtimes.protocol import RunRequest
from gpuboard.runtimes.sandbox import (
    SandboxSettings,
    check_mounts,
    mount_roots,
    mounts_around,
    plain_path,
)

HELPER_TIMEOUT_S = 15.0
"""A home on a dead file server must not hold the worker."""

TURN_TIMEOUT_S = 1.0
"""How long a worker waits for another that looks for the same person; then the job's create is put off."""
_OURS = -1
"""In the place of a uid, for what looks at nobody's paths."""


class MountBoard:
    """Resolves and pins the mounts of attempts, and lets go of them.

    Args:
        directory: where pins are made.
        engine_pid: whose mount namespace they are for; 0 when it cannot be told.
        closed: paths that are never mounted, nor anything in or around them.
    """

    def __init__(self, directory: str, engine_pid: int = 0, closed: Sequence[str] = ()) -> None:
        self._directory = Path(directory)
        self.engine_pid = engine_pid
        self.closed = tuple(closed)
        self._hanging: dict[int, list[subprocess.Popen[bytes]]] = {}
        """By uid: helpers that did not come back, and may never."""
        self._looking: dict[int, threading.Lock] = {}
        """By uid: held while a helper looks for that person, so that a slow home holds one worker."""
        self._lock = threading.Lock()

    def resolve(self, request: RunRequest, settings: SandboxSettings) -> list[Mount]:
        """Return safe mounts for an attempt.

        Raises InvalidRequest, PermissionDenied, Refused, HostError; Unavailable: later, perhaps.
        """
        roots = mount_roots(settings, request.user, request.home)
        check_mounts(request.mounts, roots)
        asked = [
            msgspec.structs.replace(mount, target=plain_path(mount.target))
            for mount in request.mounts
        ]
        if settings.mount_home and request.home.startswith("/"):
            home = Mount(source=request.home, target=plain_path(request.home))
            if not any(mount.target == home.target for mount in asked):
                asked.append(home)
            roots = (*roots, request.home)
        if not asked:
            return []
        found = self._order(request, asked, roots)
        return [
            msgspec.structs.replace(mount, source=source)
            for mount, source in zip(asked, found, strict=True)
            if source  # else it is in the pin of the one around it
        ]

    def _order(
        self, request: RunRequest, asked: Sequence[Mount], roots: Sequence[str]
    ) -> Sequence[str]:
        """Have the sources found, and pinned where this daemon can; return what the engine is given."""
        own, is_persons = os.geteuid(), os.geteuid() == request.uid
        person = {"uid": request.uid, "gid": request.gid, "groups": [*request.groups]}
        answer = self._look(
            {
                "do": "pin" if own == 0 and not is_persons else "look",
                "may_look": is_persons,
                "can_pin_roots": bool(self.engine_pid),
                "engine_pid": self.engine_pid,
                "directory": str(self._directory / request.name),
                "roots": list(roots),
                "closed": [] if is_persons else [*self.closed],
                "sources": _sources(asked),
                "home": "" if is_persons else request.home,
                "uid": request.uid,
                "person": person if own == 0 and not is_persons else None,
            },
            request.uid,
        )
        kind, words = answer.get("kind", ""), str(answer.get("words", ""))
        if kind == "unsafe":
            raise PermissionDenied(
                f"{words} cannot be mounted: this daemon is not root, so only the roots"
                " themselves are safe",
                hint="mount one of " + ", ".join(roots) + " and change directory inside",
                field="mounts",
            )
        if kind in {"outside", "access", "home"}:
            raise PermissionDenied(words, field="mounts")
        if kind in {"missing", "kind"}:
            raise InvalidRequest(words, field="mounts")
        if kind:
            raise HostError(
                f"mounts cannot be pinned: {words}",
                hint="the daemon needs CAP_SYS_ADMIN and the engine's mount namespace",
            )
        found: list[str] = answer["found"]
        return found

    def release(self, name: str) -> None:
        """Let go of an attempt's pins; fine when there are none."""
        if name and (self._directory / name).is_dir():
            answer = self._run(
                {
                    "do": "unpin",
                    "engine_pid": self.engine_pid,
                    "directory": str(self._directory / name),
                }
            )
            if answer:
                raise HostError(f"pins of {name} cannot be removed: {answer['words']}")

    def names(self) -> set[str]:
        """Return the attempts that have pins."""
        try:
            return {entry.name for entry in self._directory.iterdir()}
        except FileNotFoundError:
            return set()

    def _look(self, order: dict[str, object], uid: int) -> dict[str, Any]:
        """Have a helper look for a person, one at a time."""
        with self._lock:
            looking = self._looking.setdefault(uid, threading.Lock())
        if not looking.acquire(timeout=TURN_TIMEOUT_S):
            raise Unavailable("the mounts of this person's other jobs are still being looked up")
        try:
            return self._run(order, uid)
        finally:
            looking.release()

    def _run(self, order: dict[str, object], uid: int = _OURS) -> dict[str, Any]:
        self._refuse_hanging(uid)
        helper = subprocess.Popen(
            [sys.executable, "-I", "-S", mount_pin.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        try:
            stdout, stderr = helper.communicate(json.dumps(order).encode(), HELPER_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._leave(helper, uid)
            raise _too_long() from None
        if helper.returncode:
            words = stderr.decode(errors="replace").strip()[-300:]
            raise HostError(f"the mount helper failed: {words}")
        answer: dict[str, Any] = json.loads(stdout)
        return answer

    def _leave(self, helper: subprocess.Popen[bytes], uid: int) -> None:
        """End a helper without waiting: in the kernel's hands, it may not die before the server answers."""
        helper.kill()
        for pipe in (helper.stdin, helper.stdout, helper.stderr):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        with self._lock:
            self._hanging.setdefault(uid, []).append(helper)

    def _refuse_hanging(self, uid: int) -> None:
        """Refuse at once while an earlier look for this person still hangs: each would hold a worker."""
        with self._lock:
            left = [helper for helper in self._hanging.pop(uid, ()) if helper.poll() is None]
            if left:
                self._hanging[uid] = left
        if left:
            raise _too_long()


def _sources(asked: Sequence[Mount]) -> list[dict[str, object]]:
    """Return what the helper is told of the mounts: each with the one that it lies in."""
    return [
        {
            "path": mount.source,
            "read_only": mount.read_only,
            "target": mount.target,
            "inside": -1 if outer is None else outer,
            "at": "" if outer is None else posixpath.relpath(mount.target, asked[outer].target),
        }
        for mount, outer in zip(asked, mounts_around(asked), strict=True)
    ]


def _too_long() -> Refused:
    return Refused(
        "looking up the mounts takes too long: a file server is down?",
        field="mounts",
        hint="submit again when `ls` of them answers",
    )
