"""Bookings through time: promised, begun on the second, used by their owner, ended, given back."""

from __future__ import annotations

import pytest

from gpuboard.errors import Conflict, Refused
from gpuboard.model.plan import ReservationRequest
from gpuboard.runtimes.simulated import Script
from tests.support.engine import ANN, BEN, Box, uuid


def window(box: Box, gpus: int, after_s: float, for_s: float) -> ReservationRequest:
    from_at = box.clock.now_ms() + round(after_s * 1000)
    return ReservationRequest(gpus=gpus, from_at=from_at, until_at=from_at + round(for_s * 1000))


def test_booking_gets_its_devices_when_it_begins_and_gives_them_back(box: Box) -> None:
    """Booked, active with its leases, ended without."""
    booking = box.engine.reserve(BEN, window(box, 2, 60, 120))
    box.advance(55)
    assert str(box.engine.reservation(booking.id).state) == "booked"
    assert not box.engine.leases()
    box.advance(8)
    active = box.engine.reservation(booking.id)
    assert str(active.state) == "active"
    assert len(active.devices) == 2
    assert {lease.reservation_id for lease in box.engine.leases().values()} == {booking.id}
    begun = next(e for e in box.engine.events(0) if e.kind == "reservation.bound")
    assert abs(begun.at - booking.from_at) <= 1000
    box.advance(120)
    assert str(box.engine.reservation(booking.id).state) == "ended"
    assert not box.engine.leases()


def test_nothing_starts_that_could_still_hold_the_devices(box: Box) -> None:
    """A job whose limit reaches into the booking waits; a short one does not."""
    box.engine.reserve(BEN, window(box, 4, 100, 60))
    long = box.submit(limit_s=300, script=Script(run_s=200))
    short = box.submit(limit_s=60, script=Script(run_s=20))
    box.settle()
    assert (box.state(long), box.state(short)) == ("queued", "running")
    box.advance(110)
    assert len(box.engine.leases()) == 4
    box.advance(60)
    assert box.state(long) == "running"


def test_owners_job_runs_on_the_booked_devices(box: Box) -> None:
    """The lease passes to the job and back; others get nothing of it."""
    booking = box.engine.reserve(BEN, window(box, 4, 0, 600))
    box.settle()
    stranger = box.submit(limit_s=60)
    own = box.submit(owner=BEN, gpus=2, limit_s=300, script=Script(run_s=30))
    box.settle()
    assert (box.state(own), box.state(stranger)) == ("running", "queued")
    assert box.job(own).reservation_id == booking.id
    lease = box.engine.leases()[box.job(own).devices[0]]
    assert (lease.job_id, lease.reservation_id) == (own, booking.id)
    box.advance(35)
    assert box.state(own) == "succeeded"
    assert all(x.job_id is None for x in box.engine.leases().values())
    assert len(box.engine.leases()) == 4
    again = box.submit(owner=BEN, gpus=4, limit_s=60)
    box.advance(3)
    assert box.state(again) == "running"


def test_booking_is_charged_whether_used_or_not(box: Box) -> None:
    """Holding counts."""
    box.engine.reserve(BEN, window(box, 2, 0, 100))
    box.settle()
    box.advance(120)
    assert box.engine.usage_since(0)[BEN.uid] == pytest.approx(200, abs=4)


def test_what_cannot_be_promised_is_refused_with_the_nearest_windows(box: Box) -> None:
    """A running job's limit stands in the way; the hint says when it would do."""
    box.submit(gpus=3, limit_s=600, script=Script(run_s=600))
    box.settle()
    with pytest.raises(Refused) as caught:
        box.engine.reserve(BEN, window(box, 2, 0, 60))
    assert "free:" in caught.value.hint
    assert not box.engine.reservations()
    box.engine.reserve(BEN, window(box, 1, 0, 60))


def test_edit_is_one_step_or_none(box: Box) -> None:
    """A refused change leaves the booking as it was."""
    first = box.engine.reserve(BEN, window(box, 4, 100, 100))
    second = box.engine.reserve(ANN, window(box, 4, 300, 100))
    with pytest.raises(Refused):
        box.engine.change_reservation(second.id, ANN, window(box, 4, 150, 100), "")
    assert box.engine.reservation(second.id) == second
    moved = box.engine.change_reservation(first.id, BEN, window(box, 3, 120, 100), "demo")
    assert (moved.gpus, moved.name) == (3, "demo")


def test_ended_early_booking_frees_its_devices(box: Box) -> None:
    """Unreserve of an active one; a second time is a conflict."""
    booking = box.engine.reserve(BEN, window(box, 4, 0, 600))
    box.settle()
    waits = box.submit()
    box.settle()
    assert box.state(waits) == "queued"
    box.engine.unreserve(booking.id, BEN)
    box.advance(2)
    assert box.state(waits) == "running"
    with pytest.raises(Conflict):
        box.engine.unreserve(booking.id, BEN)


def test_booking_survives_a_restart(box: Box) -> None:
    """Begun while the daemon was away: it has its devices as soon as somebody looks."""
    booking = box.engine.reserve(BEN, window(box, 2, 30, 300))
    box.clock.advance(60_000)
    box.restart()
    box.settle()
    assert len(box.engine.reservation(booking.id).devices) == 2
    box.restart()
    box.settle()
    assert len(box.engine.leases()) == 2
    box.check_invariants()


def test_foreign_use_of_a_booked_device_keeps_its_owners_job_off(box: Box) -> None:
    """The owner's own processes on booked devices are no foreign use."""
    from gpuboard.model.device import DeviceProcess

    box.engine.reserve(BEN, window(box, 1, 0, 600))
    box.settle()
    device = next(iter(box.engine.leases()))
    box.probe.foreign[device] = (DeviceProcess(pid=5, uid=BEN.uid, user="ben"),)
    box.settle()
    assert not box.engine.foreign_use()
    box.probe.foreign[device] = (DeviceProcess(pid=5, uid=4000, user="zoe"),)
    box.settle()
    assert box.engine.foreign_use() == {device: "zoe"}


def test_blackout_keeps_the_box_empty(box: Box) -> None:
    """Nothing starts that would reach into it; afterwards it goes on."""
    now = box.clock.now_ms()
    made = box.engine.add_blackout(now + 60_000, now + 120_000, [], "root", "new fans")
    waits = box.submit(limit_s=300)
    box.settle()
    assert box.state(waits) == "queued"
    box.advance(50)
    assert box.engine.blackouts()[0].id == made.id
    box.advance(75)
    assert box.state(waits) == "running"
    assert not box.engine.blackouts()


def test_blackout_of_one_device_leaves_the_others(box: Box) -> None:
    """Only the named devices close."""
    now = box.clock.now_ms()
    box.engine.add_blackout(now, now + 600_000, [uuid(0)], "root", "")
    job_id = box.submit(gpus=3)
    box.settle()
    assert uuid(0) not in box.job(job_id).devices
    assert box.state(job_id) == "running"


def test_series_is_cancelled_whole_or_not_at_all(box: Box) -> None:
    """The daemon dies in between: nothing of it is cancelled, or all."""
    box.settle()
    windows = [window(box, 1, after, 50) for after in (100, 200, 300)]
    first = box.engine.reserve_series(BEN, windows, "", "FREQ=DAILY")[0]
    passed: list[str] = []
    box.crash.hook = passed.append
    cancelled = box.engine.unreserve_series(first.id, BEN)
    assert len(cancelled) == 3
    assert [name for name in passed if name.endswith(".after")] == ["booking.cancel_series.after"]
    assert not box.engine.reservations()
