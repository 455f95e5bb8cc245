"""The real store for simulations: no fsync, no ballast, made by copying; it fails on demand.

SQL, transactions and schema are production's. What is left out is only what the simulation cannot
lose by: it never cuts the power, it closes the connection as a killed daemon does.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Self

from gpuboard.errors import HostError, Unavailable
from gpuboard.store.database import FILE_NAME, Store

_NEVER = 2**62


def fast_folder() -> str | None:
    """Return where simulations keep their databases: in memory where there is such a place."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


@cache
def _template() -> bytes:
    with tempfile.TemporaryDirectory(dir=fast_folder()) as folder:
        Store(folder, min_free_bytes=_NEVER).close()
        return (Path(folder) / FILE_NAME).read_bytes()


class SimulationStore(Store):
    """A store whose next commits can be made to find the disk full, or the database held."""

    def __init__(self, state_dir: str) -> None:
        folder = Path(state_dir)
        if not (folder / FILE_NAME).exists():
            folder.mkdir(parents=True, exist_ok=True)
            (folder / FILE_NAME).write_bytes(_template())
        super().__init__(state_dir, min_free_bytes=_NEVER)  # so large a floor loads no ballast
        self.room.require = lambda: None  # type: ignore[method-assign]
        for pragma in ("synchronous = OFF", "locking_mode = EXCLUSIVE", "cache_size = -16000"):
            self._connection._raw.execute(f"PRAGMA {pragma}")
        self._checkpoints = 0
        self.full_commits = 0
        """So many of the next commits find the disk full."""
        self.locked_commits = 0
        """So many of the next transactions find another program holding the database."""

    @property
    def changes(self) -> int:
        """Rows written through this connection so far."""
        return self._connection._raw.total_changes

    @contextmanager
    def transaction(self) -> Iterator[Self]:
        """Commit as production does, or find the disk full at the last moment."""
        is_outer = not self._connection.in_transaction
        if is_outer and self.locked_commits:
            self.locked_commits -= 1
            raise Unavailable("another program holds the database of the simulation")
        with super().transaction():
            yield self
            if is_outer and self.full_commits:
                self.full_commits -= 1
                raise HostError("the disk of the simulation is full: nothing was changed")

    def checkpoint(self) -> bool:
        """Fold the log back one time in ten: simulated minutes are short."""
        self._checkpoints += 1
        return bool(self._checkpoints % 10) or super().checkpoint()

    def backup_daily(self, name: str) -> str:
        """Write none: simulated days are short."""
        return name
