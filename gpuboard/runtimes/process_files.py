"""The run directory of a plain process: one directory an attempt, records in it, its log.

order.json    what to run, written at create (0600: it holds the environment)
issued        its existence says that the start was issued, once and for ever
started.json  by the supervisor: pid and start time, boot
ended.json    by the supervisor: exit code, or why the command could not be executed
left          by the supervisor, last: nothing of the attempt lives any more
log...        stdout and stderr as they came (`process_log`)
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
from pathlib import Path
from typing import TypeVar

import msgspec

from gpuboard.errors import Conflict, HostError, NotFound
from gpuboard.runtimes.process_log import ProcessLog

_Record = TypeVar("_Record", bound=msgspec.Struct)


class Order(msgspec.Struct, frozen=True):
    """What the supervisor is told, kept to adopt by."""

    name: str
    spec_hash: str
    command: tuple[str, ...]
    env: dict[str, str]
    uid: int
    gid: int
    groups: tuple[int, ...]
    workdir: str
    fifo: str
    devices: tuple[str, ...] = ()
    cgroups: tuple[str, ...] = ()
    nice: int = 0
    data_bytes: int | None = None
    """What each process may have of memory, where there is no control group to hold them all."""
    log_bytes: int = 30 * 2**20
    """What is kept of the log."""
    floor_bytes: int = 0
    """Output is let go while less than this is free on the log's disk."""


class Started(msgspec.Struct, frozen=True):
    """The supervisor's first record."""

    pid: int
    start_ticks: int
    supervisor: int
    supervisor_ticks: int
    boot_id: str
    started_at: int


class Ended(msgspec.Struct, frozen=True):
    """The supervisor's last record."""

    exit_code: int
    ended_at: int
    oom_killed: bool = False
    stage: str = ""
    """What of the start failed: `setup`, `workdir` or `command`; empty: the command ran."""
    errno: int = 0

    @property
    def error(self) -> str:
        """Return in words why the command was never executed."""
        return f"{self.stage}: {os.strerror(self.errno)}" if self.stage else ""


class RunDirectory:
    """One attempt's directory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.log = ProcessLog(path)

    @classmethod
    def make(cls, parent: Path, order: Order) -> RunDirectory:
        """Make the directory in one step, or raise FileExistsError: exactly one creator wins."""
        part = parent / f".{order.name}.{secrets.token_hex(6)}"
        try:
            part.mkdir(mode=0o700)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            with os.fdopen(os.open(part / "order.json", flags, 0o600), "wb") as file:
                file.write(msgspec.json.encode(order))
                file.flush()
                os.fsync(file.fileno())
            try:
                part.rename(parent / order.name)
            except OSError as error:
                if error.errno in {errno.EEXIST, errno.ENOTEMPTY}:
                    raise FileExistsError(order.name) from error
                raise
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
        return cls(parent / order.name)

    def order(self) -> Order:
        """Return what was ordered. Raises NotFound when the attempt was removed."""
        record = self._read("order.json", Order)
        if record is None:
            raise NotFound(f"there is no attempt {self.path.name}")
        return record

    def started(self) -> Started | None:
        """Return the record of the start, once there is one."""
        return self._read("started.json", Started)

    def ended(self) -> Ended | None:
        """Return the record of the end, once there is one."""
        return self._read("ended.json", Ended)

    def is_issued(self) -> bool:
        """Whether the start was issued."""
        return (self.path / "issued").exists()

    def is_left(self) -> bool:
        """Whether the supervisor saw the last of the attempt end: the kernel told it so."""
        return (self.path / "left").exists()

    def issue(self) -> None:
        """Note that the start is issued. Raises Conflict the second time."""
        try:
            os.close(os.open(self.path / "issued", os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        except FileExistsError as error:
            raise Conflict(f"{self.path.name} was started already") from error
        except FileNotFoundError as error:
            raise NotFound(f"there is no attempt {self.path.name}") from error

    def remove(self) -> None:
        """Remove the directory, so that no reader sees half of it."""
        part = self.path.with_name(f".{self.path.name}.{secrets.token_hex(6)}")
        with contextlib.suppress(FileNotFoundError):
            self.path.rename(part)
            shutil.rmtree(part)

    def _read(self, name: str, kind: type[_Record]) -> _Record | None:
        try:
            raw = (self.path / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise HostError(f"{self.path / name}: {error.strerror}") from error
        try:
            return msgspec.json.decode(raw, type=kind)
        except msgspec.MsgspecError as error:
            raise HostError(f"{self.path / name} is damaged: {error}") from error
