"""The one connection: how it is set up, how a transaction is made, and what SQLite's errors mean.

Every write happens inside `transaction()`, which is `BEGIN IMMEDIATE`: a deferred transaction that
turns from reading to writing is refused at once, whatever the busy timeout (measured: 1,625 of 2,000).
synchronous=FULL because a lost "start issued" is a job run twice; it costs 0.2 ms a commit.
"""

from __future__ import annotations

import shlex
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from gpuboard.errors import DatabaseBusy, GpuboardError, HostError, StateError

BUSY_TIMEOUT_MS = 10_000
JOURNAL_LIMIT_BYTES = 64 * 2**20

Row = tuple[Any, ...]


def connect(
    path: str, *, read_only: bool = False, busy_timeout_ms: int = BUSY_TIMEOUT_MS
) -> sqlite3.Connection:
    """Return a plain connection to an existing file, in autocommit; a missing file is an error.

    `isolation_level=None`: Python would otherwise begin (deferred) transactions by itself.
    """
    from urllib.parse import quote

    mode = "ro" if read_only else "rw"
    connection = sqlite3.connect(f"file:{quote(path)}?mode={mode}", uri=True, isolation_level=None)
    connection.execute(f"PRAGMA busy_timeout = {busy_timeout_ms}")
    return connection


class Connection:
    """The daemon's connection: used on the thread that opened it, and there alone."""

    def __init__(
        self,
        path: str,
        *,
        newest_backup: Callable[[], str],
        on_full: Callable[[], object],
        busy_timeout_ms: int = BUSY_TIMEOUT_MS,
    ) -> None:
        self.path = path
        self._newest_backup = newest_backup
        self._on_full = on_full
        self._busy_timeout_ms = busy_timeout_ms
        self.commits = 0
        """How many transactions were made durable."""
        self.fault = ""
        """Why the last thing that was tried failed, by the file's or the disk's fault; else empty."""
        with self._told():
            self._raw = connect(path, busy_timeout_ms=busy_timeout_ms)
            mode = self._raw.execute("PRAGMA journal_mode = WAL").fetchone()[0]
            for pragma in (
                "synchronous = FULL",
                "foreign_keys = ON",
                "trusted_schema = OFF",
                f"journal_size_limit = {JOURNAL_LIMIT_BYTES}",
            ):
                self._raw.execute(f"PRAGMA {pragma}")
        if mode != "wal":
            self._raw.close()
            raise HostError(
                f"{path} cannot be opened in WAL mode (it is in '{mode}')",
                hint="keep state_dir on a local file system, never on NFS",
            )

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open."""
        return self._raw.in_transaction

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit what happens inside, durably, or nothing of it. An inner one joins the outer one.

        Raises Unavailable (another program holds the database: try again), HostError (disk full,
        input/output error, damage), StateError (a rule of the schema is broken: a bug).
        """
        if self._raw.in_transaction:
            yield
            return
        with self._told():
            self._raw.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._raw.execute("COMMIT")
                self.commits += 1
                self.fault = ""
            except BaseException:
                self._roll_back()
                raise

    def write(self, sql: str, parameters: Sequence[object] = ()) -> sqlite3.Cursor:
        """Run one changing statement. Raises StateError outside a transaction, else as `transaction`."""
        self._must_be_in_transaction(sql)
        with self._told():
            try:
                return self._raw.execute(sql, parameters)
            except UnicodeEncodeError:
                return self._raw.execute(sql, _encodable(parameters))

    def write_many(self, sql: str, rows: Iterable[Sequence[object]]) -> None:
        """Run one changing statement for every row. Raises as `write`."""
        self._must_be_in_transaction(sql)
        with self._told():
            try:
                self._raw.executemany(sql, rows)
            except UnicodeEncodeError:
                raise StateError("the database refuses text that is not Unicode") from None

    def rows(self, sql: str, parameters: Sequence[object] | Mapping[str, object] = ()) -> list[Row]:
        """Return all rows at once: a reader held open would keep the WAL from being folded back."""
        with self._told():
            return self._raw.execute(sql, parameters).fetchall()

    def row(self, sql: str, parameters: Sequence[object] = ()) -> Row | None:
        """Return the first row, or None."""
        found = self.rows(sql, parameters)
        return found[0] if found else None

    def checkpoint(self) -> bool:
        """Fold the WAL back into the file and cut it; False when a reader or writer was in the way.

        Does not wait for them: a backup that takes seconds must not hold up the daemon.
        """
        with self._told():
            self._raw.execute("PRAGMA busy_timeout = 0")
            try:
                busy = self._raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
            finally:
                self._raw.execute(f"PRAGMA busy_timeout = {self._busy_timeout_ms}")
        return not busy

    def set_patience(self, busy_timeout_ms: int) -> None:
        """Wait so long, from now on, for another program that holds the database."""
        self._busy_timeout_ms = busy_timeout_ms
        with self._told():
            self._raw.execute(f"PRAGMA busy_timeout = {busy_timeout_ms}")

    def close(self) -> None:
        """Close; a further call is an error of SQLite's."""
        self._raw.close()

    def _roll_back(self) -> None:
        if self._raw.in_transaction:  # a full disk has already rolled back by itself
            self._raw.execute("ROLLBACK")

    def _must_be_in_transaction(self, sql: str) -> None:
        if not self._raw.in_transaction:
            raise StateError(f"a write outside a transaction: {' '.join(sql.split())[:60]}")

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            if _primary_code(error) == sqlite3.SQLITE_FULL:
                self._on_full()
            meaning = told(error, self.path, self._newest_backup)
            if not isinstance(meaning, StateError):
                self.fault = meaning.message
            raise meaning from error
        except OverflowError as error:
            raise StateError(f"the database refuses: {error}") from error


def _encodable(parameters: Sequence[object]) -> list[object]:
    """Return the values with `?` for lone surrogates: an outcome is recorded, whatever bytes it came with."""
    return [
        value.encode(errors="replace").decode() if isinstance(value, str) else value
        for value in parameters
    ]


def _primary_code(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def told(error: sqlite3.Error, path: str, newest_backup: Callable[[], str]) -> GpuboardError:
    """Return what an error of SQLite's means, in our own tree, with the way out."""
    primary = _primary_code(error)
    if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return DatabaseBusy(
            f"another program holds the database {path}",
            hint="close the sqlite3 shell or tool that has it open for writing",
        )
    if primary in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return damaged(path, str(error), newest_backup())
    if primary == sqlite3.SQLITE_FULL:
        return HostError(
            f"the disk of {path} is full: nothing was changed", hint="free space, then try again"
        )
    if isinstance(error, sqlite3.IntegrityError | sqlite3.ProgrammingError | sqlite3.DataError):
        return StateError(f"the database refuses: {error}")
    return HostError(
        f"the database {path} cannot be used: {error}", hint="look at the disk and its permissions"
    )


def damaged(path: str, complaint: str, newest_backup: str) -> HostError:
    """Return the error for a database that must not be used, naming the newest backup."""
    return HostError(
        f"the database {path} is damaged: {complaint}", hint=restore_hint(path, newest_backup)
    )


def restore_hint(path: str, newest_backup: str) -> str:
    """Return how to go back to a backup, or that there is none."""
    if not newest_backup:
        return f"there is no backup; move {path} away by hand to begin anew"
    return (
        f"stop the daemon, move {path} and its -wal and -shm files away, "
        f"then: {restore_command(newest_backup, path)}"
    )


def restore_command(backup: str, path: str) -> str:
    """Return the command that puts a backup in the database's place."""
    return shlex.join(["install", "-m", "600", backup, path])
