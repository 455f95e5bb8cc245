"""Whether what the daemon keeps is closed to everybody else: folders, database, logs, socket, umask.

Every look says in words what it found; whoever may not look is told that, never that all is well.
"""

from __future__ import annotations

import grp
import os
import re
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from gpuboard.config import Config
from gpuboard.model.views.doctor import CheckView

_MOST_FILES = 1000
"""Looked at in one folder: modes of the first tell of all."""
_UMASK = re.compile(r"^Umask:\s*([0-7]+)", re.MULTILINE)


def private_files(state_dir: Path) -> Iterator[CheckView]:
    """Yield a finding on the modes of the state: 0700 of folders, 0600 of files."""
    try:
        odd = [*_open_to_others(state_dir)]
    except FileNotFoundError:
        words = f"{state_dir} is not there yet: the first daemon makes it"
        yield CheckView(name="permissions", status="skipped", words=words)
        return
    except PermissionError:
        yield CheckView(
            name="permissions",
            status="skipped",
            words=f"{state_dir} is closed to you, as it should be; what is in it only root sees",
            mend="sudo gpuboard doctor",
        )
        return
    except OSError as error:
        yield CheckView(
            name="permissions",
            status="error",
            words=f"{state_dir}: {error.strerror}",
            mend=f"install -d -m 0700 {state_dir}, then start the daemon",
        )
        return
    for path, mode, wanted in odd[:1]:
        more = f", and {len(odd) - 1} more" if len(odd) > 1 else ""
        yield CheckView(
            name="permissions",
            status="warning",
            words=f"{path} is open to others (mode {mode:04o}, should be {wanted:04o}){more}",
            mend=f"chmod -R go= {state_dir}",
        )
    if not odd:
        yield CheckView(
            name="permissions",
            status="ok",
            words=f"{state_dir}, its database, logs and backups are closed to others",
        )


def _open_to_others(state_dir: Path) -> Iterator[tuple[Path, int, int]]:
    """Yield what others may enter, read or write, with its mode and the one it should have."""
    folders = [state_dir, *(state_dir / name for name in ("logs", "backups", "processes"))]
    for folder in folders:
        try:
            mode = stat.S_IMODE(folder.stat().st_mode)
        except FileNotFoundError:
            if folder is state_dir:
                raise
            continue
        if mode & 0o077:
            yield folder, mode, 0o700
    files: Iterable[Path] = state_dir.glob("gpuboard.db*")
    for listed in (files, *(_some_files(state_dir / name) for name in ("logs", "backups"))):
        for path in listed:
            try:
                found = path.lstat()
            except FileNotFoundError:
                continue
            mode = stat.S_IMODE(found.st_mode)
            if stat.S_ISREG(found.st_mode) and mode & 0o077:
                yield path, mode, 0o600


def _some_files(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            return [Path(entry.path) for entry, _ in zip(entries, range(_MOST_FILES), strict=False)]
    except FileNotFoundError:
        return []


def own_umask() -> Iterator[CheckView]:
    """Yield a finding on the modes that new files of this process get."""
    try:
        found = _UMASK.search(Path("/proc/self/status").read_text(encoding="ascii"))
    except OSError:
        return
    mask = int(found[1], 8) if found else 0o077
    if mask & 0o077 == 0o077:
        yield CheckView(name="umask", status="ok", words="new files are the daemon's alone (0077)")
    else:
        yield CheckView(
            name="umask",
            status="warning",
            words=f"the daemon's umask is {mask:04o}: its new files may be open to others",
            mend="systemctl edit gpuboard: [Service] UMask=0077, then systemctl restart gpuboard",
        )


def socket_file(config: Config) -> Iterator[CheckView]:
    """Yield a finding on who may connect: mode and group of the socket as the configuration says."""
    path, daemon = Path(config.daemon.socket), config.daemon
    again = "systemctl restart gpuboard makes it anew (with gpuboard.socket: set SocketMode= there)"
    try:
        found, folder = path.stat(), path.parent.stat()
    except OSError as error:
        yield CheckView(
            name="socket", status="error", words=f"{path}: {error.strerror}", mend=again
        )
        return
    mode, wanted = stat.S_IMODE(found.st_mode), int(daemon.socket_mode, 8)
    group = _group_name(found.st_gid)
    if mode != wanted:
        words = f"{path} has mode {mode:04o}, [daemon] socket_mode says {wanted:04o}"
    elif daemon.socket_group and group != daemon.socket_group:
        words = f"{path} has group {group}, [daemon] socket_group says {daemon.socket_group}"
    elif folder.st_mode & 0o022 and not folder.st_mode & stat.S_ISVTX:
        words, again = f"{path.parent} may be written by others", f"chmod go-w {path.parent}"
    else:
        who = f"group {group}" if not mode & 0o006 and mode & 0o060 else "its owner"
        who = "everybody with an account" if mode & 0o006 else who
        yield CheckView(name="socket", status="ok", words=f"{path}: {who} may connect ({mode:04o})")
        return
    yield CheckView(name="socket", status="warning", words=words, mend=again)


def _group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
