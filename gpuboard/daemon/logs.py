"""The daemon's own log: one line a message on stderr, which journald or a file takes.

Under systemd each line begins with its priority (sd-daemon(3)) and has no time of its own. A
message cannot forge a second line or colour a terminal: it is made plain, and a traceback's lines
are indented.
"""

from __future__ import annotations

import logging
import os
import sys

from gpuboard.model.text import plain

_PRIORITIES = ((logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))


class LineFormatter(logging.Formatter):
    """Formats a record as one line (and a traceback as indented ones)."""

    def __init__(self, *, for_journal: bool) -> None:
        when = "" if for_journal else "%(asctime)s "
        super().__init__(f"{when}%(levelname)s %(name)s: %(message)s")
        self._for_journal = for_journal

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """Return the message on one line."""
        return plain(super().formatMessage(record))

    def format(self, record: logging.LogRecord) -> str:
        """Return the whole record."""
        text = super().format(record).replace("\n", "\n    ")
        if not self._for_journal:
            return text
        priority = next((p for level, p in _PRIORITIES if record.levelno >= level), 7)
        return "\n".join(f"<{priority}>{line}" for line in text.split("\n"))


def log_to_stderr(level: int = logging.INFO) -> None:
    """Send all records to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter(for_journal="JOURNAL_STREAM" in os.environ))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    logging.getLogger("aiohttp").setLevel(logging.WARNING)
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    logging.getLogger("docker").setLevel(logging.WARNING)
