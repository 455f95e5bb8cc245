"""A program in a terminal of its own, measured from outside: CPU, memory, what it writes."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Sequence
from typing import NamedTuple

import psutil

SIZE = (160, 45)
"""Columns and lines, the same for every program."""


class Load(NamedTuple):
    """What a program took over some seconds."""

    cpu_ms_s: float
    """CPU milliseconds a second, all threads, by the kernel's own clock of the process."""
    resident_mib: float
    unique_mib: float
    bytes_s: float
    writes_s: float
    """Reads that found something: writes, where they come one by one."""


class Terminal:
    """A running program, its pty read while somebody measures or waits."""

    def __init__(self, command: Sequence[str], environment: dict[str, str]) -> None:
        self._master, slave = pty.openpty()
        columns, lines = SIZE
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.started = time.monotonic()
        self._process = subprocess.Popen(
            command,
            env=environment,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)
        self._bytes = self._writes = 0
        self.tail = b""
        """The last 100,000 bytes written."""

    @property
    def pid(self) -> int:
        """The program's process."""
        return self._process.pid

    def read(self, seconds: float, until: bytes = b"") -> bool:
        """Read for so long, or until something is written; return whether it was."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if not select.select([self._master], [], [], left)[0]:
                break
            try:
                data = os.read(self._master, 65536)
            except OSError:  # the program has ended
                break
            self._bytes += len(data)
            self._writes += 1
            self.tail = (self.tail + data)[-100_000:]
            if until and until in self.tail:
                return True
        return False

    def first_frame(self, mark: bytes, within_s: float = 30.0) -> tuple[float, float]:
        """Return (wall, CPU) milliseconds from the command to the first frame with the mark in it."""
        assert self.read(within_s, mark), f"no frame with {mark!r}: {self.tail[-500:]!r}"
        return 1000 * (time.monotonic() - self.started), cpu_ms(self.pid)

    def load(self, seconds: float) -> Load:
        """Measure for so long."""
        bytes_before, writes_before = self._bytes, self._writes
        began, cpu = time.monotonic(), cpu_ms(self.pid)
        self.read(seconds)
        taken = time.monotonic() - began
        memory = psutil.Process(self.pid).memory_full_info()
        return Load(
            (cpu_ms(self.pid) - cpu) / taken,
            memory.rss / 2**20,
            memory.uss / 2**20,
            (self._bytes - bytes_before) / taken,
            (self._writes - writes_before) / taken,
        )

    def close(self) -> None:
        """End the program: by `q`, then by force."""
        if self._process.poll() is None:
            os.write(self._master, b"q")
            self.read(0.5)
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        os.close(self._master)


def cpu_ms(pid: int) -> float:
    """Return the CPU milliseconds of a process so far, to the microsecond (clock_getcpuclockid(3))."""
    return 1000 * time.clock_gettime((~pid << 3) | 2)
