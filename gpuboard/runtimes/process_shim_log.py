"""The supervisor's half of a plain process's log: from the job's pipe into files that stay bounded.

The first third of what a log may have is its beginning, and stays; behind it only the newest two
files of that size do (`process_log` reads them). Output is also let go while the disk, which is the
database's too, has less than its floor free. The job is never stopped for its output, and writes
to no file of the daemon's. Only modules that cost nothing to import.
"""
# a script that starts without pathlib is twice as fast
# ruff: noqa: PTH104, PTH108

from __future__ import annotations

import os
import time

CHUNK_BYTES = 1 << 16
FIRST_STEP_MS = 1000
MOST_MARKS = 4096
"""Beyond so many lines in the file of times, steps become twice as long."""
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC


class LogKeeper:
    """Writes the files of one log. `owner`: uid and gid on whose disk quota it counts."""

    def __init__(
        self, directory: str, most_bytes: int, floor_bytes: int, owner: tuple[int, int] | None
    ) -> None:
        self._directory = directory
        self._part_bytes = max(4096, most_bytes // 3)
        self._floor_bytes = floor_bytes
        self._owner = owner
        self._newest: list[str] = []
        self._file = self._open("log")
        self._left = max(0, self._part_bytes - os.fstat(self._file).st_size)
        self.position = os.fstat(self._file).st_size
        """How much output came in all, kept or not."""
        self._is_broken_off = False
        self._step_ms = FIRST_STEP_MS
        self._marks: list[tuple[int, int]] = []

    def write(self, data: bytes) -> None:
        """Keep some output, or let it go where there is no room."""
        self._mark()
        rest = memoryview(data)
        while rest:
            try:
                written = self._write(rest)
            except OSError:
                written = 0
            if not written:
                self._is_broken_off = True
                written = len(rest)
            self.position += written
            rest = rest[written:]

    def close(self) -> None:
        """Let an empty file say that output is missing at the end."""
        if self._is_broken_off:
            try:
                self._next()
            except OSError:
                return

    def _write(self, data: memoryview) -> int:
        """Write what fits into the file at hand; 0 below the floor."""
        found = os.fstatvfs(self._file)
        if found.f_bavail * found.f_frsize < self._floor_bytes:
            return 0
        if self._is_broken_off or not self._left:
            self._next()
        written = os.write(self._file, data[: self._left])
        self._left -= written
        return written

    def _next(self) -> None:
        """Go on in a new file; of those behind the first only the newest two stay."""
        name = f"log.{self.position}"
        opened = self._open(name)
        os.close(self._file)
        self._file, self._left, self._is_broken_off = opened, self._part_bytes, False
        if name not in self._newest:
            self._newest.append(name)
        while len(self._newest) > 2:
            os.unlink(f"{self._directory}/{self._newest.pop(0)}")

    def _open(self, name: str) -> int:
        opened = os.open(f"{self._directory}/{name}", _FLAGS, 0o600)
        if self._owner is not None:
            os.fchown(opened, *self._owner)
        return opened

    def _mark(self) -> None:
        """Note from which byte on the output is of this moment, at most once a step."""
        now = int(time.time() * 1000)
        if self._marks and 0 <= now - self._marks[-1][0] < self._step_ms:
            return
        self._marks.append((now, self.position))
        try:
            if len(self._marks) > MOST_MARKS:
                del self._marks[1::2]
                self._step_ms *= 2
                self._write_times(f"{self._directory}/.log-times.part", self._marks)
                os.rename(f"{self._directory}/.log-times.part", f"{self._directory}/log-times")
            else:
                self._write_times(f"{self._directory}/log-times", self._marks[-1:])
        except OSError:  # a full disk: `--since` is less exact then
            return

    def _write_times(self, path: str, marks: list[tuple[int, int]]) -> None:
        text = "".join(f"{at} {position}\n" for at, position in marks)
        opened = os.open(path, _FLAGS, 0o600)
        try:
            if not os.fstat(opened).st_size:
                text = f"{self._step_ms}\n{text}"
            os.write(opened, text.encode())
        finally:
            os.close(opened)
