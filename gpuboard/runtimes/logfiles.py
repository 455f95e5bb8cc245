"""Files of logs: read from a position, an instant or their last lines on, never more than a piece at once."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

CHUNK_BYTES = 1 << 16
TIMES_SUFFIX = ".times"
"""Of the file of times beside a kept log."""
TAIL_BYTES = 32 * 2**20
"""A tail never begins further from the end: somebody's one line may be as long as the whole log."""


def pieces_from(descriptor: int, position: int) -> Iterator[bytes]:
    """Yield what an open file holds from a position to its present end."""
    while data := os.pread(descriptor, CHUNK_BYTES, position):
        position += len(data)
        yield data


def tail_offset(descriptor: int, lines: int) -> int:
    """Return where the last `lines` lines of an open file begin, at most TAIL_BYTES from its end."""
    offset, _ = search_back(descriptor, lines, most_bytes=TAIL_BYTES)
    return offset


def search_back(
    descriptor: int, lines: int, *, most_bytes: int, is_end: bool = True
) -> tuple[int, int]:
    """Return where the last lines of a file begin, and how many of them are not in it.

    Reads backwards, `most_bytes` at most. `is_end`: a line break at the very end ends the last
    line; in a file that others follow it stands between two.
    """
    end = position = os.fstat(descriptor).st_size
    if lines <= 0:
        return end, 0
    floor = max(0, end - most_bytes)
    missing = lines
    while position > floor:
        size = min(CHUNK_BYTES, position - floor)
        block = os.pread(descriptor, size, position - size)
        if len(block) < size:
            break  # it was cut under our hands
        if position == end and is_end and block.endswith(b"\n"):
            missing += 1
        position -= size
        breaks = block.count(b"\n")
        if breaks < missing:
            missing -= breaks
            continue
        index = size
        for _ in range(missing):
            index = block.rindex(b"\n", 0, index)
        return position + index + 1, 0
    return position, missing


class LogTimes(NamedTuple):
    """When a log had grown to where: what `--since` goes by.

    A file of it holds the length of a step (ms), then a line a step: an instant (ms), and the
    position of what came from then on.
    """

    step_ms: int
    marks: list[tuple[int, int]]

    @classmethod
    def read(cls, path: Path) -> LogTimes:
        """Return what a file says; nothing where there is none."""
        try:
            first, *lines = path.read_text(encoding="ascii").splitlines() or [""]
            pairs = [line.split() for line in lines]
            return cls(int(first or 0), [(int(at), int(position)) for at, position in pairs])
        except (OSError, ValueError):
            return cls(0, [])

    def moved(self, move: Callable[[int], int]) -> LogTimes:
        """Return the same of a log whose positions are others."""
        return LogTimes(self.step_ms, [(at, move(position)) for at, position in self.marks])

    def text(self) -> str:
        """Return what stands in a file of it."""
        return f"{self.step_ms}\n" + "".join(f"{at} {position}\n" for at, position in self.marks)

    def position_at(self, at_ms: int) -> int | None:
        """Return from where on the log is not older than an instant; None: nothing of it is.

        A step counts whole if its end may be as late as that.
        """
        index = bisect_right(self.marks, at_ms - self.step_ms, key=lambda mark: mark[0])
        return self.marks[index][1] if index < len(self.marks) else None
