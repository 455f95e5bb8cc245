"""Bookings and blackouts in the store."""

import msgspec
import pytest

from gpuboard.errors import StateError
from gpuboard.model.ids import ReservationId
from gpuboard.model.reservation import Blackout, ReservationState
from tests.support.records import BOB, DEVICES, new_reservation


def insert(store, *reservations):
    with store.transaction() as tx:
        return [tx.insert_reservation(one) for one in reservations]


def test_a_booking_is_read_back_the_same(store):
    """Nothing of a booking is lost or changed between two daemons."""
    [booking] = insert(
        store,
        new_reservation(BOB, gpu_uuids=DEVICES[:2], gpu_type="H100", name="[x]", created_at=3),
    )
    assert store.get_reservation(booking.id) == booking
    active = msgspec.structs.replace(
        booking, state=ReservationState.ACTIVE, devices=DEVICES[:2], until_at=9, ended_at=8
    )
    with store.transaction() as tx:
        tx.save_reservation(active)
    assert store.get_reservation(booking.id) == active
    assert store.get_reservation(ReservationId(9)) is None


def test_live_bookings_come_by_start_and_ended_ones_stay_in_the_record(store):
    """What has not ended is what the engine loads; the timeline sees the past too."""
    late, early, ended = insert(
        store,
        new_reservation(from_at=50, until_at=60),
        new_reservation(from_at=10, until_at=20),
        new_reservation(from_at=0, until_at=5, state=ReservationState.CANCELLED, ended_at=1),
    )
    assert store.live_reservations() == [early, late]
    assert store.reservations_between(0, 100) == [ended, early, late]
    assert store.reservations_between(5, 50) == [early]
    assert store.reservations_between(19, 51) == [early, late]


def test_a_booking_that_makes_no_sense_is_refused(store):
    """No devices, no length, not there: the database says no."""
    for wrong in (new_reservation(gpus=0), new_reservation(from_at=5, until_at=5)):
        with pytest.raises(StateError):
            insert(store, wrong)
    with pytest.raises(StateError), store.transaction() as tx:
        tx.save_reservation(new_reservation())


def test_a_blackout_holds_until_it_ends_or_is_taken_back(store):
    """Once taken back it cannot be again."""
    with store.transaction() as tx:
        late = tx.insert_blackout(Blackout(0, 50, 60, "fan", DEVICES[:1]))
        early = tx.insert_blackout(Blackout(0, 10, 20))
    assert store.blackouts(0) == [early, late]
    assert store.blackouts(20) == [late]
    with store.transaction() as tx:
        assert tx.cancel_blackout(late.id, 5)
        assert not tx.cancel_blackout(late.id, 6)
        assert not tx.cancel_blackout(99, 6)
    assert store.blackouts(0) == [early]
