"""People and what they are charged for."""

import tempfile

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuboard.store import Store, UsageRow
from tests.support.records import ALICE, BOB, DEVICES, new_job


def test_a_person_is_remembered_as_they_last_came(store):
    """A renamed person keeps their uid, jobs and account; old jobs keep the owner they had."""
    with store.transaction() as tx:
        [job] = tx.insert_jobs([new_job()])
        renamed = msgspec.structs.replace(ALICE, name="alicia", groups=(1,))
        tx.upsert_person(renamed, 5)
        tx.upsert_person(BOB, 6)
    assert store.get_person(ALICE.uid) == renamed
    assert store.people() == [renamed, BOB]
    assert store.get_job(job.id).owner == ALICE
    assert store.get_person(7) is None


def test_accounts_are_written_whole(store):
    """The last word about a person's usage is the one that is read."""
    with store.transaction() as tx:
        tx.upsert_person(ALICE, 0)
        tx.upsert_person(BOB, 0)
        tx.save_usage([UsageRow(ALICE.uid, 1.5, 10), UsageRow(BOB.uid, 2.0, 10, 3.0)])
        tx.save_usage([UsageRow(ALICE.uid, 2.5, 20)])
    assert store.load_usage() == [UsageRow(ALICE.uid, 2.5, 20), UsageRow(BOB.uid, 2.0, 10, 3.0)]


spans = st.tuples(
    st.integers(0, 100), st.none() | st.integers(0, 100), st.sampled_from([ALICE, BOB])
)


@settings(max_examples=50, deadline=None)
@given(st.lists(spans, max_size=6), st.integers(0, 100), st.integers(0, 100))
def test_what_is_charged_is_what_was_held(leases, since, now):
    """Device-seconds charged equal device-seconds held, for any overlap, a clock that jumped back too."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        with store.transaction() as tx:
            jobs = {p.uid: tx.insert_jobs([new_job(p)])[0] for p in (ALICE, BOB)}
            for n, (granted, released, who) in enumerate(leases):
                device = f"{DEVICES[0]}-{n}"
                tx.open_lease(
                    device, who.uid, job_id=jobs[who.uid].id, granted_at=granted, until_at=0
                )
                if released is not None:
                    tx.close_lease(device, released)
        charged = store.charged_since(since, now)
        store.close()
    held = {ALICE.uid: 0.0, BOB.uid: 0.0}
    for granted, released, who in leases:
        end = now if released is None else min(released, now)
        held[who.uid] += max(0, end - max(granted, since)) / 1000
    assert {uid: charged.get(uid, 0.0) for uid in held} == pytest.approx(held)
