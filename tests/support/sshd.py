"""A real sshd on loopback, and an ssh that knows it as `box2`: another box for `--host`."""

from __future__ import annotations

import contextlib
import getpass
import os
import pwd
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import click

from tests.support.box import ROOT
from tests.support.waiting import wait_until

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")

SERVER = """
ListenAddress 127.0.0.1:{port}
HostKey {folder}/host
AuthorizedKeysFile {folder}/authorized
PidFile {folder}/sshd.pid
UsePAM yes
StrictModes no
PermitRootLogin yes
PasswordAuthentication no
KbdInteractiveAuthentication no
SetEnv {variables}
"""
CLIENT = """
Host box2
    HostName 127.0.0.1
    Port {port}
    User {login}
    IdentityFile {folder}/key
    IdentitiesOnly yes
    UserKnownHostsFile {folder}/known
    StrictHostKeyChecking accept-new
"""


def why_no_sshd() -> str:
    """Return why there can be no ssh server here, or nothing."""
    if os.geteuid() != 0:
        return "an ssh server for other people needs root"
    if SSHD is None or shutil.which("ssh") is None:
        return "no sshd on this machine (apt install openssh-server)"
    return ""


class Sshd:
    """The running server; `program` is an ssh that finds it."""

    def __init__(self, folder: Path, variables: Mapping[str, str]) -> None:
        self.folder = folder
        for name in ("host", "key"):
            subprocess.run(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)],
                check=True,
                stdin=subprocess.DEVNULL,
            )
        shutil.copy(folder / "key.pub", folder / "authorized")
        (folder / "authorized").chmod(0o644)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        far = {"PATH": _path_with_gpuboard(folder), **variables}
        words = " ".join(f"{key}={value}" for key, value in far.items())
        (folder / "sshd_config").write_text(
            SERVER.format(port=self.port, folder=folder, variables=words)
        )
        self._log = (folder / "sshd.log").open("ab")
        # sshd wants this folder for its unprivileged part; a boot script makes it where one runs
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        assert SSHD is not None
        self._process = subprocess.Popen(
            [SSHD, "-D", "-e", "-f", str(folder / "sshd_config")], stderr=self._log
        )
        wait_until(self._listens, what="sshd")

    def program_for(self, login: str = "") -> str:
        """Return an ssh whose `box2` is this server, logging in as `login` (else as who runs this)."""
        login = login or getpass.getuser()
        config = self.folder / f"ssh_config_{login}"
        config.write_text(CLIENT.format(port=self.port, folder=self.folder, login=login))
        program = self.folder / f"ssh-{login}"
        program.write_text(f'#!/bin/sh\nexec ssh -F {config} "$@"\n')
        program.chmod(0o755)
        return str(program)

    def cut(self) -> None:
        """End all conversations, as a broken line does; the server goes on listening."""
        # the session's monitor, and below it who holds the connection
        for pid in _descendants(self._process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)

    def close(self) -> None:
        """End the server and what it started."""
        self.cut()
        self._process.terminate()
        self._process.wait()
        self._log.close()

    def _listens(self) -> bool:
        assert self._process.poll() is None, (self.folder / "sshd.log").read_text()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


@contextlib.contextmanager
def running_sshd(folder: Path, variables: Mapping[str, str]) -> Iterator[Sshd]:
    """Run a server in the folder for the block; `variables` are what its sessions see."""
    folder.mkdir()
    server = Sshd(folder, variables)
    try:
        yield server
    finally:
        server.close()


def login_of(uid: int) -> str:
    """Return the person's login name."""
    return pwd.getpwuid(uid).pw_name


def _path_with_gpuboard(folder: Path) -> str:
    """Return a PATH on which `gpuboard` is this tree's, run by a Python that anybody may run."""
    python = shutil.which("python3", path="/usr/bin:/bin") or sys.executable
    packages = f"{ROOT}:{Path(click.__file__).parents[1]}"
    programs = folder / "bin"
    programs.mkdir()
    command = programs / "gpuboard"
    command.write_text(f'#!/bin/sh\nPYTHONPATH={packages} exec {python} -m gpuboard "$@"\n')
    command.chmod(0o755)
    return f"{programs}:/usr/bin:/bin"


def _descendants(pid: int) -> list[int]:
    with contextlib.suppress(FileNotFoundError):
        words = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [each for word in words for each in (int(word), *_descendants(int(word)))]
    return []
