"""Where a daemon's socket is: the box's own, or the person's. Standard library only.

A directory that holds a personal socket must be the person's own and closed to others (0700):
whoever can put a socket there could read the commands and secrets of every job.
"""

# pathlib would cost every command an import:
# ruff: noqa: PTH102, PTH103, PTH110, PTH111, PTH117, PTH120

from __future__ import annotations

import os
import stat

from gpuboard.errors import HostError

SYSTEM_SOCKET = "/run/gpuboard/gpuboard.sock"
SYSTEM_MARKS = ("/run/gpuboard", "/etc/gpuboard/config.toml")
"""Where one of these is, the box has a daemon of its own, also while that is down."""


def find_address() -> str:
    """Return whom to speak to: the box that $GPUBOARD_HOST names (over ssh), else `find_socket`."""
    host = os.environ.get("GPUBOARD_HOST")
    if not host:
        return find_socket()
    from gpuboard.api.ssh import address_of

    return address_of(host)


def find_socket() -> str:
    """Return the socket to speak to: $GPUBOARD_SOCKET, the box's if it has one, else the person's.

    While the box's daemon is down or restarts its socket is not there. A job that then went to a
    personal daemon would seem to vanish, and its devices would be given out twice.
    """
    named = os.environ.get("GPUBOARD_SOCKET")
    if named:
        return named
    if os.path.exists(SYSTEM_SOCKET) or has_system_daemon():
        return SYSTEM_SOCKET
    return personal_socket()


def has_system_daemon() -> bool:
    """Say whether the box has a daemon of its own, be it down or not."""
    return any(os.path.exists(mark) for mark in SYSTEM_MARKS)


def personal_socket() -> str:
    """Return the path of the person's own daemon's socket; nothing is created."""
    return personal_runtime_dir() + "/gpuboard.sock"


def personal_runtime_dir() -> str:
    """Return the directory of the personal socket; nothing is created."""
    base = os.environ.get("XDG_RUNTIME_DIR")
    if base and os.path.isabs(base):
        return base.rstrip("/") + "/gpuboard"
    return f"/tmp/gpuboard-{os.geteuid()}"  # noqa: S108  made 0700 and checked in private_dir


def personal_state_dir() -> str:
    """Return the directory of the personal daemon's database and log; nothing is created."""
    base = os.environ.get("XDG_STATE_HOME")
    if not base or not os.path.isabs(base):
        base = os.path.expanduser("~/.local/state")
    return base.rstrip("/") + "/gpuboard"


def private_dir(path: str) -> str:
    """Create `path` as 0700 if it is absent and return it.

    Raises HostError unless it is a real directory of ours that nobody else may enter.
    """
    parent = os.path.dirname(path)
    try:
        os.makedirs(parent, mode=0o700, exist_ok=True)
        os.mkdir(path, 0o700)
    except FileExistsError:
        pass
    except OSError as error:
        raise HostError(f"cannot create {path}: {error.strerror}") from error
    check_private_dir(path)
    return path


def check_private_dir(path: str) -> None:
    """Raise HostError unless `path` is a directory of ours, not a link, closed to all others."""
    try:
        found = os.lstat(path)
    except OSError as error:
        raise HostError(f"cannot look at {path}: {error.strerror}") from error
    if not stat.S_ISDIR(found.st_mode):
        raise HostError(f"{path} is not a directory", hint=f"remove it: rm {path}")
    if found.st_uid != os.geteuid():
        raise HostError(
            f"{path} belongs to uid {found.st_uid}, not to you: its socket is not trusted",
            hint="set XDG_RUNTIME_DIR to a directory of your own",
        )
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise HostError(
            f"{path} is open to others (mode {stat.S_IMODE(found.st_mode):04o}): "
            "its socket is not trusted",
            hint=f"close it: chmod 700 {path}",
        )
