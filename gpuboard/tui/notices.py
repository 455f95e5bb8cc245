"""What a person is told in passing: limits that come near, idle GPUs, notices, what befell one's own.

Pure but for its memory of what was told: each thing is told once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from gpuboard.model.views.board import BoardView
from gpuboard.model.views.events import EventView
from gpuboard.model.views.jobs import JobView
from gpuboard.tui.feed import Snapshot
from gpuboard.tui.ink import clean
from gpuboard.tui.instants import clock, epoch_s, span
from gpuboard.tui.jobwords import job_name

NEAR_LIMIT_S = 600
"""A running job's limit is told so long before."""
IDLE_S = 1800
"""A held GPU without any use for so long is told."""
Severity = Literal["information", "warning", "error"]
Notice = tuple[str, Severity]
_OF_MINE: dict[str, Severity] = {
    "job.running": "information",
    "job.succeeded": "information",
    "job.failed": "error",
    "job.timed_out": "warning",
    "job.preempted": "warning",
    "job.lost": "error",
    "job.over_budget": "warning",
    "reservation.no_show": "warning",
}
"""Events of one's own jobs and bookings that are told."""
_BY_OTHERS: dict[str, Severity] = {"job.cancelled": "warning", "job.held": "warning"}
"""These are told where somebody else did it."""


class Notices:
    """Remembers what was told, and finds what is new."""

    def __init__(self) -> None:
        self._told: set[tuple[object, ...]] = set()
        self.near_limit: JobView | None = None
        """The job whose limit was told last."""
        self._mine: set[tuple[str, int]] = set()
        """One's jobs and bookings that were seen: an event's user may be who did it to them."""

    def of(self, snapshot: Snapshot, extend_key: str) -> list[Notice]:
        """Return what the person has not been told yet."""
        board = snapshot.board
        if board is None:
            return []
        self._mine |= {
            ("job", j.id) for j in (snapshot.queue.jobs if snapshot.queue else ()) if j.mine
        }
        booked = snapshot.reservations.reservations if snapshot.reservations else ()
        self._mine |= {("booking", row.id) for row in booked if row.mine}
        fresh = []
        for key, notice in (*self._near_limits(snapshot, board, extend_key), *_of_board(board)):
            if key not in self._told:
                self._told.add(key)
                fresh.append(notice)
        return fresh

    def severity_of(self, event: EventView, me: str) -> Severity | None:
        """Return how an event is told to the person `me`; None where it is not."""
        is_own = ("job", event.job_id) in self._mine or (
            "booking",
            event.reservation_id,
        ) in self._mine
        if event.kind in _BY_OTHERS:
            return _BY_OTHERS[event.kind] if is_own and event.user != me else None
        return _OF_MINE.get(event.kind) if is_own or event.user == me else None

    def _near_limits(
        self, snapshot: Snapshot, board: BoardView, extend_key: str
    ) -> Iterator[tuple[tuple[object, ...], Notice]]:
        now_s = epoch_s(board.at)
        running = snapshot.queue.jobs[: board.running + 1] if snapshot.queue else ()
        for job in running:
            if not job.mine or job.state != "running" or not job.ends_at:
                continue
            left = epoch_s(job.ends_at) - now_s
            # A job that was meant to be short is not warned about for its whole life.
            if 0 < left <= min(NEAR_LIMIT_S, job.limit_s // 4):
                key = ("limit", job.id, job.ends_at)
                if key not in self._told:
                    self.near_limit = job
                ends = clock(epoch_s(job.ends_at), now_s)
                words = (
                    f"job {job.id} ({job_name(job)[:30]}) reaches its limit at {ends}, "
                    f"in {span(left)}: {extend_key} gives it 30 minutes more"
                )
                yield key, (words, "warning")


def _of_board(board: BoardView) -> Iterator[tuple[tuple[object, ...], Notice]]:
    for device in board.devices:
        if device.mine and device.idle_s is not None and device.idle_s >= IDLE_S:
            held = f"job {device.job_id}" if device.job_id else "your booking"
            words = f"GPU {clean(device.label)}, held by {held}, has done nothing for {span(device.idle_s)}"
            yield ("idle", device.uuid, device.since_at), (words, "warning")
    for notice in board.notices:
        yield ("notice", notice.id), (f"{clean(notice.by)}: {clean(notice.text)}", "warning")
