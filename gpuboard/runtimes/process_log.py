"""The log of one plain process as its supervisor keeps it: its beginning and its newest output.

log           the beginning, up to a third of what a log may have
log.<from>    what follows from that byte of the output on; only the newest two are kept
log-times     when the output had reached which byte

Positions are those of the whole output, so that what a reader has seen stays true while the middle
is let go. Where the middle is missing a reader is told how much, in a line of its own.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from gpuboard.errors import HostError
from gpuboard.model.sizes import format_size
from gpuboard.runtimes.logfiles import (
    CHUNK_BYTES,
    TAIL_BYTES,
    LogTimes,
    search_back,
)

POLL_S = 0.05
NAME = "log"
TIMES = "log-times"


class Segment(NamedTuple):
    """One file of the log."""

    start: int
    """Where in the whole output it begins."""
    path: Path


def left_out(count: int) -> bytes:
    """Return the line that stands for bytes which were not kept."""
    return f"\n[gpuboard: {format_size(count)} of output left out here]\n".encode()


class ProcessLog:
    """Reads the log in a run directory, while it grows or afterwards."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def segments(self) -> list[Segment]:
        """Return the files of the log in order; none where there is no log."""
        found = []
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            for name in os.listdir(self._directory):  # noqa: PTH208 - names alone
                stem, _, start = name.partition(".")
                if stem == NAME and (not start or start.isdigit()):
                    found.append(Segment(int(start or 0), self._directory / name))
        return sorted(found)

    def read(
        self,
        tail: int | None,
        since_at: int | None,
        is_over: Callable[[], bool] | None,
        is_cancelled: Callable[[], bool],
    ) -> Iterator[bytes]:
        """Yield the log from its last `tail` lines, or from an instant (ms), on; with `is_over`, follow it.

        `is_over` says whether nothing writes any more: then what is left is read, and that is all.
        """
        start = 0
        if since_at is not None:
            start = self._position_at(since_at)
        if tail is not None:
            start = max(start, self._tail_position(tail))
        reader = _Reader(self, start)
        try:
            while not is_cancelled():
                was_over = is_over is None or is_over()
                for data in reader.onward():
                    yield data
                    if is_cancelled():
                        return
                if was_over:
                    return
                time.sleep(POLL_S)
        finally:
            reader.close()

    def times(self) -> LogTimes:
        """Return when the output had reached which byte."""
        return LogTimes.read(self._directory / TIMES)

    def _position_at(self, at_ms: int) -> int:
        times = self.times()
        if not times.marks:
            return 0
        found = times.position_at(at_ms)
        return self._end() if found is None else found

    def _end(self) -> int:
        for start, path in reversed(self.segments()):
            with contextlib.suppress(FileNotFoundError):
                return start + path.stat().st_size
        return 0

    def save(self, target: Path, times: Path, floor_bytes: int) -> None:
        """Move the log of an attempt that is over to a file of its own (0600), and its times beside it.

        A log in one file takes no room for that; one in several is put together, unless that would
        leave less than the floor. Raises HostError then, and OSError.
        """
        files = self.segments()
        start_of = {}
        kept = 0
        end = 0
        for start, path in files:
            kept += len(left_out(start - end)) if start > end else 0
            size = path.stat().st_size
            start_of[start] = kept
            kept, end = kept + size, start + size

        def move(position: int) -> int:
            start = max((s for s in start_of if s <= position), default=0)
            return start_of.get(start, 0) + position - start

        found = self.times()
        if found.marks:
            _write_private(times, iter([found.moved(move).text().encode()]))
        if len(files) == 1:
            with contextlib.suppress(OSError):  # another file system
                files[0].path.rename(target)
                return
        _require_room(target.parent, kept, floor_bytes)
        _write_private(target, self.read(None, None, None, lambda: False))

    def _tail_position(self, lines: int) -> int:
        position, missing, most = 0, lines, TAIL_BYTES
        for number, (start, path) in enumerate(reversed(self.segments())):
            try:
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            try:
                offset, missing = search_back(
                    descriptor, missing, most_bytes=most, is_end=number == 0
                )
                most -= os.fstat(descriptor).st_size - offset
            finally:
                os.close(descriptor)
            position = start + offset
            if not missing or most <= 0:
                break
        return position


def _require_room(folder: Path, size: int, floor_bytes: int) -> None:
    found = os.statvfs(folder)
    if found.f_bavail * found.f_frsize < floor_bytes + size:
        raise HostError(f"{folder}: no room to keep a log of {format_size(size)}")


def _write_private(target: Path, pieces: Iterator[bytes]) -> None:
    """Write a file that only its owner may read, in place by rename."""
    part = target.with_name(f".{target.name}.part")
    part.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(part, flags, 0o600), "wb") as file:
        for piece in pieces:
            file.write(piece)
    part.replace(target)


class _Reader:
    """Walks through the files of one log."""

    def __init__(self, log: ProcessLog, position: int) -> None:
        self._log = log
        self._position = position
        self._start = -1
        self._file: int | None = None

    def onward(self) -> Iterator[bytes]:
        """Yield what there is now beyond the last position."""
        while True:
            later = None if self._file is None else self._later()
            if self._file is not None:
                while data := os.pread(self._file, CHUNK_BYTES, self._position - self._start):
                    self._position += len(data)
                    yield data
            gap = self._open(self._first() if self._file is None else later)
            if gap is None:
                return
            if gap:
                yield left_out(gap)

    def _first(self) -> Segment | None:
        """Return the file in which the position lies."""
        before: Segment | None = None
        for segment in self._log.segments():
            if before is not None and segment.start > self._position:
                break
            before = segment
        return before

    def _later(self) -> Segment | None:
        """Return the file behind the open one: once there is one, the open one is whole."""
        return next((s for s in self._log.segments() if s.start > self._start), None)

    def _open(self, segment: Segment | None) -> int | None:
        """Go on in a file; return how much of the output is missing before it, None without a file."""
        if segment is None:
            return None
        try:
            opened = os.open(segment.path, os.O_RDONLY | os.O_CLOEXEC)
        except (
            FileNotFoundError
        ):  # let go meanwhile: there is a later one, or the attempt is removed
            return 0 if self._log.segments() else None
        self.close()
        self._file, self._start = opened, segment.start
        gap = max(0, segment.start - self._position)
        self._position += gap
        return gap

    def close(self) -> None:
        """Let go of the open file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
