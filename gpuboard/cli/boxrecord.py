"""The box's record and settings, read from its daemon page by page, for `simulate --history`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from gpuboard.cli.session import Session
from gpuboard.errors import PermissionDenied

if TYPE_CHECKING:
    from gpuboard.simulate.baseline import Baseline
    from gpuboard.simulate.record import Past
    from gpuboard.simulate.simulation import Conditions

PAGE = 1000
"""Rows of the record asked for at once."""


def read_past(session: Session, devices: Sequence[str]) -> Past:
    """Return what the daemon's record says of the past."""
    from gpuboard.simulate.record import past_of_record

    bookings = session.client.get("/reservations", past=True)["reservations"]
    return past_of_record(list(_ended_jobs(session)), list(_events(session)), bookings, devices)


def _ended_jobs(session: Session) -> Iterator[dict[str, Any]]:
    before: int | None = None
    while True:
        query = {} if before is None else {"before": before}
        page = session.client.get("/history", limit=PAGE, **query)["jobs"]
        yield from page
        if len(page) < PAGE:
            return
        before = min(job["id"] for job in page)


def _events(session: Session) -> Iterator[dict[str, Any]]:
    after = 0
    while True:
        page = session.client.get("/events", limit=PAGE, after=after)["events"]
        yield from page
        if len(page) < PAGE:
            return
        after = page[-1]["id"]


def as_it_was(past: Past, conditions: Conditions, gpus: int) -> Conditions:
    """Return the conditions with the bookings and closed devices of the past, as far as they fit."""
    import msgspec

    return msgspec.structs.replace(
        conditions,
        bookings=tuple(booking for booking in past.bookings if booking.gpus <= gpus),
        closures=tuple(closure for closure in past.closures if closure.device < gpus),
    )


def read_baseline(session: Session) -> Baseline | None:
    """Return the box's settings; None, with a warning, where they are not shown to the caller."""
    from gpuboard.simulate.baseline import baseline_of

    try:
        return baseline_of(session.client.get("/admin/state")["settings"])
    except PermissionDenied:
        session.warn("played with the usual settings: the box's own are shown to administrators")
        return None


def as_allowed(
    past: Past, conditions: Conditions, baseline: Baseline, *, has_checkpoint: bool
) -> Conditions:
    """Return the conditions with what the box allows people; what was asked for comes first."""
    import msgspec

    people = {job.user for job in past.jobs}
    shares = {user: share for user, share in baseline.shares.items() if user in people}
    return msgspec.structs.replace(
        conditions,
        shares={**shares, **conditions.shares},
        quotas=baseline.quotas,
        checkpoint_s=conditions.checkpoint_s if has_checkpoint else baseline.checkpoint_s,
        no_show_after_s=baseline.no_show_after_s,
    )
