"""A log as lines in bounded memory: bytes in, plain lines out. No widget.

A progress bar that rewrites its line with carriage returns is one line; escape sequences vanish;
a line of megabytes is cut. When the bound is reached the oldest tenth goes.
"""

from __future__ import annotations

import codecs

from gpuboard.model.text import plain

MAX_LINES = 20_000
MAX_CHARS = 4_000_000
MAX_LINE = 2_000


class LogText:
    """The last lines of a log; `serial` numbers them from the start of the view."""

    def __init__(self) -> None:
        self.lines: list[tuple[int, str]] = []
        self.dropped = 0
        """Lines that the bound has cost."""
        self._chars = 0
        self._serial = 0
        self._partial = ""
        self._has_partial_line = False
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, data: bytes) -> None:
        """Add bytes as they came; a line may be split anywhere."""
        self._drop_partial_line()
        *whole, partial = (self._partial + self._decoder.decode(data)).split("\n")
        for line in whole:
            self._add(line)
        # Of an endless line only what can be shown is kept.
        self._partial = partial if len(partial) <= 4 * MAX_LINE else partial[-4 * MAX_LINE :]
        if self._partial:
            self._add(self._partial)
            self._has_partial_line = True
        self._trim()

    @property
    def chars(self) -> int:
        """How much is kept."""
        return self._chars

    def _add(self, line: str) -> None:
        shown = line.removesuffix("\r").rpartition("\r")[2]
        text = plain(shown[: 2 * MAX_LINE].replace("\t", "    "))[:MAX_LINE]
        self.lines.append((self._serial, text))
        self._serial += 1
        self._chars += len(text) + 1

    def _drop_partial_line(self) -> None:
        if self._has_partial_line:
            self._has_partial_line = False
            _, text = self.lines.pop()
            self._serial -= 1
            self._chars -= len(text) + 1

    def _trim(self) -> None:
        if len(self.lines) <= MAX_LINES and self._chars <= MAX_CHARS:
            return
        cut = 0
        while len(self.lines) - cut > MAX_LINES * 9 // 10 or self._chars > MAX_CHARS * 9 // 10:
            self._chars -= len(self.lines[cut][1]) + 1
            cut += 1
        del self.lines[:cut]
        self.dropped += cut
