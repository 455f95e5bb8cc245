"""A device's processes as a table: person, job, container, memory, age and command, the same everywhere."""

from __future__ import annotations

from gpuboard.model.views.devices import ProcessView
from gpuboard.tui.ink import Part, clean, fit
from gpuboard.tui.instants import epoch_s, gigabytes, span

WIDE = 66
"""From this width on there is room for the container beside the job that it belongs to."""


def process_head(width: int) -> list[Part]:
    """Return the table's head for rows of `width` columns."""
    container = f"{'CONTAINER':<12} " if width >= WIDE else ""
    return [
        (f"{'PID':>7} {'PERSON':<10} {'JOB':<7} {container}{'MEMORY':>6} {'AGE':>6} COMMAND", "dim")
    ]


def process_row(process: ProcessView, now_s: int, width: int) -> list[Part]:
    """Return a process; of one without a job, whose it is stands in the job's place."""
    job = str(process.job_id) if process.job_id is not None else process.belongs
    container = f"{fit(clean(process.container) or '-', 12)} " if width >= WIDE else ""
    age = span(now_s - epoch_s(process.started_at)) if process.started_at else "-"
    left = (
        f"{process.pid:>7} {fit(clean(process.user), 10)} {fit(clean(job), 7)} {container}"
        f"{gigabytes(process.memory_bytes) + 'G':>6} {age:>6} "
    )
    is_odd = process.belongs in ("foreign", "violation")
    room = max(0, width - len(left))
    return [
        (left, "foreign" if is_odd else "text"),
        (fit(clean(process.command), room).rstrip(), "dim"),
    ]
