"""Room on the disk: a floor below which nothing new is taken, and a ballast to throw overboard.

On a full disk SQLite can change nothing, not even one row that says that a job has ended (measured),
and the write-ahead log cannot be folded back. The ballast is four times the log's usual size: gone,
it leaves room for both. Below the floor new jobs are refused long before that.
"""

from __future__ import annotations

import os
from pathlib import Path

from gpuboard.errors import Unavailable
from gpuboard.model.sizes import format_size

BALLAST_BYTES = 16 * 2**20
FLOOR_BYTES = 64 * 2**20

_NAME = "ballast"


class Room:
    """The free space of the folder in which the database lies."""

    def __init__(self, folder: str, floor_bytes: int = FLOOR_BYTES) -> None:
        self._folder = folder
        self._floor_bytes = floor_bytes
        self._ballast = Path(folder) / _NAME

    def free_bytes(self) -> int:
        """Return what this process may still write there."""
        found = os.statvfs(self._folder)
        return found.f_bavail * found.f_frsize

    def require(self) -> None:
        """Raise Unavailable when less than the floor is free: what runs is still recorded."""
        free = self.free_bytes()
        if free < self._floor_bytes:
            raise Unavailable(
                f"the disk of {self._folder} has only {format_size(free)} left: nothing new is taken",
                hint=f"free space there until {format_size(self._floor_bytes)} are free",
            )

    def load_ballast(self) -> bool:
        """Make the ballast unless it is there; False when that would go below the floor."""
        if self._ballast.exists():
            return True
        if self.free_bytes() < self._floor_bytes + BALLAST_BYTES:
            return False
        try:
            handle = os.open(
                self._ballast, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600
            )
            try:
                os.posix_fallocate(handle, 0, BALLAST_BYTES)
            finally:
                os.close(handle)
        except OSError:  # a race for the last bytes: no ballast is no fault of the database
            self.drop_ballast()
            return False
        return True

    def drop_ballast(self) -> bool:
        """Remove the ballast; False when it was not there."""
        try:
            self._ballast.unlink()
        except FileNotFoundError:
            return False
        return True

    def drop_ballast_if_full(self) -> None:
        """Remove the ballast when there is not even room to open the database."""
        if self.free_bytes() < BALLAST_BYTES // 4:
            self.drop_ballast()
