"""Traces: jobs of the past, from CSV or from the Parallel Workloads Archive's SWF.

CSV has a header with at least `job_id,user,submit,gpus,runtime,limit` (seconds). SWF is described
at the archive ("The Standard Workload Format", Feitelson et al.): 18 columns, `;` comments. Both
may be gzipped.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

import msgspec

from gpuboard.errors import InvalidRequest

COLUMNS = ("job_id", "user", "submit", "gpus", "runtime", "limit")


class TraceJob(msgspec.Struct, frozen=True, gc=False):
    """One job of a trace; spans and instants in seconds."""

    job_id: int
    user: str
    submit_s: int
    """After the trace's begin."""
    gpus: int
    runtime_s: int
    limit_s: int


def read_trace(path: Path) -> list[TraceJob]:
    """Return the jobs of a trace by submission. The name's ending tells the format.

    Raises InvalidRequest, with the line, for what is not a trace.
    """
    try:
        with _open(path) as lines:
            is_swf = ".swf" in path.suffixes
            jobs = list(_read_swf(lines, path) if is_swf else _read_csv(lines, path))
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"cannot read the trace {path}: {error}", field="TRACE") from error
    if not jobs:
        raise InvalidRequest(f"the trace {path} has no job", field="TRACE")
    jobs.sort(key=lambda job: (job.submit_s, job.job_id))
    return jobs


def _open(path: Path) -> IO[str]:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8", newline="")
    return path.open(encoding="utf-8", newline="")


def _read_csv(lines: Iterable[str], path: Path) -> Iterator[TraceJob]:
    rows = csv.DictReader(lines)
    missing = [column for column in COLUMNS if column not in (rows.fieldnames or ())]
    if missing:
        raise InvalidRequest(
            f"the trace {path} lacks the column {missing[0]}",
            hint=f"its first line must name {','.join(COLUMNS)}",
            field="TRACE",
        )
    for number, row in enumerate(rows, 2):
        try:
            runtime_s = round(float(row["runtime"]))
            yield TraceJob(
                job_id=int(row["job_id"]),
                user=row["user"],
                submit_s=round(float(row["submit"])),
                gpus=int(row["gpus"]),
                runtime_s=runtime_s,
                limit_s=max(1, runtime_s, round(float(row["limit"]))),
            )
        except (TypeError, ValueError) as error:
            raise _bad_line(path, number, error) from error


def _read_swf(lines: Iterable[str], path: Path) -> Iterator[TraceJob]:
    """Yield the jobs that ran; a job without a limit gets its run time, as the archive advises."""
    for number, line in enumerate(lines, 1):
        if line.startswith(";") or not line.strip():
            continue
        try:
            fields = [int(float(field)) for field in line.split()]
            job_id, submit_s, runtime_s = fields[0], fields[1], fields[3]
            gpus = fields[7] if fields[7] > 0 else fields[4]
            limit_s, user = fields[8], fields[11]
        except (IndexError, ValueError) as error:
            raise _bad_line(path, number, error) from error
        if runtime_s >= 0 and gpus > 0:
            limit_s = max(1, runtime_s, limit_s)
            yield TraceJob(job_id, f"u{user}", submit_s, gpus, runtime_s, limit_s)


def _bad_line(path: Path, number: int, error: Exception) -> InvalidRequest:
    return InvalidRequest(f"line {number} of the trace {path} is no job: {error}", field="TRACE")
