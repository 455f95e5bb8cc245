"""The store: every table's room over one connection, opened and used on one thread."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from gpuboard.errors import GpuboardError, Unavailable
from gpuboard.model.job import Job
from gpuboard.model.past import Past
from gpuboard.model.reservation import Lease, Reservation
from gpuboard.model.sizes import format_size
from gpuboard.model.views.admin import DatabaseView
from gpuboard.store.backup import backup_database, check_database, newest_backup, prune_backups
from gpuboard.store.connection import BUSY_TIMEOUT_MS, JOURNAL_LIMIT_BYTES
from gpuboard.store.devices import DeviceTable
from gpuboard.store.events import EventTable
from gpuboard.store.hours import HourTable
from gpuboard.store.jobs import JobTable
from gpuboard.store.opening import BACKUP_FOLDER, make_private_folder, open_connection
from gpuboard.store.past import read_named_leases, read_past
from gpuboard.store.people import PeopleTable
from gpuboard.store.reservations import ReservationTable
from gpuboard.store.space import FLOOR_BYTES, Room
from gpuboard.store.state import database_state

FILE_NAME = "gpuboard.db"


class Store(JobTable, ReservationTable, DeviceTable, PeopleTable, EventTable, HourTable):
    """The database of one installation. The caller holds its lock; one thread opens and uses it.

    On a full disk the ballast is thrown overboard once, so that the next try to record how a job
    ended works; below `min_free_bytes` new jobs and bookings are refused (Unavailable).
    """

    def __init__(
        self,
        state_dir: str,
        *,
        busy_timeout_ms: int = BUSY_TIMEOUT_MS,
        min_free_bytes: int = FLOOR_BYTES,
    ) -> None:
        self.state_dir = state_dir
        self.path = str(Path(state_dir) / FILE_NAME)
        make_private_folder(state_dir)
        self.room = Room(state_dir, min_free_bytes)
        self.room.drop_ballast_if_full()
        super().__init__(
            open_connection(
                self.path, on_full=self.room.drop_ballast, busy_timeout_ms=busy_timeout_ms
            )
        )
        self.room.load_ballast()

    def insert_jobs(self, jobs: Sequence[Job]) -> list[Job]:
        """Insert jobs as `JobTable.insert_jobs`. Raises Unavailable when the disk is nearly full."""
        self.room.require()
        return super().insert_jobs(jobs)

    def insert_reservation(self, reservation: Reservation) -> Reservation:
        """Insert a booking as `ReservationTable`. Raises Unavailable when the disk is nearly full."""
        self.room.require()
        return super().insert_reservation(reservation)

    @contextmanager
    def transaction(self) -> Iterator[Self]:
        """Commit all writes inside durably, or none; joins a transaction that is open.

        Writes outside one raise StateError. Raises Unavailable (held by another program: nothing
        changed, try again), HostError (disk full, damage), StateError (a rule of the schema broken).
        """
        with self._connection.transaction():
            yield self

    def checkpoint(self) -> bool:
        """Fold the write-ahead log back into the file; False when somebody reads. Every five minutes.

        The ballast is loaded again when there is room for it.
        """
        self.room.load_ballast()
        return self._connection.checkpoint()

    @property
    def commits(self) -> int:
        """Return how many transactions were made durable since the start."""
        return self._connection.commits

    def set_patience(self, busy_timeout_ms: int) -> None:
        """Wait so long, from now on, for another program that holds the database."""
        self._connection.set_patience(busy_timeout_ms)

    def mend(self) -> bool:
        """See whether a fault is over: an empty transaction, if there is one. False: it is not."""
        if self._connection.fault:
            try:
                with self._connection.transaction():
                    pass
            except GpuboardError:
                return False
        return True

    def fault(self) -> str:
        """Return in words what is wrong with the record on the disk; empty while all is well."""
        if self._connection.fault:
            return self._connection.fault
        log_bytes = self._log_bytes()
        if log_bytes > JOURNAL_LIMIT_BYTES:
            return (
                f"the write-ahead log of {self.path} has grown to {format_size(log_bytes)}: another"
                " program keeps the database open for reading"
            )
        try:
            self.room.require()
        except Unavailable as error:
            return error.message
        return ""

    def _log_bytes(self) -> int:
        try:
            return Path(f"{self.path}-wal").stat().st_size
        except OSError:
            return 0

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    @property
    def backup_folder(self) -> str:
        """Return where automatic backups lie."""
        return str(Path(self.state_dir) / BACKUP_FOLDER)

    def newest_backup(self) -> str:
        """Return the path of the newest automatic backup, or an empty string."""
        return newest_backup(self.backup_folder)

    def backup(self, path: str) -> None:
        """Write a checked, consistent copy to `path` (0600). Safe on any thread. Raises HostError."""
        backup_database(self.path, path)

    def backup_daily(self, name: str) -> str:
        """Write `backups/<name>.db`, remove the oldest ones, and return its path. Safe on any thread."""
        folder = Path(self.backup_folder)
        folder.mkdir(mode=0o700, exist_ok=True)
        target = str(folder / f"{name}.db")
        backup_database(self.path, target)
        prune_backups(str(folder))
        return target

    def state(self) -> DatabaseView:
        """Return sizes, version and newest backup. Safe on any thread."""
        return database_state(self.path, self.backup_folder)

    def named_leases(self, from_at: int, until_at: int) -> list[tuple[Lease, str]]:
        """Return the leases that touch a window, each with its job's name. From any thread."""
        return read_named_leases(self.path, from_at, until_at)

    def past(self, from_at: int, until_at: int) -> Past:
        """Return leases, hours and waits between two instants (ms). Safe on any thread."""
        return read_past(self.path, from_at, until_at)

    def check_database(self) -> str:
        """Run the full integrity check; return `ok` or what is wrong. Safe on any thread."""
        return check_database(self.path)
