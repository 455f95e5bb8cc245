"""Jobs as rows of a table; loaded only when a table is printed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gpuboard.cli import words
from gpuboard.cli.tables import Cell, Column, print_table
from gpuboard.errors import InvalidRequest
from gpuboard.model.text import quote_command

Job = dict[str, Any]


def _gpus(job: Job, _now: int) -> str:
    """Return the devices it has, or how many it wants: `2,3`, `x2`."""
    if job["devices"]:
        return words.devices_words(job["devices"])
    return f"x{job['gpus']}" if job["gpus"] else "-"


def _reason(job: Job, _now: int) -> str:
    reason: str = job["reason"] or job["exit_words"]
    return reason


_CELLS: dict[str, tuple[Column, Callable[[Job, int], str | Cell]]] = {
    "id": (Column("ID", right=True), lambda job, _: words.job_id_words(job)),
    "name": (Column("NAME", least=8), lambda job, _: job["name"]),
    "user": (Column("USER", least=6), lambda job, _: job["user"]),
    "state": (
        Column("STATE"),
        lambda job, _: Cell(job["state"], words.STYLES.get(job["state"], "")),
    ),
    "gpus": (Column("GPU", least=4), _gpus),
    "ports": (
        Column("PORTS", least=6),
        lambda job, _: ",".join(
            f"{p['port']}:{p['host_port'] or '-'}" for p in job.get("ports", ())
        ),
    ),
    "elapsed": (Column("RAN", right=True), lambda job, _: words.span(job["elapsed_s"])),
    "limit": (Column("LIMIT", right=True), lambda job, _: words.span(job["limit_s"])),
    "when": (Column("WHEN"), words.when_words),
    "reason": (Column("WHY", least=10), _reason),
    "exit": (
        Column("EXIT", right=True),
        lambda job, _: "" if job["exit_code"] is None else str(job["exit_code"]),
    ),
    "attempt": (Column("TRY", right=True), lambda job, _: str(job["attempt"])),
    "image": (Column("IMAGE", least=8), lambda job, _: job["image"]),
    "command": (Column("COMMAND", least=8), lambda job, _: quote_command(job["command"])),
    "runtime": (Column("RUNTIME"), lambda job, _: job["runtime"]),
    "submitted": (Column("SUBMITTED"), lambda job, now: words.clock(job["submitted_at"], now)),
    "started": (Column("STARTED"), lambda job, now: words.clock(job["started_at"], now)),
    "ended": (Column("ENDED"), lambda job, now: words.clock(job["ended_at"], now)),
    "note": (Column("NOTE", least=8), lambda job, _: job["note"]),
}


def print_jobs(answer: dict[str, Any], columns: str, *, header: bool) -> None:
    """Print the jobs of a JobList. Raises InvalidRequest for an unknown column."""
    names = [name.strip().lower() for name in columns.split(",") if name.strip()]
    for name in names:
        if name not in _CELLS:
            raise InvalidRequest(
                f"--columns: there is no column '{name}'", hint=f"one of {', '.join(_CELLS)}"
            )
    now = words.at_ms(answer)
    rows = [[_CELLS[name][1](job, now) for name in names] for job in answer["jobs"]]
    print_table([_CELLS[name][0] for name in names], rows, header=header)
