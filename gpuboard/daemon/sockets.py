"""The listening socket: taken from systemd, or bound by us at its path with the configured mode.

A path left behind by a killed daemon is replaced. Our lock already says that no other daemon of
this installation lives, but one of another installation may listen there: so it is asked first.
"""

from __future__ import annotations

import grp
import os
import socket
import stat
from pathlib import Path

from gpuboard.config import DaemonConfig
from gpuboard.errors import Conflict, HostError

BACKLOG = 256


def bind_socket(config: DaemonConfig) -> socket.socket:
    """Return a socket that listens at `config.socket`. Raises HostError, or Conflict when it is taken."""
    path = Path(config.socket)
    if len(os.fsencode(path)) > 107:
        raise HostError(
            f"{path} is too long for a Unix socket (107 bytes at most)", hint="set [daemon] socket"
        )
    _remove_stale(path)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o777)
    try:
        listening.bind(str(path))
    except OSError as error:
        listening.close()
        raise HostError(
            f"cannot listen on {path}: {error.strerror}",
            hint=f"create its directory: install -d -m 0755 {path.parent}",
        ) from error
    finally:
        os.umask(before)
    # closed to everybody until it has its owner and mode, and until somebody listens
    listening.listen(BACKLOG)
    if config.socket_group:
        os.chown(path, -1, _gid(config.socket_group))
    path.chmod(_mode(config.socket_mode))
    return listening


def _remove_stale(path: Path) -> None:
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise HostError(f"{path} exists and is no socket", hint=f"remove it: rm {path}")
    except FileNotFoundError:
        return
    except OSError as error:
        raise HostError(f"cannot look at {path}: {error.strerror}") from error
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(2)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise HostError(f"cannot look at {path}: {error.strerror}") from error
        else:
            raise Conflict(f"another daemon listens on {path}", hint="set another [daemon] socket")


def _gid(group: str) -> int:
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError as error:
        raise HostError(
            f"there is no group {group}",
            hint=f"create it (groupadd --system {group}) or change [daemon] socket_group",
        ) from error


def _mode(text: str) -> int:
    try:
        mode = int(text, 8)
    except ValueError:
        mode = -1
    if not 0 <= mode <= 0o777:
        raise HostError(f"[daemon] socket_mode: '{text}' is no mode such as 0660")
    return mode
