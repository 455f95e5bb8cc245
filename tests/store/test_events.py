"""Events, notices and the daemon's memory."""

import pytest

from gpuboard.model.job import EventRow
from gpuboard.model.reservation import Notice
from tests.support.records import DEVICES, new_job


def test_events_are_read_in_order_after_any_id(store):
    """A client that lost its connection goes on where it was."""
    assert store.last_event_id() == 0
    with store.transaction() as tx:
        [job] = tx.insert_jobs([new_job()])
        first = tx.append_event(
            5, "job.submitted", job_id=job.id, uid=1001, detail={"a": 1, "b": None}
        )
        second = tx.append_event(6, "device.drained", device=DEVICES[0])
    assert store.events_after(0) == [
        EventRow(first, 5, "job.submitted", job.id, None, None, 1001, {"a": 1, "b": None}),
        EventRow(second, 6, "device.drained", None, None, DEVICES[0], None, {}),
    ]
    assert [event.id for event in store.events_after(first)] == [second]
    assert [event.id for event in store.events_after(0, limit=1)] == [first]
    assert [event.id for event in store.events_after(0, job_id=job.id)] == [first]
    assert store.last_event_id() == second


def test_a_change_and_its_event_are_there_together_or_not_at_all(store):
    """No event without its change, no change without its event."""
    with pytest.raises(KeyError), store.transaction() as tx:
        [job] = tx.insert_jobs([new_job()])
        tx.append_event(5, "job.submitted", job_id=job.id)
        raise KeyError
    assert store.load_live_jobs() == []
    assert store.events_after(0) == []


def test_notices_hold_until_their_end_or_until_cleared(store):
    """What everybody sees is what is in force now."""
    with store.transaction() as tx:
        forever = tx.insert_notice(Notice(0, 1, "root", "[b]hello"))
        brief = tx.insert_notice(Notice(0, 2, "root", "brief", 10))
    assert store.notices(5) == [forever, brief]
    assert store.notices(10) == [forever]
    with store.transaction() as tx:
        assert tx.clear_notices(6) == 2
    assert store.notices(5) == []


def test_the_daemon_remembers_by_key(store):
    """A value is replaced whole; None forgets it."""
    assert store.get_state("head") is None
    with store.transaction() as tx:
        tx.set_state("head", "7")
        tx.set_state("head", "8")
        tx.set_state("boot_id", "x")
    assert (store.get_state("head"), store.get_state("boot_id")) == ("8", "x")
    with store.transaction() as tx:
        tx.set_state("head", None)
    assert store.get_state("head") is None
