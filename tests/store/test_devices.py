"""Leases and drains: no device twice, whatever the callers do."""

import sqlite3
from contextlib import closing

import pytest

from gpuboard.errors import StateError
from gpuboard.model.reservation import Drain, Lease, Share
from gpuboard.store.connection import connect
from tests.support.records import ALICE, BOB, DEVICES, new_job, new_reservation


@pytest.fixture
def job(store):
    with store.transaction() as tx:
        return tx.insert_jobs([new_job()])[0]


def lease(store, device, job_id, **more):
    with store.transaction() as tx:
        return tx.open_lease(device, ALICE.uid, job_id=job_id, granted_at=10, until_at=20, **more)


def test_a_device_has_at_most_one_live_lease(store, job):
    """The last guard lies in the database: a second lease is refused, and nothing of it stays."""
    first = lease(store, DEVICES[0], job.id)
    assert first == Lease(first.id, DEVICES[0], ALICE.uid, job.id, None, 10, 20)
    with pytest.raises(StateError):
        lease(store, DEVICES[0], job.id)
    assert store.live_leases() == [first]
    with store.transaction() as tx:
        assert tx.close_lease(DEVICES[0], 15)
        assert not tx.close_lease(DEVICES[0], 16)
    second = lease(store, DEVICES[0], job.id, attempt=2)
    assert store.live_leases() == [second]


def test_a_booked_device_passes_between_booking_and_job(store, job):
    """Closed and opened in one transaction: at no moment two, and never without the booking."""
    with store.transaction() as tx:
        booking = tx.insert_reservation(new_reservation())
        tx.open_lease(
            DEVICES[0], ALICE.uid, job_id=None, reservation_id=booking.id, granted_at=0, until_at=9
        )
    with store.transaction() as tx:
        tx.close_lease(DEVICES[0], 5)
        tx.open_lease(
            DEVICES[0],
            ALICE.uid,
            job_id=job.id,
            reservation_id=booking.id,
            granted_at=5,
            until_at=9,
        )
    assert [
        (one.job_id, one.reservation_id, one.released_at) for one in store.leases_between(0, 9)
    ] == [
        (None, booking.id, 5),
        (job.id, booking.id, None),
    ]


def test_a_lease_is_of_a_job_or_a_booking_that_exist(store, job):
    """No lease of nothing, none of a job, booking or person that is not there."""
    for more in (
        {"job_id": None},
        {"job_id": 99},
        {"job_id": job.id, "reservation_id": 99},
        {"job_id": job.id, "device": ""},
        {"job_id": job.id, "uid": BOB.uid},
    ):
        with pytest.raises(StateError), store.transaction() as tx:
            tx.open_lease(
                **{"device": DEVICES[0], "uid": ALICE.uid, "granted_at": 0, "until_at": 9, **more}
            )
    assert store.live_leases() == []


def test_a_lease_can_be_closed_after_the_clock_jumped_back(store, job):
    """An odd record is better than a device that is never free again."""
    lease(store, DEVICES[0], job.id)
    with store.transaction() as tx:
        assert tx.close_lease(DEVICES[0], 3)
    assert store.live_leases() == []


def test_a_lease_follows_its_jobs_limit(store, job):
    """A changed limit changes until when the device is held."""
    lease(store, DEVICES[0], job.id)
    with store.transaction() as tx:
        assert tx.extend_lease(DEVICES[0], 99)
        assert not tx.extend_lease(DEVICES[1], 99)
    assert store.live_leases()[0].until_at == 99


def test_the_timeline_finds_leases_that_touch_a_window(store, job):
    """Ended before, begun after: not in it. Live ones reach to now and beyond."""
    lease(store, DEVICES[0], job.id)
    with store.transaction() as tx:
        tx.close_lease(DEVICES[0], 15)
    live = lease(store, DEVICES[1], job.id)
    assert len(store.leases_between(0, 30)) == 2
    assert store.leases_between(15, 30) == [live]
    assert store.leases_between(0, 10) == []


def test_a_drain_is_one_a_device(store):
    """Draining again changes the note; resuming says whether there was one."""
    with store.transaction() as tx:
        tx.save_drain(Drain(DEVICES[1], 2, "root", "fan"))
        tx.save_drain(Drain(DEVICES[0], 1, "root"))
        tx.save_drain(Drain(DEVICES[1], 3, "gpuboard", "lost"))
    assert store.drains() == [
        Drain(DEVICES[0], 1, "root"),
        Drain(DEVICES[1], 3, "gpuboard", "lost"),
    ]
    with store.transaction() as tx:
        assert tx.remove_drain(DEVICES[0])
        assert not tx.remove_drain(DEVICES[0])


def share(store, device, job_id, gib, capacity=15, part=1.0):
    """Open a lease of so many GiB of a device."""
    return lease(store, device, job_id, share=Share(gib * 2**30, capacity * 2**30, part))


@pytest.fixture
def jobs(store):
    with store.transaction() as tx:
        return tx.insert_jobs([new_job(), new_job(), new_job()])


def test_shares_of_a_device_fit_it_and_are_never_beside_a_lease_of_the_whole(store, jobs):
    """The file itself refuses what is too much, twice the same job, and the two kinds together."""
    first, second, third = (job.id for job in jobs)
    mine = share(store, DEVICES[0], first, 6, part=0.4)
    theirs = share(store, DEVICES[0], second, 9, part=0.6)
    for opens in (
        lambda: share(store, DEVICES[0], third, 1),
        lambda: share(store, DEVICES[0], first, 1, capacity=99),
        lambda: lease(store, DEVICES[0], third),
        lambda: share(store, DEVICES[1], third, 16),
    ):
        with pytest.raises(StateError):
            opens()
    lease(store, DEVICES[1], third)
    with pytest.raises(StateError):
        share(store, DEVICES[1], first, 1)
    assert [one for one in store.live_leases() if one.share] == [mine, theirs]
    with store.transaction() as tx:
        assert not tx.close_lease(DEVICES[0], 15)
        assert not tx.extend_lease(DEVICES[0], 15)
        assert tx.close_share(mine.id, 15)
        assert not tx.close_share(mine.id, 16)
    share(store, DEVICES[0], third, 6)


@pytest.mark.parametrize("part", [0.0, -1.0, 1.5])
def test_a_share_is_charged_a_part_of_the_device(store, job, part):
    """More than nothing and at most the whole."""
    with pytest.raises(StateError):
        share(store, DEVICES[0], job.id, 1, part=part)


def test_a_lease_that_ended_stays_ended_whoever_writes(store, job):
    """Another program that writes to the file cannot bring one back to life, nor move it."""
    lease(store, DEVICES[0], job.id)
    with store.transaction() as tx:
        tx.close_lease(DEVICES[0], 15)
    with closing(connect(store.path)) as other:
        for change in ("released_at = NULL", "device = 'GPU-x'", "memory_bytes = 5"):
            with pytest.raises(sqlite3.IntegrityError):
                other.execute(f"UPDATE leases SET {change}")


def test_what_is_charged_of_shares_is_their_part(store, jobs):
    """Two thirds and one third of ten seconds, once."""
    share(store, DEVICES[0], jobs[0].id, 10, part=2 / 3)
    share(store, DEVICES[0], jobs[1].id, 5, part=1 / 3)
    with store.transaction() as tx:
        for one in store.live_leases():
            tx.close_share(one.id, 10_010)
    assert store.charged_since(0, 99_000) == {ALICE.uid: pytest.approx(10)}
