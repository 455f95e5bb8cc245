"""No-shows: released when nobody came, and only then."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from gpuboard.config import Config, ReservationsConfig
from gpuboard.model.plan import ReservationRequest
from gpuboard.runtimes.simulated import Script
from tests.support.engine import BEN, Box, uuid


def window(box: Box, gpus: int, for_s: float) -> ReservationRequest:
    now = box.clock.now_ms()
    return ReservationRequest(gpus=gpus, from_at=now, until_at=now + round(for_s * 1000))


def state(box: Box, booking) -> str:
    return str(box.engine.reservation(booking.id).state)


def test_booking_to_which_nobody_came_is_released_and_its_owner_told(box: Box) -> None:
    """After half an hour, not before; the queue has the devices again."""
    booking = box.engine.reserve(BEN, window(box, 4, 7200))
    waits = box.submit(limit_s=600, script=Script(run_s=60))
    box.advance(1700)
    assert (state(box, booking), box.state(waits)) == ("active", "queued")
    box.advance(200)
    assert state(box, booking) == "ended"
    assert box.state(waits) in ("running", "succeeded")
    told = next(e for e in box.engine.events(0) if e.kind == "reservation.no_show")
    assert (told.reservation_id, told.uid) == (booking.id, BEN.uid)


def test_booking_in_which_a_job_ran_is_kept(box: Box) -> None:
    """Who came once has come."""
    booking = box.engine.reserve(BEN, window(box, 2, 7200))
    box.submit(owner=BEN, limit_s=60, script=Script(run_s=5))
    box.advance(3600)
    assert state(box, booking) == "active"


def test_booking_whose_owner_runs_elsewhere_is_kept(box: Box) -> None:
    """A job that began before the booking is a sign of life as well."""
    box.submit(owner=BEN, limit_s=7200, script=Script(run_s=7000))
    box.settle()
    booking = box.engine.reserve(BEN, window(box, 2, 6000))
    box.advance(3600)
    assert state(box, booking) == "active"


def test_process_of_the_owner_or_an_unreadable_device_keeps_the_booking(box: Box) -> None:
    """What cannot be read is not an absence."""
    booking = box.engine.reserve(BEN, window(box, 4, 7200))
    box.settle()
    box.probe.unreadable.add(uuid(0))
    box.advance(3600)
    assert state(box, booking) == "active"


def test_none_means_never(tmp_path: Path) -> None:
    """The admin may turn it off."""
    limits = ReservationsConfig(no_show_after_s=None)
    box = Box(tmp_path / "state", config=msgspec.structs.replace(Config(), reservations=limits))
    box.settle()
    booking = box.engine.reserve(BEN, window(box, 4, 7200))
    box.advance(3600)
    assert state(box, booking) == "active"
    box.store.close()


def test_the_record_is_not_searched_again_and_again_for_somebody_who_may_be_there(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that a person ever ran was walked through in every step: 30 ms with 50,000 jobs."""
    looks = []
    has_run_since = box.store.has_run_since
    monkeypatch.setattr(
        box.store, "has_run_since", lambda uid, at: looks.append(uid) or has_run_since(uid, at)
    )
    booking = box.engine.reserve(BEN, window(box, 4, 7200))
    box.probe.unreadable.add(uuid(0))
    box.advance(2400, by=5)
    assert (state(box, booking), len(looks)) == ("active", 0)
    box.probe.unreadable.clear()
    box.advance(60)
    assert (state(box, booking), len(looks)) == ("ended", 1)
