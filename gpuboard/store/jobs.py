"""Jobs in the database: written whole, found by what people look for."""

# ruff: noqa: S608 - only names of ours are put into SQL; values are always bound

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from gpuboard.errors import StateError
from gpuboard.model.ids import JobId, ReservationId
from gpuboard.model.job import Job, JobSpec, JobState, PublishedPort, StopCause, Verdict
from gpuboard.store.connection import Row
from gpuboard.store.people import upsert_person
from gpuboard.store.rows import Table, decoded_devices, decoded_person, encoded, marks

MOST_COUNTED = 100_000
"""Counting goes no further: nobody pages through more."""

_COLUMNS = (
    "id",
    "uid",
    "owner",
    "spec",
    "name",
    "gpus",
    "limit_s",
    "state",
    "submitted_at",
    "attempt",
    "reason",
    "held_by",
    "array_id",
    "array_index",
    "array_limit",
    "token",
    "image_id",
    "start_issued",
    "handle",
    "reservation_id",
    "devices",
    "leased_at",
    "started_at",
    "started_boot_ms",
    "boot_id",
    "stop_cause",
    "stop_by",
    "stop_requested_at",
    "ended_at",
    "exit_code",
    "oom_killed",
    "fenced",
    "ran_s",
    "ports",
)
_SELECT = f"SELECT {', '.join(_COLUMNS)} FROM jobs"
_INSERT = f"INSERT INTO jobs ({', '.join(_COLUMNS)}) VALUES ({marks(_COLUMNS)})"
_UPDATE = f"UPDATE jobs SET {', '.join(f'{name} = ?' for name in _COLUMNS[1:])} WHERE id = ?"
_LIVE = "state IN ('queued', 'starting', 'running', 'stopping')"
_LIVE_STATES = {state.value for state in JobState if not state.is_final}
_spec = msgspec.json.Decoder(JobSpec)
_ports = msgspec.json.Decoder(tuple[PublishedPort, ...])
_verdict = msgspec.json.Decoder(Verdict)


class JobTable(Table):
    """Queries on `jobs`."""

    def insert_jobs(self, jobs: Sequence[Job]) -> list[Job]:
        """Insert jobs (their ids are ignored) and return them with their ids, in the same order.

        An array's jobs (those with an index) come from one call and get the id of their first as
        `array_id`. Raises StateError when a token of this owner is already there.
        """
        last = self._connection.row("SELECT seq FROM sqlite_sequence WHERE name = 'jobs'")
        first_id = (last[0] if last else 0) + 1
        for owner, at in {job.owner.uid: (job.owner, job.submitted_at) for job in jobs}.values():
            upsert_person(self._connection, owner, at)
        placed = []
        array_id: JobId | None = None
        for job_id, job in enumerate(jobs, first_id):
            if job.array_index is not None and array_id is None:
                array_id = JobId(job_id)
            of_array = array_id if job.array_index is not None else None
            placed.append(msgspec.structs.replace(job, id=JobId(job_id), array_id=of_array))
        self._connection.write_many(_INSERT, [_values(job) for job in placed])
        return placed

    def save_job(self, job: Job) -> None:
        """Write a job whole, and with it which ports it has.

        Raises StateError when there is none of that id, or when a live attempt has one of its ports:
        the last guard of "no port twice".
        """
        job_id, *rest = _values(job)
        if self._connection.write(_UPDATE, (*rest, job_id)).rowcount != 1:
            raise StateError(f"job {job.id} is not in the database")
        if job.spec.ports:
            self._save_ports(job)

    def _save_ports(self, job: Job) -> None:
        self._connection.write("DELETE FROM ports WHERE job_id = ?", (job.id,))
        if not job.state.holds_devices:
            return
        self._connection.write_many(
            "INSERT INTO ports (host_port, port, job_id) VALUES (?, ?, ?)",
            [(each.host_port, each.port, job.id) for each in job.ports],
        )

    def live_ports(self) -> dict[int, JobId]:
        """Return the box's ports that live attempts have, and whose they are."""
        rows = self._connection.rows("SELECT host_port, job_id FROM ports ORDER BY host_port")
        return {row[0]: JobId(row[1]) for row in rows}

    def get_job(self, job_id: JobId) -> Job | None:
        """Return a job, live or ended."""
        row = self._connection.row(f"{_SELECT} WHERE id = ?", (job_id,))
        return None if row is None else _job(row)

    def load_live_jobs(self) -> list[Job]:
        """Return all jobs that have not ended, oldest first."""
        return [_job(row) for row in self._connection.rows(f"{_SELECT} WHERE {_LIVE} ORDER BY id")]

    def last_job(self, uid: int) -> Job | None:
        """Return the person's last submission."""
        row = self._connection.row(f"{_SELECT} WHERE uid = ? ORDER BY id DESC LIMIT 1", (uid,))
        return None if row is None else _job(row)

    def jobs_by_token(self, uid: int, token: str) -> list[Job]:
        """Return what the person submitted with this token: none, one job, or an array in order."""
        if not token:
            return []
        rows = self._connection.rows(
            # left alone, SQLite walks all jobs of the person, so as not to sort two rows
            f"{_SELECT} INDEXED BY jobs_token WHERE uid = ? AND token = ? AND token <> ''",
            (uid, token),
        )
        return sorted((_job(row) for row in rows), key=lambda job: job.id)

    def find_jobs(
        self,
        *,
        states: Sequence[str] = (),
        uid: int | None = None,
        name: str = "",
        array_id: JobId | None = None,
        array_index: int | None = None,
        since_at: int | None = None,
        until_at: int | None = None,
        limit: int = 100,
        from_id: JobId | None = None,
        before_id: JobId | None = None,
    ) -> list[Job]:
        """Return jobs of the record, newest first.

        `name` is exact, or a pattern when it has a `*`. A time window finds every job that was
        queued or running in it: submitted before its end and not ended before its start.
        """
        where, values = _conditions(
            states, uid, name, array_id, array_index, since_at, until_at, from_id, before_id
        )
        rows = self._connection.rows(
            f"{_SELECT} WHERE {where} ORDER BY id DESC LIMIT ?", (*values, max(0, limit))
        )
        return [_job(row) for row in rows]

    def count_jobs(
        self,
        *,
        states: Sequence[str] = (),
        uid: int | None = None,
        name: str = "",
        since_at: int | None = None,
        until_at: int | None = None,
        before_id: JobId | None = None,
    ) -> int:
        """Return how many jobs `find_jobs` would find without its limit, at most `MOST_COUNTED`."""
        where, values = _conditions(
            states, uid, name, None, None, since_at, until_at, None, before_id
        )
        ((count,),) = self._connection.rows(
            f"SELECT count(*) FROM (SELECT 1 FROM jobs WHERE {where} LIMIT ?)",
            (*values, MOST_COUNTED),
        )
        return int(count)

    def recent_runs(self, uid: int, gpus: int, limit_s: int, n: int = 2) -> list[int]:
        """Return how long (s) the person's last n runs of this width and limit took, newest first."""
        rows = self._connection.rows(
            "SELECT max(0, ended_at - started_at) / 1000 FROM jobs"
            " WHERE uid = ? AND gpus = ? AND limit_s = ?"
            " AND state IN ('succeeded', 'failed', 'timed_out')"
            " AND started_at IS NOT NULL AND ended_at IS NOT NULL ORDER BY id DESC LIMIT ?",
            (uid, gpus, limit_s, n),
        )
        return [row[0] for row in rows]

    def recent_widths(self, n: int) -> dict[int, int]:
        """Return how many of the last n jobs that wanted devices wanted how many of them."""
        rows = self._connection.rows(
            "SELECT gpus, count(*) FROM (SELECT gpus FROM jobs WHERE gpus > 0 ORDER BY id DESC LIMIT ?)"
            " GROUP BY gpus ORDER BY gpus",
            (n,),
        )
        return {row[0]: row[1] for row in rows}

    def has_run_since(self, uid: int, at: int) -> bool:
        """Whether a job of the person that has ended ran at or after `at` (ms)."""
        row = self._connection.row(
            "SELECT 1 FROM jobs WHERE uid = ? AND started_at IS NOT NULL AND ended_at >= ? LIMIT 1",
            (uid, at),
        )
        return row is not None

    def recent_parts(self, uid: int | None, n: int) -> list[float]:
        """Return what parts (0..1) of their limits the last n runs used, oldest first; None: anybody's."""
        whose, values = ("uid = ? AND", (uid, n)) if uid is not None else ("", (n,))
        index = "jobs_ran_of" if uid is not None else "jobs_ran"
        rows = self._connection.rows(
            "SELECT min(1.0, max(0, ended_at - started_at) / 1000.0 / max(1, limit_s)) FROM jobs"
            f" INDEXED BY {index} WHERE {whose} state IN ('succeeded', 'failed', 'timed_out')"
            " AND started_at IS NOT NULL AND ended_at IS NOT NULL ORDER BY id DESC LIMIT ?",
            values,
        )
        return [row[0] for row in reversed(rows)]


def _conditions(  # noqa: PLR0917 (one for each thing that a job may be looked for by)
    states: Sequence[str],
    uid: int | None,
    name: str,
    array_id: JobId | None,
    array_index: int | None,
    since_at: int | None,
    until_at: int | None,
    from_id: JobId | None,
    before_id: JobId | None,
) -> tuple[str, list[object]]:
    """Return the condition of a search in SQL, and its values."""
    wanted: list[tuple[str, Sequence[object]]] = []
    if set(states) == _LIVE_STATES:
        wanted.append((_LIVE, ()))  # as it stands in the indexes of live jobs alone
    elif states:
        wanted.append((f"state IN ({marks(states)})", [str(state) for state in states]))
    if uid is not None:
        wanted.append(("uid = ?", (uid,)))
    if name:
        wanted.append(("name GLOB ?", (_glob(name),)) if "*" in name else ("name = ?", (name,)))
    if array_id is not None:
        wanted.append(("array_id = ?", (array_id,)))
    if array_index is not None:
        wanted.append(("array_index = ?", (array_index,)))
    if since_at is not None:
        wanted.append(("(ended_at IS NULL OR ended_at >= ?)", (since_at,)))
    if until_at is not None:
        wanted.append(("submitted_at < ?", (until_at,)))
    if from_id is not None:
        wanted.append(("id >= ?", (from_id,)))
    if before_id is not None:
        wanted.append(("id < ?", (before_id,)))
    where = " AND ".join(condition for condition, _ in wanted) or "1"
    values = [value for _, some in wanted for value in some]
    return where, values


def _glob(name: str) -> str:
    """Return the pattern with nothing special in it but `*`."""
    return "".join(f"[{char}]" if char in "?[" else char for char in name)


def _values(job: Job) -> tuple[object, ...]:
    """Return a job's row in the order of `_COLUMNS`."""
    return (
        job.id,
        job.owner.uid,
        encoded(job.owner),
        encoded(job.spec),
        job.spec.name,
        job.spec.gpus,
        job.spec.limit_s,
        job.state.value,
        job.submitted_at,
        job.attempt,
        job.reason,
        job.held_by,
        job.array_id,
        job.array_index,
        job.array_limit,
        job.token,
        job.image_id,
        job.start_issued,
        job.handle,
        job.reservation_id,
        encoded(job.devices),
        job.leased_at,
        job.started_at,
        job.started_boot_ms,
        job.boot_id,
        job.stop_cause.value if job.stop_cause else None,
        job.stop_by,
        job.stop_requested_at,
        job.ended_at,
        job.exit_code,
        job.oom_killed,
        "" if job.fenced is None else encoded(job.fenced),
        job.ran_s,
        encoded(job.ports) if job.ports else "",
    )


def _job(row: Row) -> Job:
    """Return the job of a row in the order of `_COLUMNS`."""
    return Job(
        id=JobId(row[0]),
        owner=decoded_person(row[2]),
        spec=_spec.decode(row[3]),
        state=JobState(row[7]),
        submitted_at=row[8],
        attempt=row[9],
        reason=row[10],
        held_by=row[11],
        array_id=row[12],
        array_index=row[13],
        array_limit=row[14],
        token=row[15],
        image_id=row[16],
        start_issued=bool(row[17]),
        handle=row[18],
        reservation_id=None if row[19] is None else ReservationId(row[19]),
        devices=decoded_devices(row[20]),
        leased_at=row[21],
        started_at=row[22],
        started_boot_ms=row[23],
        boot_id=row[24],
        stop_cause=None if row[25] is None else StopCause(row[25]),
        stop_by=row[26],
        stop_requested_at=row[27],
        ended_at=row[28],
        exit_code=row[29],
        oom_killed=bool(row[30]),
        fenced=_verdict.decode(row[31]) if row[31] else None,
        ran_s=row[32],
        ports=_ports.decode(row[33]) if row[33] else (),
    )
