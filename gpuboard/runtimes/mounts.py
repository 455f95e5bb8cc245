"""From the mounts that a person asked for to sources that the engine can safely be given.

The engine resolves a source again, as root, when the container starts: whoever can swap a
component of the path between a check and that moment reads below other people's closed
directories (measured: 15 to 22 of 40 tries). So a source is one of three things:

- a root of the configuration whose every component belongs to root: nobody can swap it, and it is
  given as it is;
- anything deeper, with a daemon that is root: looked up *as the person* by a helper process and
  pinned from its descriptor on a directory of our own (`mount_pin.py`); the container gets the pin.
  `-v ~/proj:/work` then means just what people expect, links included, without a race;
- with a daemon that runs as the very person (a personal one): the resolved path, as that person
  could tell the engine anyway.

A daemon that is neither refuses deeper paths. The helper needs CAP_SYS_ADMIN, CAP_SETUID,
CAP_SETGID, CAP_SYS_PTRACE and, when the daemon has a mount namespace of its own (systemd's
ProtectSystem and the like), leave to enter the engine's: CAP_SYS_CHROOT, RestrictNamespaces=mnt.
"""

from __future__ import annotations

import json
import os
import posixpath
import stat
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from gpuboard.errors import HostError, InvalidRequest, PermissionDenied, Refused
from gpuboard.model.job import Mount
from gpuboard.runtimes import mount_pin
from gpuboard.runtimes.protocol import RunRequest
from gpuboard.runtimes.sandbox import SandboxSettings, check_mounts, is_below, mount_roots

HELPER_TIMEOUT_S = 15.0
"""A home on a dead NFS server must not hold the worker."""


class MountBoard:
    """Resolves and pins the mounts of attempts, and lets go of them."""

    def __init__(self, directory: str, engine_pid: int = 0) -> None:
        self._directory = Path(directory)
        self.engine_pid = engine_pid

    def resolve(self, request: RunRequest, settings: SandboxSettings) -> list[Mount]:
        """Return safe mounts for an attempt. InvalidRequest, PermissionDenied, HostError."""
        roots = mount_roots(settings, request.user, request.home)
        check_mounts(request.mounts, roots)
        asked = list(request.mounts)
        if settings.mount_home and request.home.startswith("/"):
            home = Mount(source=request.home, target=posixpath.normpath(request.home))
            if not any(mount.target == home.target for mount in asked):
                asked.append(home)
            roots = (*roots, request.home)
        if os.geteuid() == request.uid:
            return [_resolved(mount, roots) for mount in asked]
        _check_home(request, [mount.source for mount in asked])
        return self._pinned(request, asked, roots)

    def _pinned(self, request: RunRequest, asked: list[Mount], roots: Sequence[str]) -> list[Mount]:
        fixed = {mount.source: _unswappable_root(mount.source, roots) for mount in asked}
        deeper = [mount.source for mount in asked if fixed[mount.source] is None]
        if deeper and os.geteuid() != 0:
            raise PermissionDenied(
                f"{deeper[0]} cannot be mounted: this daemon is not root, so only the roots"
                " themselves are safe",
                hint="mount one of " + ", ".join(roots) + " and change directory inside",
                field="mounts",
            )
        if deeper:
            self._order(request, deeper, roots)
        pins = {
            source: str(self._directory / request.name / str(number))
            for number, source in enumerate(deeper)
        }
        return [
            Mount(
                source=fixed[mount.source] or pins[mount.source],
                target=posixpath.normpath(mount.target),
                read_only=mount.read_only,
            )
            for mount in asked
        ]

    def _order(self, request: RunRequest, sources: list[str], roots: Sequence[str]) -> None:
        answer = self._run(
            {
                "do": "pin",
                "engine_pid": self.engine_pid,
                "directory": str(self._directory / request.name),
                "roots": list(roots),
                "sources": sources,
                "person": {
                    "uid": request.uid,
                    "gid": request.gid,
                    "groups": [*request.groups],
                },
            }
        )
        kind, words = answer.get("kind", ""), answer.get("words", "")
        if kind in {"outside", "access"}:
            raise PermissionDenied(words, field="mounts")
        if kind in {"missing", "kind"}:
            raise InvalidRequest(words, field="mounts")
        if kind:
            raise HostError(
                f"mounts cannot be pinned: {words}",
                hint="the daemon needs CAP_SYS_ADMIN and the engine's mount namespace",
            )

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

    def _run(self, order: dict[str, object]) -> dict[str, str]:
        try:
            done = subprocess.run(
                [sys.executable, "-I", "-S", mount_pin.__file__],
                input=json.dumps(order).encode(),
                capture_output=True,
                timeout=HELPER_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise Refused(
                "looking up the mounts takes too long: a file server is down?",
                field="mounts",
            ) from error
        if done.returncode:
            words = done.stderr.decode(errors="replace").strip()[-300:]
            raise HostError(f"the mount helper failed: {words}")
        answer: dict[str, str] = json.loads(done.stdout)
        return answer


def _check_home(request: RunRequest, sources: Sequence[str]) -> None:
    """Refuse a home that is not the person's own, or that everybody may write."""
    home = posixpath.normpath(request.home)
    if not any(is_below("/" + posixpath.normpath(s).lstrip("/"), home) for s in sources):
        return
    try:
        status = Path(home).stat()
    except OSError:
        return  # the look as the person will say what is wrong
    if status.st_uid != request.uid:
        raise PermissionDenied(f"the home {home} belongs to somebody else", field="mounts")
    if status.st_mode & stat.S_IWOTH:
        raise PermissionDenied(
            f"the home {home} may be written by everybody", field="mounts", hint=f"chmod o-w {home}"
        )


def _resolved(mount: Mount, roots: Sequence[str]) -> Mount:
    """Resolve a mount of the daemon's own user."""
    try:
        real = Path(mount.source).resolve(strict=True)
        mode = real.stat().st_mode
    except PermissionError as error:
        raise PermissionDenied(f"{mount.source} may not be read", field="mounts") from error
    except (OSError, RuntimeError) as error:
        raise InvalidRequest(f"{mount.source} does not exist", field="mounts") from error
    if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
        raise InvalidRequest(
            f"{mount.source} is neither a directory nor a plain file", field="mounts"
        )
    if not any(is_below(str(real), os.path.realpath(root)) for root in roots):
        raise PermissionDenied(
            f"{mount.source} leads to {real}, which may not be mounted", field="mounts"
        )
    return Mount(
        source=str(real), target=posixpath.normpath(mount.target), read_only=mount.read_only
    )


def _unswappable_root(source: str, roots: Sequence[str]) -> str | None:
    """Return the real path of a source that is a root which only root could swap, else None."""
    path = "/" + posixpath.normpath(source).lstrip("/")
    if path not in roots:
        return None
    real = os.path.realpath(path)
    try:
        if not stat.S_ISDIR(os.lstat(real).st_mode):
            return None
        chains = (Path(path), Path(real))
        return real if all(_is_owned_chain(chain) for chain in chains) else None
    except OSError:
        return None


def _is_owned_chain(path: Path) -> bool:
    """Whether nobody but root can put something else in the place of a component."""
    for child, parent in zip((path, *path.parents), path.parents, strict=False):
        status = parent.stat()
        if status.st_uid != 0:
            return False
        is_open = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        if is_open and not (status.st_mode & stat.S_ISVTX and child.lstat().st_uid == 0):
            return False
    return True
