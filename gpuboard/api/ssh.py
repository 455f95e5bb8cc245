"""Another box's daemon over ssh, as docker does it: `ssh HOST gpuboard dial` is the wire.

The daemon over there sees whom ssh logged in as (SO_PEERCRED): no new port, no new password. Every
connection is one ssh; they share a master (ControlMaster), so that only the first one pays for the
handshake. Standard library only, and imported only where a host was named.
"""

from __future__ import annotations

import os
import select
import socket
import subprocess

from gpuboard.api.places import personal_runtime_dir, private_dir
from gpuboard.errors import GpuboardError, InvalidRequest, Unavailable
from gpuboard.model.text import plain

SCHEME = "ssh://"
PROGRAM_VARIABLE = "GPUBOARD_SSH"
"""Names another program than `ssh`: one that takes the same words."""
_LONGEST_CONTROL_DIR = 45
"""A Unix socket's path has 108 bytes at most; ssh's own name in it takes 62."""
_PERSIST_S = 60
_PIECE = 65536
_SSH_FAILED = 255
"""ssh(1): "exits with the exit status of the remote command or with 255 if an error occurred"."""

_ended: list[subprocess.Popen[bytes]] = []
"""Those that were hung up on and had not gone yet: looked at when the next one is started."""


def address_of(host: str) -> str:
    """Return the address of a host as ssh knows it: `box2`, `user@box2`, `ssh://user@box2:2222`.

    Raises InvalidRequest for what cannot be one: a leading `-` would be an option of ssh.
    """
    name = host.removeprefix(SCHEME)
    user, _, place = name.rpartition("@")
    if (
        not place
        or place.startswith("-")
        or user.startswith("-")
        or any(not sign.isprintable() or sign in " /\\'\"`$;&|<>()" for sign in name)
    ):
        raise InvalidRequest(
            f"--host: '{plain(host, 60)}' is not a host",
            hint="name it as for ssh: --host box2, or --host user@box2",
            field="host",
        )
    return SCHEME + name


class Call:
    """One `ssh HOST gpuboard dial`: its socket is the wire, its stderr says what went wrong."""

    __slots__ = ("_process", "_said", "host", "socket")

    def __init__(self, address: str) -> None:
        self.host = address.removeprefix(SCHEME)
        self.socket, theirs = socket.socketpair()
        self._said = os.memfd_create("gpuboard-ssh", os.MFD_CLOEXEC)
        _ended[:] = [process for process in _ended if process.poll() is None]
        try:
            self._process = subprocess.Popen(
                _words(self.host, address),
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=self._said,
                start_new_session=not _may_ask,
            )
        except OSError as error:
            self.socket.close()
            os.close(self._said)
            raise Unavailable(
                f"cannot run ssh: {error.strerror}", hint="install the OpenSSH client"
            ) from error
        finally:
            theirs.close()

    def failure(self) -> GpuboardError:
        """Return why there was no answer, in the last words of ssh or of the far end."""
        try:
            code = self._process.wait(5)
        except subprocess.TimeoutExpired:
            code = None
        lines = self._words_said().splitlines()
        last = next((line for line in reversed(lines) if _tells(line)), "")
        reason = plain(last.removeprefix("error: "), 300) or f"ssh ended with exit code {code}"
        hint = f"try it by hand: ssh {plain(self.host, 100)} gpuboard gpus"
        if code == _SSH_FAILED and not last:  # it says nothing where its master dies under it
            reason = "the ssh connection, kept from an earlier command, had died"
            hint = "run the command again: it makes a new one (look first whether it took effect)"
        if code == 127:
            hint = f"install gpuboard on {plain(self.host, 100)}, on the PATH of its non-interactive shells"
        return Unavailable(f"cannot reach gpuboard on {plain(self.host, 100)}: {reason}", hint=hint)

    def close(self) -> None:
        """Hang up; ssh and the far end see the end of their input."""
        self.socket.close()
        if self._said >= 0:
            os.close(self._said)
            self._said = -1
        if self._process.poll() is None:
            _ended.append(self._process)

    def _words_said(self) -> str:
        if self._said < 0:
            return ""
        return os.pread(self._said, _PIECE, 0).decode("utf-8", "replace")


_may_ask = True


def never_ask() -> None:
    """From now on ssh must not ask for a password or a host's key: the app owns the terminal."""
    global _may_ask  # noqa: PLW0603  one terminal a process
    _may_ask = False


def _tells(line: str) -> bool:
    """Whether a line of stderr is about the failure, and not its hint or ssh's chatter."""
    return bool(line.strip()) and not line.startswith(("hint:", "debug", "Warning: Permanently"))


def _words(host: str, address: str) -> list[str]:
    """Return the command line of ssh."""
    words = [os.environ.get(PROGRAM_VARIABLE) or "ssh", "-T", "-e", "none"]
    words += ["-o", "ServerAliveInterval=15"]
    if not _may_ask:
        words += ["-o", "BatchMode=yes"]
    folder = _control_dir()
    if folder:
        words += ["-o", "ControlMaster=auto", "-o", f"ControlPath={folder}/ssh-%C"]
        words += ["-o", f"ControlPersist={_PERSIST_S}"]
    is_uri = ":" in host
    return [*words, "--", address if is_uri else host, "gpuboard dial"]


def _control_dir() -> str:
    """Return where masters listen, or nothing where its path is too long or not ours."""
    path = personal_runtime_dir()
    if len(os.fsencode(path)) > _LONGEST_CONTROL_DIR:
        return ""
    try:
        return private_dir(path)
    except GpuboardError:
        return ""


def answer_call(daemon: socket.socket, reading: int = 0, writing: int = 1) -> None:
    """Be the far end: pass bytes between our own input and output and the daemon, until either ends."""
    ends = [reading, daemon.fileno()]
    while True:
        ready, _, _ = select.select(ends, [], [])
        if reading in ready:
            piece = os.read(reading, _PIECE)
            if not piece:
                return
            daemon.sendall(piece)
        if daemon.fileno() in ready:
            piece = daemon.recv(_PIECE)
            if not piece:
                return
            while piece:
                piece = piece[os.write(writing, piece) :]
