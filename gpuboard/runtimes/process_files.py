"""The run directory of a plain process: one directory an attempt, records in it, its log.

order.json    what to run, written at create (0600: it holds the environment)
issued        its existence says that the start was issued, once and for ever
started.json  by the supervisor: pid and start time, boot
ended.json    by the supervisor: exit code, or why the command could not be executed
log           stdout and stderr as they came
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from gpuboard.errors import Conflict, HostError, NotFound

CHUNK = 1 << 16
POLL_S = 0.05
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
        self.log = path / "log"

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


def read_log(
    path: Path,
    tail: int | None,
    is_over: Callable[[], bool] | None,
    is_cancelled: Callable[[], bool],
) -> Iterator[bytes]:
    """Yield a log from its last `tail` lines on; with `is_over`, until that is true and all is read."""
    try:
        file = path.open("rb", buffering=0)
    except FileNotFoundError:
        if is_over is None:
            return
        while not path.exists():
            if is_cancelled() or is_over():
                return
            time.sleep(POLL_S)
        file = path.open("rb", buffering=0)
    with file:
        if tail is not None:
            file.seek(_tail_offset(file.fileno(), tail))
        while not is_cancelled():
            was_over = is_over is None or is_over()
            while data := file.read(CHUNK):
                yield data
                if is_cancelled():
                    return
            if was_over:
                return
            time.sleep(POLL_S)


def _tail_offset(descriptor: int, lines: int) -> int:
    """Return where the last `lines` lines begin, read backwards."""
    end = position = os.fstat(descriptor).st_size
    if lines <= 0:
        return end
    missing = lines
    while position > 0:
        size = min(CHUNK, position)
        block = os.pread(descriptor, size, position - size)
        position -= size
        if position + size == end and block.endswith(b"\n"):
            missing += 1
        for index in range(len(block) - 1, -1, -1):
            if block[index] == 0x0A:
                missing -= 1
                if missing == 0:
                    return position + index + 1
    return 0


def copy_log(source: Path, target: Path) -> None:
    """Copy a log to a file only its owner may read, in place by rename."""
    part = target.with_name(f".{target.name}.part")
    part.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(part, flags, 0o600), "wb") as file:
        for data in read_log(source, None, None, lambda: False):
            file.write(data)
    part.replace(target)
