"""Preemptible jobs take turns by leases, and use booked devices that nobody uses, on the whole engine."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from gpuboard.config import Config, PolicyConfig
from gpuboard.model.plan import ReservationRequest
from gpuboard.runtimes.simulated import Script
from tests.support.engine import ANN, BEN, Box, uuid

LEASE_S = 120
LONG = Script(run_s=50_000)


@pytest.fixture
def box(tmp_path: Path) -> Box:
    """One GPU; leases of two minutes, and nobody's first minutes come before them."""
    policy = PolicyConfig(lease_s=LEASE_S, lease_newcomer_s=0)
    found = Box(tmp_path, gpus=1, config=Config(policy=policy))
    yield found
    found.workers.close(0)
    found.store.close()


def spare(box: Box, owner=ANN, **more) -> int:
    more = {"script": LONG, "limit_s": 40_000, "grace_s": 5, **more}
    job_id = box.submit(owner=owner, preemptible=True, **more)
    box.settle()
    return job_id


def book(box: Box, owner, gpus: int, for_s: float) -> int:
    now = box.clock.now_ms()
    return box.engine.reserve(owner, ReservationRequest(gpus, now, now + round(for_s * 1000))).id


def test_a_lease_that_ends_goes_to_the_person_who_had_less(box: Box) -> None:
    """Not before its end; the stopped job waits with the reason, and goes on later as another attempt."""
    first = spare(box)
    second = spare(box, BEN)
    box.advance(LEASE_S - 20)
    assert (box.state(first), box.state(second)) == ("running", "queued")
    box.advance(LEASE_S)
    assert (box.state(first), box.state(second)) == ("queued", "running")
    job = box.job(first)
    assert (job.attempt, job.ran_s >= LEASE_S) == (2, True)
    assert "its lease is over" in job.reason
    box.check_invariants()
    box.advance(3 * LEASE_S)
    assert box.job(second).ran_s + box.job(first).ran_s > 2 * LEASE_S


def test_a_lease_holds_across_a_restart_of_the_daemon(box: Box) -> None:
    """What a lease still has to run is in the database."""
    first, second = spare(box), spare(box, BEN)
    box.advance(LEASE_S / 2)
    box.restart()
    box.settle()
    box.advance(LEASE_S / 4)
    assert (box.state(first), box.state(second)) == ("running", "queued")
    box.advance(LEASE_S)
    assert (box.state(first), box.state(second)) == ("queued", "running")


def test_somebody_with_a_right_does_not_wait_for_a_lease(box: Box) -> None:
    """An ordinary job starts as soon as the grace of the preemptible one is over."""
    first = spare(box)
    rightful = box.submit(owner=BEN, script=Script(run_s=20))
    box.advance(10)
    assert (box.state(first), box.state(rightful)) == ("queued", "running")


def test_booked_but_unused_devices_are_lent_until_the_owner_comes(tmp_path: Path) -> None:
    """The booking's holder is charged all the time; the borrower gives way after its grace."""
    box = Box(tmp_path, gpus=2)
    box.settle()
    booking = book(box, BEN, 2, 4000)
    box.settle()
    borrower = spare(box, gpus=2)
    assert box.state(borrower) == "running"
    assert {lease.uid for lease in box.engine.leases().values()} == {BEN.uid}
    box.check_invariants()
    box.advance(300)
    own = box.submit(owner=BEN, gpus=1, limit_s=600, script=Script(run_s=100))
    box.advance(12)
    assert (box.state(own), box.state(borrower)) == ("running", "queued")
    assert box.job(own).reservation_id == booking
    assert f"wants the devices of booking {booking}" in box.job(borrower).reason
    box.advance(200)
    assert (box.state(own), box.state(borrower)) == ("succeeded", "running")
    usage = box.engine.usage_since(0)
    assert ANN.uid not in usage or usage[ANN.uid] == pytest.approx(0, abs=1)
    box.store.close()


def test_a_loan_outlives_the_booking_and_is_the_borrowers_from_then_on(tmp_path: Path) -> None:
    """When the booking ends the job keeps its devices, and its owner is charged."""
    box = Box(tmp_path, gpus=2)
    box.settle()
    book(box, BEN, 2, 600)
    box.settle()
    borrower = spare(box, gpus=2)
    box.advance(700)
    assert box.state(borrower) == "running"
    assert {lease.uid for lease in box.engine.leases().values()} == {ANN.uid}
    usage = box.engine.usage_since(0)
    assert usage[BEN.uid] == pytest.approx(1200, abs=20)
    assert 0 < usage[ANN.uid] < 300
    box.check_invariants()
    box.store.close()


def test_a_booking_that_is_lent_is_still_a_no_show(tmp_path: Path) -> None:
    """Lending does not put off the release of a booking to which nobody came."""
    box = Box(tmp_path, gpus=1)
    box.settle()
    booking = book(box, BEN, 1, 7200)
    box.settle()
    borrower = spare(box)
    box.advance(900)
    box.engine.cancel(borrower, ANN, force=True)
    box.settle()
    spare(box)
    box.advance(1000)
    assert str(box.engine.reservation(booking).state) == "ended"
    box.store.close()


def test_lent_device_is_charged_to_the_bookings_group_not_to_the_jobs(box: Box) -> None:
    """Whoever pays, pays for their own group."""
    box.settle()
    book(box, BEN, 1, 4000)
    job_id = spare(box, limit_s=3000, account="vision")
    box.advance(100)
    assert box.state(job_id) == "running"
    lease = box.engine.leases()[uuid(0)]
    assert (lease.uid, box.engine.account_of(lease)) == (BEN.uid, "")


@pytest.mark.parametrize("limit_s", [39_000, 50_000])
def test_another_limit_makes_no_lease_longer(box: Box, limit_s: int) -> None:
    """A shorter limit, which anybody may set, kept the device from everybody until that limit."""
    first, second = spare(box), spare(box, BEN)
    spec = msgspec.structs.replace(box.job(first).spec, limit_s=limit_s)
    box.engine.update(first, ANN, spec)
    box.advance(2 * LEASE_S)
    assert (box.state(first), box.state(second)) == ("queued", "running")


def test_a_limit_raised_beyond_a_lease_makes_no_longer_one(box: Box) -> None:
    """One that was to end before its lease gets no more than the lease by running on."""
    first, second = spare(box, limit_s=LEASE_S // 2), spare(box, BEN)
    spec = msgspec.structs.replace(box.job(first).spec, limit_s=40_000)
    box.engine.update(first, ANN, spec)
    box.advance(2 * LEASE_S)
    assert (box.state(first), box.state(second)) == ("queued", "running")


def test_a_limit_shorter_than_the_lease_ends_it(box: Box) -> None:
    """The lease is then no longer than the job can be."""
    job = box.job(spare(box))
    spec = msgspec.structs.replace(job.spec, limit_s=60)
    box.engine.update(job.id, ANN, spec)
    (lease,) = box.store.live_leases()
    assert lease.until_at == job.leased_at + (60 + job.spec.grace_s) * 1000
