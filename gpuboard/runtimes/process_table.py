"""Which processes live, as the kernel names them: pid and start time together are an identity.

No signal is ever sent to a bare number: the process is held by a pidfd, its start time compared,
and only then signalled.
"""

from __future__ import annotations

import contextlib
import functools
import os
import select
import signal
from collections.abc import Iterator
from pathlib import Path

import msgspec

from gpuboard.errors import HostError

PROC = Path("/proc")
_MOST_LOOKS = 5
"""On a busy box somebody is born all the time."""


class ProcessRow(msgspec.Struct, frozen=True):
    """One line of the process table."""

    pid: int
    parent: int
    session: int
    state: str
    start_ticks: int

    @property
    def is_dead(self) -> bool:
        """Whether only its entry is left."""
        return self.state in "ZX"


def row_of(pid: int) -> ProcessRow | None:
    """Return a process's row; None when there is none."""
    try:
        with open(f"{PROC}/{pid}/stat", "rb", buffering=0) as file:  # noqa: PTH123 - hot
            raw = file.read()
    except (FileNotFoundError, ProcessLookupError):
        return None
    except OSError as error:
        raise HostError(f"process {pid} cannot be read: {error.strerror}") from error
    words = raw.rpartition(b")")[2].split()
    return ProcessRow(
        pid=pid,
        parent=int(words[1]),
        session=int(words[3]),
        state=words[0].decode(),
        start_ticks=int(words[19]),
    )


def looks_at_all() -> Iterator[list[ProcessRow]]:
    """Yield what lives, then who was born since the last look, until nobody was.

    Look at each list before asking for the next: the child of a process that ends before it was looked
    at would else escape. Raises HostError: an error is not an empty table.
    """
    seen: set[int] = set()
    for _ in range(_MOST_LOOKS):
        born = [pid for pid in _all_pids() if pid not in seen]
        if not born:
            return
        seen.update(born)
        yield [row for row in map(row_of, born) if row is not None and not row.is_dead]


def _all_pids() -> list[int]:
    try:
        pids = [int(name) for name in os.listdir(PROC) if name.isdigit()]  # noqa: PTH208 - hot
    except OSError as error:
        raise HostError(f"{PROC} cannot be read: {error.strerror}") from error
    if not pids:
        raise HostError(f"{PROC} shows no process", hint="mount proc")
    return pids


def is_alive(pid: int, start_ticks: int) -> bool:
    """Whether this very process lives (a zombie does not)."""
    row = row_of(pid)
    return row is not None and row.start_ticks == start_ticks and not row.is_dead


def await_end(pid: int, start_ticks: int, timeout_s: float) -> bool:
    """Wait until this very process is dead; False when it still lives after `timeout_s`."""
    try:
        held = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        if not is_alive(pid, start_ticks):
            return True
        ended = select.poll()
        ended.register(held, select.POLLIN)
        return bool(ended.poll(1000 * timeout_s))
    finally:
        os.close(held)


def has_marker(pid: int, marker: bytes) -> bool:
    """Whether the process was started with this entry in its environment."""
    try:
        environ = (PROC / str(pid) / "environ").read_bytes()
    except OSError:
        return False
    return marker in environ.split(b"\0")


def real_uid(pid: int) -> int | None:
    """Return whose the process is, set-uid programs and all; None when it is gone."""
    try:
        status = (PROC / str(pid) / "status").read_bytes()
    except OSError:
        return None
    # a process chooses its own name, which stands there too: no UTF-8 perhaps, or with a \r
    line = next((line for line in status.split(b"\n") if line.startswith(b"Uid:")), b"")
    return int(line.split()[1]) if line else None


def send(pid: int, start_ticks: int, number: signal.Signals) -> bool:
    """Signal this very process; False when it is gone. Raises HostError when that is not allowed."""
    try:
        held = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        row = row_of(pid)
        if row is None or row.start_ticks != start_ticks:
            return False
        signal.pidfd_send_signal(held, number)
    except ProcessLookupError:
        return False
    except PermissionError as error:
        raise HostError(f"process {pid} may not be signalled") from error
    finally:
        with contextlib.suppress(OSError):
            os.close(held)
    return True


@functools.cache
def boot_id() -> str:
    """Return the kernel's id of this boot."""
    return (PROC / "sys/kernel/random/boot_id").read_text().strip()
