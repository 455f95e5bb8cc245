"""Hours of devices, and a past window read from beside the writer."""

import threading

import pytest

from gpuboard.errors import HostError
from gpuboard.model.past import NOBODY, DeviceHour, HeldSpan, WaitSpan
from gpuboard.store.past import read_past
from tests.support.records import ALICE, DEVICES, new_job

HOUR = 3_600_000
GPU = DEVICES[0]


def test_parts_of_an_hour_add_up(store):
    """What is written each minute is one row an hour, device and person."""
    with store.transaction() as tx:
        tx.add_hours([DeviceHour(HOUR, GPU, ALICE.uid, 60, 30, 0)])
        tx.add_hours([DeviceHour(HOUR, GPU, ALICE.uid, 60, 60, 5)])
        tx.add_hours([DeviceHour(HOUR, GPU, NOBODY, 10, 0, 0)])
    assert store.past(0, 2 * HOUR).hours == [
        DeviceHour(HOUR, GPU, NOBODY, 10, 0, 0),
        DeviceHour(HOUR, GPU, ALICE.uid, 120, 90, 5),
    ]


def test_the_hour_in_which_the_window_begins_is_in_it(store):
    """Hours are whole: half of one cannot be told."""
    with store.transaction() as tx:
        tx.add_hours([DeviceHour(at * HOUR, GPU, 7, 1) for at in (1, 2, 3)])
    found = store.past(2 * HOUR + 5, 3 * HOUR).hours
    assert [row.hour_at for row in found] == [2 * HOUR]


def test_old_hours_are_forgotten(store):
    """And only they."""
    with store.transaction() as tx:
        tx.add_hours([DeviceHour(at * HOUR, GPU, 7, 1) for at in (1, 2, 3)])
        assert tx.forget_hours(3 * HOUR) == 2
    assert [row.hour_at for row in store.past(0, 9 * HOUR).hours] == [3 * HOUR]


def test_leases_are_cut_to_the_window_and_live_ones_end_with_it(store):
    """As `charged_since` counts them."""
    with store.transaction() as tx:
        [job] = tx.insert_jobs([new_job()])
        for device in DEVICES[:2]:
            tx.open_lease(device, ALICE.uid, job_id=job.id, granted_at=100, until_at=9999)
        tx.close_lease(DEVICES[0], 500)
    past = store.past(200, 1000)
    assert past.names == {ALICE.uid: "alice"}
    assert sorted(past.held, key=lambda span: span.until_at) == [
        HeldSpan(DEVICES[0], ALICE.uid, 200, 500),
        HeldSpan(DEVICES[1], ALICE.uid, 200, 1000),
    ]
    assert store.past(500, 600).held == [HeldSpan(DEVICES[1], ALICE.uid, 500, 600)]
    spans = sum(span.until_at - span.from_at for span in past.held) / 1000
    assert store.charged_since(200, 1000) == {ALICE.uid: spans}


def test_only_first_attempts_that_started_in_the_window_have_waited(store):
    """A job that was preempted was not submitted again."""
    with store.transaction() as tx:
        for started_at, attempt in ((5000, 1), (6000, 2), (None, 1), (99_000, 1)):
            job = new_job(submitted_at=1000, started_at=started_at, attempt=attempt)
            tx.insert_jobs([job])
    assert store.past(2000, 50_000).waits == [WaitSpan(ALICE.uid, 4.0)]


def test_the_past_can_be_read_on_another_thread_while_one_writes(store):
    """The writer's open transaction is not seen, and does not stop the reader."""
    found = []
    with store.transaction() as tx:
        tx.add_hours([DeviceHour(HOUR, GPU, 7, 1)])
        reader = threading.Thread(target=lambda: found.append(store.past(0, 9 * HOUR)))
        reader.start()
        reader.join(20)
    assert [past.hours for past in found] == [[]]


def test_a_missing_database_is_told(tmp_path):
    """In our own words."""
    with pytest.raises(HostError):
        read_past(str(tmp_path / "none.db"), 0, 1)
